"""Reads what a person says about a source on the command line or in a file.

Joins and looks up; the store of sources checks values. Called by ``api.ops.commands_sources`` and
``api.ops.commands_opml``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from api.jobs.trying import candidate
from api.wiring import Services
from feeds.intake.sources import Source
from feeds.kernel.addresses import is_public_address
from feeds.kernel.errors import UsageError
from feeds.kernel.ids import content_hash

_COMMON = frozenset(
    ("com", "org", "net", "gov", "cn", "feed", "feeds", "rss", "atom", "xml", "json", "html", "htm",
     "index", "php", "asp", "aspx", "jsp")
)  # fmt: skip
Kind = Annotated[
    str, typer.Option(help="feed, json, html, csv or cap; default: feed, or what the file says.")
]
RecipeFile = Annotated[
    Path | None,
    typer.Option("--file", "--recipe", help="How a list is read, and settings; see docs/sources.md."),
]
Slug = Annotated[str, typer.Option(help="Short name for commands; default: made from the address.")]
Name = Annotated[str, typer.Option(help="How people call it; default: its own title.")]
Agency = Annotated[str, typer.Option(help="The office that publishes it, for entries that name none.")]
Place = Annotated[str, typer.Option(help="Code or name of the place it speaks for; default: the city.")]
Licence = Annotated[str, typer.Option(help="Licence or attribution shown with each entry.")]
Lang = Annotated[str, typer.Option(help="Language of its entries, e.g. en; default: what it says.")]
Minutes = Annotated[int | None, typer.Option(help="Poll at most this often (default 60).", min=5)]
Release = Annotated[str, typer.Option(help="publish at once, or review by an editor first.")]
Rules = Annotated[
    list[str] | None,
    typer.Option("--rule", help="A keyword rule, e.g. 'exclude title: 招聘'; may be given again."),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="kind:code for every entry; may be given again.")
]
FullText = Annotated[
    bool | None,
    typer.Option("--full-text/--no-full-text", help="Fetch the page of each new entry for its text."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be stored; store nothing.")]


def read_options(
    services: Services,
    *,
    file: Path | None = None,
    minutes: int | None = None,
    rules: list[str] | None = None,
    tags: list[str] | None = None,
    full_text: bool | None = None,
    **texts_: str,
) -> dict[str, Any]:
    """Join what the file says and what the options say; an option wins. Only what was given is there."""
    made: dict[str, Any] = {}
    if file is not None:
        from feeds.intake.recipes import load_recipe_file

        try:
            made, recipe = load_recipe_file(read_bytes(file).decode("utf-8", "replace"))
        except UsageError as error:
            if "Invalid value" not in str(error):
                raise
            raise UsageError(
                f'{str(error).rstrip(".")}; put quotes around a text, as in name = "…".'
            ) from None
        if recipe is not None:
            made["recipe"] = recipe.to_mapping()
        if "minutes" in made:
            made["interval_s"] = made.pop("minutes") * 60
    made |= {name: text for name, text in texts_.items() if text}
    given = {"rules": rules, "tags": tags, "full_text": full_text}
    made |= {name: value for name, value in given.items() if value is not None}
    if minutes is not None:
        made["interval_s"] = minutes * 60
    for tag in made.get("tags") or ():
        if tag.strip() and not services.city.known(tag):
            near = ", ".join(services.city.suggest(tag))
            advice = f"nearest: {near}" if near else "`mycity tags suggest TEXT` shows some"
            raise UsageError(f"There is no tag {tag!r} in this city; {advice}.")
    if made.get("place"):
        place = services.city.resolve_place(str(made["place"]))
        if place is None:
            raise UsageError(
                f"There is no place {made['place']!r} in this city, or several are called so; give its code."
            )
        made["place"] = place.code
    return made


def whole(services: Services, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the city's own where none was given."""
    return {"place": services.city.place, "timezone": services.zone.key} | dict(settings)


def meant(services: Services, target: str, settings: Mapping[str, Any]) -> Source:
    """The source that is meant, with settings changed, or a new one for an address."""
    if target and "://" not in target:
        return replaced(services.sources.by_slug(target), {k: v for k, v in settings.items() if k != "url"})
    stored = next(
        (one for one in services.sources.list() if one.url and one.url == settings.get("url")), None
    )
    if stored is not None:
        return replaced(stored, settings)
    if not settings.get("url"):
        raise UsageError("Give an address, or the short name of a source.")
    return candidate(at=services.clock.now(), **whole(services, settings))


def replaced(source: Source, settings: Mapping[str, Any]) -> Source:
    """A source with some settings changed, as they would be stored; nothing is stored.

    Raises:
        UsageError: If one does not fit.
    """
    from feeds.intake.source_settings import checked

    beside = {"kind": source.kind, "url": source.url, "recipe": source.recipe}
    made = checked(beside | dict(settings))
    return replace(source, **{name: made[name] for name in settings if name != "slug"})


def read_bytes(file: Path) -> bytes:
    """Read a file that a person named.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}); check the path.") from error


def slug_of(url: str, taken: Collection[str] = ()) -> str:
    """Make a short name from an address: words of its host and path; a digest only if that is taken."""
    bare = url.lower().split("//")[-1].split("?")[0].removeprefix("www.")
    words = [word for word in re.split(r"[^a-z0-9]+", bare) if word and word not in _COMMON]
    short = "-".join(words)[:24].strip("-") or "source"
    return short if short not in taken else f"{short}-{content_hash(url)[:6]}"


def unreachable(services: Services, url: str) -> str:
    """Say why no poll may ever ask an address, as far as it can be seen without asking; ``""`` if it may."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme.lower(), 443)
    except ValueError:
        return "No poll can reach it: it is no web address."
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    allowed = (one.strip().lower() for one in services.settings.allow_private.split(","))
    if place in allowed:
        return ""
    advice = f"if it is an intranet source you trust, put {place} into MYCITY_ALLOW_PRIVATE"
    if str(port) not in (one.strip() for one in services.settings.source_ports.split(",")):
        return f"No poll can reach it: port {port} is not allowed for sources; {advice}."
    try:
        ip_address(host)
    except ValueError:
        return ""
    return "" if is_public_address(host) else f"No poll can reach it: {host} is not public; {advice}."
