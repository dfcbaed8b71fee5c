"""A small invented log with structure to learn, as a folder and as a Log; and a check that methods are blind.

Users of a role share two subjects; each has one more of their own, and cares mostly for items with those.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from recommender.log import DAY, Log, Question, Split
from recommender.replay.files import read_folder
from recommender.replay.methods import Method
from recommender.replay.questions import questions

START = 1_600_041_600  # Monday 2020-09-14 00:00 UTC
WEEK = 7 * DAY
WORDS = ("roads", "water", "taxes", "parks", "schools", "clinics", "markets", "trains", "grants", "permits")
CHINESE = ("道路", "供水", "税收", "公园", "学校", "诊所", "市场", "铁路", "补贴", "许可")


def rows(
    seed: int = 7, *, weeks: int = 40, users: int = 48, per_week: int = 24, late: int = 0,
    chinese: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """Make up users, items and interactions; ``late``: most days until people act (0: on the spot)."""
    draw = np.random.default_rng(seed)
    words = CHINESE if chinese else WORDS
    subjects = len(words)
    liking = np.zeros((users, subjects))
    people = []
    for user in range(users):
        role = user % 4
        liking[user, [2 * role, 2 * role + 1]] = 1.0
        liking[user, draw.integers(subjects)] += 1.5
        people.append({"user": f"u{user:03}", "role": f"org{role}" if user % 7 else ""})
    items, deeds = [], []
    for number in range(weeks * per_week):
        at = START + number // per_week * WEEK + int(draw.integers(WEEK))
        subject = int(draw.integers(subjects))
        author = int(draw.integers(users))
        items.append({
            "item": f"i{number:05}", "ts": at, "author": f"u{author:03}", "author_role": f"org{author % 4}",
            "title": f"{words[subject]} {'通知' if chinese else 'notice'} {number}",
            "tags": f"c:{subject // 2}|c:{subject // 2}/{subject}|d:x{subject}",
        })  # fmt: skip
        chance = np.clip(liking[:, subject] * 0.12 + 0.004, 0, 1)
        # Users come one after another: some questions are about people without history.
        there = np.arange(users) * weeks * per_week <= number * users
        for user in np.flatnonzero((draw.random(users) < chance) & there):
            if user != author:
                wait = int(draw.integers(late * DAY)) if late else 0
                deeds.append({"user": f"u{user:03}", "item": f"i{number:05}", "ts": at + wait})
    return people, items, deeds


def write(folder: Path, made: tuple[list[dict[str, Any]], ...], split: dict[str, Any] | None = None) -> Path:
    """Write the three files, and split.json where given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in zip(("users", "items", "interactions"), made, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    if split is not None:
        (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
    return folder


SPLIT = {
    "from": START, "vocabulary_frozen": START + 20 * WEEK, "test_from": START + 28 * WEEK,
    "test_to": START + 40 * WEEK, "window_days": 7,
}  # fmt: skip


@cache
def world() -> tuple[Log, Split]:
    """The usual log of these tests: 48 users, 960 items, 12 test weeks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_folder(write(Path(folder), rows(), SPLIT))


def assert_blind(method: Method, log: Log, split: Split, *, weeks: int = 2, seed: int = 3) -> None:
    """Fail if a method's answers change with what happened from the start of the test on.

    The last of the asked windows is compared; users of all later events are permuted, and its hits hidden.
    """
    asked = list(questions(log, split.test - weeks * split.window, split.test + split.window, split.window))
    last = asked[-1]
    honest = _answers(method, log, split, asked, seed)
    blind = [replace(question, hits=np.zeros_like(question.hits)) for question in last]
    cut = log.events_before(last[0].start)
    users = log.event_user.copy()
    users[cut:] = np.random.default_rng(1).permutation(users[cut:])
    other = replace(log, event_user=users)
    for one, two in zip(honest, _answers(method, other, split, [*asked[:-1], blind], seed), strict=True):
        np.testing.assert_array_equal(one, two)


def _answers(
    method: Method, log: Log, split: Split, asked: Sequence[list[Question]], seed: int
) -> list[np.ndarray]:
    method.begin(log, split, seed)
    answers: list[Any] = []
    for week in asked:
        answers = method.answer(week)
    return answers
