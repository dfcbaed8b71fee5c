"""Imports every module that declares a table, so that the one MetaData is whole."""

from __future__ import annotations

import delivery.outbox
import feeds.catalogue.tables
import feeds.desk.tables
import feeds.intake.sources
import feeds.intake.websub
import profiles.tables

TABLE_MODULES = (
    feeds.catalogue.tables,
    feeds.desk.tables,
    feeds.intake.sources,
    feeds.intake.websub,
    profiles.tables,
    delivery.outbox,
)
