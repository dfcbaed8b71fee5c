"""Ties the messages of a warning together: first alert, updates, cancellation; one notice a language for all.

Pure: entries, deletions and what the store knows come in, what should happen comes out. The order of the
messages does not matter; only the times they were sent do. Called by ``feeds.intake.ingest`` before
anything is stored; docs/warnings.md tells the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from feeds.intake.fields import clean, one_line
from feeds.intake.types import Deletion, RawEntry
from feeds.kernel.ids import content_hash

_MAX_NAME = 400  # bytes; a guid has room for 500, time and language included
# States of a notice that nothing can bring back; ``cancelled`` is a message taken back before it came.
ENDED = frozenset({"withdrawn", "purged", "cancelled"})
# A chain's guid is a message id, so it ends with a time; what follows is the language of a version.
_VERSION = re.compile(r"(?<=Z)#([a-z0-9-]*)$")
# Of a notice whose chain goes on in another one.
PASSED_ON = "superseded"
StaleReason = Literal["older", "cancelled"]


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What the store knows of a message: the notice that stands for its chain.

    Attributes:
        guid: Of that notice (the one of the chain's first language); ``""`` if it never came to one.
        sent: When the newest message of the chain was sent, as in ``extra["cap"]["sent"]``; or ``""``.
        state: Of the notice, or ``cancelled`` where the cancellation came before the message.
        message: Id of that newest message, as in ``extra["cap"]["id"]``; decides between equal times.
        lang: Language tag of that notice, as in ``extra["cap"]["language"]``.
        versions: Language tag → guid of the other notices of the chain.
        ended: When it was taken back; ``None`` means for good.
    """

    guid: str
    sent: str = ""
    state: str = "released"
    message: str = ""
    lang: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """An entry that changes nothing, and why: ``older`` than what stands, or ``cancelled``."""

    entry: RawEntry
    why: StaleReason


@dataclass(frozen=True, slots=True)
class Resolved:
    """What should happen with the messages of one answer.

    Attributes:
        entries: To land, each under the guid of its chain's notice; one that is already stored under that
            guid is an update of it, always a major one; the message that already stands comes again under
            its guid, and is then the same. ``cap["messages"]`` names all messages that the notice stands
            for. In the order of sending.
        deletions: Notices to withdraw, by guid.
        stale: What changes nothing.
        keys: Guid → ids of all messages that it stands for; remember them (``NoticeStore.add_keys``).
        cancelled: Ids of messages taken back before they came; remember them for notice 0.
        outdated: Guids of notices that the chain goes on without: a language it no longer speaks, or a
            second notice of what turned out to be one chain. To be marked as superseded, without a word.
    """

    entries: tuple[RawEntry, ...]
    deletions: tuple[Deletion, ...]
    stale: tuple[Stale, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cancelled: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()


def message_id(sender: str, identifier: str, sent: datetime) -> str:
    """Name a message the way references do, with its time in UTC so that one instant has one spelling.

    The name is also the guid of a notice, so it is brought into the form that guids keep; senders and
    identifiers that are too long for one are replaced by their digest.
    """
    who = one_line(clean(f"{sender},{identifier}")[0])
    if len(who.encode()) > _MAX_NAME:
        who = f"digest,{content_hash(who)}"
    return f"{who},{stamp(sent)}"


def stamp(instant: datetime) -> str:
    """Write an instant as ``2026-09-26T13:50:00Z``; such texts sort by time."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def message_ids(entries: Iterable[RawEntry], deletions: Iterable[Deletion]) -> frozenset[str]:
    """Every message that an answer tells of or refers to: what to look up before :func:`resolve`."""
    found = {one.guid for one in deletions}
    for entry in entries:
        found |= {_id(entry), *_references(entry)}
    return frozenset(found - {""})


def known_message(notices: Iterable[KnownMessage]) -> KnownMessage:
    """Join what the store holds under one message id (a notice for each language) into one.

    The notice whose guid has no ``#language`` speaks for the chain; of several, one that still stands does,
    else the first by guid. The chain was last heard of when any of its languages was.
    """
    first, *others = sorted(
        notices,
        key=lambda one: (_VERSION.search(one.guid) is not None, one.state in (*ENDED, PASSED_ON), one.guid),
    )
    languages = [one for one in others if one.guid.startswith(f"{first.guid}#")]
    newest = max((first, *languages), key=lambda one: (one.sent, one.message))
    standing = next((one.state for one in languages if one.state not in (*ENDED, PASSED_ON)), first.state)
    return replace(
        first,
        sent=newest.sent,
        message=newest.message,
        state=standing if first.state == PASSED_ON else first.state,
        versions={**{one.lang.lower(): one.guid for one in languages if one.lang}, **first.versions},
    )


def _by_notice(found: Iterable[KnownMessage]) -> list[KnownMessage]:
    """One for each notice, whichever of its messages it was found by."""
    notices: dict[str, KnownMessage] = {}
    for one in found:
        other = notices.get(one.guid, one)
        notices[one.guid] = replace(
            max(one, other, key=lambda each: (each.sent, each.message)),
            lang=one.lang or other.lang,
            versions={**one.versions, **other.versions},
        )
    return list(notices.values())


def _spoken_for(one: KnownMessage) -> KnownMessage:
    """Where only a further language of a chain was found, the notice of its first one is meant."""
    if not one.guid:
        return replace(one, state="cancelled")
    found = _VERSION.search(one.guid)
    if found is None:
        return one
    versions = {found[1]: one.guid, **one.versions}
    return replace(one, guid=one.guid[: found.start()], lang="", versions=versions)


def resolve(
    entries: Sequence[RawEntry], deletions: Sequence[Deletion], known: Mapping[str, KnownMessage]
) -> Resolved:
    """Decide what the messages of one answer change.

    Messages that refer to each other, directly or through what is stored, are one chain. The one sent last
    speaks for it (of two sent in the same second the one with the larger id); all older ones are stale, and
    so is everything sent before a cancellation. A message sent after its chain was cancelled begins a new
    chain.

    Args:
        entries: Of :func:`feeds.intake.parsers.cap.parse_cap`, in any order; those without ``cap`` are
            left out.
        deletions: Likewise; ``guid`` is the message taken back, ``at`` when.
        known: For each of :func:`message_ids` what the store has of this source; missing ones are new.

    Returns:
        The same for every order of the arguments.
    """
    messages = _messages(entries)
    known = {name: _spoken_for(one) for name, one in known.items()}
    chains = _Chains()
    for entry in messages:
        chains.join(_id(entry), *_references(entry))
    for name, one in known.items():
        chains.join(name, *([f"\0{one.guid}"] if one.guid and one.state not in ENDED else []))
    for deletion in deletions:
        chains.join(deletion.guid)
    result = _Result(known)
    said: dict[str, list[RawEntry]] = {}
    for entry in messages:
        said.setdefault(_id(entry), []).append(entry)
    ends: dict[str, list[Deletion]] = {}
    for deletion in deletions:
        ends.setdefault(deletion.guid, []).append(deletion)
    for names in chains.groups():
        ordered = sorted(names)
        told = [entry for name in ordered for entry in said.get(name, ())]
        result.chain(names, told, [one for name in ordered for one in ends.get(name, ())])
    return result.done()


class _Chains:
    """Which messages belong together (union-find over their ids)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def _top(self, name: str) -> str:
        self._above.setdefault(name, name)
        while self._above[name] != name:
            self._above[name] = self._above[self._above[name]]
            name = self._above[name]
        return name

    def join(self, first: str, *others: str) -> None:
        """Put messages into one chain."""
        for other in (first, *others):
            low, high = sorted((self._top(first), self._top(other)))
            self._above[high] = low

    def groups(self) -> list[frozenset[str]]:
        """The chains, without the stand-ins for stored notices."""
        found: dict[str, set[str]] = {}
        for name in self._above:
            if not name.startswith("\0"):
                found.setdefault(self._top(name), set()).add(name)
        return [frozenset(found[top]) for top in sorted(found)]


class _Result:
    """Collects what each chain comes to."""

    def __init__(self, known: Mapping[str, KnownMessage]) -> None:
        self._known = known
        self._entries: list[RawEntry] = []
        self._deletions: list[Deletion] = []
        self._stale: list[Stale] = []
        self._keys: dict[str, tuple[str, ...]] = {}
        self._cancelled: set[str] = set()
        self._outdated: set[str] = set()

    def done(self) -> Resolved:
        return Resolved(
            tuple(sorted(self._entries, key=lambda one: (_sent(one), one.guid))),
            tuple(sorted(self._deletions, key=lambda one: one.guid)),
            tuple(sorted(self._stale, key=lambda one: (_sent(one.entry), one.entry.guid))),
            dict(sorted(self._keys.items())),
            tuple(sorted(self._cancelled)),
            tuple(sorted(self._outdated)),
        )

    def chain(self, names: frozenset[str], told: list[RawEntry], deletions: list[Deletion]) -> None:
        """Decide one chain: its messages' ids, the entries of this answer, what is taken back."""
        stored = _by_notice(self._known[name] for name in sorted(names) if name in self._known)
        live = [one for one in stored if one.state not in ENDED]
        live = [one for one in live if one.state != PASSED_ON] or live
        over = self._over(names, deletions, final=not live)
        fresh = [entry for entry in told if over is None or _sent(entry) > over]
        self._stale += [Stale(one, "cancelled") for one in told if over is not None and _sent(one) <= over]
        cancel = _last_word(deletions)
        ended = [one for one in live if cancel is not None and one.sent <= _at(cancel)]
        left = [one for one in live if one not in ended]
        if cancel is not None:
            self._withdraw(ended, cancel, names)
            if not live and not fresh:
                self._cancelled |= {name for name in names if name not in self._known}
        if fresh:
            anew = over is not None and not left
            self._speak(frozenset(map(_id, fresh)) if anew else names, fresh, left)

    def _over(self, names: frozenset[str], deletions: Sequence[Deletion], *, final: bool) -> str | None:
        """Until when everything that this chain said is taken back; ``None`` if nothing was.

        A message taken back before it came has no time; it ends the chain for good, unless it goes on.
        """
        ends = [_at(one) for one in deletions]
        for name in names:
            one = self._known.get(name)
            if one is not None and one.state in ENDED and (one.ended is not None or final):
                ends.append(stamp(one.ended) if one.ended is not None else "9999")
        return max(ends, default=None)

    def _withdraw(self, notices: Sequence[KnownMessage], cancel: Deletion, names: frozenset[str]) -> None:
        for one in notices:
            self._deletions += [replace(cancel, guid=guid) for guid in (one.guid, *one.versions.values())]
            self._remember(names, one.guid)

    def _speak(self, names: frozenset[str], fresh: list[RawEntry], live: list[KnownMessage]) -> None:
        """Let the newest message speak for what is left of the chain."""
        newest = max((_sent(entry), _id(entry)) for entry in fresh)
        stands = max(live, key=lambda one: (one.sent, one.message, one.guid), default=None)
        late = stands is not None and (stands.sent, stands.message) > newest
        last = [] if late else [entry for entry in fresh if _id(entry) == newest[1]]
        self._stale += [Stale(one, "older") for one in fresh if late or _id(one) != newest[1]]
        guid = stands.guid if stands is not None else _earliest(names)
        lang = stands.lang.lower() if stands is not None else _first_language(fresh)
        versions = dict(stands.versions) if stands is not None else {}
        if stands is not None:
            self._merge(stands, live)
        named = _named(last, guid, lang, {tag.lower(): name for tag, name in versions.items()})
        self._entries += [_standing_for(entry, names) for entry in named]
        spoken = {entry.guid for entry in named}
        if stands is not None and named:
            self._outdated |= {guid, *versions.values()} - spoken
        self._remember(names, guid, *versions.values(), *spoken)

    def _merge(self, stands: KnownMessage, live: Sequence[KnownMessage]) -> None:
        """Two stored notices that turn out to be one chain: the one that speaks last stays."""
        for one in live:
            if one.guid != stands.guid:
                self._outdated |= {one.guid, *one.versions.values()}

    def _remember(self, names: frozenset[str], *guids: str) -> None:
        for guid in guids:
            self._keys[guid] = tuple(sorted(names))


def time_of(message: str) -> str:
    """When a message was sent, from its id; a time that cannot be read sorts last."""
    text = message.rpartition(",")[2]
    return text if text[:1].isdigit() else "9999"


def _messages(entries: Sequence[RawEntry]) -> list[RawEntry]:
    """Entries that are messages, each (message, language) once, in an order of their own."""
    found: dict[str, RawEntry] = {}
    for entry in entries:
        if "cap" in entry.fields and (
            entry.guid not in found or repr(entry.fields) < repr(found[entry.guid].fields)
        ):
            found[entry.guid] = entry
    return [found[guid] for guid in sorted(found)]


def _named(last: Sequence[RawEntry], guid: str, lang: str, versions: Mapping[str, str]) -> list[RawEntry]:
    """Give the languages of the newest message the guids of the chain's notices."""
    if not last:
        return []
    if not lang or (not versions and all(_lang(entry) != lang for entry in last)):
        first = sorted(last, key=lambda one: (_lang(one) in versions, "lang_of" in one.fields, one.guid))
        lang = _lang(first[0])
    named = []
    for entry in last:
        mine = _lang(entry)
        name = guid if mine == lang else versions.get(mine, f"{guid}#{mine}")
        fields = {key: value for key, value in entry.fields.items() if key != "lang_of"}
        named.append(replace(entry, guid=name, fields=fields if name == guid else fields | {"lang_of": guid}))
    return named


def _standing_for(entry: RawEntry, names: frozenset[str]) -> RawEntry:
    return replace(entry, fields={**entry.fields, "cap": {**_cap(entry), "messages": sorted(names)}})


def _first_language(entries: Sequence[RawEntry]) -> str:
    """The language that the earliest message begins with."""
    first = min(entries, key=lambda one: (_sent(one), _id(one), "lang_of" in one.fields, one.guid))
    return _lang(first)


def _earliest(names: Iterable[str]) -> str:
    return min(names, key=lambda name: (time_of(name), name))


def _last_word(deletions: Sequence[Deletion]) -> Deletion | None:
    return max(deletions, key=lambda one: (_at(one), one.reason, one.guid), default=None)


def _at(deletion: Deletion) -> str:
    return stamp(deletion.at) if deletion.at is not None else "9999"


def _id(entry: RawEntry) -> str:
    return str(_cap(entry).get("id", ""))


def _sent(entry: RawEntry) -> str:
    return str(_cap(entry).get("sent", ""))


def _lang(entry: RawEntry) -> str:
    return str(_cap(entry).get("language", "")).lower()


def _references(entry: RawEntry) -> list[str]:
    return [str(one) for one in _cap(entry).get("references") or ()]


def _cap(entry: RawEntry) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry.fields.get("cap") or {}
    return found
