"""The table of alerts: which stages of which warnings are wholly in the ledger.

Only declares; ``delivery.alert_outbox`` is the only module that reads and writes it.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from feeds.kernel.db import Instant, metadata

# A stage named here need not be looked at again unless new messages of it were planned.
alert_done = Table(
    "alert_done",
    metadata,
    Column("stage", Text, primary_key=True),
    Column("at", Instant, nullable=False),
)
