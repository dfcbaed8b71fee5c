"""Confirming an address: again for another one, and never by a program that only follows links."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.jobs import joining
from api.jobs.building import prepare
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.types import MailMessage
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.tokens import derived_secret
from tests.factories import NOW, profile


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    settings = read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example")
    yield build(settings, clock=FixedClock(NOW), database=database, demo=True)


def token(services: Services, reader: int, address: str) -> str:
    return derived_secret(services.key, "confirm", reader, "email", address)


def test_links_that_are_only_followed_confirm_and_stop_nothing(services: Services) -> None:
    reader = joining.join(services, profile(), email="li@mail.example").profile.id
    stop = joining.stop_token(services, reader, "email", at=NOW)
    client = TestClient(create_app(services), base_url=services.settings.base_url)
    for path in (f"/c/{token(services, reader, 'li@mail.example')}", f"/u/{stop}"):
        for headers in ({}, {"Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}):
            assert client.get(path, headers=headers).status_code == 200
        assert client.head(path).status_code in (200, 405)
        assert client.options(path).status_code in (200, 204, 405)
    contact = services.contacts.get(reader, "email")
    assert contact is not None
    assert contact.verified_at is None
    assert services.subscriptions.live(reader, "email") is not None


def test_another_address_is_asked_again_and_the_old_link_confirms_nothing(services: Services) -> None:
    joined = joining.join(services, profile(), email="li@mail.example")
    reader = joined.profile.id
    assert joining.confirm(services, token(services, reader, "li@mail.example")) is not None
    services.contacts.put(reader, "email", "new@mail.example", at=NOW + timedelta(minutes=1))
    joining.ask_to_confirm(services, joined.profile, "email")
    assert joining.confirm(services, token(services, reader, "li@mail.example")) is None
    asked = [row for row in services.outbox.for_profile(reader) if row.recipe.get("kind") == "confirm"]
    prepared = prepare(services, asked)
    messages = [one.message for one in prepared if isinstance(one.message, MailMessage)]
    assert {message.to for message in messages} == {"new@mail.example"}
    assert token(services, reader, "new@mail.example") in messages[-1].text
    assert joining.confirm(services, token(services, reader, "new@mail.example")) is not None
    assert [one.why for one in prepare(services, asked)] == ["confirmed"] * len(asked)
