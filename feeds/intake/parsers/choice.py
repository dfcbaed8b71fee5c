"""Chooses the parser for a source's kind. Pure.

The parsers are imported when they are first needed: a command that lists sources should not pay for
libraries that read pages. Called by :mod:`feeds.intake.prepare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from feeds.intake.types import Fetched, Parsed
from feeds.kernel.errors import UsageError


def parse_answer(kind: str, recipe: Mapping[str, Any], fetched: Fetched, zone: ZoneInfo) -> Parsed:
    """Read an answer in the format of its source's kind.

    Args:
        kind: ``feed``, ``cap``, ``json``, ``html`` or ``csv``.
        recipe: How a list is read; the lists need one.
        fetched: A full answer.
        zone: Where times without a zone belong.

    Raises:
        BadInputError: If the answer is something else.
        UsageError: If the kind cannot be polled, or the recipe cannot be read.
    """
    body, headers, url = fetched.body, fetched.headers, fetched.url
    if kind == "feed":
        from feeds.intake.parsers.feed import parse_feed

        return parse_feed(body, headers, url)
    if kind == "cap":
        from feeds.intake.parsers.cap import parse_cap

        return parse_cap(body, headers, url, zone=zone)
    if kind not in ("json", "html", "csv"):
        raise UsageError(f"A source of kind {kind!r} cannot be polled; only feeds, lists and warnings can.")
    from feeds.intake.recipes import read_recipe

    how = read_recipe(kind, recipe)
    if kind == "json":
        from feeds.intake.parsers.json_list import parse_json_list

        return parse_json_list(body, headers, url, how)
    if kind == "html":
        from feeds.intake.parsers.html_list import parse_html_list

        return parse_html_list(body, headers, url, how)
    from feeds.intake.parsers.csv_list import parse_csv_list

    return parse_csv_list(body, headers, url, how)
