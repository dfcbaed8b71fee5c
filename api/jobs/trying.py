"""Tries a source and tells every step: what was asked, what came, what would be made of it. Stores nothing.

So that an editor sees where a source breaks and what to do. Called by ``mycity sources test``, and by
``sources add`` and ``sources poll`` with ``--dry-run``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from feeds.intake.ingest import Preview
from feeds.intake.rules import Rule, read_rules
from feeds.intake.schedule import Hints, Standing, hints_of, next_poll
from feeds.intake.source_settings import checked
from feeds.intake.sources import Source
from feeds.intake.types import Oddity
from feeds.kernel.answers import Answer, Hop, HttpStatusError, hops_of
from feeds.kernel.errors import BadInputError, BlockedAddressError, FetchError

if TYPE_CHECKING:
    from api.wiring import Services

State = Literal["ok", "odd", "bad"]
_SHOWN = 5
_CAP_NAME = b"urn:oasis:names:tc:emergency:cap"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how it went, and what there is to know, a line each."""

    name: str
    state: State
    said: tuple[str, ...]


@dataclass(slots=True)
class Trial:
    """What came of trying a source.

    Attributes:
        preview: What would be stored; ``None`` where a step failed.
        body: The beginning of what came, where it could not be read.
    """

    source: Source
    steps: list[Step] = field(default_factory=list)
    preview: Preview | None = None
    body: bytes = b""

    @property
    def failed(self) -> bool:
        """Whether a step failed."""
        return any(step.state == "bad" for step in self.steps)


class _Watched:
    """The guarded client, with the first answer remembered: pages of single entries come after it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.first: Answer | None = None

    def get(self, url: str, **asked: Any) -> Answer:
        return self._note(self._client.get(url, **asked))

    def post(self, url: str, **asked: Any) -> Answer:
        return self._note(self._client.post(url, **asked))

    def _note(self, answer: Answer) -> Answer:
        self.first = self.first or answer
        return answer


def candidate(url: str, at: datetime, **settings: Any) -> Source:
    """Make a source that is not stored, to be tried.

    Raises:
        UsageError: If a setting does not fit.
    """
    blank: dict[str, Any] = {item.name: "" for item in fields(Source)}
    blank |= dict.fromkeys(
        ("place", "next_poll_at", "last_polled_at", "last_ok_at", "held_at", "gone_at", "last_new_at",
         "alarm_at")
    )  # fmt: skip
    blank |= dict.fromkeys(
        ("id", "failures", "polls", "ttl_s", "moved_count", "last_status", "last_entries"), 0
    )
    blank |= {
        "slug": "candidate", "name": url, "kind": "feed", "url": url, "trust": 50, "interval_s": 3600,
        "paused": False, "created_at": at, "recipe": {}, "rules": [], "tags": [], "release": "publish",
        "full_text": False,
    }  # fmt: skip
    beside = {"kind": "feed", "url": url, "recipe": {}}
    return Source(**(blank | checked(beside | settings)))


def try_source(services: Services, source: Source, client: Any = None) -> Trial:
    """Ask a source and go through every step as a poll would; store nothing.

    Raises:
        UsageError: If it is not a source that can be asked.
    """
    watched, trial = _Watched(client or services.client()), Trial(source)
    try:
        trial.preview = services.ingestor.preview(source, watched)
    except FetchError as error:
        trial.steps.extend(_failed_fetch(error))
        return trial
    except BadInputError as error:
        if watched.first:
            trial.steps.extend(_answered(watched.first))
            trial.body = watched.first.body[:2000]
        trial.steps.append(Step("format", "bad", (str(error), _advice_on_format(source, trial.body))))
        return trial
    if watched.first:
        trial.steps.extend(_answered(watched.first))
    trial.steps.extend(_understood(services, source, trial.preview))
    if watched.first:
        trial.steps.append(_next(services, source, trial.preview, watched.first))
    return trial


# -- asking ------------------------------------------------------------------------------------------


def _failed_fetch(error: FetchError) -> Iterator[Step]:
    hops = hops_of(error)
    answered = [hop for hop in hops if hop.status]
    if answered:
        yield from _way(answered)
    if isinstance(error, HttpStatusError):
        yield Step("status", "bad", (str(error),))
        return
    way = tuple(map(_hop_line, hops[len(answered) :]))
    if isinstance(error, BlockedAddressError):
        yield Step("address", "bad", (*way, str(error)))
        return
    advice = "Open the address in a browser; if it works there, try again later or ask its owner."
    yield Step("connection", "bad", (*way, str(error), advice))


def _answered(answer: Answer) -> Iterator[Step]:
    yield from _way(answer.hops)
    said = [f"{answer.status}, {len(answer.body)} bytes"]
    if answer.moved_to:
        said.append(f"moved for good to {answer.moved_to}; give that address, or three polls will find it")
    yield Step("status", "odd" if answer.moved_to else "ok", tuple(said))
    headers = answer.headers
    kept = [f"{name}: {headers[name]}" for name in ("etag", "last-modified") if headers.get(name)]
    none = "neither ETag nor Last-Modified: every poll costs the whole answer"
    yield Step("validators", "ok" if kept else "odd", tuple(kept) or (none,))
    hints = [
        f"{name}: {headers[name]}"
        for name in ("cache-control", "expires", "age", "retry-after")
        if headers.get(name)
    ]
    yield Step("caching", "ok", tuple(hints) or ("it says nothing",))


def _way(hops: Sequence[Hop]) -> Iterator[Step]:
    if not hops:
        return
    yield Step("address", "ok", tuple(map(_hop_line, hops)))
    tls = hops[-1].tls
    if tls:
        until = f", valid until {tls.valid_until:%Y-%m-%d}" if tls.valid_until else ""
        yield Step("tls", "ok", (f"{tls.version}, certificate of {tls.name or 'nobody named'}{until}",))
    elif hops[-1].status:
        yield Step("tls", "odd", ("none: plain http can be read and changed on its way",))


def _hop_line(hop: Hop) -> str:
    return f"{hop.url} → {hop.address or 'not connected'} → {hop.status or 'no answer'} ({hop.seconds:.2f} s)"


# -- understanding -----------------------------------------------------------------------------------


def _understood(services: Services, source: Source, preview: Preview) -> Iterator[Step]:
    from feeds.intake.charset import decode

    prepared = preview.prepared
    body = preview.fetched.body
    declared = preview.fetched.headers.get("content-type", "")
    text, odd = decode(body, declared)
    said = f"{_encoding_of(body, text)}; declared: {declared or 'nothing'}"
    yield Step("encoding", "odd" if odd else "ok", (said, *(oddity.message for oddity in odd)))
    parsed = prepared.parsed
    about = [f"{parsed.format or source.kind}: {parsed.title or 'no title'}"]
    leads_to_cap = source.kind == "feed" and (b"application/cap+xml" in body or _CAP_NAME in body)
    about += ["it holds warnings (CAP): with --kind cap they are told as such"] if leads_to_cap else []
    about += [f"hub: {parsed.hub}"] if parsed.hub else []
    about += [f"asks for {parsed.ttl_s // 60} minutes between polls"] if parsed.ttl_s else []
    yield Step("format", "odd" if leads_to_cap else "ok", tuple(about))
    yield _entries(services, preview)
    counts = Counter(oddity.problem for oddity in prepared.oddities)
    first = {oddity.problem: oddity for oddity in reversed(prepared.oddities)}
    yield Step(
        "oddities",
        "odd" if counts else "ok",
        tuple(
            f"{name} × {n}: {_place_of(first[name])}{first[name].message}" for name, n in counts.most_common()
        )
        or ("none",),
    )
    yield _decisions(services, source, preview)
    if source.rules:
        yield Step("rules", "ok", tuple(_rules(source, preview)))
    yield _holds(preview)


def _place_of(oddity: Oddity) -> str:
    return f"entry {oddity.line}: " if oddity.line else ""


def _encoding_of(body: bytes, text: str) -> str:
    """Name the encoding that a body was read in, among the common ones."""
    for name in ("utf-8-sig", "gb18030", "big5hkscs", "utf-16"):
        try:
            if body.decode(name).lstrip("\ufeff") == text.lstrip("\ufeff"):
                return name.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    return "not read without loss in any common encoding"


def _entries(services: Services, preview: Preview) -> Step:
    rows = [row for row, _, _ in preview.rows]
    if not preview.prepared.read:
        # An ordinary feed, or a stream of warnings on a calm day, may have none.
        misfit = any(oddity.problem == "no-items" for oddity in preview.prepared.oddities)
        said_none = "none; if the page shows some, the recipe does not fit it (any more)"
        return Step("entries", "bad" if misfit else "odd", (said_none,))
    said = [
        f"{preview.prepared.read} read"
        + (f", {preview.prepared.dropped} not usable" if preview.prepared.dropped else "")
    ]
    for row in rows[:_SHOWN]:
        when = row.content.published
        shown = f"{when.astimezone(services.zone):%Y-%m-%d %H:%M}" if when else "no date"
        if when and row.content.published_precision != "instant":
            shown = f"{when.astimezone(services.zone):%Y-%m-%d}"
        said.append(f"{shown} [{row.content.lang}] {row.content.title[:80]} {row.content.url}".rstrip())
    undated = sum(row.content.published is None for row in rows)
    said += [f"{undated} without a date"] if undated else []
    return Step("entries", "odd" if undated == len(rows) else "ok", tuple(said))


def _decisions(services: Services, source: Source, preview: Preview) -> Step:
    counts = Counter(decision.action for _, decision, _ in preview.rows)
    said = [
        ", ".join(
            f"{counts[name]} {name}" for name in ("new", "changed", "same", "duplicate") if counts[name]
        )
    ]
    if source.polls == 0:
        said.append(
            "a first poll is archive: searchable, but only what is newer than 7 days is picked or pushed"
        )
    if preview.flood:
        said.append("most of it is new all of a sudden: it would be held until an editor releases the source")
    alike = [(row, like) for row, _, like in preview.rows if like]
    others = services.notices.many(like.notice_id for _, like in alike)
    for row, like in alike[:_SHOWN]:
        other = others.get(like.notice_id)
        title = other.content.title[:60] if other else ""
        said.append(f"{row.content.title[:40]}: {like.kind} of notice {like.notice_id} {title} ({like.why})")
    if len(alike) > _SHOWN:
        said.append(f"… and {len(alike) - _SHOWN} more that other sources said too")
    return Step(
        "decisions",
        "odd" if preview.flood else "ok",
        tuple(part for part in said if part) or ("nothing to decide",),
    )


def _rules(source: Source, preview: Preview) -> Iterator[str]:
    skipped = Counter(rule for _, rule in preview.prepared.skipped)
    rows = [(row.content.title, f"{row.content.title} {row.text}") for row, _, _ in preview.rows]
    for rule in read_rules(source.rules):
        yield f"{rule.line} → {_effect(rule, rows, skipped)}"
    if skipped["include"]:
        yield f"no include rule holds → {skipped['include']} left out"


def _effect(rule: Rule, rows: Sequence[tuple[str, str]], skipped: Counter[str]) -> str:
    from feeds.catalogue.words import one_form

    if rule.action == "exclude":
        return f"{skipped[rule.line]} left out"
    held = sum(rule.holds(one_form(title), one_form(text)) for title, text in rows)
    done = {"include": "taken", "tag": f"tagged {rule.tag}", "review": "for an editor first"}
    return f"{held} {done[rule.action]}"


def _holds(preview: Preview) -> Step:
    holds = Counter(row.hold for row, decision, _ in preview.rows if row.hold and decision.action != "same")
    if not holds:
        return Step("holds", "ok", ("nothing waits for an editor",))
    return Step("holds", "odd", tuple(f"{n} × for an editor: {why}" for why, n in holds.most_common()))


def _next(services: Services, source: Source, preview: Preview, answer: Answer) -> Step:
    now = services.clock.now()
    new = any(decision.action == "new" for _, decision, _ in preview.rows)
    standing = Standing(
        slug=source.slug,
        number=source.polls + 1,
        interval_s=source.interval_s,
        ttl_s=preview.prepared.parsed.ttl_s,
        last_new_at=now if new or source.polls == 0 else source.last_new_at,
        urgent=source.kind == "cap",
        hints=hints_of(answer.headers, now) if answer.headers else Hints(),
    )
    told = next_poll(standing, now)
    when = f"in {told.wait_s // 60} minutes" if told.at else "never"
    why = f"{told.why} decides"
    if told.why == "interval":
        why = f"its interval of {source.interval_s // 60} min, spread by a few"
    return Step("next poll", "ok", (f"{when}; {why}",))


def _advice_on_format(source: Source, body: bytes) -> str:
    if source.kind == "feed" and _CAP_NAME in body:
        return "These are warnings (CAP): give --kind cap."
    if source.kind == "feed" and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return (
            'It is a JSON list: describe it in a file with kind = "json", and give --kind json --file FILE.'
        )
    if source.kind in ("json", "html", "csv"):
        return "Compare its recipe with what came (below); the page may have changed."
    if source.kind == "cap":
        return "If it is an ordinary feed, leave --kind cap out."
    return "If it is a list and no feed, describe it in a file and give --file; see docs/sources.md."
