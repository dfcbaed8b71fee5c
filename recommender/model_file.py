"""The shelf of model files: what is kept, which one is in use, and why one is not.

Never imports a training library. A model is ``<version>.npz`` and ``<version>.json``; ``current`` names the
one in use. Every file is written whole or not at all, so a run that is killed leaves the model before.
Called by training (save, lock), by erasing (forget), and by ``api.jobs.watching``, which decides whether what
is found here is used.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from recommender.model_format import (
    FORMAT,
    Extra,
    Model,
    ModelInfo,
    UnfitError,
    check,
    decode,
    encode,
    facts_of,
    names_any,
)
from recommender.model_name import is_version, name_without, new_name

__all__ = ["FORMAT", "KEPT", "Extra", "Model", "ModelInfo", "ModelShelf", "Standing", "check"]

#: So many full models are kept, and so many partial ones; the one in use always is.
KEPT = 5
#: ``none``: never trained here. ``missing``: one is named and is not there. ``broken``: it cannot be read or
#: was changed. ``mismatched``: its parts disagree, such as arrays and vocabulary.
State: TypeAlias = Literal["", "none", "missing", "broken", "mismatched"]
_RULES = "Editions are made by rules."
_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Standing:
    """What one look at the shelf found.

    Attributes:
        model: What may be used: the one in use, else the newest good one before it, else ``None``. Where
            ``current`` is gone or names no version, the newest good one of all.
        current: The version that ``current`` names, or ``None``.
        state: Empty if the one in use is good.
        problem: One sentence that says why it is not, and what is used instead.
    """

    model: Model | None
    current: str | None
    state: State = ""
    problem: str = ""


class ModelShelf:
    """The folder of model files. Safe in threads and beside other processes.

    Attributes:
        problem: What the last :meth:`load_current` found wrong, or empty; one sentence.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.problem = ""
        self._held: dict[str, tuple[_Stamp, Model | UnfitError]] = {}
        self._infos: dict[str, tuple[_Stamp, ModelInfo | None]] = {}

    def load_current(self) -> Model | None:
        """Read the model that may be used, see :class:`Standing`; sets :attr:`problem`."""
        found = self.look()
        self.problem = found.problem
        return found.model

    def look(self) -> Standing:
        """See which model can be used. A file is read once, and again when it has changed."""
        found = self._look()
        while found.state == "missing" and self._pointer() != found.current:
            found = self._look()  # a writer has renamed or dropped it between two looks
        return found

    def _look(self) -> Standing:
        current = self._pointer()
        if current is None and not self.versions():
            return Standing(
                None, None, "none", f"No model has been trained yet; run `mycity train`. {_RULES}"
            )
        held: dict[str, tuple[_Stamp, Model | UnfitError]] = {}
        if current is None or not is_version(current):
            model = self._newest(held)
            self._held = held
            why = "is missing" if current is None else "names no model"
            return Standing(
                model, None, "broken" if current else "missing",
                f"The file `current` {why}; run `mycity train`, or `mycity model --use VERSION`; "
                f"{_meanwhile(model)}.",
            )  # fmt: skip
        first, state = self._read(current, held)
        model = first if isinstance(first, Model) else self._newest(held, before=current)
        self._held = held  # what was not looked at is let go
        if model is first:
            return Standing(model, current)
        return Standing(model, current, state, _problem(current, str(first), model))

    def _newest(
        self, held: dict[str, tuple[_Stamp, Model | UnfitError]], *, before: str | None = None
    ) -> Model | None:
        """The newest good version, of those before one where that is given."""
        for version in reversed(self.versions()):
            if before is None or version < before:
                found, _ = self._read(version, held)
                if isinstance(found, Model):
                    return found
        return None

    def current(self) -> str | None:
        """The version in use, or ``None``."""
        named = self._pointer()
        return named if named and is_version(named) else None

    def versions(self) -> list[str]:
        """Kept versions, oldest first."""
        found = {path.stem for path in self.folder.glob("*.json")}
        return sorted(version for version in found if is_version(version))

    def info(self, version: str) -> ModelInfo | None:
        """Where a kept model comes from; ``None`` if it is cut, changed or of another format.

        Only its head is understood, so that a list of versions costs little.
        """
        head, data = self._paths(version)
        try:
            stamp = _stamp(head, data)
            known = self._infos.get(version)
            if known is None or known[0] != stamp:
                known = (stamp, facts_of(version, head.read_bytes(), data.read_bytes()))
        except UnfitError:
            known = (stamp, None)
        except OSError:
            return None
        kept = set(self.versions())
        self._infos = {name: one for name, one in self._infos.items() if name in kept} | {version: known}
        return known[1]

    def save(self, model: Model, *, known: Callable[[Collection[str]], Collection[str]] | None = None) -> str:
        """Write a model, put it in use, and drop what need not be kept.

        Args:
            model: Its ``info.version`` gets a number that keeps two of the same instant apart.
            known: Given the features that are one resident each (``id:7``), says which may still be kept;
                asked at the last moment, so that who was erased during the training is not in the model. Who
                wants to be forgotten waits for it: it should answer fast.

        Returns:
            Its version.

        Raises:
            UsageError: If it holds what must not be served (NaN, shapes that do not fit).
        """
        try:
            check(model)
        except UnfitError as error:
            raise UsageError(f"The model was not saved: {error}. The one before stays in use.") from error
        with self._lock(".writing"):
            if known is not None and (own := model.residents()):
                model = model.without_users(own - set(known(own)))
            name = new_name(model.info.version, self.versions(), partial=model.info.kind == "partial")
            self._write(replace(model, info=replace(model.info, version=name)))
            self._use(name)
            self._tidy()
        return name

    def rollback(self) -> str:
        """Put the newest good version before the current one in use and return it.

        Where ``current`` names none, the newest good one of all.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock(".writing"):
            found = self._newest({}, before=self.current())
            if found is not None:
                self._use(found.info.version)
                return found.info.version
        raise NotFoundError("There is no earlier model to go back to; train a new one with `mycity train`.")

    def use(self, version: str) -> None:
        """Put one of the kept versions in use.

        Raises:
            NotFoundError: If it is not kept.
            UsageError: If it is not fit for use.
        """
        if version not in self.versions():
            kept = ", ".join(self.versions()) or "none"
            raise NotFoundError(f"There is no model {version[:40]!r}; kept are: {kept}.")
        with self._lock(".writing"):
            found, _ = self._read(version, {})
            if isinstance(found, UnfitError):
                raise UsageError(f"Model {version} cannot be used: {found}; choose another.")
            self._use(version)

    def forget(self, names: Iterable[str]) -> int:
        """Take features of residents (``id:7``) out of every kept model; returns how many models changed."""
        gone, changed = set(names), 0
        if not self.folder.is_dir():
            return 0
        with self._lock(".writing"):
            current = self.current()
            for version in self.versions():
                if not names_any(self._paths(version)[0].read_bytes(), gone):
                    continue  # seen without building it
                model, _ = self._read(version, {})
                if isinstance(model, UnfitError) or not gone & model.residents():
                    continue
                clean, name = model.without_users(gone), name_without(version)
                self._write(replace(clean, info=replace(clean.info, version=name)))
                if version == current:
                    self._use(name)
                self._remove(version)
                changed += 1
        return changed

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the right to train; nobody else trains on this folder meanwhile. Ends with the process.

        Raises:
            ConflictError: If a training is under way.
        """
        with self._lock(".training", wait=False):
            yield

    def _read(
        self, version: str, held: dict[str, tuple[_Stamp, Model | UnfitError]]
    ) -> tuple[Model | UnfitError, State]:
        """Read a version, or take it from what is held; the state says what is wrong with it."""
        head, data = self._paths(version)
        try:
            stamp = _stamp(data, head)
            known = self._held.get(version)
            if known is None or known[0] != stamp:
                known = (stamp, _decoded(version, head.read_bytes(), data.read_bytes()))
            held[version] = known
        except FileNotFoundError as error:
            return UnfitError(f"{Path(str(error.filename)).name} is missing"), "missing"
        except OSError as error:
            return UnfitError(f"its files cannot be read ({type(error).__name__})"), "broken"
        found = known[1]
        if isinstance(found, UnfitError):
            return found, "mismatched" if found.mismatched else "broken"
        return found, ""

    def _paths(self, version: str) -> tuple[Path, Path]:
        """Its head and its arrays."""
        return self.folder / f"{version}.json", self.folder / f"{version}.npz"

    def _pointer(self) -> str | None:
        """What ``current`` says; ``None`` where it is not there, ``?`` where it cannot be read."""
        try:
            return (self.folder / "current").read_text("utf-8").strip() or "?"
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return "?"

    def _write(self, model: Model) -> None:
        head, data = encode(model)
        _write_whole(self.folder / f"{model.info.version}.npz", data)
        _write_whole(self.folder / f"{model.info.version}.json", head)

    def _use(self, version: str) -> None:
        _write_whole(self.folder / "current", version.encode())

    def _tidy(self) -> None:
        """Drop what is too old, and what killed runs left behind."""
        kept = self.versions()
        for partial in (False, True):
            same = [version for version in kept if ("p" in version) == partial]
            for old in same[:-KEPT]:
                self._remove(old)
        for path in self.folder.glob("*.npz"):
            if not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.half"):
            path.unlink(missing_ok=True)

    def _remove(self, version: str) -> None:
        if version != self.current():
            for path in self._paths(version):  # without its head a model does not exist
                path.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise ConflictError("A training is under way already; wait until it has ended.") from None
            yield  # closing the file lets go, and so does the end of the process


def _stamp(*paths: Path) -> _Stamp:
    return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (path.stat() for path in paths))


def _decoded(version: str, head: bytes, data: bytes) -> Model | UnfitError:
    try:
        return decode(version, head, data)
    except UnfitError as error:
        return error


def _problem(current: str, why: str, instead: Model | None) -> str:
    rest = _meanwhile(instead)
    return f"Model {current} is not used: {why}. Run `mycity train`, or `mycity train --rollback`; {rest}."


def _meanwhile(instead: Model | None) -> str:
    if instead is None:
        return "until then editions are made by rules"
    return f"until then model {instead.info.version} is used instead"


def _write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, then put it in its place, so that nobody ever reads half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".half")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
