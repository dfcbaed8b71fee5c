"""Puts rows for copies into the outbox: one beside each planned digest of a resident who has a copy.

Set-based and repeatable: a row that is there stays as it is. It decides nothing about content; the copy
is prepared like its original. Called by ``api.jobs.copying`` right after planning.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, and_, cast, func, literal, null, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from delivery.outbox_tables import IS_QUEUED, delivery
from feeds.kernel.db import Database
from profiles.people_tables import relative_copy

_LANES = ("digest", "immediate")
# What a row of its own begins with; all else is the original's.
_OWN = {
    "dedupe_key", "recipe", "state", "attempts", "created_at", "changed_at", "lease_until", "lease_token",
    "error", "frozen", "begun", "provider", "provider_ref", "segments", "sent_at",
}  # fmt: skip


class CopyRows:
    """Adds the rows of copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, now: datetime) -> int:
        """Add a row for each digest of a resident that is still of use and each copy agreed to before it.

        However far the original came meanwhile: the copy is chosen from the same window, for a reader of its
        own. So nothing is lost if a sender was quicker, or a planning was killed before it came here.

        Returns:
            How many rows are new.
        """
        number = cast(relative_copy.c.id, String)
        text = cast(delivery.c.recipe, String)
        kept = [column for column in delivery.c if column.name not in _OWN and column.name != "id"]
        own = {
            "dedupe_key": delivery.c.dedupe_key + ":copy:" + number,
            # The recipe is an object with sorted keys, and "copy" sorts before all that a digest has.
            "recipe": literal('{"copy":', String) + number + "," + func.substr(text, 2),
            "state": literal("queued"),
            "attempts": literal(0),
            "frozen": literal(0),
            "begun": literal(0),
            "provider": literal(""),
            "provider_ref": literal(""),
            "segments": literal(0),
            "sent_at": null(),
            "created_at": literal(now, delivery.c.created_at.type),
            "changed_at": literal(now, delivery.c.changed_at.type),
            "error": literal(""),
        }
        chosen = (
            select(*kept, *(value.label(name) for name, value in own.items()))
            .join_from(relative_copy, delivery, relative_copy.c.profile_id == delivery.c.profile_id)
            .where(
                relative_copy.c.channel == delivery.c.channel,
                relative_copy.c.confirmed_at.is_not(None),
                relative_copy.c.ended_at.is_(None),
                delivery.c.lane.in_(_LANES),
                delivery.c.state != "cancelled",
                delivery.c.expires_at > now,
                or_(delivery.c.dedupe_key.like("digest:%"), delivery.c.dedupe_key.like("now:%")),
                # At the very same instant only what is still to be prepared counts as planned after the yes.
                or_(
                    delivery.c.created_at > relative_copy.c.confirmed_at,
                    and_(
                        delivery.c.created_at == relative_copy.c.confirmed_at,
                        IS_QUEUED,
                        delivery.c.frozen == 0,
                    ),
                ),
                text.not_like('{"copy":%'),
                text.not_like("{}"),
            )
        )
        names = [column.name for column in kept] + list(own)
        insert = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        statement = insert(delivery).from_select(names, chosen, include_defaults=False)
        with self._database.write() as connection:
            quiet = statement.on_conflict_do_nothing(index_elements=["dedupe_key"])
            return len(connection.execute(quiet.returning(delivery.c.id)).all())
