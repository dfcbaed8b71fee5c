"""The small language that says where a field of a list stands: ``a@title|a``, ``= 示例市``, ``/d?id={id}``.

It knows how an expression is written and what is made of the texts found, not how they are found: that
is each parser's own. Pure. Called by :mod:`feeds.intake.recipes` and the list parsers; see docs/lists.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from feeds.kernel.errors import UsageError

Find = Callable[[str], list[str]]  # an expression without alternatives → the texts it finds, in order

# Names of the notice file (docs/notice-file.md); "x_…" is free and kept with the notice.
LISTS = ("tags", "attachments", "roles", "theme", "life_events")
DATES = ("published", "updated", "formed", "effective", "lapses", "deadline", "expires")
NAMES = (
    "id", "title", "url", "body", "summary", *DATES, *LISTS, "agency", "agency_slug", "doc_type", "doc_no",
    "index_no", "genre", "openness", "region", "status", "phone", "views", "title_en", "type", "jurisdiction",
    "lang",
)  # fmt: skip
_OTHER_WORDS = {
    "link": "url", "href": "url", "address": "url", "date": "published", "time": "published",
    "pubdate": "published", "content": "body", "text": "body", "html": "body", "description": "summary",
    "name": "title", "author": "agency", "publisher": "agency", "guid": "id", "number": "doc_no",
    "category": "tags", "keywords": "tags", "state": "status",
}  # fmt: skip
_OPTIONS = ("at", "re", "join", "split", "map")
_EXTRA = re.compile(r"x_[a-z0-9_]{1,40}")
_PLACE = re.compile(r"\{([^{}]+)\}")
_ALTERNATIVES = re.compile(r"\|(?!=)")  # [lang|=zh] belongs to the selector
# A repeat or a choice inside a repeat: what takes for ever on the wrong text.
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*[*+}|](?:[^()\\]|\\.)*\)\s*(?:[*+]|\{\d+,)")
_EXAMPLE = 'title = "a@title|a"'
MAX_EXPRESSION = 500  # characters
MAX_MATCHED = 500  # characters of a text that a regular expression is given
MAX_VALUES = 100


class WrongTypeError(ValueError):
    """What stands at a place is no text but, in words, ``an object`` or ``a list``."""


@dataclass(frozen=True, slots=True)
class Take:
    """How one field is taken out of an item.

    Attributes:
        at: Expressions tried in order; the first that finds a text wins.
        constant: The value itself, where it is the same for every item.
        template: A text with ``{expression}`` in it; empty where one of them finds nothing.
        pattern: Cut out of each text: its first group, or the whole match.
        join: Put between all texts found; ``None`` takes the first only.
        split: Divides a text into several values (of a list such as ``tags``).
        renamed: Value upstream → value here; others stay.
    """

    at: tuple[str, ...] = ()
    constant: str = ""
    template: str = ""
    pattern: re.Pattern[str] | None = None
    join: str | None = None
    split: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def expressions(self) -> tuple[str, ...]:
        """Return every expression in it, for checking."""
        return self.at or tuple(_PLACE.findall(self.template))

    def values(self, find: Find) -> list[str]:
        """Return the field's texts in one item: none, one, or several, without empty ones.

        Raises:
            WrongTypeError: If no place has a text, and one has something else.
        """
        if self.constant:
            return [self.constant]
        if self.template:
            text = self._filled(find)
            return self._shaped([text]) if text else []
        wrong: WrongTypeError | None = None
        for expression in self.at:
            try:
                if shaped := self._shaped(find(expression)):
                    return shaped
            except WrongTypeError as error:
                wrong = wrong or error
        if wrong is not None:
            raise wrong
        return []

    def _filled(self, find: Find) -> str:
        missing = False

        def fill(place: re.Match[str]) -> str:
            nonlocal missing
            text = next((one.strip() for one in find(place[1].strip()) if one.strip()), "")
            missing = missing or not text
            return quote(text, safe="/:")

        filled = _PLACE.sub(fill, self.template)
        return "" if missing else filled

    def _shaped(self, texts: list[str]) -> list[str]:
        parts = [part for text in texts for part in (text.split(self.split) if self.split else [text])]
        cut = [self._cut(part).strip() for part in parts]
        kept = [self.renamed.get(text, text) for text in cut if text][:MAX_VALUES]
        return [self.join.join(kept)] if kept and self.join is not None else kept

    def _cut(self, text: str) -> str:
        if self.pattern is None:
            return text
        found = self.pattern.search(text[:MAX_MATCHED])
        if found is None:
            return ""
        return (found[1] if self.pattern.groups else found[0]) or ""


def read_takes(mapping: Any) -> dict[str, Take]:
    """Read ``fields`` of a recipe.

    Raises:
        UsageError: For the first name or expression that does not fit.
    """
    if not isinstance(mapping, Mapping) or not mapping:
        raise UsageError(f"The recipe needs fields: a table of names and places, such as {_EXAMPLE}.")
    takes = {}
    for name, given in mapping.items():
        check_name(str(name))
        takes[str(name)] = _take(str(name), given)
    if not {"title", "url"} & set(takes):
        raise UsageError(f"The recipe's fields need at least title or url, such as {_EXAMPLE}.")
    return takes


def check_name(name: str) -> None:
    """Refuse a field name that a notice does not have, with the nearest that it has.

    Raises:
        UsageError: If it is neither a field of the notice file nor begins with ``x_``.
    """
    if name in NAMES or _EXTRA.fullmatch(name):
        return
    near = _OTHER_WORDS.get(name.lower()) or next(iter(get_close_matches(name.lower(), NAMES, 1, 0.6)), "")
    advice = f"did you mean {near}?" if near else "call it x_… to keep it with the notice."
    raise UsageError(f"The field {name[:40]!r} is none of a notice; {advice}")


def unknown_key(what: str, name: str, known: tuple[str, ...]) -> UsageError:
    """Return the objection to a key that is not known, with the nearest that is."""
    near = next(iter(get_close_matches(name.lower(), known, 1, 0.5)), "")
    advice = f"did you mean {near}?" if near else f"allowed are {', '.join(known)}."
    return UsageError(f"{what} has no key {name[:40]!r}; {advice}")


def pattern_of(key: str, given: Any) -> re.Pattern[str]:
    """Read a regular expression.

    Raises:
        UsageError: If it is none, or one that could take for ever.
    """
    if not isinstance(given, str) or not given or len(given) > MAX_EXPRESSION:
        raise UsageError(rf"{key} must be a regular expression, such as '(\d{{4}}-\d{{2}}-\d{{2}})'.")
    if _NESTED.search(given):
        raise UsageError(f"{key} repeats a repetition, which can take for ever; write it without (…+)+.")
    try:
        return re.compile(given)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{key} is no regular expression ({error}); test it on one line first.") from None


def _take(name: str, given: Any) -> Take:
    key = f"fields.{name}"
    if isinstance(given, str):
        return _place(key, given)
    if not isinstance(given, Mapping):
        raise UsageError(f"{key} must be a text or a table, such as {_EXAMPLE}.")
    for option in given:
        if option not in _OPTIONS:
            raise unknown_key(key, str(option), _OPTIONS)
    place = _place(key, given.get("at", ""))
    return Take(
        at=place.at,
        constant=place.constant,
        template=place.template,
        pattern=pattern_of(f"{key}.re", given["re"]) if "re" in given else None,
        join=_text(f"{key}.join", given["join"], "、") if "join" in given else None,
        split=_text(f"{key}.split", given["split"], ";", empty=False) if "split" in given else "",
        renamed=_renamed(key, given.get("map", {})),
    )


def _place(key: str, text: Any) -> Take:
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_EXPRESSION:
        raise UsageError(f"{key} says no place; write it like {_EXAMPLE}.")
    if text.lstrip().startswith("="):
        constant = text.lstrip()[1:].strip()
        if not constant:
            raise UsageError(f"{key} gives an empty constant; write it like '= 示例市'.")
        return Take(constant=constant)
    if _PLACE.search(text):
        return Take(template=text.strip())
    at = tuple(part.strip() for part in _ALTERNATIVES.split(text))
    if not all(at):
        raise UsageError(f"{key} has an empty alternative; write it like {_EXAMPLE}.")
    return Take(at=at)


def _text(key: str, given: Any, example: str, *, empty: bool = True) -> str:
    if not isinstance(given, str) or (not given and not empty):
        raise UsageError(f"{key} must be a text, such as {example!r}.")
    return given


def _renamed(key: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise UsageError(f'{key}.map must be a table of texts, such as {{ "1" = "有效" }}.')
    return {str(name): value for name, value in given.items()}
