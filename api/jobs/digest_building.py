"""Chooses and writes digests: which picks of its window a row brings, and what they say to its reader.

A digest is chosen at its first preparation (what was not brought before, still stands and is not too old) and
fixed as a recipe, which gives the same subject and bodies ever after. It never sends, never writes the outbox
(the caller fixes the recipe) and never ranks. Called by ``api.jobs.building``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from api.digest_views import Asked, digest_views, stamp_of
from api.jobs.building import SURFACES, message_for
from api.jobs.recipients import Recipient, recipients
from api.wiring import Services
from delivery.carried import CarriedStore, copy_of
from delivery.compose import TEMPLATE_VERSION
from delivery.errors import DeliveryError
from delivery.types import Delivery, Digest, Prepared
from feeds.catalogue.notices import Notice
from feeds.kernel.time import from_micros
from profiles.match import hides, kinship, reach
from profiles.tokens import LinkTarget, derived_secret
from profiles.types import Edition, Pick, Profile

# Only what is at most this old is ever pushed or mailed (an archive never floods anybody).
PUSHED_AGE = timedelta(days=7)
# What a weekly digest tells was known a while before it was picked. A week may be an hour short.
_WEEK, _GRACE = timedelta(days=6, hours=22), timedelta(days=1)


def make(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
    """Make the digests of rows; those that have nothing to say come back without a message."""
    readers = recipients(services, rows)
    done: list[Prepared] = []
    wanted: list[Delivery] = []
    for row in rows:
        reader = readers[row.id]
        if isinstance(reader, DeliveryError):
            done.append(Prepared(row, error=reader))
        else:
            wanted.append(row)
    people = {row_id: one for row_id, one in readers.items() if isinstance(one, Recipient)}
    frozen = [row for row in wanted if row.frozen]
    chosen = _fixed(services, frozen)
    stamp = stamp_of(services)
    chosen += _choose(services, [row for row in wanted if not row.frozen], people, stamp)
    return (
        done
        + _written(services, [one for one in chosen if one.picks], people, stamp)
        + [Prepared(one.row, why=one.why or "empty") for one in chosen if not one.picks]
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A row with what it will carry; ``recipe`` where this was found out just now."""

    row: Delivery
    picks: Sequence[Pick]
    revisions: Mapping[int, int]
    recipe: Mapping[str, Any] | None = None
    why: str = ""


def _fixed(services: Services, rows: Sequence[Delivery]) -> list[_Chosen]:
    """What rows carry whose recipe is fixed."""
    if not rows:
        return []
    editions = services.editions.many(n for row in rows for n in row.recipe.get("editions", ()))
    chosen = []
    for row in rows:
        own = [editions[n] for n in row.recipe.get("editions", ()) if n in editions]
        own.sort(key=lambda edition: (edition.made_at, edition.id))
        carried = dict(row.notices)
        offered = each_once(own)
        picks = [pick for pick in offered if pick.notice_id in carried]
        chosen.append(_Chosen(row, _placed(picks, offered, row.recipe.get("instead", ())), carried))
    return chosen


def _choose(
    services: Services, rows: Sequence[Delivery], people: Mapping[int, Recipient], stamp: object
) -> list[_Chosen]:
    """Decide what rows carry that are prepared for the first time."""
    if not rows:
        return []
    asked = [(row.profile_id, *window_of(row)) for row in rows]
    editions = [
        [edition for edition in found if edition.kind != "welcome"]
        for found in services.editions.between_many(asked)
    ]
    offered = [each_once(own) for own in editions]
    wanted = {pick.notice_id for picks in offered for pick in picks}
    notices = services.view_shelf.notices(services, wanted, stamp)
    now = services.clock.now()
    carried = CarriedStore(services.database).pairs([row.profile_id for row in rows], list(notices), now)
    muted = _Muted(services)
    first_of = services.notices.languages(notices)
    chosen = []
    for row, own, picks in zip(rows, editions, offered, strict=True):
        reader = (row.profile_id, row.channel, copy_of(row.dedupe_key))
        before = carried.setdefault(reader, set())
        oldest = _oldest(row, now)
        fresh = [
            pick
            for pick in picks
            if (notice := notices.get(pick.notice_id)) is not None
            and notice.state == "released"
            and notice.fresh_at >= oldest
            and (pick.notice_id, pick.revision) not in before
        ]
        kept = [p for p in fresh if not muted.hides(people[row.id].profile, notices[p.notice_id])]
        kept, instead = _one_language(kept, notices, first_of, people[row.id].profile.lang)
        kept = _placed(kept, picks, instead)
        revisions = {pick.notice_id: notices[pick.notice_id].revision for pick in kept}
        before.update(revisions.items())  # two digests of one reader may stand in one batch
        before.update((pick.notice_id, pick.revision) for pick in kept)
        recipe = dict(row.recipe) | {
            "editions": [edition.id for edition in own],
            "template": TEMPLATE_VERSION,
        }
        if instead:
            recipe["instead"] = instead
        chosen.append(_Chosen(row, kept, revisions, recipe, "muted" if fresh else "empty"))
    return chosen


def _one_language(
    picks: Sequence[Pick], notices: Mapping[int, Notice], first_of: Mapping[int, int], lang: str
) -> tuple[list[Pick], list[list[int]]]:
    """Keep one of the versions of a notice: the one in the reader's language, else the better ranked.

    Returns:
        The picks, and who takes whose place: (kept, left out).
    """
    kept: dict[int, Pick] = {}  # first version's id (else its own) → the pick kept of it
    best: dict[int, int] = {}
    for pick in picks:
        family = first_of.get(pick.notice_id, pick.notice_id)
        best.setdefault(family, pick.notice_id)
        held = kept.setdefault(family, pick)
        if not _reads(notices[held.notice_id], lang) and _reads(notices[pick.notice_id], lang):
            kept[family] = pick
    instead = [[one.notice_id, best[key]] for key, one in kept.items() if one.notice_id != best[key]]
    return list(kept.values()), instead


def _reads(notice: Notice, lang: str) -> bool:
    """Whether a notice is in a language; the scripts of one count as one."""
    return notice.content.lang.lower().split("-")[0] == lang.lower().split("-")[0]


def _placed(picks: Iterable[Pick], offered: Sequence[Pick], instead: Iterable[Sequence[int]]) -> list[Pick]:
    """Picks in the order offered, each that stands for another version in that one's place."""
    place = {pick.notice_id: number for number, pick in enumerate(offered)}
    place |= {own: place[other] for own, other in instead if other in place}
    return sorted(picks, key=lambda pick: place[pick.notice_id])


class _Muted:
    """Whether a resident muted a notice since it was picked; each notice is looked at once."""

    def __init__(self, services: Services) -> None:
        self._kin = kinship(services.city)
        self._reach: dict[int, Any] = {}

    def hides(self, profile: Profile, notice: Notice) -> bool:
        if not profile.mutes or notice.priority == "emergency":
            return False
        if notice.id not in self._reach:
            content = notice.content
            self._reach[notice.id] = reach(
                notice.tags, self._kin, level=notice.level, place=notice.place,
                agency=content.agency_slug, title=content.title,
            )  # fmt: skip
        return any(hides(tag, self._reach[notice.id]) for tag in profile.mutes)


def each_once(editions: Iterable[Edition]) -> list[Pick]:
    """Picks of editions (oldest first): newest edition first, each notice once, in its last place."""
    seen: dict[int, Pick] = {}
    for edition in reversed(list(editions)):
        for pick in edition.picks:
            seen.setdefault(pick.notice_id, pick)
    return list(seen.values())


def _oldest(row: Delivery, now: datetime) -> datetime:
    """What became known before is too old to be told; a week's window is told whole, whenever it is sent."""
    start, end = window_of(row)
    grace = _GRACE if end - start >= _WEEK else timedelta(0)
    return min(now, end) - PUSHED_AGE - grace


def window_of(row: Delivery) -> tuple[datetime, datetime]:
    """The half-open window of a digest's editions."""
    start, end = row.recipe["window"]
    return from_micros(start), from_micros(end)


def _written(
    services: Services, chosen: Sequence[_Chosen], people: Mapping[int, Recipient], stamp: object
) -> list[Prepared]:
    """Describe and compose; what cannot be composed is an error of its row alone."""
    stops = _stop_tokens(services, [one.row for one in chosen])
    digests = digest_views(
        services,
        [
            Asked(
                people[one.row.id].profile,
                one.picks,
                one.row.recipe["lang"],
                window_of(one.row),
                SURFACES.get(one.row.channel, "mail"),
                f"{services.settings.base_url}/u/{stops[one.row.id]}" if one.row.id in stops else "",
                one.revisions,
            )
            for one in chosen
        ],
        stamp,
    )
    digests = _followed(services, [one.row for one in chosen], people, digests)
    done = []
    for one, digest in zip(chosen, digests, strict=True):
        reader = people[one.row.id]
        if not digest.entries:
            done.append(Prepared(one.row, why="empty"))
            continue
        try:
            message = message_for(services, one.row, reader.profile, digest, reader.address)
        except DeliveryError as error:
            done.append(Prepared(one.row, error=error))
            continue
        notices = tuple(one.revisions.items()) if one.recipe is not None else ()
        done.append(
            Prepared(one.row, message, recipe=one.recipe, notices=notices, shown=_shown(one, reader, digest))
        )
    return done


def _shown(one: _Chosen, reader: Recipient, digest: Digest) -> tuple[tuple[int, float], ...]:
    """What a resident sees in a mail; texts and discreet mails name too little, a copy is another's."""
    if one.row.channel != "email" or reader.copy is not None or digest.discreet:
        return ()
    chance = {pick.notice_id: pick.propensity for pick in one.picks}
    return tuple([(entry.notice_id, chance[entry.notice_id]) for entry in digest.entries])


def _stop_tokens(services: Services, rows: Sequence[Delivery]) -> dict[int, str]:
    """Row id → token of the one-click stop address; a copy is stopped by its own recipient's token."""
    tokens: dict[int, str] = {}
    targets: dict[str, LinkTarget] = {}
    for row in rows:
        number = row.recipe.get("copy")
        named = ("stop", row.profile_id, row.channel) + (() if number is None else ("copy", number))
        token = derived_secret(services.key, *named)
        tokens[row.id] = token
        if number is None:
            targets[token] = LinkTarget(row.profile_id, row.channel)
    services.tokens.remember_many(targets, "stop", at=services.clock.now())
    return tokens


def _followed(
    services: Services,
    rows: Sequence[Delivery],
    people: Mapping[int, Recipient],
    digests: Sequence[Digest],
) -> list[Digest]:
    """Put in the addresses that count, for those alone who agreed that their openings are counted."""
    mails = [row for row in rows if row.channel == "email" and people[row.id].copy is None]
    agreed = _consenting(services, {row.profile_id for row in mails})
    if not agreed:
        return list(digests)
    engagement: Any = importlib.import_module("api.jobs.engagement")
    counted = {row.id for row in mails if row.profile_id in agreed}
    return [
        replace(
            digest,
            entries=tuple(
                entry
                if entry.sensitive
                else replace(entry, own_url=engagement.link_of(services, row.id, entry.notice_id))
                for entry in digest.entries
            ),
            pixel_url=engagement.pixel_of(services, row.id),
        )
        if row.id in counted and not digest.discreet
        else digest
        for row, digest in zip(rows, digests, strict=True)
    ]


def _consenting(services: Services, profile_ids: set[int]) -> set[int]:
    if not profile_ids:
        return set()
    engagement: Any = importlib.import_module("api.jobs.engagement")
    found: set[int] = engagement.consenting(services, profile_ids)
    return found
