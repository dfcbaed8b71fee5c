"""Read an evaluation folder: ``users.csv``, ``items.csv``, ``interactions.csv``, maybe ``split.json``.

Rows that name nobody or nothing known are left out and counted in the log's remarks; a missing column that can be
done without (author, author_role, title, tags, role) reads as empty. Called by ``mycity evaluate`` and tests.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from feeds.kernel.errors import UsageError
from recommender.log import DAY, Log

_WORD = re.compile(r"[a-z][a-z0-9_]{2,}")
_NEEDED = {"users.csv": ("user",), "items.csv": ("item", "ts"), "interactions.csv": ("user", "item")}


@dataclass(frozen=True, slots=True)
class Split:
    """Where time is cut; seconds since 1970, UTC.

    Attributes:
        start: Nothing before it is used. ``frozen``: vocabularies are frozen here and ranker training begins.
        test: First test window; trained once before it. ``end``: nothing from here on is used.
        window: Length of a window in seconds.
        given: The folder said so itself; otherwise these are quantiles of the items' times.
    """

    start: int
    frozen: int
    test: int
    end: int
    window: int
    given: bool


def read_folder(folder: Path) -> tuple[Log, Split]:
    """Read the three files and the split.

    Raises:
        UsageError: If a file is missing, lacks a needed column, or nothing usable is left.
    """
    people = _rows(folder, "users.csv")
    things = _rows(folder, "items.csv")
    deeds = _rows(folder, "interactions.csv")
    split = _split(folder, [n for n in (_seconds(row.get("ts")) for row in things) if n is not None])
    log = _log(people, things, deeds, split)
    if not len(log.items) or not len(log.event_user):
        raise UsageError(f"{folder} holds no interaction between a known user and a known item.")
    return log, split


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / name
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or ()
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing; an evaluation folder has users.csv, items.csv, interactions.csv.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}.") from error
    if missing := [column for column in _NEEDED[name] if column not in columns]:
        raise UsageError(f"{path} lacks the column {missing[0]!r}; it has {', '.join(columns) or 'none'}.")
    return rows


def _seconds(text: str | None) -> int | None:
    """Seconds since 1970 from a number (seconds or milliseconds) or an ISO instant."""
    if not text:
        return None
    try:
        number = float(text)
        return int(number / 1000 if number > 1e11 else number)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _split(folder: Path, times: list[int]) -> Split:
    path = folder / "split.json"
    if not path.exists():
        if not times:
            raise UsageError(f"{folder / 'items.csv'} holds no item with a time.")
        cut = [int(q) for q in np.quantile(np.array(times), [0.0, 0.45, 0.7, 1.0])]
        span = cut[3] - cut[0]
        # Weeks where there are enough of them, else days: about eighty windows or more.
        return Split(cut[0], cut[1], cut[2], cut[3] + 1, 7 * DAY if span >= 80 * 7 * DAY else DAY, False)
    try:
        facts = json.loads(path.read_text("utf-8"))
        moments = [_seconds(str(facts[name])) for name in ("from", "vocabulary_frozen", "test_from", "test_to")]
        window = int(facts.get("window_days", 7)) * DAY
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error!r}; see docs/evaluation.md.") from error
    start, frozen, test, end = (m if m is not None else -1 for m in moments)
    if not 0 <= start <= frozen < test < end or window <= 0:
        raise UsageError(f"{path}: from <= vocabulary_frozen < test_from < test_to does not hold.")
    return Split(start, frozen, test, end, window, True)


def _log(people: list[dict[str, str]], things: list[dict[str, str]], deeds: list[dict[str, str]], split: Split) -> Log:
    user_no = {row["user"]: n for n, row in enumerate(reversed_unique(people, "user"))}
    roles = {row["user"]: (row.get("role") or "").strip() for row in people}
    users = tuple(user_no)
    timed = [(seconds, row) for row in things if (seconds := _seconds(row["ts"])) is not None]
    inside = [(seconds, row) for seconds, row in timed if split.start <= seconds < split.end]
    inside.sort(key=lambda pair: pair[0])
    item_no: dict[str, int] = {}
    kept = []
    for seconds, row in inside:
        if row["item"] not in item_no:
            item_no[row["item"]] = len(item_no)
            kept.append((seconds, row))
    authors: dict[str, int] = {}
    kinds: dict[str, int] = {}
    author = [_number(authors, row.get("author")) for _, row in kept]
    kind = [_number(kinds, row.get("author_role")) for _, row in kept]
    user_kind = [_number(kinds, roles[user]) for user in users]
    events = []
    lost = 0
    for row in deeds:
        user, item = user_no.get(row["user"]), item_no.get(row["item"])
        if user is None or item is None:
            lost += 1
            continue
        seconds = _seconds(row.get("ts"))
        events.append((kept[item][0] if seconds is None else seconds, user, item))
    events = [event for event in events if event[0] < split.end]
    events.sort(key=lambda event: event[0])
    columns = np.array(events, dtype=np.int64).reshape(-1, 3)
    remarks = []
    if lost:
        remarks.append(f"{lost} interactions name a user or item that is unknown or outside the split.")
    if dropped := len(things) - len(timed):
        remarks.append(f"{dropped} items have no readable time and are left out.")
    return Log(
        users=users,
        user_tokens=tuple((f"role:{roles[u]}",) if roles[u] else () for u in users),
        items=tuple(item_no),
        item_time=np.array([seconds for seconds, _ in kept], dtype=np.int64),
        item_tokens=tuple(_tokens(row) for _, row in kept),
        item_author=np.array(author, dtype=np.int64),
        item_kind=np.array(kind, dtype=np.int64),
        authors=tuple(authors), kinds=tuple(kinds),
        author_user=np.array([user_no.get(name, -1) for name in authors], dtype=np.int64),
        user_kind=np.array(user_kind, dtype=np.int64),
        event_user=columns[:, 1], event_item=columns[:, 2], event_time=columns[:, 0],
        remarks=tuple(remarks),
    )  # fmt: skip


def reversed_unique(rows: list[dict[str, str]], key: str) -> list[dict[str, str]]:
    """The rows without repeats of a key, the last one of each, in order of first appearance."""
    return list({row[key]: row for row in rows}.values())


def _number(names: dict[str, int], name: str | None) -> int:
    name = (name or "").strip()
    return names.setdefault(name, len(names)) if name else -1


def _tokens(row: dict[str, str]) -> tuple[str, ...]:
    tags = [f"t:{tag}" for tag in (row.get("tags") or "").split("|") if tag]
    words = [f"w:{word}" for word in _WORD.findall((row.get("title") or "").lower())]
    return tuple(dict.fromkeys([*tags, *words]))
