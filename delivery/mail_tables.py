"""The tables of mail: how many mails a new sender sent on a day. Only declares.

``delivery.mail_store`` is the only module that reads and writes them.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from feeds.kernel.db import metadata

mail_day = Table(
    "mail_day",
    metadata,
    Column("day", Text, primary_key=True),  # local, ISO
    Column("taken", Integer, nullable=False),
)
