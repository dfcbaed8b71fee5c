"""From a resident's text to our answer and its receipt, over a real message centre, and out again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.jobs import receipts
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.sms_pool import SmsPool
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from tests.smscserver import Smsc

NUMBER = "8613800000010"


@pytest.fixture
def smsc() -> Iterator[Smsc]:
    server = Smsc()
    yield server
    server.close()


@pytest.fixture
def services(sqlite: Database, tmp_path: Path, smsc: Smsc) -> Iterator[Services]:
    (tmp_path / "sms.toml").write_text('[smpp.prices]\n"+86" = 0.045\n', encoding="utf-8")
    opened = build(
        read_settings(
            {}, home=tmp_path, city="shili", secret_key="x" * 40, sms_file="sms.toml", sms_providers="smpp",
            sms_budget=5.0, sms_smpp_url=smsc.url(),
        ),
        database=sqlite,
        clock=FixedClock(datetime(2026, 10, 13, 1, 30, tzinfo=UTC)),
    )  # fmt: skip
    yield opened
    for channel in opened.channels.values():
        channel.close()


def until(services: Services, fits: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not fits():
        assert time.monotonic() < end, [(row.state, row.error) for row in services.outbox.recent(5)]
        send(services)
        receipts.take_waiting(services)  # a receipt may be quicker than the row
        time.sleep(0.02)


def test_signing_up_and_leaving_by_text(services: Services, smsc: Smsc) -> None:
    pool = services.channels["sms"]
    assert isinstance(pool, SmsPool)
    pool.listen()
    smsc.wait(lambda item: "bound" in item)
    for count, (word, answer) in enumerate((("DY", "您已订阅"), ("TD", "已退订")), 1):
        smsc.order(**{"from": NUMBER, "text": [{"message": word}]})
        until(services, lambda count=count: len(smsc.submits(NUMBER)) == count)  # type: ignore[misc]
        assert answer in smsc.submits(NUMBER)[-1]["text"]
    until(services, lambda: {row.state for row in services.outbox.recent(5)} == {"delivered"})
    rows = services.outbox.recent(5)
    assert len(rows) == 2 and {row.provider for row in rows} == {"smpp"}
    status = services.sms_budget.status(services.clock.now())
    assert status.calm == sum(row.segments for row in rows) * 450 and status.open_texts == 0
