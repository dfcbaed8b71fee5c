"""Read an evaluation folder: ``users.csv``, ``items.csv``, ``interactions.csv``, maybe ``split.json``.

Rows that name nobody or nothing known are left out and counted in the log's remarks; a missing column that
can be done without (author, author_role, title, tags, role, ts of interactions) reads as empty.
docs/evaluation.md describes the files. Called by ``mycity evaluate`` and tests.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from feeds.catalogue.words import cut
from feeds.kernel.errors import UsageError
from recommender.log import Log, Split
from recommender.replay.times import given, guessed, seconds

__all__ = ["Split", "read_folder", "title_tokens"]

_NEEDED = {"users.csv": ("user",), "items.csv": ("item", "ts"), "interactions.csv": ("user", "item")}
_WORD = re.compile(r"[^\W\d_]\w{2,}")
_CHINESE = re.compile(r"[㐀-鿿]+")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", "，": "full-width commas"}
Row = dict[str, Any]


def read_folder(folder: Path) -> tuple[Log, Split]:
    """Read the three files and the split.

    Raises:
        UsageError: If a file is missing, lacks a needed column, or nothing usable is left.
    """
    people, things, deeds = (_rows(folder, name) for name in _NEEDED)
    timed = [
        (moment, row) for row in things if (moment := seconds(row["ts"])) is not None and _name(row, "item")
    ]
    timed.sort(key=lambda pair: pair[0])
    if not timed:
        raise UsageError(f"{folder / 'items.csv'} holds no item with a time.")
    published = {_name(row, "item"): moment for moment, row in reversed(timed)}  # the first of each counts
    split = _split(folder, np.array([moment for moment, _ in timed]), published, deeds)
    inside = [pair for pair in timed if split.start <= pair[0] < split.end]
    log = _log(people, inside, deeds, split)
    remarks = list(log.remarks)
    if dropped := len(things) - len(timed):
        remarks.append(f"{dropped} items have no readable time or no name and are left out.")
    if not len(log.items) or not len(log.event_user):
        raise UsageError(
            f"{folder} holds no interaction between a known user and a known item inside the split."
        )
    return replace(log, remarks=tuple(remarks)), split


def title_tokens(title: str) -> list[str]:
    """Words of a title as tokens ``w:…``, repeats kept; from three letters or two Chinese characters on."""
    if not _CHINESE.search(title):
        return [f"w:{word}" for word in _WORD.findall(title.lower())]
    words = _WORD.findall(_CHINESE.sub(" ", title).lower())
    return [f"w:{word}" for word in [*words, *(w for w in cut(title) if len(w) > 1 and _CHINESE.match(w))]]


def _rows(folder: Path, name: str) -> list[Row]:
    path = folder / name
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or ()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path} is missing; an evaluation folder has users.csv, items.csv, interactions.csv."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not in UTF-8 (some spreadsheets write GBK or UTF-16); save it again as CSV UTF-8."
        ) from error
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: {error}.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    if not columns:
        raise UsageError(
            f"{path} is empty; its first line must name the columns ({', '.join(_NEEDED[name])})."
        )
    if missing := [column for column in _NEEDED[name] if column not in columns]:
        raise UsageError(f"{path} lacks the column {missing[0]!r}; {_seen(columns)}.")
    if not rows:
        raise UsageError(f"{path} holds no row under its header line.")
    return rows


def _seen(columns: Sequence[str]) -> str:
    """What a header line without a needed column looks like."""
    for sign, name in _SEPARATORS.items():
        if len(columns) == 1 and sign in columns[0]:
            return f"its columns are separated by {name}, save it again with commas"
    return f"it has {', '.join(columns)}"


def _split(folder: Path, times: np.ndarray, published: dict[str, int], deeds: list[Row]) -> Split:
    path = folder / "split.json"
    if path.exists():
        try:
            facts = json.loads(path.read_text("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not JSON: {error}.") from error
        return given(facts, times, str(path))
    out = np.array([published[n] for row in deeds if (n := _name(row, "item")) in published], dtype=np.int64)
    if not len(out):
        raise UsageError(f"{folder / 'interactions.csv'} names no item of items.csv that has a time.")
    said = [seconds(row.get("ts")) for row in deeds if _name(row, "item") in published]
    acted = np.array([p if s is None else max(p, s) for p, s in zip(out.tolist(), said, strict=True)])
    return guessed(times, acted, acted - out)


def _log(people: list[Row], inside: Sequence[tuple[int, Row]], deeds: list[Row], split: Split) -> Log:
    roles = {_name(row, "user"): _name(row, "role") for row in people if _name(row, "user")}
    users = tuple(roles)
    user_no = {name: n for n, name in enumerate(users)}
    items: dict[str, tuple[int, Row]] = {}
    for moment, row in inside:
        items.setdefault(_name(row, "item"), (moment, row))  # the first of a name counts
    kept = list(items.values())
    item_time = np.array([moment for moment, _ in kept], dtype=np.int64)
    item_no = {_name(row, "item"): n for n, (_, row) in enumerate(kept)}
    columns, remarks = _events(deeds, user_no, item_no, item_time, split.end)
    authors: dict[str, int] = {}
    kinds: dict[str, int] = {}
    separate = _separator(row for _, row in kept)
    author = [_number(authors, _name(row, "author")) for _, row in kept]
    kind = [_number(kinds, _name(row, "author_role")) for _, row in kept]
    user_kind = [_number(kinds, roles[user]) for user in users]
    return Log(
        users=users,
        user_tokens=tuple((f"role:{roles[user]}",) if roles[user] else () for user in users),
        items=tuple(item_no),
        item_time=item_time,
        item_tokens=tuple(_tokens(row, separate) for _, row in kept),
        item_author=np.array(author, dtype=np.int64),
        item_kind=np.array(kind, dtype=np.int64),
        authors=tuple(authors),
        kinds=tuple(kinds),
        author_user=np.array([user_no.get(name, -1) for name in authors], dtype=np.int64),
        user_kind=np.array(user_kind, dtype=np.int64),
        event_user=columns[:, 1],
        event_item=columns[:, 2],
        event_time=columns[:, 0],
        remarks=remarks,
    )


def _events(
    deeds: list[Row], user_no: dict[str, int], item_no: dict[str, int], item_time: np.ndarray, end: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns time, user, item, sorted by time; and what was left out or mended."""
    found: list[tuple[int, int, int]] = []
    lost = undated = early = 0
    for row in deeds:
        user, item = user_no.get(_name(row, "user")), item_no.get(_name(row, "item"))
        if user is None or item is None:
            lost += 1
            continue
        published, moment = int(item_time[item]), seconds(row.get("ts"))
        undated += moment is None
        early += moment is not None and moment < published
        # Nobody can care for what is not out yet; counted earlier, it would give the answer away.
        found.append((published if moment is None else max(moment, published), user, item))
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    columns = columns[columns[:, 0] < end]
    columns = columns[np.argsort(columns[:, 0], kind="stable")]
    said = (
        (lost, "{} interactions name a user or item that is unknown or outside the split, and are left out."),
        (undated, "{} interactions have no readable time and count at their item's."),
        (early, "{} interactions are older than their item and count at its time."),
        (len(found) - len(columns), "{} interactions lie after the end of the split and are left out."),
    )
    return columns, tuple(text.format(n) for n, text in said if n)


def _name(row: Row, column: str) -> str:
    return (row.get(column) or "").strip()


def _number(names: dict[str, int], name: str) -> int:
    return names.setdefault(name, len(names)) if name else -1


def _separator(rows: Any) -> Callable[[str], list[str]]:
    """How tags are separated: by ``|``; where no cell has one, as JSON lists, or by ``;`` or ``,``."""
    cells = [cell for row in rows if (cell := _name(row, "tags"))]
    if any("|" in cell and not cell.startswith("[") for cell in cells):
        return lambda cell: cell.split("|")
    if cells and all(cell.startswith("[") and cell.endswith("]") for cell in cells):
        return _json_list
    for sign in (";", ","):
        if 2 * sum(sign in cell for cell in cells) > len(cells):
            return lambda cell, sign=sign: cell.split(sign)  # type: ignore[misc]
    return lambda cell: cell.split("|")


def _json_list(cell: str) -> list[str]:
    try:
        return [str(tag) for tag in json.loads(cell)]
    except (ValueError, RecursionError):
        return [tag.strip(" '\"") for tag in cell[1:-1].split(",")]


def _tokens(row: Row, separate: Callable[[str], list[str]]) -> tuple[str, ...]:
    tags = [f"t:{tag.strip()}" for tag in separate(_name(row, "tags")) if tag.strip()]
    return tuple(dict.fromkeys([*tags, *title_tokens(_name(row, "title"))]))
