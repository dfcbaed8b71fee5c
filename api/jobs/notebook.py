"""What the watch remembers between two looks: what is wrong since when, what was tried and measured.

One small file, written whole, shared by every process of an installation; a file that cannot be read counts
as empty, and one that cannot be written costs a line in the log, never an edition. Called by
``api.jobs.watching`` and the train tick of ``api.jobs.training_apart``.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from recommender.figures import Measures, measures_from, measures_to

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """The last selection for everybody; ``model`` is the version it used, empty for rules."""

    at: datetime
    profiles: int
    editions: int
    picks: int
    conflicts: int
    seconds: float
    model: str


@dataclass(frozen=True, slots=True)
class Notes:
    """Everything remembered; instants in UTC.

    Attributes:
        state, state_since: The last verdict, and since when it holds.
        used: The last version that served, and ``trained``: the last that was saved; say that one was there
            once.
        refreshed_at: When hourly teaching last looked, even if there was nothing to learn.
        full_tried_at, partial_tried_at: When a training was last begun. ``said``: what came of the last one.
        resting_until: Until when the model rests because it was worse than the control group.
        compared_from: From when picks are compared with the control group's; another model served before.
    """

    state: str = ""
    state_since: datetime | None = None
    used: str = ""
    trained: str = ""
    refreshed_at: datetime | None = None
    full_tried_at: datetime | None = None
    partial_tried_at: datetime | None = None
    said: str = ""
    resting_until: datetime | None = None
    compared_from: datetime | None = None
    selection: Selection | None = None
    measures: Measures | None = None


_INSTANTS = (
    "state_since",
    "refreshed_at",
    "full_tried_at",
    "partial_tried_at",
    "resting_until",
    "compared_from",
)


class Notebook:
    """The file. Safe in threads and beside other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: tuple[tuple[int, int, int], Notes] | None = None

    def read(self) -> Notes:
        """Return what is remembered; the file is read again only when it has changed."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            held = self._held
            if held is None or held[0] != stamp:
                held = (stamp, _notes(json.loads(self.path.read_bytes())))
                self._held = held
            return held[1]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Notes()

    def change(self, **values: Any) -> Notes:
        """Set some values and return everything; where the disk refuses, nothing is remembered."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                notes = replace(self.read(), **values)
                _write_whole(self.path, json.dumps(_plain(notes), ensure_ascii=False).encode())
            return notes
        except OSError as error:
            _log.error("notebook_not_written", error=f"{type(error).__name__}: {error.strerror}")
            return replace(self.read(), **values)


def _plain(notes: Notes) -> dict[str, Any]:
    plain: dict[str, Any] = {item.name: getattr(notes, item.name) for item in fields(notes)}
    for name in _INSTANTS:
        plain[name] = plain[name].isoformat() if plain[name] else None
    if notes.selection is not None:
        plain["selection"] = asdict(notes.selection) | {"at": notes.selection.at.isoformat()}
    plain["measures"] = measures_to(notes.measures) if notes.measures else None
    return plain


def _notes(plain: Mapping[str, Any]) -> Notes:
    values = {item.name: plain[item.name] for item in fields(Notes) if item.name in plain}
    for name in _INSTANTS:
        values[name] = datetime.fromisoformat(values[name]) if values.get(name) else None
    if values.get("selection"):
        own = values["selection"]
        values["selection"] = Selection(**own | {"at": datetime.fromisoformat(own["at"])})
    if values.get("measures"):
        values["measures"] = measures_from(values["measures"])
    return Notes(**values)


def _write_whole(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
