"""Reads lists that come as JSON: the answer behind a page that a script fills, or an open interface.

Numbers stay texts as they were written, so that nothing is rounded. Deep nesting, endless numbers and
whatever is no JSON end in one sentence. Pure. Called by ``feeds.intake.parsers.choice``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from feeds.intake.charset import decode
from feeds.intake.parsers.list_rows import MAX_SIZE, entries_of
from feeds.intake.parsers.refusals import what_page
from feeds.intake.recipe_fields import Find, WrongTypeError
from feeds.intake.recipes import Recipe, json_steps
from feeds.intake.types import Oddity, Parsed
from feeds.kernel.errors import BadInputError

MAX_OBJECTS = 500_000  # objects and lists in an answer; each takes far more memory than its two characters
MAX_FOUND = 20_000  # values that one path may lead to
_WRAPPED = re.compile(r"(?:[\w$.]{1,80}\s*\(|(?:var|let|const|window\.)?\s*[\w$.]{1,80}\s*=)\s*(?=[\[{])")
_WRAP_END = re.compile(r"\s*\)?\s*;?\s*\Z")
_MESSAGES = ("message", "msg", "error", "errmsg", "errorMsg", "error_description")


def parse_json_list(body: bytes, headers: Mapping[str, str], url: str, recipe: Recipe) -> Parsed:
    """Read the items of a JSON answer.

    Args:
        body: As received, at most 20 MB; JSONP and ``var x = …;`` are understood.
        headers: Names in lower case.
        url: Where it came from.
        recipe: ``items`` is the path of the list (``data.rows``, ``/data/rows``; ``*`` goes through a list
            or the values of an object); empty means the answer itself.

    Returns:
        Entries in the order of the list. A path that leads to nothing gives none and says so
        (``no-items``), with the answer's own words where it has any.

    Raises:
        BadInputError: If it is too long, no JSON, nested too deep, or most items have no title.
    """
    if len(body) > MAX_SIZE:
        raise BadInputError(f"{url} has {len(body)} bytes; a list of at most {MAX_SIZE} is read.")
    text, oddities = decode(body, headers.get("content-type", ""), hint=recipe.charset)
    value = _value(text, url)
    found = _all_at(value, json_steps(recipe.items))
    each = (item for one in found for item in (one if isinstance(one, list) else [one]))
    items = list(islice(each, recipe.max_items + 1))
    if not items:
        oddities.append(Oddity(0, "items", "no-items", _why_none(value, recipe.items, bool(found))))
    entries, more = entries_of(recipe, _finders(items), url)
    return Parsed("", "", "", entries, (*oddities, *more), format="JSON list")


def _value(text: str, url: str) -> Any:
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise BadInputError(f"{url} answered with nothing; check the address.")
    if text.count("{") + text.count("[") > MAX_OBJECTS:
        raise BadInputError(f"{url} holds more than {MAX_OBJECTS} objects and lists; it was not read.")
    if wrapped := _WRAPPED.match(text):
        text = text[wrapped.end() :]
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        if text.startswith("<"):
            raise BadInputError(f"{url} is {what_page(text)}, not JSON; look at it in a browser.") from None
        where = f"line {error.lineno}, column {error.colno}"
        raise BadInputError(f"{url} is not JSON ({error.msg}, {where}); look at what it answers.") from None
    except (ValueError, RecursionError):
        raise BadInputError(f"{url} is JSON that is nested too deep; it was not read.") from None
    rest = text[end:]
    if rest.strip() and not (wrapped and _WRAP_END.fullmatch(rest)):
        raise BadInputError(f"{url} goes on after its JSON ({rest.strip()[:40]!r}); it was not read.")
    return value


def _nothing(_text: str) -> None:
    """What NaN and Infinity, which are no JSON, become."""


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_nothing)


def _finders(items: Sequence[Any]) -> Iterator[tuple[int, Find | str]]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, Mapping):
            yield number, partial(_texts, item)
        else:
            yield number, f"Item {number} is {_kind(item)} and not an object with fields"


def _texts(item: Any, path: str) -> list[str]:
    texts: list[str] = []
    for value in _all_at(item, json_steps(path)):
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                texts.append("true" if one else "false")
            elif isinstance(one, str) and one.strip():
                texts.append(one)
            elif isinstance(one, (dict, list)) and one:
                raise WrongTypeError(_kind(one))
    return texts


def _all_at(value: Any, steps: Sequence[str]) -> list[Any]:
    """Every value that a path leads to; nothing where it leads nowhere."""
    here = [value]
    for step in steps:
        ahead: list[Any] = []
        for one in here:
            if step == "*":
                ahead.extend(one if isinstance(one, list) else one.values() if isinstance(one, dict) else ())
            elif isinstance(one, dict) and step in one:
                ahead.append(one[step])
            elif isinstance(one, list) and step.isdecimal() and int(step[:9]) < len(one):
                ahead.append(one[int(step[:9])])
        here = ahead[:MAX_FOUND]
    return [one for one in here if one is not None]


def _why_none(value: Any, path: str, found: bool) -> str:
    if found:
        return "The list is empty; either nothing is published now, or the address has changed."
    said = (
        next((str(value[name]) for name in _MESSAGES if value.get(name)), "")
        if isinstance(value, dict)
        else ""
    )
    if said:
        return f"There is no {path or 'list'} in the answer, which says {said[:120]!r}; ask it in a browser."
    has = f"it has {', '.join(list(value)[:12])}" if isinstance(value, dict) else f"it is {_kind(value)}"
    return f"There is no {path or 'list'} in the answer; {has[:200]}."


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", str: "a text"}
    return kinds.get(type(value), "nothing")
