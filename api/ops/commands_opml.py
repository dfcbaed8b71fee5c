"""Commands that exchange lists of feeds with other programs: OPML in, OPML out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.ops import console
from api.ops import source_options as options


def import_opml(
    file: Path,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be added; add nothing.")
    ] = False,
) -> None:
    """Add the feeds of an OPML file; what is there already stays as it is."""
    raise NotImplementedError(console, options)


def export_opml(file: Path) -> None:
    """Write all feeds to an OPML file that other feed readers understand."""
