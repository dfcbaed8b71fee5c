"""Imports every module that declares a table, so that the one MetaData is whole."""

from __future__ import annotations

import delivery.alert_tables
import delivery.digest_tables
import delivery.engagement_store
import delivery.hub_tables
import delivery.mail_tables
import delivery.outbox
import delivery.sms_tables
import delivery.webhook_store
import feeds.catalogue.tables
import feeds.desk.tables
import feeds.intake.sources
import feeds.intake.websub
import profiles.people_tables
import profiles.tables

TABLE_MODULES = (
    feeds.catalogue.tables,
    feeds.desk.tables,
    feeds.intake.sources,
    feeds.intake.websub,
    profiles.tables,
    profiles.people_tables,
    delivery.outbox,
    delivery.sms_tables,
    delivery.digest_tables,
    delivery.alert_tables,
    delivery.mail_tables,
    delivery.hub_tables,
    delivery.engagement_store,
    delivery.webhook_store,
)
