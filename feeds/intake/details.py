"""Fetches what a list only points to: the page of each new entry, the warning behind each index entry.

Politely: only what is new or looks changed, at most a few pages a poll, the rest waits for the next one.
A page that answers 410 takes its notice back. It stores nothing. Called by :mod:`feeds.intake.ingest`,
in the thread that asked the source.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from feeds.catalogue.identity import key_of
from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.store import NoticeStore
from feeds.intake.decide import guid_of
from feeds.intake.fetch import Client, fetched_of
from feeds.intake.fields import web_address
from feeds.intake.parsers.choice import parse_answer
from feeds.intake.recipes import Recipe, read_recipe
from feeds.intake.sources import Source
from feeds.intake.types import Deletion, Oddity, Parsed, RawEntry
from feeds.kernel.errors import BadInputError, BlockedAddressError, FetchError
from feeds.kernel.http import HttpStatusError
from feeds.kernel.ids import content_hash
from feeds.kernel.time import Clock

MAX_PAGES = 20  # of one source in one poll
MAX_CHECKED = 3  # vanished entries looked after in one poll
VANISHED = timedelta(days=30)
GONE = "410"


@dataclass(slots=True)
class Completed:
    """A source's entries with what their pages said.

    Attributes:
        same: How many known entries the list describes as before; they are taken out.
        deferred: How many entries wait for the next poll; they are taken out too.
        seen: Keys to remember once the rest is stored: index entries that need no second look.
    """

    parsed: Parsed
    same: int = 0
    deferred: int = 0
    seen: tuple[int, ...] = ()


@dataclass(slots=True)
class _Work:
    entries: list[RawEntry] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    deleted: list[Deletion] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    recipe: Recipe | None = None
    same: int = 0
    deferred: int = 0
    pages: int = 0


class Details:
    """Completes the entries of one answer."""

    def __init__(self, notices: NoticeStore, clock: Clock, zone: Callable[[Source], ZoneInfo]) -> None:
        self._notices, self._clock, self._zone = notices, clock, zone

    def complete(self, source: Source, parsed: Parsed, client: Client) -> Completed:
        """Fetch what the entries point to.

        A page that does not answer leaves its entry as the list gave it and is reported: it is not
        worth losing a notice over.
        """
        work = _Work(oddities=list(parsed.oddities), deleted=list(parsed.deleted))
        if source.kind == "cap":
            self._warnings(source, parsed, client, work)
        else:
            self._pages(source, parsed, client, work)
        done = replace(
            parsed,
            entries=tuple(work.entries),
            oddities=tuple(work.oddities),
            deleted=tuple(work.deleted),
        )
        return Completed(done, work.same, work.deferred, tuple(work.seen))

    # -- pages -----------------------------------------------------------------------------------

    def _pages(self, source: Source, parsed: Parsed, client: Client, work: _Work) -> None:
        work.recipe = read_recipe(source.kind, source.recipe) if source.recipe else None
        named = [(_name(entry), _listed(entry), entry) for entry in parsed.entries]
        stored = self._stored(source, [name for name, _, _ in named])
        keys = {
            name: key_of("page", str(source.id), name, listed, *source.rules) for name, listed, _ in named
        }
        today = self._clock.now().date().isoformat()
        failed = {name: key_of("page-failed", str(source.id), name, today) for name, _, _ in named}
        looked = self._notices.cap_known([*keys.values(), *failed.values()])
        for name, listed, entry in named:
            if keys[name] in looked or failed[name] in looked or stored.get(name) == listed:
                work.same += 1
            elif work.pages >= MAX_PAGES:
                work.deferred += 1
            else:
                work.pages += 1
                read = self._page(source, entry, client, work)
                # A page that did not come is tried once a day; its entry lands as the list gave it.
                work.seen.append(failed[name] if read is None else keys[name])
                kept = replace(read, fields={**read.fields, "listed": listed}) if read else entry
                work.entries.append(kept)
        work.deleted.extend(self._gone(source, {name for name, _, _ in named}, client))

    def _stored(self, source: Source, names: list[str]) -> dict[str, str]:
        """What the list said of each known entry when its page was last read."""
        keys = self._notices.known(source.id, names)
        notices = self._notices.many(key.notice_id for key in keys.values())
        return {
            name: str(notices[key.notice_id].content.extra.get("listed") or "")
            for name, key in keys.items()
            if key.notice_id in notices
        }

    def _page(self, source: Source, entry: RawEntry, client: Client, work: _Work) -> RawEntry | None:
        """Complete an entry from its page; ``None`` where the page did not come but may another time."""
        from feeds.intake.page_text import main_text

        url = web_address(str(entry.fields.get("url") or ""))
        if not url:
            return entry
        try:
            accept = "text/html, application/xhtml+xml;q=0.9, */*;q=0.5"
            answer = client.get(url, accept=accept, named_by=source.url or "")
        except FetchError as error:
            work.oddities.append(_odd(entry, "no-page", f"Its page could not be read: {error}"))
            return entry if _is_over(error) else None
        page = main_text(answer.body, answer.headers, answer.url, work.recipe)
        work.oddities.extend(replace(oddity, line=entry.line) for oddity in page.oddities)
        fields = dict(entry.fields)
        if len(page.html) > len(str(fields.get("body") or "")):
            fields["body"], fields["base"] = page.html, answer.url
        for name, value in (
            ("title", page.title),
            ("published", page.published),
            ("attachments", list(page.attachments)),
        ):
            cut_short = name == "title" and str(fields.get(name) or "").endswith(("…", "..."))
            if value and (cut_short or not fields.get(name)):
                fields[name] = value
        return replace(entry, fields=fields)

    def _gone(self, source: Source, names: set[str], client: Client) -> Iterator[Deletion]:
        """Look after a few entries that have left the list: leaving means nothing, 410 means taken back."""
        since = self._clock.now() - VANISHED
        for guid, url in self._notices.vanished(source.id, names, since, MAX_CHECKED):
            try:
                client.get(url, named_by=source.url or "")
            except HttpStatusError as error:
                if error.status == 410:
                    yield Deletion(guid, GONE)
            except FetchError:
                continue

    # -- warnings --------------------------------------------------------------------------------

    def _warnings(self, source: Source, parsed: Parsed, client: Client, work: _Work) -> None:
        keys = {
            entry.line: key_of(
                "cap-url",
                str(source.id),
                str(entry.fields["cap_url"]),
                str(entry.fields.get("published") or ""),
            )
            for entry in parsed.entries
            if entry.fields.get("cap_url")
        }
        seen = self._notices.cap_known(list(keys.values())) if keys else {}
        newest = sorted(parsed.entries, key=lambda one: str(one.fields.get("published") or ""), reverse=True)
        for entry in newest:
            key = keys.get(entry.line)
            if key is None:
                work.entries.append(entry)
            elif key in seen:
                work.same += 1
            elif work.pages >= MAX_PAGES:
                work.deferred += 1
            else:
                work.pages += 1
                self._warning(source, entry, key, client, work)

    def _warning(self, source: Source, entry: RawEntry, key: int, client: Client, work: _Work) -> None:
        url = str(entry.fields["cap_url"])
        try:
            accept = "application/cap+xml, application/xml;q=0.9, */*;q=0.5"
            answer = client.get(url, accept=accept, named_by=source.url or "")
            inner = parse_answer("cap", {}, fetched_of(answer), self._zone(source))
        except (FetchError, BadInputError) as error:
            over = _is_over(error)
            work.oddities.append(_odd(entry, "no-warning", str(error), dropped=over))
            if over:
                work.seen.append(key)
            else:  # asked for again soon: the index itself may stay the same
                work.deferred += 1
            return
        work.entries.extend(replace(one, line=entry.line) for one in inner.entries if "cap" in one.fields)
        work.oddities.extend(replace(oddity, line=entry.line) for oddity in inner.oddities)
        work.deleted.extend(inner.deleted)
        work.seen.append(key)


def _name(entry: RawEntry) -> str:
    """The entry's name inside its source, as it will be once it is normalised."""
    url = web_address(str(entry.fields.get("url") or "").strip())
    return guid_of(entry.guid, NoticeContent(title="", url=url))


def _listed(entry: RawEntry) -> str:
    said: Mapping[str, object] = entry.fields
    return content_hash(json.dumps(said, sort_keys=True, ensure_ascii=False, default=str))


def _is_over(error: Exception) -> bool:
    """Whether asking again makes no sense: there is no such page, or it must not be called."""
    gone = isinstance(error, HttpStatusError) and error.status in (404, 410)
    return gone or isinstance(error, BlockedAddressError)


def _odd(entry: RawEntry, problem: str, message: str, *, dropped: bool = False) -> Oddity:
    return Oddity(entry.line, "", problem, message, dropped)
