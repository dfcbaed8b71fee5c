"""The month's money on both databases: never exceeded, whoever spends it and whoever dies."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from delivery.sms_budget import Limits, Pot, SmsBudget
from delivery.sms_scales import SmsScales
from delivery.sms_weights import Measure
from delivery.types import Receipt, ReceiptState
from feeds.kernel.db import Database

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
ZONE = ZoneInfo("Asia/Shanghai")


def budget(database: Database, total: int = 1000, reserve: int = 0) -> SmsBudget:
    return SmsBudget(database, Limits(total, reserve), ZONE)


def receipt(ref: str, state: ReceiptState = "delivered", out_id: str = "", provider: str = "smpp") -> Receipt:
    return Receipt(provider, ref, state, NOW, "", out_id)


def test_many_threads_never_spend_more_than_there_is(database: Database) -> None:
    """Eight senders, three prices, refusals given back, deaths that keep their money."""
    books = budget(database, total=6_000, reserve=1_000)
    barrier, seen, faults = threading.Barrier(8), [], []

    def work(number: int) -> None:
        try:
            barrier.wait()
            for step in range(15):
                pot: Pot = "alert" if number % 4 == 0 else "calm"
                price = (90, 130, 210)[step % 3]
                attempt = books.reserve(f"d{number}{step}", "aliyun", pot, price=price, segments=1, at=NOW)
                status = books.status(NOW)
                seen.append((status.calm + status.alert, status.calm))
                if attempt is not None and step % 4 != 3:  # every fourth dies here and keeps its money
                    books.settle(attempt, "retry" if step % 4 == 1 else "accepted", at=NOW)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert max(total for total, _ in seen) <= 6_000 and max(calm for _, calm in seen) <= 5_000
    status = books.status(NOW)
    assert status.calm + status.alert > 5_500  # it was a real squeeze
    assert status.refused_at == NOW
    assert sum(status.by_provider.values()) == status.calm + status.alert  # nothing lost, nothing doubled


def test_what_is_kept_for_alerts(database: Database) -> None:
    books = budget(database, total=1000, reserve=400)
    assert books.reserve("d1", "aliyun", "calm", price=300, segments=2, at=NOW) is not None
    assert books.reserve("d2", "aliyun", "calm", price=1, segments=1, at=NOW) is None
    assert books.reserve("d3", "aliyun", "alert", price=400, segments=1, at=NOW) is not None
    assert books.reserve("d4", "aliyun", "alert", price=1, segments=1, at=NOW) is None
    status = books.status(NOW)
    assert (status.left, status.left_calm, status.open_texts) == (0, 0, 2)


def test_months_are_local_and_begin_anew(database: Database) -> None:
    books = budget(database, total=100)
    before = datetime(2026, 10, 31, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    after = datetime(2026, 10, 31, 16, 0, tzinfo=UTC)
    assert books.reserve("d1", "a", "calm", price=100, segments=1, at=before) is not None
    assert books.reserve("d2", "a", "calm", price=1, segments=1, at=before) is None
    assert books.next_month(before) == after
    assert books.reserve("d2", "a", "calm", price=100, segments=1, at=after) is not None
    assert books.next_month(datetime(2026, 12, 5, tzinfo=UTC)) == datetime(2026, 12, 31, 16, tzinfo=UTC)
    late = books.attempts("d1")[0]
    books.settle(late.id, "retry", at=after)  # given back to its own month
    assert books.status(before).calm == 0 and books.status(after).calm == 100


def test_what_the_provider_bills_is_what_is_booked(database: Database) -> None:
    books = budget(database, total=1000)
    attempt = books.reserve("d1", "tencent", "calm", price=10, segments=2, at=NOW)
    assert attempt is not None
    books.settle(attempt, "accepted", at=NOW, ref="s1", segments=3)
    assert books.status(NOW).calm == 30
    books.settle(attempt, "retry", at=NOW)  # a second word on it changes nothing
    assert books.status(NOW).calm == 30
    assert books.attempts("d1")[0].provider_ref == "s1"


def test_an_unknown_outcome_keeps_its_money_until_somebody_knows(database: Database) -> None:
    books = budget(database, total=1000)
    for out_id in ("d1", "d2", "d3"):
        attempt = books.reserve(out_id, "aliyun", "calm", price=100, segments=1, at=NOW)
        assert attempt is not None
        if out_id != "d3":
            books.settle(attempt, "unknown", at=NOW)
    assert (books.status(NOW).calm, books.status(NOW).open_texts) == (300, 3)
    books.noted([receipt("b1", "delivered", "d1", "aliyun")], NOW)
    books.settle(books.attempts("d2")[0].id, "unheard", at=NOW)
    assert books.give_up("d3", NOW) == 1
    assert (books.status(NOW).calm, books.status(NOW).open_texts) == (200, 0)
    assert [books.attempts(out_id)[0].outcome for out_id in ("d1", "d2", "d3")] == [
        "delivered",
        "unheard",
        "given_up",
    ]


@pytest.mark.parametrize("early", [0, 1, 2, 3])
def test_a_text_in_parts_is_delivered_when_all_parts_are(database: Database, early: int) -> None:
    """Receipts may come before the text is recorded; whenever the last one comes, one receipt results."""
    books, parts = budget(database), ["7", "8", "9"]
    attempt = books.reserve("d1", "smpp", "calm", price=1, segments=3, at=NOW)
    assert attempt is not None
    found = [one for part in parts[:early] for one in books.noted([receipt(part)], NOW)]
    at_once = books.settle(attempt, "accepted", at=NOW, ref="7,8,9")
    found += [at_once] if at_once else []
    found += [one for part in parts[early:] for one in books.noted([receipt(part)], NOW)]
    assert [(one.provider_ref, one.out_id, one.state) for one in found] == [("7,8,9", "d1", "delivered")]
    assert books.attempts("d1")[0].outcome == "delivered"
    assert books.noted(found, NOW) == found  # told twice: the same again, and nothing breaks


def test_one_part_that_fails_fails_the_text_at_once(database: Database) -> None:
    books = budget(database)
    attempt = books.reserve("d1", "smpp", "calm", price=1, segments=2, at=NOW)
    assert attempt is not None
    books.settle(attempt, "accepted", at=NOW, ref="7,8")
    (failed,) = books.noted([receipt("8", "failed")], NOW)
    assert (failed.provider_ref, failed.state, failed.out_id) == ("7,8", "failed", "d1")
    assert books.noted([receipt("7")], NOW) == []
    assert books.attempts("d1")[0].outcome == "failed"


@pytest.mark.parametrize("early", [True, False])
def test_a_text_of_one_part(database: Database, early: bool) -> None:
    books = budget(database)
    attempt = books.reserve("d1", "smpp", "calm", price=1, segments=1, at=NOW)
    assert attempt is not None
    found = books.noted([receipt("7")], NOW) if early else []
    at_once = books.settle(attempt, "accepted", at=NOW, ref="7")
    found += [at_once] if at_once else []
    found += [] if early else books.noted([receipt("7")], NOW)
    assert [(one.provider_ref, one.out_id) for one in found] == [("7", "d1")]


def test_receipts_without_our_reference_find_their_text(database: Database) -> None:
    books = budget(database)
    attempt = books.reserve("d5", "tencent", "calm", price=1, segments=1, at=NOW)
    assert attempt is not None
    books.settle(attempt, "accepted", at=NOW, ref="serial-1")
    (known, other) = books.noted(
        [receipt("serial-1", provider="tencent"), receipt("serial-2", provider="tencent")], NOW
    )
    assert (known.out_id, other.out_id) == ("d5", "")


def test_measures_see_slow_failed_and_stuck_texts(database: Database) -> None:
    books = budget(database, total=100_000)

    def text(
        number: int, provider: str, begin: float, outcome: str, answer: float, receipt_after: float = 0
    ) -> None:
        at = NOW - timedelta(minutes=begin)
        attempt = books.reserve(f"d{number}", provider, "calm", price=1, segments=1, at=at)
        assert attempt is not None
        if outcome:
            books.settle(attempt, outcome, at=at + timedelta(seconds=answer), ref=f"r{number}")  # type: ignore[arg-type]
        if receipt_after:
            books.noted(
                [receipt(f"r{number}", "delivered", f"d{number}", provider)],
                at + timedelta(seconds=receipt_after),
            )

    text(1, "aliyun", 10, "accepted", 0.1, 20)
    text(2, "aliyun", 10, "accepted", 11, 20)  # answered late
    text(3, "aliyun", 10, "accepted", 0.1, 301)  # delivered late
    text(4, "aliyun", 10, "accepted", 0.1)  # never reported, though the provider reports
    text(5, "aliyun", 4, "accepted", 0.1)  # not yet
    text(6, "aliyun", 3, "retry", 0.1)
    text(7, "aliyun", 3, "unknown", 20)
    text(8, "aliyun", 3, "refused", 0.1)  # the number's fault, not the provider's
    text(9, "aliyun", 3, "", 0)  # its process died
    text(10, "tencent", 10, "accepted", 0.1)  # reports nothing at all, so nothing is missing
    text(11, "tencent", 20, "retry", 0.1)  # too long ago
    assert books.measures(NOW - timedelta(minutes=15), NOW) == {
        "aliyun": Measure(8, 3, 3),
        "tencent": Measure(1, 0, 0),
    }


def test_old_accounts_are_forgotten_and_months_stay(database: Database) -> None:
    books = budget(database)
    attempt = books.reserve("d1", "smpp", "calm", price=5, segments=1, at=NOW)
    assert attempt is not None
    books.settle(attempt, "accepted", at=NOW, ref="1,2")
    assert books.trim(NOW + timedelta(days=119)) == 0
    assert books.trim(NOW + timedelta(days=121)) == 1
    assert books.attempts("d1") == [] and books.status(NOW).calm == 5


def test_weights_are_kept_with_their_reasons_and_written_once(database: Database) -> None:
    scales = SmsScales(database)
    assert scales.current().version == 0
    assert scales.put(0, {"aliyun": 51, "tencent": 49}, "first", NOW)
    assert not scales.put(0, {"aliyun": 0, "tencent": 100}, "another scheduler", NOW)
    assert scales.put(1, {"aliyun": 41, "tencent": 59}, "slow", NOW + timedelta(minutes=5))
    current = scales.current()
    assert (current.version, dict(current.weights), current.reason) == (
        2,
        {"aliyun": 41, "tencent": 59},
        "slow",
    )
    assert [one.reason for one in scales.history()] == ["slow", "first"]
