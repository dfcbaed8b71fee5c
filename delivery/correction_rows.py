"""Finds who holds an old text: which notices changed in substance, and which channels carried them before.

Reads the outbox, the catalogue and the subscriptions at once, so that nobody's rows pass through Python who
need no correction; writes nothing but how far it has looked. Called by ``api.jobs.corrections``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from delivery.carried import copy_of
from delivery.digest_runs import mark_of, open_run
from feeds.kernel.db import Database, marks, plain_rows
from feeds.kernel.time import from_micros, to_micros

# A delivery that somebody read, or may read: a fixed message that still waits will bring its old text.
_HELD = """(d.state IN ('sent', 'delivered', 'unknown', 'leased')
 OR (d.state IN ('queued', 'held') AND d.frozen = 1))"""

_CHANGED = """SELECT n.id FROM notice n WHERE n.material_number > ? AND n.material_number <= ?
 AND n.priority <> 'emergency' AND EXISTS (SELECT 1 FROM delivery_notice c WHERE c.notice_id = n.id)
 AND (n.state = 'withdrawn' OR (n.state = 'released' AND EXISTS (SELECT 1 FROM notice_revision v
 WHERE v.notice_id = n.id AND v.revision > 1 AND v.major)))
 ORDER BY n.material_number, n.id"""
# Each reader's newest text decides: who got the corrected one by any message has nothing to be told.
_HOLDERS = """SELECT d.profile_id, d.channel, s.lang,
 (SELECT MAX(COALESCE(p.sent_at, p.due_at)) FROM delivery p WHERE p.profile_id = d.profile_id
 AND p.lane IN ('immediate', 'digest')
 AND p.state IN ('queued', 'leased', 'sent', 'delivered', 'unknown'))
 FROM delivery_notice c JOIN delivery d ON d.id = c.delivery_id
 JOIN subscription s ON s.profile_id = d.profile_id AND s.channel = d.channel AND s.ended_at IS NULL
 WHERE c.notice_id = ? AND d.profile_id > ? AND d.lane <> 'alert' AND d.dedupe_key NOT LIKE ?
 AND COALESCE(d.sent_at, d.created_at) >= ? AND {held}
 AND NOT EXISTS (SELECT 1 FROM delivery f
 WHERE f.dedupe_key = CAST(? AS TEXT) || d.profile_id || ':' || d.channel)
 GROUP BY d.profile_id, d.channel, s.lang HAVING MAX(c.revision) < ?
 ORDER BY d.profile_id, d.channel LIMIT ?"""
# Relatives whose copy brought an older text; each is corrected beside the resident's own message.
_COPIES = """SELECT d.dedupe_key, d.profile_id, d.channel FROM delivery_notice c
 JOIN delivery d ON d.id = c.delivery_id WHERE c.notice_id = ? AND d.profile_id IN ({marks})
 AND d.dedupe_key LIKE ? AND COALESCE(d.sent_at, d.created_at) >= ? AND {held}
 AND c.revision < ? ORDER BY d.id"""
_WITHDRAWN = 1 << 30  # beyond every revision: whatever text they hold is over


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody whose channel brought them a text that does not stand any more.

    Attributes:
        pushed_at: When the latest push to them went out or is due.
    """

    profile_id: int
    channel: str
    lang: str
    pushed_at: datetime | None


class CorrectionRows:
    """Answers whom a correction concerns.

    Args:
        database: SQLite or PostgreSQL; both behave the same here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def changed(self, upto: int) -> list[int]:
        """Return notices that changed in substance since the last look and that some message carries.

        Emergencies are not among them: alerts tell of their changes.

        Args:
            upto: The newest material number; the next look begins there once :meth:`looked` was said.
        """
        with self._database.read() as connection:
            since = mark_of(connection, "correction")
            return [row[0] for row in plain_rows(connection, _CHANGED, [since, upto])]

    def mark(self) -> int:
        """Return the material number that corrections have looked up to."""
        with self._database.read() as connection:
            return mark_of(connection, "correction")

    def run(self, now: datetime) -> int:
        """Return the run of this hour's corrections."""
        with self._database.write() as connection:
            return open_run(connection, "correction", _hour_of(now), now)

    def looked(self, upto: int, now: datetime) -> None:
        """Write down that every change up to a material number was dealt with."""
        with self._database.write() as connection:
            open_run(connection, "correction", _hour_of(now), now, upto)

    def holders(
        self, notice_id: int, key: str, *, revision: int | None, since: datetime, after: int, limit: int
    ) -> list[Holder]:
        """Return whoever has a live channel that carried an older text, by profile, after a profile id.

        Args:
            notice_id: The notice.
            key: Beginning of the keys of this correction's messages; who has one is left out.
            revision: The major revision that corrects; ``None``: the notice was withdrawn.
            since: Only texts that were sent since then.
            after: Profile id to go on after.
            limit: Most rows. A profile's channels may be cut apart there; the keys keep the rest for
                the next call, so go on with the last profile id less one.
        """
        values = [
            notice_id, after, "%:copy:%", to_micros(since), key, revision or _WITHDRAWN, limit,
        ]  # fmt: skip
        with self._database.read() as connection:
            rows = plain_rows(connection, _HOLDERS.format(held=_HELD), values)
        return [Holder(p, c, lang, None if at is None else from_micros(at)) for p, c, lang, at in rows]

    def copies(
        self, notice_id: int, profile_ids: Sequence[int], *, revision: int | None, since: datetime
    ) -> dict[tuple[int, str], list[int]]:
        """Return (profile, channel) → numbers of the copies that brought relatives an older text.

        Args:
            notice_id: The notice.
            profile_ids: Whose copies; as many as :meth:`holders` gives at once.
            revision: As there.
            since: As there.
        """
        query = _COPIES.format(held=_HELD, marks=marks(profile_ids))
        values = [notice_id, *profile_ids, "%:copy:%", to_micros(since), revision or _WITHDRAWN]
        found: dict[tuple[int, str], list[int]] = {}
        with self._database.read() as connection:
            for key, profile_id, channel in plain_rows(connection, query, values):
                known = found.setdefault((profile_id, channel), [])
                if (number := int(copy_of(key))) not in known:
                    known.append(number)
        return found

    def cancel_older(self, notice_id: int, key: str, now: datetime) -> int:
        """Cancel corrections of the same notice that wait and are corrected in turn."""
        query = (
            "UPDATE delivery SET state = 'cancelled', changed_at = ? WHERE state IN ('queued', 'held') "
            "AND lane = 'immediate' AND dedupe_key LIKE ? AND dedupe_key NOT LIKE ? AND id IN "
            "(SELECT delivery_id FROM delivery_notice WHERE notice_id = ?)"
        )
        values = [to_micros(now), f"fix:{notice_id}:%", f"{key}%", notice_id]
        with self._database.write() as connection:
            text = query if connection.dialect.name == "sqlite" else query.replace("?", "%s")
            return connection.exec_driver_sql(text, tuple(values)).rowcount


def _hour_of(now: datetime) -> int:
    return to_micros(now.replace(minute=0, second=0, microsecond=0))
