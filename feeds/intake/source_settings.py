"""Checks what a person says about a source before it is stored. Pure.

Every objection is one sentence. Called by :mod:`feeds.intake.sources`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feeds.intake.rules import read_rules
from feeds.kernel.errors import UsageError

KINDS = ("feed", "json", "html", "csv", "cap", "file", "desk")
POLLED_KINDS = KINDS[:5]
LIST_KINDS = ("json", "html", "csv")
SHORTEST_S = 300
LONGEST_S = 31 * 86_400
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TAG = re.compile(r"[a-z]+:[^\s:]{1,64}")


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source's settings as they are stored.

    Args:
        settings: Columns of a source; those that are absent are not looked at, except that a recipe
            needs its ``kind`` beside it.

    Raises:
        UsageError: For the first one that does not fit.
    """
    made = dict(settings)
    for name, check in _CHECKS.items():
        if name in made:
            made[name] = check(made[name])
    if "kind" in made and "url" in made:
        _check_address(made["kind"], made["url"])
    if "kind" in made and "recipe" in made:
        made["recipe"] = _recipe(made["kind"], made["recipe"])
    return made


def twins_of(url: str) -> list[str]:
    """Return the spellings of one address: both schemes, with and without ``/`` at the end."""
    _scheme, found, rest = url.partition("://")
    if not found:
        return [url]
    bare = rest[:-1] if rest.endswith("/") else rest
    return [url, *(f"{one}://{bare}{end}" for one in ("http", "https") for end in ("", "/"))]


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise UsageError(f"The short name {text[:80]!r} must be of a-z, 0-9 and '-', at most 63 characters.")
    return text


def _name(text: str) -> str:
    name = " ".join(text.split())[:200]
    if not name:
        raise UsageError("A source needs a name that people know it by.")
    return name


def _kind(text: str) -> str:
    if text not in KINDS:
        raise UsageError(f"There is no kind of source {text!r}; choose from {', '.join(POLLED_KINDS)}.")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"There is no time zone {name!r}; write it like Asia/Shanghai.") from None
    return name


def _interval(seconds: int) -> int:
    return min(max(int(seconds), SHORTEST_S), LONGEST_S)


def _trust(number: int) -> int:
    if not 0 <= number <= 100:
        raise UsageError(f"Trust is a number from 0 to 100, not {number}.")
    return number


def _release(text: str) -> str:
    if text not in ("publish", "review"):
        raise UsageError(f"Entries are released by 'publish' or 'review', not {text!r}.")
    return text


def _rules(lines: Any) -> list[str]:
    kept = [str(line).strip() for line in lines if str(line).strip()]
    read_rules(kept)
    return kept


def _tags(names: Any) -> list[str]:
    kept = list(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
    for name in kept:
        if not _TAG.fullmatch(name):
            raise UsageError(f"The tag {name[:80]!r} is not written like theme:0402 or role:citizen.")
    return kept


def _check_address(kind: str, url: str | None) -> None:
    if kind not in POLLED_KINDS:
        return
    if not url:
        raise UsageError(f"A {kind} source needs an address; give its URL.")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise UsageError(f"{url[:200]!r} is not a web address; it begins with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise UsageError("The address carries a name or password; give it without them.")


def _recipe(kind: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    if not recipe and kind not in LIST_KINDS:
        return {}
    from feeds.intake.recipes import read_recipe  # its selectors load a parser that feeds do not need

    read_recipe(kind, recipe)
    return dict(recipe)


_CHECKS: Mapping[str, Any] = {
    "slug": _slug,
    "name": _name,
    "kind": _kind,
    "timezone": _zone,
    "interval_s": _interval,
    "trust": _trust,
    "release": _release,
    "rules": _rules,
    "tags": _tags,
}
