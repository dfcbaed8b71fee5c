"""Golden lists: an invented input beside the file that describes its source and what must be read from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feeds.intake.recipes import Recipe, load_recipe_file
from feeds.intake.types import Parsed

LISTS = Path(__file__).parent.parent / "data" / "lists"
Parser = Callable[..., Parsed]


def golden_names(kind: str) -> list[str]:
    """Names of the golden lists of one kind."""
    return sorted(path.stem for path in LISTS.glob("*.toml") if f'kind = "{kind}"' in path.read_text("utf-8"))


def source_of(name: str) -> tuple[dict[str, Any], Recipe]:
    """What the file says about the source."""
    settings, recipe = load_recipe_file((LISTS / f"{name}.toml").read_text(encoding="utf-8"))
    assert recipe is not None
    return settings, recipe


def read_golden(name: str, parser: Parser) -> dict[str, Any]:
    """What the parser makes of the input, in the shape of the expected file."""
    settings, recipe = source_of(name)
    body = (LISTS / f"{name}.{settings['kind']}").read_bytes()
    return shown(parser(body, {}, settings["url"], recipe))


def expected(name: str) -> Any:
    """What must be read."""
    return json.loads((LISTS / f"{name}.expected.json").read_text(encoding="utf-8"))


def shown(parsed: Parsed) -> dict[str, Any]:
    """Make a list comparable."""
    return {
        "title": parsed.title,
        "entries": [
            {"line": entry.line, "guid": entry.guid, "fields": dict(entry.fields)} for entry in parsed.entries
        ],
        "oddities": [[odd.line, odd.field, odd.problem, odd.dropped] for odd in parsed.oddities],
    }
