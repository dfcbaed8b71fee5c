"""Keeps what sending mail must remember beyond one process: the places a new sender has used on a day.

Several processes share one day, so places are taken here before a mail is sent. Called by the wiring for
``delivery.mail_domains.DailyQuota``.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import delete, select

from delivery.mail_tables import mail_day
from feeds.kernel.db import Database, insert_missing, run_plain


class MailStore:
    """Counts the mails of a day.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, day: date, wanted: int, limit: int) -> int:
        """Take up to ``wanted`` places of a day that has ``limit``; returns how many were left to take."""
        with self._database.write() as connection:
            insert_missing(connection, mail_day, [{"day": day.isoformat(), "taken": 0}], ["day"])
            held = select(mail_day.c.taken).where(mail_day.c.day == day.isoformat()).with_for_update()
            granted = max(0, min(wanted, limit - int(connection.scalar(held) or 0)))
            if granted:
                query = "UPDATE mail_day SET taken = taken + ? WHERE day = ?"
                run_plain(connection, query, (granted, day.isoformat()))
            return granted

    def taken(self, day: date) -> int:
        """How many places of a day are gone."""
        with self._database.read() as connection:
            return connection.scalar(select(mail_day.c.taken).where(mail_day.c.day == day.isoformat())) or 0

    def trim(self, before: date) -> int:
        """Forget the days before one."""
        with self._database.write() as connection:
            return connection.execute(delete(mail_day).where(mail_day.c.day < before.isoformat())).rowcount
