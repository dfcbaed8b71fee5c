"""``mycity evaluate`` as a person meets it: on a folder, on our own feedback, where something is wrong."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs.judging import judge_own
from api.ops import cli, console
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.feedback import FeedbackRow
from recommender.replay.methods import baselines
from tests.factories import NOW, new_notice, profile
from tests.unit.replay_world import SPLIT, rows, write

PLAIN = "random,newest,popularity,content"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("logs") / "invented", rows(), SPLIT)


@pytest.fixture
def shell(
    tmp_path: Path,
    _sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """A terminal of 90 columns in front of an empty installation."""
    shutil.copy(_sqlite_template, tmp_path / "mycity.db")
    monkeypatch.setenv("MYCITY_HOME", str(tmp_path))
    monkeypatch.setenv("MYCITY_CITY", "shili")
    monkeypatch.setenv("MYCITY_DATABASE_URL", f"sqlite:///{tmp_path / 'mycity.db'}")
    monkeypatch.setenv("MYCITY_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("COLUMNS", "90")

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        given = console.run(cli._invoke, ["evaluate", *arguments])
        told = capsys.readouterr()
        assert given == code, (told.out, told.err)
        assert "Traceback" not in told.out + told.err
        return told.out + ("" if "--json" in arguments else told.err)

    return run


def test_a_folder_is_judged_and_told_as_tables(shell: Callable[..., str], folder: Path) -> None:
    told = shell("--data", str(folder), "--methods", PLAIN)
    for word in (
        "Evaluation 评测: invented",
        "内容画像",
        "content",
        "NDCG@10",
        "Beyond accuracy 准确之外",
        "seed 0",
    ):
        assert word in told
    assert "2021-03-29 to 2021-06-21" in told


def test_json_is_one_object_with_all_figures(shell: Callable[..., str], folder: Path) -> None:
    found = json.loads(shell("--data", str(folder), "--methods", PLAIN, "--json", "--seed", "3"))
    assert found["data"] == "invented"
    assert found["seed"] == 3
    assert list(found["methods"]) == PLAIN.split(",")
    for values in found["methods"].values():
        for key in ("ndcg10", "recall10", "mrr", "coverage10", "ndcg10_cold", "se"):
            assert 0 <= values[key] <= 1


def test_the_chart_is_written_where_asked(shell: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    told = shell("--data", str(folder), "--methods", PLAIN, "--chart", str(tmp_path / "a.svg"))
    assert "Chart 图表" in told
    assert "invented" in (ElementTree.parse(tmp_path / "a.svg").getroot()[0].text or "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--methods", "newest,magic"), "no method 'magic'"),
        (("--methods", "newest", "--chart", "chart.png"), "SVG only, not as PNG; name it chart.svg"),
        (("--methods", "newest", "--chart", "/nowhere/at/all.svg"), "There is no folder"),
    ],
)
def test_wrong_usage_is_one_sentence(
    shell: Callable[..., str], folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in shell("--data", str(folder), *arguments, code=2)


def test_a_folder_that_is_none_is_one_sentence(shell: Callable[..., str], tmp_path: Path) -> None:
    assert "users.csv is missing" in shell("--data", str(tmp_path / "none"), "--methods", "newest", code=2)


def test_an_empty_installation_says_that_there_is_too_little(shell: Callable[..., str]) -> None:
    told = shell("--methods", PLAIN)
    assert "Too little feedback to judge by: 0 events of 0 residents" in told
    assert "Too little exploration to judge by" in told
    found = json.loads(shell("--methods", PLAIN, "--json"))
    assert found["enough"] is False
    assert found["off_policy"] == {"enough": False, "rows": 0, "needed": 100}


@pytest.fixture
def lively(database: Database, tmp_path: Path) -> Iterator[Services]:
    """Ten residents, a month of notices about two themes, each resident opens one of theirs a day."""
    made = build(
        read_settings({}, home=tmp_path, city="shili"), clock=FixedClock(NOW), database=database, demo=True
    )
    for day in range(30):
        themes = ("theme:0402", "theme:1001")
        notices = [
            new_notice(f"n{day}-{n}", title=f"【示例】通知{day}-{n}", tags=(themes[n % 2],))
            for n in range(40)
        ]
        made.notices.add(notices, at=NOW + day * DAY)
    people = [made.profiles.create(profile(), at=NOW)[0] for _ in range(10)]
    off = made.profiles.create(profile(personalised=False), at=NOW)[0]
    opened = [
        FeedbackRow(one.id, 40 * day + 2 * (day % 10) + one.id % 2 + 1, "open", NOW + day * DAY + DAY / 24)
        for day in range(30)
        for one in [*people, off]
    ]
    shown = [
        FeedbackRow(one.id, 40 * day + n + 1, "impression", NOW + day * DAY, position=10, propensity=0.1)
        for day in range(30)
        for one in people[:4]
        for n in range(2)
    ]
    made.feedback.record([*opened, *shown])
    yield made
    made.close()


def test_an_installation_is_judged_on_its_own_feedback(lively: Services) -> None:
    found: dict[str, Any] = judge_own(lively, baselines, seed=1, progress=lambda *_: None)
    assert found["enough"]
    assert found["counts"]["users"] == 10
    assert found["counts"]["interactions"] == 300
    assert found["methods"]["content"]["ndcg10"] > found["methods"]["random"]["ndcg10"] + 0.1
    assert found["off_policy"]["enough"]
    assert found["off_policy"]["rows"] == 240
    assert 0 < found["off_policy"]["logged"] < 1
    json.dumps(found, allow_nan=False)
