"""The words of the pages: two languages from ``locale/*.toml``, dates and counts said in them.

Loads its files once and keeps them; knows no request, no store and no HTML. A missing key is an
error, never a silent blank: a test compares both files and every template. Called by ``pages``,
``forms`` and the routes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from babel.dates import format_date

Lang = Literal["zh", "en"]
LANGS: tuple[Lang, ...] = ("zh", "en")
FULL: Mapping[Lang, str] = {"zh": "zh-Hans", "en": "en"}
_FOLDER = Path(__file__).parent / "locale"


class Words:
    """Every fixed sentence of one language.

    ``words("me.count", n=3)`` finds ``count`` in the table ``[me]`` and fills it in; an entry with
    ``one`` and ``other`` is chosen by ``n``.
    """

    def __init__(self, lang: Lang, tree: Mapping[str, Any]) -> None:
        self.lang = lang
        self.entries = _flat(tree)
        patterns: list[Mapping[str, str]] = tree.get("from_desk", [])
        self._translations = [(re.compile(item["says"]), item["here"]) for item in patterns]

    def __call__(self, key: str, **values: object) -> str:
        """Say one sentence.

        Raises:
            KeyError: If there is no such key (a slip of ours, caught by a test).
        """
        text = self.entries.get(key)
        if text is None:
            text = self.entries[f"{key}.one" if values.get("n") == 1 else f"{key}.other"]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether there is a sentence under this key."""
        return key in self.entries

    def explain(self, error: Exception) -> str:
        """Say an error of the inner rooms (which speak English) in this language, if it is known."""
        said = str(error)
        for pattern, here in self._translations:
            if match := pattern.fullmatch(said):
                return here.format(**match.groupdict())
        return said

    def day(self, day: date, today: date | None = None) -> str:
        """A day in words; the year is left out where it is ``today``'s."""
        same = today is not None and today.year == day.year
        if self.lang == "zh":
            return f"{day.month}月{day.day}日" if same else f"{day.year}年{day.month}月{day.day}日"
        return str(format_date(day, "d MMMM" if same else "d MMMM y", locale="en"))

    def short_day(self, day: date, today: date | None = None) -> str:
        """A day in words that stays short in a narrow column."""
        if self.lang == "zh":
            return self.day(day, today)
        same = today is not None and today.year == day.year
        return str(format_date(day, "d MMM" if same else "d MMM y", locale="en"))

    def weekday(self, day: date) -> str:
        """The day of the week."""
        return str(format_date(day, "EEEE", locale=self.lang))

    def instant(self, instant: datetime, zone: ZoneInfo) -> str:
        """A day and a time of day in the reader's zone."""
        local = instant.astimezone(zone)
        gap = " " if self.lang == "zh" else ", "
        return f"{self.day(local.date())}{gap}{local:%H:%M}"


@lru_cache(maxsize=len(LANGS))
def words(lang: Lang) -> Words:
    """The words of a language."""
    return Words(lang, tomllib.loads((_FOLDER / f"{lang}.toml").read_text(encoding="utf-8")))


def choose_lang(asked: str, remembered: str, accept: str) -> Lang:
    """Choose the language of a page: what was asked for now, before, or by the browser; else Chinese."""
    for wish in (asked, remembered, *_accepted(accept)):
        short = wish.strip().lower().split("-")[0]
        if short in LANGS:
            return "zh" if short == "zh" else "en"
    return "zh" if not accept.strip() else "en"


def _accepted(header: str) -> list[str]:
    """Languages of an Accept-Language header, most wanted first; what cannot be read counts as 0."""
    wishes: list[tuple[float, int, str]] = []
    for number, part in enumerate(header.split(",")[:20]):
        name, _, weight = part.partition(";")
        match = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight) if weight else None
        quality = float(match[1]) if match else (0.0 if weight else 1.0)
        if quality > 0 and name.strip() not in ("", "*"):
            wishes.append((-quality, number, name.strip()))
    return [name for _, _, name in sorted(wishes)]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            found[f"{prefix}{key}"] = value
    return found
