"""Makes raw entries of a list's items, whatever its format: takes fields, completes links, names oddities.

The parsers bring items as functions that find a text; what the texts mean is the same for all of them.
Pure. Called by the list parsers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo

from feeds.intake.dates import date_text
from feeds.intake.recipe_fields import DATES, LISTS, Find, WrongTypeError
from feeds.intake.recipes import Recipe
from feeds.intake.types import Oddity, RawEntry
from feeds.kernel.errors import BadInputError

MAX_SIZE = 20_000_000  # bytes
MAX_VALUE = 200_000  # characters of one field
FEWEST_UNTITLED = 3  # rows; one or two without a title are a slip of their writer
_BREAKS = re.compile(r"[\t\r\n]")  # browsers pass them over too
_NO_LINK = ("javascript:", "mailto:", "tel:", "data:", "about:", "vbscript:", "#")
# In which forms a date may stand is known when the source's zone is; here it need only be one somewhere.
ANYWHERE = tuple(map(ZoneInfo, ("UTC", "Asia/Taipei", "Europe/London")))


def entries_of(
    recipe: Recipe, items: Iterable[tuple[int, Find | str]], base: str, *, url: str = ""
) -> tuple[tuple[RawEntry, ...], list[Oddity]]:
    """Make entries of a list's items.

    Args:
        recipe: Says what to take.
        items: Position (from 1) and how to find a text in the item; a text instead says why the item
            cannot be read.
        base: Address that relative links are resolved against, unless the recipe has its own.
        url: Of the answer, for people; without it ``base``.

    Returns:
        Entries in the order of the list, and what was odd. An item without title and address is
        dropped; one that the recipe skips leaves no trace; an address that comes twice is kept.

    Raises:
        BadInputError: If most entries, and at least three, lack the title that the recipe promises: the
            list has a new layout, and what is stored must not be overwritten with less.
    """
    reader = _Reader(recipe, recipe.base or base)
    for position, item in items:
        if reader.count >= recipe.max_items:
            message = f"The list has more than {recipe.max_items} items; the rest was not read."
            reader.oddities.append(Oddity(position, "", "too-many", message))
            break
        reader.read(position, item)
    _check_titles(recipe, reader.entries, url or base)
    return tuple(reader.entries), reader.oddities


def _check_titles(recipe: Recipe, entries: Sequence[RawEntry], url: str) -> None:
    take = recipe.fields.get("title")
    untitled = sum(not entry.fields.get("title") for entry in entries) if take else 0
    if take is None or untitled < FEWEST_UNTITLED or untitled * 2 <= len(entries):
        return
    raise BadInputError(
        f"In {url} most rows have no title where the recipe looks for it "
        f"({' | '.join(take.expressions())[:120]!r}); its layout may have changed."
    )


class _Reader:
    """Collects entries and oddities of one list."""

    def __init__(self, recipe: Recipe, base: str) -> None:
        self._recipe, self._base = recipe, base
        self._seen: dict[str, int] = {}
        self.count = 0
        self.entries: list[RawEntry] = []
        self.oddities: list[Oddity] = []

    def read(self, position: int, item: Find | str) -> None:
        """Read one item."""
        self.count += 1
        if isinstance(item, str):
            self._note(position, "", "wrong-type", f"{item}; it was left out.", dropped=True)
            return
        before = len(self.oddities)
        found = {name: self._taken(position, name, item) for name in self._recipe.fields}
        if any(pattern.search(" ".join(found[name])[:2000]) for name, pattern in self._recipe.skip.items()):
            del self.oddities[before:]
            return
        fields: dict[str, Any] = {}
        for name, values in found.items():
            if value := self._value(position, name, values):
                fields[name] = value
        if not (fields.get("title") or fields.get("url")):
            del self.oddities[before:]
            message = f"Item {position} has neither title nor url; it was left out."
            self._note(position, "", "empty-row", message, dropped=True)
            return
        if "body" in fields:
            fields["base"] = self._base
        self._name_twin(position, str(fields.get("url") or ""))
        self.entries.append(RawEntry(str(fields.get("id") or ""), position, fields))

    def _taken(self, position: int, name: str, item: Find) -> list[str]:
        try:
            return self._recipe.fields[name].values(item)
        except WrongTypeError as error:
            self._note(
                position, name, "wrong-type", f"{name} should be text and is {error}; it was left out."
            )
            return []

    def _value(self, position: int, name: str, values: list[str]) -> Any:
        if name in LISTS:
            if name == "attachments":
                return [whole for text in values if (whole := self._link(position, name, text))]
            return list(dict.fromkeys(values))
        text = values[0] if values else ""
        if name == "url":
            return self._link(position, name, text)
        if name in DATES:
            return date_text(text, ANYWHERE) or text[:100]
        if len(text) > MAX_VALUE:
            self._note(position, name, "too-long", f"{name} has {len(text)} characters; it was cut.")
        return text[:MAX_VALUE]

    def _link(self, position: int, name: str, text: str) -> str:
        text = _BREAKS.sub("", text.strip())
        if not text:
            return ""
        try:
            whole = "" if text.lower().startswith(_NO_LINK) else urljoin(self._base, text)
            fine = urlsplit(whole).scheme in ("http", "https")
        except ValueError:  # such as "http://[1"
            fine = False
        if fine:
            return whole
        self._note(position, name, "bad-url", f"{name} {text[:60]!r} leads to no page; it was left out.")
        return ""

    def _name_twin(self, position: int, url: str) -> None:
        if url and url in self._seen:
            message = f"The address stood at item {self._seen[url]} already; both are kept."
            self._note(position, "url", "repeated-url", message)
        elif url:
            self._seen[url] = position

    def _note(self, position: int, name: str, problem: str, message: str, *, dropped: bool = False) -> None:
        self.oddities.append(Oddity(position, name, problem, message, dropped))
