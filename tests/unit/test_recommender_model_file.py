"""The shelf of model files: whatever happens to a file, what is served is whole, or nothing is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from recommender import model_file
from recommender.model_file import KEPT, ModelShelf
from recommender.model_name import is_version, name_without
from tests.factories import NOW
from tests.models import same, small

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


# What is written comes back


def test_a_model_with_extras_comes_back(tmp_path: Path) -> None:
    arrays = {"lift": np.eye(2, dtype=np.float32), "tree": np.arange(5, dtype=np.int32)}
    model = small(
        extras={"clicks": ({"roles": ["citizen"], "as_of": NOW.isoformat()}, arrays), "bare": ({}, {})}
    )
    shelf = ModelShelf(tmp_path)
    version = shelf.save(model)
    found = ModelShelf(tmp_path).load_current()
    assert found is not None and same(found, model) and found.info.version == version
    facts, own = found.extras["clicks"]
    assert facts == {"roles": ["citizen"], "as_of": NOW.isoformat()}
    assert all(
        np.array_equal(own[name], arrays[name]) and own[name].dtype == arrays[name].dtype for name in arrays
    )
    assert found.extras["bare"] == ({}, {})
    assert found.info.metrics == {"ndcg10_learned": 0.25} and found.info.vocabulary == model.vocabulary


def test_a_shelf_sees_what_another_process_saves(tmp_path: Path) -> None:
    serving, training = ModelShelf(tmp_path), ModelShelf(tmp_path)
    assert serving.look().state == "none"
    first = training.save(small())
    held = serving.load_current()
    assert held is not None and held.info.version == first
    assert serving.load_current() is held  # read once
    second = training.save(small(minutes=1, fill=2.0))
    found = serving.load_current()
    assert found is not None and found.info.version == second and found.item_vectors[0, 0] == -2.0


def test_five_full_and_five_partial_models_are_kept(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    full = [shelf.save(small(minutes=60 * n)) for n in range(KEPT + 2)]
    partial = [
        shelf.save(replace(one, info=replace(one.info, kind="partial")))
        for one in (small(minutes=500 + n) for n in range(KEPT + 3))
    ]
    assert shelf.versions() == [*full[2:], *partial[3:]] and shelf.current() == partial[-1]
    assert len(names(tmp_path)) == 2 * 2 * KEPT + 1


def test_the_one_in_use_is_kept_however_old(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    versions = [shelf.save(small(minutes=n)) for n in range(KEPT)]
    shelf.use(versions[0])
    # A training under a clock that was set back sorts before what is kept; it is in use, so it stays.
    early = shelf.save(small(minutes=-60))
    assert shelf.current() == early and early in shelf.versions()
    found = shelf.load_current()
    assert found is not None and found.info.version == early


def test_going_back_passes_by_what_is_broken(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    first, second, _ = (shelf.save(small(minutes=n)) for n in range(3))
    (tmp_path / f"{second}.npz").write_bytes(b"")
    assert shelf.rollback() == first
    with pytest.raises(NotFoundError, match="mycity train"):
        shelf.rollback()


def test_a_version_is_put_in_use_only_if_it_is_fit(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    first, second = shelf.save(small()), shelf.save(small(minutes=1))
    shelf.use(first)
    assert shelf.current() == first
    (tmp_path / f"{second}.npz").write_bytes(b"PK")
    with pytest.raises(UsageError, match="cannot be used"):
        shelf.use(second)
    for unknown in ("", "../../etc/passwd", "20260101T000000Z-000"):
        with pytest.raises(NotFoundError, match=first):
            shelf.use(unknown)
    assert shelf.current() == first


def test_what_is_no_number_is_not_saved(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    good = shelf.save(small())
    nan = np.full((3, 4), np.nan, dtype=np.float32)
    with pytest.raises(UsageError, match=r"not numbers.*stays in use"):
        shelf.save(small(minutes=1, item_vectors=nan))
    with pytest.raises(UsageError, match="ranker/value"):
        shelf.save(small(minutes=1, extras={"ranker": ({}, {"value": nan})}))
    with pytest.raises(UsageError, match="shape"):
        shelf.save(small(minutes=1, user_biases=np.zeros(9, np.float32)))
    assert shelf.current() == good and shelf.versions() == [good]


# Whatever happens to the files


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path, str], Any], str]] = {
    "npz cut": (lambda f, v: _cut(f / f"{v}.npz"), "broken"),
    "npz empty": (lambda f, v: (f / f"{v}.npz").write_bytes(b""), "broken"),
    "npz gone": (lambda f, v: (f / f"{v}.npz").unlink(), "missing"),
    "npz a folder": (lambda f, v: ((f / f"{v}.npz").unlink(), (f / f"{v}.npz").mkdir()), "broken"),
    "head cut": (lambda f, v: _cut(f / f"{v}.json"), "broken"),
    "head empty": (lambda f, v: (f / f"{v}.json").write_bytes(b""), "broken"),
    "head gone": (lambda f, v: (f / f"{v}.json").unlink(), "missing"),
    "head a list": (lambda f, v: (f / f"{v}.json").write_text("[]"), "broken"),
    "head nested": (lambda f, v: (f / f"{v}.json").write_text("[" * 100_000), "broken"),
    "format 1": (lambda f, v: _edit(f / f"{v}.json", format=1), "broken"),
    "facts changed": (lambda f, v: _edit(f / f"{v}.json", sha256="0" * 64), "broken"),
    "pointer to nothing": (lambda f, v: (f / "current").write_text("20200101T000000Z-000"), "missing"),
    "all gone": (lambda f, v: shutil.rmtree(f), "none"),
}


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_not_used(tmp_path: Path, damage: str) -> None:
    shelf = ModelShelf(tmp_path / "models")
    version = shelf.save(small())
    assert shelf.load_current() is not None
    act, state = DAMAGE[damage]
    act(tmp_path / "models", version)
    found = shelf.look()
    assert (found.model, found.state) == (None, state)
    assert "mycity train" in found.problem and "rules" in found.problem and found.problem.endswith(".")
    assert ModelShelf(tmp_path / "models").look().problem == found.problem


def test_an_older_format_says_so(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    _edit(tmp_path / f"{shelf.save(small())}.json", format=1)
    assert shelf.load_current() is None and "it has format 1, this release reads 2" in shelf.problem


def test_swapped_files_are_noticed(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    first, second = shelf.save(small(fill=1.0)), shelf.save(small(minutes=1, fill=2.0))
    first_npz, second_npz = tmp_path / f"{first}.npz", tmp_path / f"{second}.npz"
    shutil.copy(first_npz, second_npz)
    assert shelf.look().state == "broken"
    shutil.copy(tmp_path / f"{first}.json", tmp_path / f"{second}.json")
    found = shelf.look()
    assert found.state == "mismatched" and "under another name" in found.problem


def test_another_vocabulary_is_a_mismatch(tmp_path: Path) -> None:
    from recommender import model_format

    shelf = ModelShelf(tmp_path)
    version = shelf.save(small())
    path = tmp_path / f"{version}.json"
    head = json.loads(path.read_bytes())
    head["users"][2] = "role:senator"  # with a true seal: only the hash of the vocabulary knows
    del head["seal"]
    path.write_text(json.dumps(head | {"seal": model_format._seal(head)}))
    found = shelf.look()
    assert found.state == "mismatched" and "vocabulary" in found.problem


def test_a_broken_one_falls_back_to_the_good_one_before(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    first, second, third = (shelf.save(small(minutes=n)) for n in range(3))
    _cut(tmp_path / f"{third}.npz")
    found = shelf.look()
    assert found.model is not None and found.model.info.version == second
    assert found.state == "broken" and f"model {second} is used instead" in found.problem
    (tmp_path / f"{second}.json").unlink()
    found = shelf.look()
    assert found.model is not None and found.model.info.version == first
    (tmp_path / f"{first}.npz").write_bytes(b"PK\x03\x04")
    assert shelf.look().model is None and "by rules" in shelf.look().problem


POINTERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gone": (Path.unlink, "missing"),
    "garbage": (lambda path: path.write_text("garbage/../../x"), "broken"),
    "empty": (lambda path: path.write_text(""), "broken"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe"), "broken"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "broken"),
}


@pytest.mark.parametrize("pointer", POINTERS)
def test_without_a_pointer_the_newest_good_one_is_used(tmp_path: Path, pointer: str) -> None:
    shelf = ModelShelf(tmp_path)
    first, second, third = (shelf.save(small(minutes=n)) for n in range(3))
    _cut(tmp_path / f"{third}.npz")
    act, state = POINTERS[pointer]
    act(tmp_path / "current")
    found = shelf.look()
    assert found.model is not None and found.model.info.version == second
    assert (found.current, found.state) == (None, state)
    assert f"model {second} is used instead" in found.problem and "mycity train" in found.problem
    assert shelf.look().model is found.model  # read once
    if pointer != "a folder":
        assert shelf.rollback() == second and shelf.look().state == ""
        assert shelf.rollback() == first


@pytest.mark.parametrize("pointer", POINTERS)
def test_without_a_pointer_and_a_good_one_it_is_rules(tmp_path: Path, pointer: str) -> None:
    shelf = ModelShelf(tmp_path)
    _cut(tmp_path / f"{shelf.save(small())}.npz")
    act, state = POINTERS[pointer]
    act(tmp_path / "current")
    found = shelf.look()
    assert (found.model, found.state) == (None, state)
    assert "mycity train" in found.problem and found.problem.endswith("editions are made by rules.")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_is_noticed_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    shelf, model = ModelShelf(folder), small(extras={"clicks": ({"n": 1}, {"lift": np.ones(3, np.float32)})})
    version = shelf.save(model)
    path = folder / data.draw(st.sampled_from([f"{version}.npz", f"{version}.json", "current"]))
    old = path.read_bytes()
    at = data.draw(st.integers(0, len(old)))
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "drop", "zero"]))
    new = {
        "flip": old[: max(0, at - 1)]
        + bytes([old[max(0, at - 1)] ^ data.draw(st.integers(1, 255))])
        + old[max(1, at) :],
        "cut": old[:at],
        "insert": old[:at] + data.draw(st.binary(min_size=1, max_size=9)) + old[at:],
        "drop": old[: max(0, at - 3)] + old[at:],
        "zero": old[:at] + bytes(len(old) - at),
    }[how]
    path.write_bytes(new)
    found = shelf.look()
    if found.model is None:
        assert found.state in ("missing", "broken", "mismatched") and "mycity train" in found.problem
    else:
        assert same(found.model, model)


# Who was erased is in no model


def test_residents_go_out_of_vectors_and_extras(tmp_path: Path) -> None:
    rows = np.arange(4, dtype=np.float32).reshape(2, 2)
    history = (
        {"residents": ["id:7", "id:9"], "by_resident": ["state"]},
        {"state": rows, "common": np.ones(3)},
    )
    shelf = ModelShelf(tmp_path)
    saved = [shelf.save(small(minutes=n, extras={"history": history})) for n in range(3)]
    shelf.rollback()
    assert shelf.forget(["id:9"]) == 3 and shelf.forget(["id:9"]) == 0 and shelf.forget(["id:7"]) == 3
    assert shelf.current() == saved[1] + "x002" and len(shelf.versions()) == 3
    found = shelf.load_current()
    assert found is not None and found.residents() == {"id:8"}
    facts, arrays = found.extras["history"]
    assert facts["residents"] == [] and arrays["state"].shape == (0, 2) and arrays["common"].shape == (3,)
    text = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"id:7" not in text and b"id:9" not in text


def test_a_name_does_not_grow_with_every_one_who_is_forgotten(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    base = small()
    users = type(base.users).of(f"id:{n}" for n in range(300))
    arrays = {"user_vectors": np.zeros((300, 4), np.float32), "user_biases": np.zeros(300, np.float32)}
    first = shelf.save(replace(base, users=users, **arrays))
    for n in range(300):
        assert shelf.forget([f"id:{n}"]) == 1
    assert shelf.current() == f"{first}x300" and shelf.versions() == [f"{first}x300"]
    found = shelf.load_current()
    assert found is not None and found.residents() == frozenset()
    assert shelf.save(small()) == first.replace("-000", "-001")


def test_a_version_of_an_earlier_release_is_still_named(tmp_path: Path) -> None:
    assert is_version("20261012T000000Z-000pxx") and not is_version("20261012T000000Z-000y")
    assert name_without("20261012T000000Z-000pxx") == "20261012T000000Z-000px001"
    assert name_without("20261012T000000Z-000x999") == "20261012T000000Z-000x1000"
    assert is_version("20261012T000000Z-000x1000")
    with pytest.raises(ValueError, match="names no version"):
        name_without("current")


def test_forgetting_builds_only_the_models_that_name_somebody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = ModelShelf(tmp_path)
    shelf.save(small())
    shelf.save(small(minutes=1, extras={"history": ({"residents": ["id:70"]}, {})}))
    built: list[str] = []
    real = model_file.decode
    monkeypatch.setattr(
        model_file, "decode", lambda version, *rest: built.append(version) or real(version, *rest)
    )
    assert shelf.forget(["id:70"]) == 1 and len(built) == 1
    assert shelf.forget(["id:99"]) == 0 and len(built) == 1


def test_a_list_of_versions_builds_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ModelShelf(tmp_path)
    first, second, third = (shelf.save(small(minutes=n)) for n in range(3))
    monkeypatch.setattr(model_file, "decode", None)
    (tmp_path / f"{second}.npz").write_bytes(b"")
    (tmp_path / f"{third}.json").unlink()
    info = shelf.info(first)
    assert info is not None and (info.version, info.rows) == (first, 60)
    assert shelf.info(first) is info and shelf.info(second) is None and shelf.info(third) is None


def test_a_look_during_a_rename_sees_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in use gets another name between the look at `current` and the reading of its files."""
    version = ModelShelf(tmp_path).save(small())
    reader = ModelShelf(tmp_path)
    real, looks = reader._pointer, list[str | None]()

    def pointer() -> str | None:
        looks.append(real())
        if len(looks) == 1:
            ModelShelf(tmp_path).forget(["id:7"])
        return looks[-1]

    monkeypatch.setattr(reader, "_pointer", pointer)
    found = reader.look()
    assert (found.state, found.current) == ("", version + "x001") and found.model is not None


def test_who_was_erased_while_training_is_not_saved(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path)
    asked: list[frozenset[str]] = []

    def known(names: Any) -> set[str]:
        asked.append(frozenset(names))
        return {"id:8"}

    shelf.save(small(), known=known)
    found = shelf.load_current()
    assert asked == [{"id:7", "id:8"}] and found is not None and found.residents() == {"id:8"}


# Locks, and runs that are killed


def test_two_trainings_do_not_run_at_once(tmp_path: Path) -> None:
    with ModelShelf(tmp_path).training(), pytest.raises(ConflictError, match="under way"):  # noqa: SIM117
        with ModelShelf(tmp_path).training():
            pass
    with ModelShelf(tmp_path).training():
        pass


def test_writers_and_readers_at_once_see_only_whole_models(tmp_path: Path) -> None:
    shelf, stop, wrong = ModelShelf(tmp_path), threading.Event(), []
    shelf.save(small())

    def write() -> None:
        for n in range(1, 25):
            ModelShelf(tmp_path).save(small(minutes=n, fill=float(n)))
            ModelShelf(tmp_path).forget([f"id:{7 + n % 2}"])
        stop.set()

    def read() -> None:
        own = ModelShelf(tmp_path)
        while not stop.is_set():
            found = own.look()
            if found.model is None or found.state:
                wrong.append(found.problem)

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_writer_that_is_killed_leaves_the_model_before(tmp_path: Path) -> None:
    """A real process writes model after model until it is killed; what is there is whole each time."""
    shelf = ModelShelf(tmp_path)
    shelf.save(small())
    program = (
        "import sys; from pathlib import Path; from tests.models import small\n"
        "from recommender.model_file import ModelShelf\n"
        "import numpy as np\n"
        "shelf = ModelShelf(Path(sys.argv[1])); n = 0\n"
        "big = {'big': ({}, {'x': np.ones(300_000, np.float32)})}\n"
        "with shelf.training():\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        n += 1; shelf.save(small(minutes=n, fill=float(n), extras=big))\n"
    )
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        before = {path.name for path in tmp_path.iterdir()}
        while {path.name for path in tmp_path.iterdir()} == before:
            pass
        for _ in range(round_number * 40_000):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = ModelShelf(tmp_path).look()
        assert found.model is not None and found.state == ""
        with ModelShelf(tmp_path).training():  # the lock went with the process
            pass
    shelf.save(small(minutes=600_000))
    stems = {name.rpartition(".")[0] for name in names(tmp_path) - {"current"}}
    assert stems == set(shelf.versions())  # halves were swept away
    assert not list(tmp_path.glob(".*.half"))


def test_the_file_side_loads_no_training_library() -> None:
    code = (
        "import sys, recommender.model_file, recommender.monitor, recommender.figures, api.jobs.watching, "
        "api.jobs.notebook; "
        "print([name for name in ('lightfm', 'lightgbm', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
