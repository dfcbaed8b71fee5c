"""From the bytes of an answer to rows that are ready to be decided and stored; all the work that costs time.

Parses, applies the source's rules, normalises, sanitises, tags, cuts words, works out identities. It
asks no database and no address, and everything it takes and gives can be pickled, so it may run in a
process of its own. Called by :mod:`feeds.intake.ingest`, or for it by ``api.jobs.workshop``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from feeds.catalogue.checks import objection
from feeds.catalogue.fingerprint import Fingerprint, fingerprints
from feeds.catalogue.identity import Identity, identity_of, key_of
from feeds.catalogue.issuers import authorised
from feeds.catalogue.notices import Level, NoticeContent, Priority
from feeds.catalogue.tagging import EDITOR, Tag, Tagger
from feeds.catalogue.vocabulary import City
from feeds.catalogue.words import cut, cut_folded, fold, one_form, one_form_of
from feeds.intake.decide import canonical_url, feed_guids, guid_of
from feeds.intake.normalise import Declared, normalise
from feeds.intake.parsers.choice import parse_answer
from feeds.intake.rules import Rule, Verdict, apply_rules, read_rules
from feeds.intake.sanitise import text_of
from feeds.intake.source_types import Source
from feeds.intake.types import Deletion, Fetched, Oddity, Parsed, RawEntry

if TYPE_CHECKING:
    from feeds.intake.cap_areas import Concerned

DEFAULT_LANG = "zh-Hans"
Areas = tuple[tuple[Tag, ...], Level, str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One entry on its way: normalised, with its name inside its source.

    Attributes:
        hash: Digest of ``content``.
        text: The body as plain text.
        tags, words, identity: Empty, ``None`` and ``None`` where ``finished`` is false.
        hold: Why an editor must look first, or ``""``: ``review-source``, ``untrusted-warning``,
            ``unauthorised-issuer``, ``word:…``, ``id-number``, ``openness``, ``rule:…``.
        finished: False where what is stored already says the same, so that nothing more is needed.
        messages: Ids of the CAP messages that this row stands for; empty for anything else.
        titled: False where upstream gave no title and a stand-in is shown.
    """

    source_id: int
    guid: str
    line: int
    content: NoticeContent
    declared: Declared
    hash: str
    text: str
    tags: tuple[Tag, ...] = ()
    level: Level = "unknown"
    place: str | None = None
    words: tuple[str, ...] | None = None
    identity: Identity | None = None
    hold: str = ""
    finished: bool = False
    messages: tuple[str, ...] = ()
    titled: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one answer brings.

    Attributes:
        parsed: What it said about itself; its entries are taken out, they are in ``rows``.
        read: How many entries there were.
        skipped: Line and rule of the entries that a rule of the source leaves out.
        deferred: How many entries wait for the next poll.
        unchanged: True where nothing has changed since the last poll; then there is nothing else.
        same: How many entries were seen to be the same before they became rows.
        seen: Keys to remember once the rows are stored.
        chains: Name of a warning's notice → ids of all messages it stands for.
        outdated: Names of notices whose warning goes on in another one.
        seconds: Time by stage: ``parse``, ``tag``.
    """

    parsed: Parsed
    rows: tuple[Row, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    deleted: tuple[Deletion, ...] = ()
    read: int = 0
    dropped: int = 0
    skipped: tuple[tuple[int, str], ...] = ()
    deferred: int = 0
    unchanged: bool = False
    same: int = 0
    seen: tuple[int, ...] = ()
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outdated: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


NOTHING = Parsed("", "", "", (), ())
UNCHANGED = Prepared(NOTHING, unchanged=True)


@dataclass(slots=True)
class Work:
    """What is counted on the way."""

    oddities: list[Oddity] = field(default_factory=list)
    dropped: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)


class Preparer:
    """Prepares answers for one city; build it once a process, the tagger's automaton is large."""

    def __init__(self, city: City, tagger: Tagger) -> None:
        self._city, self._tagger = city, tagger
        self._agencies = _agency_names(city)

    def read(
        self, source: Source, fetched: Fetched, now: datetime, known: Mapping[str, str] | None = None
    ) -> Prepared:
        """Read an answer whole.

        Args:
            source: Who was asked.
            fetched: A full answer.
            now: For dates that lie in the future.
            known: Entry's name → digest of what is stored: rows that say the same are left unfinished.

        Raises:
            BadInputError: If the answer is not what the source's kind promises.
        """
        started = perf_counter()
        parsed = self.parse(source, fetched)
        spent = perf_counter() - started
        prepared = self.rows(source, parsed, now, known)
        return replace(prepared, seconds=_sum(prepared.seconds, {"parse": spent}))

    def parse(self, source: Source, fetched: Fetched) -> Parsed:
        """Read an answer's entries, in the format of the source's kind.

        Raises:
            BadInputError: If it is something else.
        """
        return parse_answer(source.kind, source.recipe, fetched, self.zone(source))

    def zone(self, source: Source) -> ZoneInfo:
        """Where a source's dates without a zone belong."""
        return ZoneInfo(source.timezone or self._city.timezone)

    def rows(
        self, source: Source, parsed: Parsed, now: datetime, known: Mapping[str, str] | None = None
    ) -> Prepared:
        """Make rows of entries; one that is said twice is left out and reported."""
        started = perf_counter()
        rules = _rules(tuple(source.rules))
        work = Work(list(parsed.oddities))
        for oddity in parsed.oddities:
            work.dropped += oddity.dropped
        drafts = [
            draft for draft in (self.draft(source, entry, now, work) for entry in parsed.entries) if draft
        ]
        named = list(_once(drafts, work))
        parsing = perf_counter() - started
        started = perf_counter()
        rows: list[Row] = []
        fresh: dict[int, Verdict] = {}  # place among the rows → what the rules say
        for row in named:
            verdict = apply_rules(rules, row.content.title, row.text)
            if verdict.skipped:
                work.skipped.append((row.line, verdict.skipped))
                continue
            if not known or known.get(row.guid) != row.hash:
                self._watch_areas(source, row, work)
                fresh[len(rows)] = verdict
            rows.append(row)
        finished = self.finish_all(source, [rows[at] for at in fresh], [*fresh.values()])
        for at, row in zip(fresh, finished, strict=True):
            rows[at] = row
        return Prepared(
            parsed=replace(parsed, entries=()),
            rows=tuple(rows),
            oddities=tuple(work.oddities),
            deleted=parsed.deleted,
            read=len(parsed.entries) + sum(oddity.dropped for oddity in parsed.oddities),
            dropped=work.dropped,
            skipped=tuple(work.skipped),
            seconds={"parse": parsing, "tag": perf_counter() - started},
        )

    def draft(self, source: Source, entry: RawEntry, now: datetime, work: Work) -> Row | None:
        """Normalise an entry and name it; ``None`` where it says nothing at all."""
        result = normalise(
            entry,
            zone=self.zone(source),
            default_lang=source.lang or DEFAULT_LANG,
            now=now,
            sample_mark=self._city.sample_mark,
            vocabulary=self._city,
            agency=source.agency,
            agencies=self._agencies,
        )
        work.oddities.extend(result.oddities)
        if result.content is None:
            work.dropped += 1
            return None
        content = result.content
        cap = content.extra.get("cap")
        messages = tuple(cap.get("messages") or (cap.get("id"),)) if isinstance(cap, Mapping) else ()
        return Row(
            source_id=source.id,
            guid=guid_of(entry.guid, content),
            line=entry.line,
            content=content,
            declared=result.declared,
            hash=content.hash(),
            text=text_of(content.body),
            messages=tuple(str(one) for one in messages if one),
            titled=all(oddity.problem != "no-title" for oddity in result.oddities),
        )

    def finish(self, source: Source, row: Row, verdict: Verdict | None = None) -> Row:
        """Tag a row, cut its words, work out what it is recognised by, and look for objections."""
        return self.finish_all(source, [row], None if verdict is None else [verdict])[0]

    def finish_all(
        self, source: Source, rows: Sequence[Row], verdicts: Sequence[Verdict] | None = None
    ) -> list[Row]:
        """Do what :meth:`finish` does for each, and faster.

        One step after the other, since each has a dictionary of its own and finds it at hand then; and
        a text is folded once, for tags, words and objections.
        """
        if verdicts is None:
            rules = _rules(tuple(source.rules))
            verdicts = [apply_rules(rules, row.content.title, row.text) for row in rows]
        folded = [fold(row.text) for row in rows]
        forms = [one_form_of(text) for text in folded]
        holds = [self._hold(source, *each) for each in zip(rows, forms, verdicts, strict=True)]
        tagged = [self._tagged(source, *each) for each in zip(rows, forms, verdicts, strict=True)]
        words = [(*_name_words(row), *cut_folded(text)) for row, text in zip(rows, folded, strict=True)]
        prints = fingerprints([row.text for row in rows])
        identities = [self._identity(row, printed) for row, printed in zip(rows, prints, strict=True)]
        return [
            Row(
                row.source_id, row.guid, row.line, row.content, row.declared, row.hash, row.text,
                *found, some, identity, hold, finished=True, messages=row.messages, titled=row.titled,
            )
            for row, found, some, identity, hold in zip(rows, tagged, words, identities, holds, strict=True)
        ]  # fmt: skip

    def _tagged(self, source: Source, row: Row, text: str, verdict: Verdict) -> Areas:
        """All tags of a row, its level and its place; ``text`` is in the form of ``one_form``."""
        content = row.content
        guessed = self._tagger.tag_forms(
            title=one_form(content.title.removeprefix(self._city.sample_mark)),
            text=text,
            agency=one_form(content.agency),
            doc_type=content.doc_type,
            upstream=content.upstream_tags,
            region=one_form(content.region),
        )
        chosen = [*self._given(source, verdict), *self.chosen(row.declared)]
        areas = self._areas(source, content)
        placed, level, where = areas or ((), *self._jurisdiction(source, row, guessed))
        if areas is not None:
            guessed = tuple(tag for tag in guessed if tag.kind != "place")
        tags = {(tag.kind, tag.code): tag for tag in (*guessed, *placed, *chosen)}
        return tuple(tags.values()), level, where

    def _identity(self, row: Row, printed: Fingerprint) -> Identity:
        if not row.messages:
            return identity_of(row.content, row.text, printed=printed)
        # All warnings of an office may name one page, so the address does not tell them apart.
        keys = [key_of("cap", message) for message in row.messages]
        return identity_of(replace(row.content, url=""), row.text, extra_keys=keys, printed=printed)

    def chosen(self, declared: Declared) -> Iterator[Tag]:
        """Yield the tags that a publisher gave himself, with the themes above them."""
        for name in declared.tags:
            kind, _, code = name.partition(":")
            yield Tag(kind, code, EDITOR, 1.0)
            if parent := self._parent(kind, code):
                yield Tag(kind, parent, EDITOR, 1.0)

    def _given(self, source: Source, verdict: Verdict) -> Iterator[Tag]:
        """Tags that the source's settings and rules give, with the themes above them."""
        causes = [(name, f"source:{source.slug}") for name in source.tags]
        for name, cause in (*causes, *((name, f"source-rule:{source.slug}") for name in verdict.tags)):
            if not self._city.known(name):
                continue  # the city's files have changed since
            kind, _, code = name.partition(":")
            yield Tag(kind, code, cause, 1.0)
            if parent := self._parent(kind, code):
                yield Tag(kind, parent, cause, 1.0)

    def _parent(self, kind: str, code: str) -> str:
        return self._city.themes[code].parent if kind == "theme" and code in self._city.themes else ""

    def _jurisdiction(self, source: Source, row: Row, guessed: Sequence[Tag]) -> tuple[Level, str | None]:
        declared = row.declared.place
        region, place = ("", declared) if declared else (row.content.region, source.place)
        return self._tagger.jurisdiction(tags=() if declared else guessed, region=region, source_place=place)

    def _areas(self, source: Source, content: NoticeContent) -> Areas | None:
        """Where a warning has force: the places of its areas, not those its text happens to name.

        ``None`` where nothing is known of its areas, or it is no warning.
        """
        concerned = self._concerned(source, content)
        if concerned is None:
            return None
        codes = concerned.codes
        if not codes:
            return ((), "elsewhere", None) if concerned.elsewhere else None
        tags = [Tag("place", code, "cap:area", 1.0) for code in codes]
        wider = dict.fromkeys(above for code in codes for above in self._city.ancestors(code))
        tags += [Tag("place", code, "cap:area", 0.3) for code in wider if code not in codes]
        level, where = self._tagger.jurisdiction(tags=(), region="", source_place=codes[0])
        return tuple(tags), level, where

    def _concerned(self, source: Source, content: NoticeContent) -> Concerned | None:
        cap = content.extra.get("cap")
        if not isinstance(cap, Mapping):
            return None
        from feeds.intake.cap_areas import places_of

        return places_of(cap.get("areas") or (), self._city, source_place=source.place)

    def _watch_areas(self, source: Source, row: Row, work: Work) -> None:
        """Say which places of a warning were not understood: somebody there might not be told."""
        concerned = self._concerned(source, row.content)
        if concerned is None:
            return
        if concerned.unknown:
            names = "、".join(concerned.unknown)[:200]
            message = f"The area {names} is no place that this city knows; tag the notice by hand if it is."
            work.oddities.append(Oddity(row.line, "areas", "unknown-area", message))
        if concerned.guessed:
            message = "No area was understood; the warning is taken to concern the source's own place."
            work.oddities.append(Oddity(row.line, "areas", "guessed-area", message))

    def _hold(self, source: Source, row: Row, text: str, verdict: Verdict) -> str:
        """Why an editor must look first; ``text`` is in the form of ``one_form``."""
        content = row.content
        found = objection(self._city.checks, f"{one_form(content.title)} {text}", content.openness)
        if found:
            return found
        if verdict.review:
            return f"rule:{verdict.review}"
        if source.release == "review":
            return "untrusted-warning" if source.kind == "cap" else "review-source"
        return "" if self._may_warn(source, content) else "unauthorised-issuer"

    def _may_warn(self, source: Source, content: NoticeContent) -> bool:
        """Whether the issuer table lets a warning out at once; anything else is no matter of the table."""
        cap = content.extra.get("cap")
        if not isinstance(cap, Mapping) or "AllClear" in (cap.get("response") or ()):
            return True
        names = (f"sender:{cap.get('sender')}", f"source:{source.slug}", f"agency:{content.agency_slug}")
        event = f"{cap.get('event') or ''} {content.title}"
        return authorised(self._city.issuers, names, event, str(cap.get("severity"))).allowed


def priority_of(source: Source, row: Row) -> Priority:
    """How urgent a row is: upstream's own word counts for files and warnings, never for feeds and lists."""
    return row.declared.priority if source.kind in ("file", "desk", "cap") else "normal"


def _name_words(row: Row) -> list[str]:
    """The words of what a notice is called and who says it, which stand before those of its text."""
    content = row.content
    return cut(" ".join((content.title, content.title_en, content.doc_no, content.agency)))


def _once(rows: Sequence[Row], work: Work) -> Iterator[Row]:
    guids = feed_guids([(row.guid, canonical_url(row.content.url)) for row in rows])
    seen: set[str] = set()
    for row, guid in zip(rows, guids, strict=True):
        if guid in seen:
            message = f"The entry {guid[:80]!r} is said twice; once is enough."
            work.oddities.append(Oddity(row.line, "id", "duplicate-id", message, dropped=True))
            work.dropped += 1
            continue
        seen.add(guid)
        yield row if guid == row.guid else replace(row, guid=guid)


@lru_cache(maxsize=4096)
def _rules(lines: tuple[str, ...]) -> tuple[Rule, ...]:
    return read_rules(lines)


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    names: Iterable[str] = dict.fromkeys((*one, *other))
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in names}


def _agency_names(city: City) -> dict[str, str]:
    names: dict[str, str] = {}
    for slug, agency in city.agencies.items():
        for name in (agency.label.zh, agency.label.en, *agency.aliases):
            names.setdefault(name, slug)
    return names
