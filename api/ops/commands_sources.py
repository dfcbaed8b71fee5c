"""Commands about sources: list, show, test, add, change, poll, pause, release, OPML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from api.jobs.polling import poll, poll_due
from api.jobs.sending import send
from api.jobs.trying import Trial, candidate, try_source
from api.ops import console
from api.ops import source_options as options
from api.ops import source_prints as prints
from api.ops import source_texts as texts
from api.ops.commands_opml import export_opml, import_opml
from api.ops.source_options import (
    Agency,
    DryRun,
    FullText,
    Kind,
    Lang,
    Licence,
    Minutes,
    Name,
    Place,
    RecipeFile,
    Release,
    Rules,
    Slug,
    Tags,
)
from api.source_views import overview, readable, view
from api.wiring import Services
from feeds.intake.sources import POLLED, Source
from feeds.kernel.errors import BadInputError, ConflictError, MycityError, UsageError

_LINES = 12  # of a kept body, unless all of it is asked for


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    group = typer.Typer(
        no_args_is_help=True, help="Upstream sources: add, list, show, test, poll, pause, OPML."
    )
    for name, command in (
        ("add", sources_add),
        ("list", sources_list),
        ("show", sources_show),
        ("test", sources_test),
        ("change", sources_change),
        ("poll", sources_poll),
        ("pause", sources_pause),
        ("release", sources_release),
        ("import-opml", import_opml),
        ("export-opml", export_opml),
    ):
        group.command(name)(command)
    app.add_typer(group, name="sources")


def sources_list(
    alarms: Annotated[bool, typer.Option("--alarms", help="Only those that need a person.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Also what is never polled: files and the desk.")
    ] = False,
) -> None:
    """List sources with how they are doing."""
    with console.services() as services:
        found = overview(services, polled_only=not all_)
        shown = [one for one in found if one.health.alarm] if alarms else found
        now = services.clock.now()
        if console.options.json:
            console.say("", sources=[texts.view_values(one) for one in shown])
            return
        console.table(
            "Sources 信源", texts.LIST_COLUMNS, [texts.list_row(one, now) for one in shown], "sources"
        )
        for one in shown:
            if one.health.alarm:
                console.say(f"⚠ {one.source.slug}: {one.health.en}")
        if not shown:
            console.say(
                "No source needs you." if alarms else "No source yet; `mycity sources add URL` adds one."
            )


def sources_show(
    slug: str,
    body: Annotated[
        bool, typer.Option("--body", help="Print the kept answer whole (its first 64 KB).")
    ] = False,
) -> None:
    """Show everything about one source: settings, health, last polls, the answers kept for diagnosis."""
    with console.services() as services:
        one, now = view(services, slug), services.clock.now()
        answers, polls = services.sources.answers(slug), services.sources.polls(slug, limit=10)
        if console.options.json:
            kept = [
                {"which": a.which, "at": a.at, "status": a.status, "url": a.url, "headers": dict(a.headers),
                 "bytes": a.bytes, "body": readable(a, a.bytes if body else 2000)}
                for a in answers
            ]  # fmt: skip
            log = [{name: getattr(row, name) for name in row.__slots__} for row in polls]
            console.say("", **texts.view_values(one), answers=kept, log=log)
            return
        good = next((answer.headers for answer in answers if answer.which == "good"), None)
        console.say(f"{one.source.slug}: {one.health.en}")
        for name, value in (
            *texts.setting_lines(one.source),
            ("last good", texts.ago(one.source.last_ok_at, now)),
            ("next poll", texts.next_text(one.source, now, good)),
            ("new a week", texts.sparkline(one.weeks) or "less than a week of history"),
        ):
            console.say(
                "\n".join(f"  {name if not n else '':<11} {line}" for n, line in enumerate(value.split("\n")))
            )
        rows = [
            (
                texts.ago(row.at, now),
                row.status or "-",
                f"{row.seconds:.1f} s",
                row.entries,
                row.new,
                row.changed,
                row.error,
            )
            for row in polls
        ]
        if rows:
            columns = ("when", "status", "took", "entries", "new", "changed", "error")
            console.table("Last polls 最近抓取", columns, rows, "polls")
        for answer in answers:
            console.say(
                f"\nKept answer ({answer.which}), {texts.ago(answer.at, now)}: "
                f"{answer.status} {answer.url}, {answer.bytes} bytes"
            )
            for name, value in answer.headers.items():
                console.say(f"  {name}: {value}")
            text = readable(answer, len(answer.body))
            console.say(text if body else "\n".join(line[:200] for line in text.splitlines()[:_LINES]))


def sources_test(
    target: Annotated[str, typer.Argument(help="An address, or the short name of a source.")] = "",
    kind: Kind = "",
    file: RecipeFile = None,
    rule: Rules = None,
) -> None:
    """Ask once and explain every step; store nothing."""
    with console.services() as services:
        settings = options.read_options(services, url=target, kind=kind, file=file, rules=rule)
        source = options.meant(services, target, settings)
        with prints.working("Asking 抓取"):
            trial = try_source(services, source)
        if source.id and "://" in target and not console.options.json:
            console.say(
                f"This is the address of source {source.slug}: its stored recipe and settings are used."
            )
        prints.say_trial(trial, services.zone)
        if trial.failed:
            raise typer.Exit(1)


def sources_add(
    url: Annotated[str, typer.Argument(help="Its address; may also stand in the file.")] = "",
    slug: Slug = "",
    name: Name = "",
    kind: Kind = "",
    file: RecipeFile = None,
    agency: Agency = "",
    place: Place = "",
    licence: Licence = "",
    lang: Lang = "",
    minutes: Minutes = None,
    release: Release = "",
    rule: Rules = None,
    tag: Tags = None,
    full_text: FullText = None,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Add it although nothing is found in it.")] = False,
) -> None:
    """Add a source after looking at it once: a feed, a list (JSON, HTML, CSV) or warnings (CAP)."""
    with console.services() as services:
        settings = options.read_options(
            services, url=url, slug=slug, name=name, kind=kind, file=file, agency=agency, place=place,
            licence=licence, lang=lang, minutes=minutes, release=release, rules=rule, tags=tag,
            full_text=full_text,
        )  # fmt: skip
        if not settings.get("url"):
            raise UsageError("Give the address of the source, here or as `url` in the file.")
        with prints.working("Asking 抓取"):
            trial = try_source(
                services, candidate(at=services.clock.now(), **options.whole(services, settings))
            )
        if dry_run or trial.preview is None:
            prints.say_preview(trial, services.zone, services.city)
            if trial.preview is None or _finds_nothing(trial):
                raise typer.Exit(1)
            return
        if _finds_nothing(trial) and not force:
            if not console.options.json:
                prints.say_preview(trial, services.zone, services.city)
            raise BadInputError(
                f"No entry was found in {settings['url']}, so nothing was added; mend the recipe, or give "
                "--force if it is only empty today."
            )
        parsed = trial.preview.prepared.parsed
        settings.setdefault("name", parsed.title or settings["url"])
        settings.setdefault("lang", parsed.lang)
        settings.setdefault("slug", options.slug_of(settings["url"], _slugs(services)))
        source = services.sources.add(**options.whole(services, settings), at=services.clock.now())
        entries = trial.preview.prepared.read
        console.say(
            f"Added {source.slug} ({source.name}, {entries} entries now); `mycity sources poll` reads it.",
            slug=source.slug,
            name=source.name,
            entries=entries,
        )


def sources_change(
    slug: str,
    url: Annotated[str, typer.Option(help="Its new address.")] = "",
    new_slug: Annotated[str, typer.Option("--slug", help="Its new short name.")] = "",
    name: Name = "",
    kind: Kind = "",
    file: RecipeFile = None,
    agency: Agency = "",
    place: Place = "",
    licence: Licence = "",
    lang: Lang = "",
    minutes: Minutes = None,
    release: Release = "",
    rule: Rules = None,
    tag: Tags = None,
    full_text: FullText = None,
    dry_run: DryRun = False,
) -> None:
    """Change settings of a source; rules and tags are replaced as a whole (--rule "" takes them away)."""
    with console.services() as services:
        settings = options.read_options(
            services, url=url, name=name, kind=kind, file=file, agency=agency, place=place, licence=licence,
            lang=lang, minutes=minutes, release=release, rules=rule, tags=tag, full_text=full_text,
        )  # fmt: skip
        settings.pop("slug", None)  # one in a file names the source; only the option renames it
        if new_slug:
            settings["slug"] = new_slug
        if not settings:
            raise UsageError(
                "Say what to change, e.g. --release review; `mycity sources show` shows what is."
            )
        if dry_run:
            source = services.sources.by_slug(slug)
            with prints.working("Asking 抓取"):
                trial = try_source(services, options.replaced(source, settings))
            prints.say_preview(trial, services.zone, services.city)
            return
        changed = services.sources.change(slug, at=services.clock.now(), **settings)
        console.say(
            f"Changed {', '.join(settings)} of {changed.slug}; {_next_poll(services, changed)}.",
            slug=slug,
            changed=list(settings),
        )


def sources_pause(slug: str, resume: Annotated[bool, typer.Option("--resume")] = False) -> None:
    """Stop polling a source, or go on with --resume."""
    with console.services() as services:
        services.sources.pause(slug, not resume)
        console.say(f"{slug} is {'polled again' if resume else 'paused'}.", slug=slug, paused=not resume)


def sources_release(slug: str) -> None:
    """Let a source go on that was held because most of an answer suddenly looked new."""
    with console.services() as services:
        services.sources.release(slug, at=services.clock.now())
        console.say(
            f"{slug} is polled again; what it says next is taken as archive.", slug=slug, released=True
        )


def sources_poll(
    slug: Annotated[str, typer.Argument(help="Only this source; default: all that are due.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Poll sources and store what is new."""
    with console.services() as services:
        one = [services.sources.by_slug(slug)] if slug else None
        if one and not dry_run and (objection := _why_not(one[0])):
            raise ConflictError(objection)
        if dry_run:
            _dry_run(services, one or services.sources.due(services.clock.now()))
            return
        failures: list[tuple[Source, MycityError]] = []
        with prints.without_warnings(), console.progress({"poll": "Polling 抓取"}) as bar:
            shown: dict[str, Any] = {
                "failed": lambda source, error: failures.append((source, error)),
                "progress": lambda finished, total: bar("poll", finished, total),
            }
            done = poll(services, one, **shown) if one else poll_due(services, **shown)
        if any(source.kind == "cap" and not report.unchanged for source, report in done):
            send(services)  # a warning does not wait for the scheduler
        prints.say_polled(done, failures)
        if not console.options.json:
            asked = [source for source, _ in (*done, *failures)]
            _say_new_alarms(services, asked)
            if not asked:
                console.say(_nothing_due(services))
        if failures:
            raise typer.Exit(1)


def _dry_run(services: Services, chosen: Sequence[Source]) -> None:
    trials: list[Trial] = []
    with console.progress({"poll": "Asking 抓取"}) as bar:
        for source in chosen:
            trials.append(try_source(services, source))
            bar("poll", len(trials), len(chosen))
    if console.options.json:
        found = [{"source": one.source.slug} | texts.trial_values(one, services.zone) for one in trials]
        console.say("", sources=found)
    else:
        for trial in trials:
            prints.say_preview(trial, services.zone, services.city)
        if not trials:
            console.say(_nothing_due(services))
    if any(trial.failed for trial in trials):
        raise typer.Exit(1)


def _slugs(services: Services) -> set[str]:
    return {one.slug for one in services.sources.list()}


def _finds_nothing(trial: Trial) -> bool:
    """Whether a list or stream of warnings was read without one entry; a young feed may be empty."""
    preview = trial.preview
    found = preview is not None and (preview.rows or preview.prepared.skipped or preview.prepared.same)
    return trial.source.kind != "feed" and not found


def _why_not(source: Source) -> str:
    """Why a source is not polled, and what to do; ``""`` if it is."""
    slug = source.slug
    if source.kind not in POLLED:
        return f"{slug} is a {source.kind} source, which is never polled."
    if source.paused:
        return f"{slug} is paused; `mycity sources pause {slug} --resume` lets it be polled."
    if source.held_at:
        return f"{slug} is held; look at it (`sources show {slug}`), then `mycity sources release {slug}`."
    if source.gone_at:
        return f"{slug} has ended for good (410); give it a new address (`sources change {slug} --url …`)."
    return ""


def _next_poll(services: Services, source: Source) -> str:
    if objection := _why_not(source):
        return objection.rstrip(".")
    when = texts.ahead(source.next_poll_at, services.clock.now())
    return "it is due now: the next round reads it" if when == "now" else f"it is read again {when}"


def _nothing_due(services: Services) -> str:
    """One sentence: nothing is due, and when something will be."""
    polled = [one for one in services.sources.list() if not _why_not(one) and one.next_poll_at]
    if not polled:
        return "Nothing is due, and no source is waiting to be polled; `mycity sources list --all` shows all."
    first = min(polled, key=lambda one: (one.next_poll_at is not None, one.next_poll_at))
    when = texts.ahead(first.next_poll_at, services.clock.now())
    return (
        f"Nothing is due; the next is {first.slug}, {when}. `mycity sources poll {first.slug}` asks it now."
    )


def _say_new_alarms(services: Services, asked: Sequence[Source]) -> None:
    before = {one.id: one.alarm for one in asked}
    for source, health in services.sources.healths(services.clock.now(), before) if before else ():
        if health.alarm and health.alarm not in (before[source.id], "held"):
            console.say(f"⚠ {source.slug}: {health.en}")
