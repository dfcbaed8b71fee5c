"""Who may run a job now: one row a job, so that two schedulers on one database take turns.

A lease is short and ends by itself; a holder that lives renews all of its own, between its turns and while
a job runs, however long that takes. So a dead holder is noticed after one lease. It reads no clock and runs
nothing. Called by ``api.jobs.scheduler``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from feeds.kernel.db import Database, change_plain, plain_rows
from feeds.kernel.time import from_micros, to_micros

_TAKE = (
    "INSERT INTO job_lease (name, holder, until) VALUES (?, ?, ?) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
    "WHERE job_lease.holder = excluded.holder OR job_lease.until <= ? OR job_lease.until > ?"
)


class JobLeases:
    """Gives each job to one holder at a time.

    Args:
        database: The database that all schedulers share.
        longest: The longest lease anybody asks for. A lease that ends later than that from now was
            written before the clock was set back, and is void.
    """

    def __init__(self, database: Database, longest: timedelta = timedelta(hours=1)) -> None:
        self._database, self._longest = database, longest

    def take(self, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
        """Take or renew the lease of a job; False if somebody else holds it."""
        with self._database.write() as connection:
            values = [name, holder, to_micros(now + lease), to_micros(now), to_micros(now + self._longest)]
            return change_plain(connection, _TAKE, values) > 0

    def renew(self, holder: str, now: datetime, lease: timedelta) -> int:
        """Let all leases of a holder end later; returns how many it has."""
        with self._database.write() as connection:
            values = [to_micros(now + lease), holder]
            return change_plain(connection, "UPDATE job_lease SET until = ? WHERE holder = ?", values)

    def give(self, name: str, holder: str) -> None:
        """Give a lease back before it ends."""
        with self._database.write() as connection:
            change_plain(connection, "DELETE FROM job_lease WHERE name = ? AND holder = ?", [name, holder])

    def holders(self) -> dict[str, tuple[str, datetime]]:
        """Job → (who holds it, until when)."""
        with self._database.read() as connection:
            rows = plain_rows(connection, "SELECT name, holder, until FROM job_lease ORDER BY name")
        return {name: (holder, from_micros(until)) for name, holder, until in rows}
