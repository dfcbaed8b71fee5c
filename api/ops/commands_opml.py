"""Commands that exchange lists of feeds with other programs: OPML in, OPML out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.ops import console
from api.ops import source_options as options
from api.wiring import Services
from feeds.intake.opml import OpmlList, Outline, read_opml, write_opml
from feeds.intake.source_settings import checked, twins_of
from feeds.intake.types import Oddity
from feeds.kernel.errors import MycityError

_COLUMNS = ("result", "feed", "address", "why")


def import_opml(
    file: Path,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be added; add nothing.")
    ] = False,
) -> None:
    """Add the feeds of an OPML file; what is there already stays as it is. Nothing is asked yet."""
    with console.services() as services:
        found = read_opml(options.read_bytes(file))
        rows = [_left_out(found, oddity) for oddity in found.oddities]
        stored = services.sources.list()
        taken = {one.url: one.slug for one in stored if one.url}
        slugs = {one.slug for one in stored}
        with console.progress({"opml": f"Importing {file.name}"}) as progress:
            for number, outline in enumerate(found.outlines, 1):
                result, why = _take(services, outline, taken, slugs, dry_run=dry_run)
                rows.append((result, outline.title, outline.url, why))
                progress("opml", number, len(found.outlines))
        _say(file, rows, dry_run=dry_run)
        if any(row[0] == "failed" for row in rows):
            raise typer.Exit(1)


def export_opml(file: Path) -> None:
    """Write all feeds to an OPML file that other feed readers understand; each agency is a folder."""
    with console.services() as services:
        feeds = [one for one in services.sources.list() if one.url and one.kind == "feed"]
        feeds.sort(key=lambda one: (one.agency, one.id))
        outlines = [
            Outline(one.name, one.url or "", "", (one.agency,) if one.agency else ()) for one in feeds
        ]
        title = f"{services.city.name.zh} {services.city.name.en}"
        temporary = file.with_suffix(file.suffix + ".part")
        temporary.write_bytes(write_opml(title, outlines, services.clock.now()))
        temporary.replace(file)
        console.say(f"Wrote {len(feeds)} feeds to {file}.", written=len(feeds), file=str(file))


def _left_out(found: OpmlList, oddity: Oddity) -> tuple[str, str, str, str]:
    """A row about what is no feed to add: with title and address, where the list says them."""
    said = f"Outline {oddity.line}: {oddity.message}" if oddity.line else oddity.message
    if not oddity.dropped:
        return "note", "", "", said
    url = oddity.message.split(" ", 1)[0]
    first = next((one for one in found.outlines if one.url == url), None)
    return ("left out", first.title, first.url, said) if first else ("left out", "", "", said)


def _take(
    services: Services, outline: Outline, taken: dict[str, str], slugs: set[str], *, dry_run: bool
) -> tuple[str, str]:
    """Add one feed, unless its address is there in any spelling; return the result and why."""
    there = next((taken[url] for url in twins_of(outline.url) if url in taken), "")
    if there:
        return "there", f"It is source {there!r}."
    settings = {
        "slug": options.slug_of(outline.url, slugs),
        "name": outline.title,
        "kind": "feed",
        "url": outline.url,
    }
    try:
        whole = options.whole(services, settings)
        if dry_run:
            checked(whole)
        else:
            services.sources.add(**whole, at=services.clock.now())
    except MycityError as error:
        return "failed", str(error)
    taken[outline.url] = settings["slug"]
    slugs.add(settings["slug"])
    return "would be added" if dry_run else "added", options.unreachable(services, outline.url)


def _say(file: Path, rows: list[tuple[str, str, str, str]], *, dry_run: bool) -> None:
    if console.options.json:
        console.table("", _COLUMNS, rows, "feeds")
        return
    shown = [row for row in rows if row[0] != "there"]
    if shown:
        console.table(f"{file.name}", _COLUMNS, shown, "feeds")
    done = sum(row[0] in ("added", "would be added") for row in rows)
    there = sum(row[0] == "there" for row in rows)
    failed = sum(row[0] == "failed" for row in rows)
    left = sum(row[0] == "left out" for row in rows)
    console.say(
        f"{done} {'would be ' if dry_run else ''}added, {there} were there already, {left} left out, "
        f"{failed} failed."
    )
    mute = sum(row[0] in ("added", "would be added") and bool(row[3]) for row in rows)
    if mute:
        console.say(f"⚠ {mute} of them can never be polled as things are; see the reasons above.")
