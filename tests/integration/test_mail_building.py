"""Preparing in batches: the same as one by one, chosen once, fixed, and rebuilt the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from api.jobs import building, joining
from api.jobs.building import build, prepare
from api.settings import read_settings
from api.wiring import Services
from api.wiring import build as join_parts
from delivery.carried import CarriedStore
from delivery.channels.email import EmailChannel
from delivery.errors import DeliveryError, PermanentError, RetryableError, SuppressedError
from delivery.types import Delivery, MailMessage, NewDelivery, Prepared, SmsMessage
from feeds.desk.editing import SYSTEM
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock, to_micros
from profiles.editions import NewEdition
from profiles.types import FollowedPlace, Pick, Reason
from tests.factories import NOW, new_notice, profile

WINDOW = (NOW - timedelta(hours=20), NOW + timedelta(hours=4))


class Town:
    """A few notices and readers, and rows as planning leaves them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        tags = ("theme:04", "theme:0402")
        self.notices = services.notices.add(
            [
                new_notice(
                    f"n{n}", title=f"【示例】公告第{n}号", published=NOW - timedelta(hours=n), tags=tags
                )
                for n in range(6)
            ],
            at=NOW,
        )

    def reader(self, number: int, **changes: Any) -> int:
        contacts = {"email": f"reader{number}@mail.example", "phone": f"1380000{number:04}", "verified": True}
        wish = profile(places=(FollowedPlace("sl"),), **changes)
        return joining.join(self.services, wish, **contacts).profile.id

    def edition(self, reader: int, notices: list[int], *, reason: Reason | None = None) -> None:
        picks = [Pick(n, 1, "new", (reason or Reason("interest", ("theme:0402",), 1.0),)) for n in notices]
        shelf = self.services.editions.shelf(reader)
        with (
            self.services.database.write() as connection
        ):  # what the welcome edition took may come again here
            connection.exec_driver_sql("DELETE FROM shelf")
        assert self.services.editions.append([NewEdition(reader, "daily", picks, NOW, 0)]) != [None], shelf

    def rows(self, readers: list[int], *, channel: str = "email", key: str = "a") -> list[Delivery]:
        recipe = {
            "kind": "digest",
            "window": [to_micros(one) for one in WINDOW],
            "lang": "zh-Hans",
            "template": "",
        }
        new = [
            NewDelivery(
                f"digest:{n}:{channel}:{key}",
                n,
                channel,
                "digest",
                NOW,
                NOW + timedelta(hours=9),
                recipe,
                frozen=False,
            )
            for n in readers
        ]
        self.services.outbox.enqueue(new, NOW)
        wanted = {one.dedupe_key for one in new}
        return [row for row in self.services.outbox.recent(1000)[::-1] if row.dedupe_key in wanted]


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Iterator[Town]:
    made = join_parts(
        read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example"),
        clock=FixedClock(NOW),
        database=database,
        demo=True,
    )
    yield Town(made)


def mail(found: Prepared) -> MailMessage:
    assert isinstance(found.message, MailMessage), found
    return found.message


def fixed(found: Prepared) -> Delivery:
    """The row as it is stored after its recipe was fixed."""
    assert found.recipe is not None
    return replace(found.row, frozen=True, recipe=found.recipe, notices=tuple(sorted(found.notices)))


def test_many_are_prepared_as_one_by_one_and_fixed_ones_are_rebuilt(town: Town) -> None:
    readers = [town.reader(n, personalised=n != 2, discreet=n == 3) for n in range(5)]
    for n, reader in enumerate(readers):
        town.edition(reader, town.notices[n % 3 : n % 3 + 3])
    rows = town.rows(readers)
    together = prepare(town.services, rows)
    alone = [prepare(town.services, [row])[0] for row in rows]
    assert [one.row.id for one in together] == [row.id for row in rows]
    assert [mail(one) for one in together] == [mail(one) for one in alone]
    assert [len(one.notices) for one in together] == [3] * 5
    again = prepare(town.services, [fixed(one) for one in together])
    assert [mail(one) for one in again] == [mail(one) for one in together]
    assert all(one.recipe is None and not one.notices for one in again)
    town.services.view_shelf.__init__()  # type: ignore[misc]
    assert [mail(one) for one in prepare(town.services, [fixed(one) for one in together])] == [
        mail(one) for one in together
    ]


def test_a_fixed_digest_stays_as_it_was_though_notices_and_editions_change(town: Town) -> None:
    reader = town.reader(1)
    town.edition(reader, town.notices[:2])
    first = prepare(town.services, town.rows([reader]))[0]
    town.edition(reader, town.notices[2:4])
    changed = town.services.notices.get(town.notices[0])
    content = replace(changed.content, title="【示例】改过的题目")
    town.services.notices.revise(
        changed.id,
        content,
        tags=changed.tags,
        level=changed.level,
        place=changed.place,
        actor=SYSTEM.name,
        note="改",
        major=False,
        at=NOW + timedelta(minutes=1),
    )
    again = mail(prepare(town.services, [fixed(first)])[0])
    assert (again.subject, again.text, again.html) == (
        mail(first).subject,
        mail(first).text,
        mail(first).html,
    )
    assert "改过的题目" not in again.text


def test_what_a_digest_carries(town: Town) -> None:
    services = town.services
    plain, muting = town.reader(1), town.reader(2)
    old = services.notices.add(
        [new_notice("old", published=NOW - timedelta(days=8), tags=("theme:0402",))], at=NOW
    )
    for reader in (plain, muting):
        town.edition(reader, [*town.notices[:3], *old])
    services.notices.set_state(town.notices[1], "withdrawn", frm=("released",), at=NOW)
    joining.mute(services, muting, "theme:04")
    first, second = prepare(services, town.rows([plain, muting]))
    assert [n for n, _ in first.notices] == [town.notices[0], town.notices[2]]
    assert (second.message, second.error, second.why) == (None, None, "muted")


def test_a_channel_carries_a_pick_once_and_a_copy_is_another_reader(town: Town) -> None:
    services, reader = town.services, town.reader(1)
    town.edition(reader, town.notices[:2])
    [row] = town.rows([reader])
    claimed = services.outbox.claim(["digest"], 10, NOW, timedelta(minutes=5))
    assert [one.id for one in claimed] == [row.id]
    first = prepare(services, claimed)
    assert services.outbox.freeze(first, NOW)
    town.edition(reader, town.notices[:3])
    second = prepare(services, town.rows([reader], key="b"))[0]
    assert [n for n, _ in second.notices] == [town.notices[2]]
    sms = prepare(services, town.rows([reader], channel="sms"))[0]
    assert isinstance(sms.message, SmsMessage)
    assert len(sms.notices) == 3


@pytest.mark.parametrize(
    "state", ["cancelled", "expired", "skipped", "failed", "suppressed", "sent", "unknown"]
)
def test_what_never_left_does_not_count_as_brought(town: Town, state: str) -> None:
    services, reader = town.services, town.reader(1)
    town.edition(reader, town.notices[:2])
    first = prepare(services, _claimed(town, reader))
    services.outbox.freeze(first, NOW)
    with services.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET state = '{state}'")
    second = prepare(services, town.rows([reader], key="b"))[0]
    assert len(second.notices) == (0 if state in ("sent", "unknown") else 2)


def test_only_the_last_month_is_looked_through(town: Town) -> None:
    services, reader = town.services, town.reader(1)
    town.edition(reader, town.notices[:2])
    services.outbox.freeze(prepare(services, _claimed(town, reader)), NOW)
    store = CarriedStore(services.database)
    assert store.pairs([reader], town.notices, NOW + timedelta(days=29))
    assert not store.pairs([reader], town.notices, NOW + timedelta(days=31))


def _claimed(town: Town, reader: int) -> list[Delivery]:
    town.rows([reader])
    return town.services.outbox.claim(["digest"], 10, NOW, timedelta(minutes=5))


def test_what_a_resident_sees_is_told_for_mails_alone(town: Town) -> None:
    services, plain, discreet = town.services, town.reader(1), town.reader(2, discreet=True)
    for reader in (plain, discreet):
        town.edition(reader, town.notices[:3])
    seen, hidden = prepare(services, town.rows([plain, discreet]))
    texted = prepare(services, town.rows([plain], channel="sms"))[0]
    assert seen.shown == tuple((n, 1.0) for n, _ in seen.notices)
    assert len(seen.shown) == 3
    assert (hidden.shown, texted.shown) == ((), ())
    assert hidden.message is not None
    assert texted.message is not None


def test_two_digests_of_one_reader_in_one_batch_share_nothing(town: Town) -> None:
    reader = town.reader(1)
    town.edition(reader, town.notices[:2])
    found = prepare(town.services, [*town.rows([reader], key="a"), *town.rows([reader], key="b")])
    assert [len(one.notices) for one in found] == [2, 0]
    assert found[1].why == "empty"


def test_one_broken_row_spoils_no_other(town: Town) -> None:
    readers = [town.reader(n) for n in range(3)]
    for reader in readers:
        town.edition(reader, town.notices[:1])
    rows = town.rows(readers)
    rows[1] = replace(rows[1], recipe={"kind": "digest", "lang": "zh-Hans"})  # no window
    strange = replace(rows[2], id=999, recipe={"kind": "of another version"})
    found = prepare(town.services, [*rows, strange])
    assert [type(one.error) for one in found] == [type(None), RetryableError, type(None), PermanentError]
    assert [one.message is not None for one in found] == [True, False, True, False]


def test_who_left_stopped_or_never_confirmed_gets_nothing(town: Town) -> None:
    services = town.services
    readers = [town.reader(n) for n in range(4)]
    for reader in readers:
        town.edition(reader, town.notices[:1])
    rows = town.rows(readers)
    joining.stop_channel(services, readers[0], "email")
    services.contacts.put(readers[1], "email", "victim@mail.example", at=NOW)
    joining.erase(services, readers[2])
    services.channels = {"email": EmailChannel("smtp://127.0.0.1:9")}
    found = prepare(services, rows)
    assert [type(one.error) for one in found] == [SuppressedError] * 3 + [type(None)]
    with pytest.raises(SuppressedError):
        build(services, rows[0])


def test_reads_do_not_grow_with_the_rows(town: Town) -> None:
    readers = [town.reader(n) for n in range(9)]
    for reader in readers:
        town.edition(reader, town.notices[:3])
    rows = town.rows(readers)
    prepare(town.services, rows[:2])
    asked: list[str] = []
    engine = town.services.database.engine
    event.listen(engine, "before_cursor_execute", lambda *found: asked.append(found[2]))
    prepare(town.services, rows[2:5])
    few = len(asked)
    asked.clear()
    prepare(town.services, rows[5:9])
    assert len(asked) <= few


def test_only_who_agreed_gets_counted_addresses(town: Town) -> None:
    from api.jobs import engagement

    services = town.services
    agreed, silent, discreet = town.reader(1), town.reader(2), town.reader(3, discreet=True)
    for reader in (agreed, silent, discreet):
        town.edition(reader, town.notices[:2])
    for reader in (agreed, discreet):
        engagement.agree(services, reader)
    rows = town.rows([agreed, silent, discreet])
    first, second, third = (mail(one) for one in prepare(services, rows))
    own = engagement.link_of(services, rows[0].id, town.notices[0])
    assert own in first.html
    assert own in first.text
    assert engagement.pixel_of(services, rows[0].id) in first.html
    for other in (second, third):
        assert "/r/" not in other.html + other.text
        assert "<img" not in other.html


def test_bounces_come_back_to_an_address_of_each_mail(town: Town) -> None:
    reader = town.reader(1)
    town.edition(reader, town.notices[:1])
    [row] = town.rows([reader])
    assert mail(prepare(town.services, [row])[0]).envelope_from == ""
    town.services.settings = town.services.settings.model_copy(
        update={"mail_bounces": "bounces.shili.example"}
    )
    path = mail(prepare(town.services, [row])[0]).envelope_from
    assert path.startswith(f"b+{row.id}-")
    assert path.endswith("@bounces.shili.example")


def test_the_shelf_of_views_stays_small(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.digest_views._KEPT", 4)
    readers = [town.reader(n) for n in range(3)]
    for n, reader in enumerate(readers):
        town.edition(reader, town.notices[n : n + 3])
    prepare(town.services, town.rows(readers))
    shelf = town.services.view_shelf
    assert all(len(kept) <= 4 for kept in shelf._told.values())
    assert len(shelf._notices) <= 4


def test_every_kind_and_channel_has_somebody(town: Town) -> None:
    assert {"digest", "confirm", "alert", "reply"} <= building.MAKERS.keys()
    assert {"email", "sms", "webhook", "webpush", "wechat", "apprise"} <= building.COMPOSERS.keys()
    assert issubclass(SuppressedError, DeliveryError)
