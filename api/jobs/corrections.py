"""Corrections: whoever was sent a text that changed in substance, and only they, hear of it once.

It follows the sequence of material changes: a major revision or a withdrawal reaches, on the same channel,
each resident to whom a message carried an older text, and each relative to whom a copy did; a minor edit has
no number there and reaches nobody. It writes editions and outbox rows; sending does the rest. Run twice or
killed, nothing comes twice: each correction has one key for ever. Emergencies go by ``api.jobs.alerts``.
Called by the scheduler and ``mycity digests plan``; docs/digests.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from api.wiring import Services
from delivery.compose import TEMPLATE_VERSION
from delivery.correction_rows import CorrectionRows, Holder
from delivery.digest_runs import RunStore
from delivery.types import NewDelivery
from delivery.windows import allowed_at, spaced
from feeds.catalogue.notices import Notice
from feeds.kernel.errors import StorageError
from feeds.kernel.time import to_micros
from profiles.editions import NewEdition
from profiles.types import Edition, Pick, Reason, Shelf

_log = structlog.get_logger(__name__)
#: A text that was sent longer ago is not corrected any more: pages and feeds show the change for ever.
CORRECTED_WITHIN = timedelta(days=30)
# A correction waits out a quiet night, a weekend of paused sending too; after that the page has it.
_USEFUL_FOR = timedelta(days=3)
_BATCH = 500
_TICK = timedelta(microseconds=1)


@dataclass(slots=True)
class CorrectionReport:
    """What planning corrections did.

    Attributes:
        notices: Notices whose change somebody was to hear of.
        messages: Corrections put into the outbox.
        replaced: Corrections that still waited and were corrected in turn.
        conflicts: Residents whose shelf moved meanwhile; the next run tells them.
        broken: Notices that could not be told of because of an error of ours; it is logged.
    """

    notices: int = 0
    messages: int = 0
    replaced: int = 0
    conflicts: int = 0
    broken: int = 0


def plan_corrections(services: Services, *, now: datetime | None = None) -> CorrectionReport:
    """Plan a correction for everybody whose pushed text does not stand any more."""
    now = now or services.clock.now()
    rows, report = CorrectionRows(services.database), CorrectionReport()
    upto = services.notices.material_number()
    if upto <= rows.mark():
        return report
    changed = services.notices.many(rows.changed(upto))
    run = rows.run(now) if changed else 0
    for notice in changed.values():
        if "cap" in notice.content.extra:
            continue  # a warning, told by alerts
        try:
            _correct(services, rows, notice, run, now, report)
        except StorageError:
            raise
        except Exception as error:
            # One notice that cannot be told of must not keep the others from being told.
            report.broken += 1
            _log.error("correction_broke", notice=notice.id, error=type(error).__name__)
    if not (report.conflicts or report.broken):
        rows.looked(upto, now)  # else the next run looks again; who was told is not told twice
    if changed:
        RunStore(services.database).count_rows([run])
    return report


def _correct(
    services: Services,
    rows: CorrectionRows,
    notice: Notice,
    run: int,
    now: datetime,
    report: CorrectionReport,
) -> None:
    withdrawn = notice.state == "withdrawn"
    major = None if withdrawn else services.notices.last_major([notice.id])[notice.id].revision
    key = f"fix:{notice.id}:{'withdrawn' if withdrawn else major}:"
    report.replaced += rows.cancel_older(notice.id, key, now)
    after, before = 0, report.messages
    while holders := rows.holders(
        notice.id, key, revision=major, since=now - CORRECTED_WITHIN, after=after, limit=_BATCH
    ):
        people = sorted({one.profile_id for one in holders})
        editions = _editions(services, notice, people, now, report)
        copies = rows.copies(notice.id, people, revision=major, since=now - CORRECTED_WITHIN)
        own = [
            (one, _row(services, notice, key, one, editions[one.profile_id], run, now))
            for one in holders
            if one.profile_id in editions
        ]
        wanted = [
            row
            for one, first in own
            for row in (first, *(_copy(first, n) for n in copies.get((one.profile_id, one.channel), ())))
        ]
        report.messages += services.outbox.enqueue(wanted, now)
        # The last one's other channels may lie beyond the cut; who has a row by now is left out.
        last = holders[-1].profile_id
        after = last - 1 if len(holders) == _BATCH and last - 1 > after else last
    report.notices += report.messages > before


def _row(
    services: Services, notice: Notice, key: str, holder: Holder, edition: int, run: int, now: datetime
) -> NewDelivery:
    due = allowed_at(holder.channel, spaced(holder.pushed_at, now), services.zone)
    return NewDelivery(
        dedupe_key=f"{key}{holder.profile_id}:{holder.channel}",
        profile_id=holder.profile_id,
        channel=holder.channel,
        lane="immediate",
        due_at=due,
        expires_at=due + _USEFUL_FOR,
        recipe={
            "kind": "digest",
            "editions": [edition],
            "lang": holder.lang,
            "template": TEMPLATE_VERSION,
            "window": [to_micros(now), to_micros(now + _TICK)],
        },
        notices=((notice.id, notice.revision),),
        run_id=run,
    )


def _copy(row: NewDelivery, number: int) -> NewDelivery:
    """The same for a relative; a copy that was stopped meanwhile is found out when it is prepared."""
    recipe = {**row.recipe, "copy": number}
    return replace(row, dedupe_key=f"{row.dedupe_key}:copy:{number}", recipe=recipe)


def _editions(
    services: Services, notice: Notice, profile_ids: Sequence[int], now: datetime, report: CorrectionReport
) -> dict[int, int]:
    """Profile → the edition that says the correction: made now, or found where a run was killed before."""
    found: dict[int, int] = {}
    left = sorted(set(profile_ids))
    for _attempt in range(3):
        shelves = services.editions.shelves(left)
        known = _made_before(services, notice, shelves, now)
        found |= known
        wanted = [_edition(notice, shelves[one], now) for one in left if one not in known]
        ids = services.editions.append(wanted) if wanted else []
        made = {one.profile_id: n for one, n in zip(wanted, ids, strict=True) if n is not None}
        found |= made
        left = [one.profile_id for one in wanted if one.profile_id not in made]
        if not left:
            break
    report.conflicts += len(left)
    return found


def _edition(notice: Notice, shelf: Shelf, now: datetime) -> NewEdition:
    pick = Pick(notice.id, notice.revision, "update", (Reason("update"),))
    return NewEdition(shelf.profile_id, "daily", (pick,), now, shelf.version)


def _made_before(
    services: Services, notice: Notice, shelves: Mapping[int, Shelf], now: datetime
) -> dict[int, int]:
    """Profile → its edition that says this correction already."""
    since = notice.changed_at or notice.created_at
    told = [
        shelf.profile_id
        for shelf in shelves.values()
        for item in shelf.picks
        if item.pick.notice_id == notice.id and item.pick.kind == "update" and item.picked_at >= since
    ]
    found: dict[int, int] = {}
    for profile_id in told:
        for edition in services.editions.between(profile_id, since, now + _TICK):
            if _says(edition, notice):
                found[profile_id] = edition.id
    return found


def _says(edition: Edition, notice: Notice) -> bool:
    return any(pick.notice_id == notice.id and pick.kind == "update" for pick in edition.picks)
