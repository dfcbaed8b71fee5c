"""Counting whom each channel reaches: confirmed, suppressed, paused addresses; small counts stay untold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from api.jobs import joining
from api.jobs.reaching import overview
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.reach import Reach
from profiles.tables import subscription
from profiles.types import FollowedPlace
from tests.factories import profile

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    yield build(
        read_settings({}, home=tmp_path, city="shili"), clock=FixedClock(NOW), database=database, demo=True
    )


def test_each_state_counts_where_it_belongs(services: Services) -> None:
    people = [
        joining.join(
            services, profile(roles=("citizen",), places=(FollowedPlace("sl01"),)),
            email=f"p{n}@shili.example", verified=n != 0,
        ).profile.id
        for n in range(5)
    ]  # fmt: skip
    joining.join(services, profile(roles=("tourist",)))
    services.suppressions.add("email", "p1@shili.example", reason="bounced", at=NOW)
    services.suppressions.add(
        "email", "p2@shili.example", reason="bounced", at=NOW, until=NOW - timedelta(days=1)
    )
    away = {"paused_from": NOW - timedelta(days=1), "paused_until": NOW + timedelta(days=1)}
    with services.database.write() as connection:
        connection.execute(update(subscription).where(subscription.c.profile_id == people[3]).values(away))
    found = overview(services)
    assert (found.people, found.silent) == (6, 1)
    mail = next(one for one in found.channels if one.name == "email")
    assert mail.reach == Reach(live=5, reachable=2, unconfirmed=1, suppressed=1)
    assert not mail.real and mail.cost == 0
    joining.stop_channel(services, people[4], "email")
    assert services.reach.by_channel(NOW)["email"].live == 4
    assert overview(services, ["role:tourist"]).people == 1
    assert overview(services, ["place:sl01", "role:tourist"]).people == 6
    assert overview(services, ["theme:04"]).people == 0


def test_something_sensitive_is_never_counted_together_with_something_else(services: Services) -> None:
    for n in range(25):
        joining.join(services, profile(roles=("aid",) if n < 3 else ("citizen",)))
    assert overview(services, ["role:aid", "role:citizen"]).hidden
    assert not overview(services, ["role:citizen"]).hidden


def test_few_people_of_something_sensitive_are_not_counted(services: Services) -> None:
    for n in range(3):
        joining.join(services, profile(roles=("aid",)), email=f"a{n}@shili.example", verified=True)
    found = overview(services, ["role:aid"])
    assert found.hidden and all(one.hidden and one.reach.live == 0 for one in found.channels)
