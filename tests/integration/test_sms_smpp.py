"""SMPP against an independent message centre: what is sent, refused, lost and received."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from delivery.channels.smpp import SmppChannel
from delivery.errors import RetryableError, ThrottledError, UnknownOutcomeError
from delivery.sms_errors import RefusedNumberError
from delivery.sms_inbound import Inbound
from delivery.sms_text import segments
from delivery.types import Receipt, SmsMessage
from feeds.kernel.errors import UsageError
from tests.smscserver import Smsc


class Heard:
    """Collects what a channel was told."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.texts: list[Inbound] = []
        self.fail = 0
        self._news = threading.Condition()

    def __call__(self, receipts: Sequence[Receipt], texts: Sequence[Inbound]) -> None:
        with self._news:
            if self.fail:
                self.fail -= 1
                raise OSError("the disk is full")
            self.receipts += receipts
            self.texts += texts
            self._news.notify_all()

    def wait(self, fits: Callable[[Heard], bool]) -> None:
        until = time.monotonic() + 5
        with self._news:
            while not fits(self):
                assert self._news.wait(max(0.01, until - time.monotonic())), (self.receipts, self.texts)


@pytest.fixture(scope="module")
def smsc() -> Iterator[Smsc]:
    server = Smsc()
    yield server
    server.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def open_channel(smsc: Smsc, heard: Heard) -> Iterator[Callable[..., SmppChannel]]:
    made: list[SmppChannel] = []

    def open_(url: str = "", **more: Any) -> SmppChannel:
        more = {"answer_seconds": 2.0, "connect_seconds": 2.0, "on_event": heard, "pauses": (0.05,)} | more
        more.setdefault("calm_seconds", 0.2)
        made.append(SmppChannel(url or smsc.url(), **more))
        return made[-1]

    yield open_
    for channel in made:
        channel.close()


def text(to: str, words: str = "【示例市公告】测试。拒收请回复R") -> SmsMessage:
    return SmsMessage(to, "digest-zh-1", {}, words, segments(words, to.startswith("+86")), "d1")


def test_a_text_is_taken_and_its_receipt_arrives(
    smsc: Smsc, heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel()
    accepted = channel.send(text("+8613800000010"))
    heard.wait(lambda h: bool(h.receipts))
    assert accepted.provider == "smpp" and accepted.ref
    assert heard.receipts[0].provider_ref == accepted.ref
    assert (heard.receipts[0].state, heard.receipts[0].code) == ("delivered", "DELIVRD")
    (seen,) = smsc.submits("+8613800000010", least=1)
    assert seen["text"] == "【示例市公告】测试。拒收请回复R"
    assert (seen["coding"], seen["registered"], seen["from"]) == (8, 1, "10690000")
    smsc.wait(lambda item: item.get("receipt") == accepted.ref and item.get("status") == 0)


def test_receipts_in_optional_parameters_and_failures(
    heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel()
    by_parameter, undeliverable = (
        channel.send(text("+8613800000008")).ref,
        channel.send(text("+8613800000005")).ref,
    )
    heard.wait(lambda h: len(h.receipts) == 2)
    states = {receipt.provider_ref: (receipt.state, receipt.code) for receipt in heard.receipts}
    assert states == {by_parameter: ("delivered", "DELIVRD"), undeliverable: ("failed", "UNDELIV 027")}


def test_a_long_text_travels_in_parts_that_join(
    smsc: Smsc, heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    words = "【示例市公告】" + "水价🙂" * 40 + "👨‍👩‍👧‍👦" * 4
    accepted = open_channel().send(text("+8613800000020", words))
    seen = smsc.submits("+8613800000020", least=len(accepted.ref.split(",")))
    assert "".join(part["text"] for part in seen) == words
    assert [part["udh"][-4:] for part in seen] == [
        f"{len(seen):02x}{number:02x}" for number in range(1, len(seen) + 1)
    ]
    assert len({part["udh"][6:8] for part in seen}) == 1  # one reference for all
    refs = accepted.ref.split(",")
    heard.wait(lambda h: len(h.receipts) == len(seen))
    assert sorted(refs) == sorted(receipt.provider_ref for receipt in heard.receipts)


def test_abroad_the_gsm_alphabet_is_used(smsc: Smsc, open_channel: Callable[..., SmppChannel]) -> None:
    channel = open_channel()
    words = "[City] Water 3 € / m³? Überfällig @ 10:00_{x}".replace("³", "3")
    channel.send(text("+4915100000010", words))
    channel.send(text("+4915100000030", "x" * 161))
    (seen,) = smsc.submits("+4915100000010", least=1)
    assert (seen["text"], seen["coding"]) == (words, 0)
    assert [len(part["text"]) for part in smsc.submits("+4915100000030", least=2)] == [153, 8]


def test_wrong_password_is_said_and_costs_nothing(
    smsc: Smsc, open_channel: Callable[..., SmppChannel]
) -> None:
    with pytest.raises(RetryableError, match=r"ESME_RBINDFAIL.*check user, password") as caught:
        open_channel(smsc.url("wrong")).send(text("+8613800000040"))
    assert "wrong" not in str(caught.value)
    assert smsc.submits("+8613800000040") == []


def test_nobody_there(open_channel: Callable[..., SmppChannel]) -> None:
    with pytest.raises(RetryableError, match="cannot be reached"):
        open_channel("smpp://city:right@127.0.0.1:9").send(text("+8613800000041"))


def test_throttled_then_quiet_then_taken(smsc: Smsc, open_channel: Callable[..., SmppChannel]) -> None:
    channel = open_channel(calm_seconds=30.0)
    with pytest.raises(ThrottledError, match="ESME_RTHROTTLED"):
        channel.send(text("+8613800000001"))
    with pytest.raises(ThrottledError, match="a moment ago"):
        channel.send(text("+8613800000050"))  # nothing is sent while it asked for quiet
    assert smsc.submits("+8613800000050") == []
    channel._not_before = 0.0
    assert channel.send(text("+8613800000001")).ref


def test_a_number_that_does_not_exist(open_channel: Callable[..., SmppChannel]) -> None:
    with pytest.raises(RefusedNumberError, match="ESME_RINVDSTADR") as caught:
        open_channel().send(text("+8613800000002"))
    assert caught.value.reason == "invalid"


def test_a_line_lost_after_submission_is_unknown_and_the_next_text_goes(
    smsc: Smsc, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel()
    with pytest.raises(UnknownOutcomeError, match="broke before"):
        channel.send(text("+8613800000003"))
    assert len(smsc.submits("+8613800000003", least=1)) == 1
    assert channel.send(text("+8613800000060")).ref  # connected anew by itself


def test_no_answer_is_unknown(open_channel: Callable[..., SmppChannel]) -> None:
    with pytest.raises(UnknownOutcomeError, match=r"did not answer within 0\.2 s"):
        open_channel(answer_seconds=0.2).send(text("+8613800000004"))


def test_a_throttled_later_part_is_waited_for(smsc: Smsc, open_channel: Callable[..., SmppChannel]) -> None:
    accepted = open_channel().send(text("+8613800000007", "中" * 100))
    assert len(accepted.ref.split(",")) == 2
    assert len(smsc.submits("+8613800000007", least=4)) == 4  # one, two refused, one


def test_a_text_from_a_resident_alone_and_in_parts(
    smsc: Smsc, heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    before = sum("bound" in item for item in smsc.said)
    open_channel().listen()
    smsc.wait(lambda item: sum("bound" in said for said in smsc.said) > before)
    smsc.order(**{"from": "8613800000070", "text": [{"message": "退订"}]})
    heard.wait(lambda h: len(h.texts) == 1)
    assert (heard.texts[0].from_number, heard.texts[0].text, heard.texts[0].to) == (
        "+8613800000070",
        "退订",
        "10690000",
    )
    parts = [{"udh": "0500037f0202", "message": "二"}, {"udh": "0500037f0201", "message": "一"}]
    smsc.order(**{"from": "8613800000070", "text": parts})
    heard.wait(lambda h: len(h.texts) == 2)
    assert heard.texts[1].text == "一二"
    assert heard.texts[0].ref != heard.texts[1].ref


def test_what_could_not_be_stored_is_not_confirmed(
    smsc: Smsc, heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel()
    channel.send(text("+8613800000006"))  # bound now, and no receipt
    heard.fail = 1
    smsc.order(**{"from": "8613800000071", "text": [{"message": "DY"}]})
    assert smsc.wait(lambda item: item.get("handed") == "DY")["status"] == 8  # ESME_RSYSERR: send it again
    first, second = {"udh": "050003110201", "message": "前"}, {"udh": "050003110202", "message": "后"}
    smsc.order(**{"from": "8613800000072", "text": [first]})
    assert smsc.wait(lambda item: item.get("handed") == "前")["status"] == 0
    heard.fail = 1
    for status in (8, 0):  # refused and sent again: the first part is still there
        smsc.said.clear()
        smsc.order(**{"from": "8613800000072", "text": [second]})
        assert smsc.wait(lambda item: item.get("handed") == "后")["status"] == status
    assert heard.texts[-1].text == "前后"


def test_asking_later(open_channel: Callable[..., SmppChannel]) -> None:
    channel, at = open_channel(), datetime(2026, 10, 12, tzinfo=UTC)
    delivered = channel.ask("d1", "1001,1003", "+8613800000010", at)
    assert delivered is not None and (delivered.state, delivered.out_id) == ("delivered", "d1")
    assert channel.ask("d1", "1001,1002", "+8613800000010", at) is None  # one part is on its way
    assert channel.ask("d1", "", "+8613800000010", at) is None


def test_the_line_is_kept_alive_and_closed_politely(
    smsc: Smsc, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel(quiet_seconds=0.1)
    channel.send(text("+8613800000080"))
    smsc.wait(lambda item: "pulse" in item)
    before = sum("unbound" in item for item in smsc.said)
    channel.close()
    smsc.wait(lambda item: sum("unbound" in said for said in smsc.said) > before)


def test_many_threads_share_one_line(
    smsc: Smsc, heard: Heard, open_channel: Callable[..., SmppChannel]
) -> None:
    channel = open_channel(smsc.url(more="&window=4"))
    bound = sum("bound" in item for item in smsc.said)
    refs: list[str] = []

    def work(start: int) -> None:
        for number in range(25):
            refs.append(channel.send(text(f"+86139{start:04}{number:02}10")).ref)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard.wait(lambda h: len(h.receipts) == 200)
    assert sorted(refs) == sorted(receipt.provider_ref for receipt in heard.receipts)
    assert len(set(refs)) == 200
    assert sum("bound" in item for item in smsc.said) == bound + 1


@pytest.mark.parametrize(
    "url", ["http://x", "smpp://", "smpp://host:99999", "smpp://host?window=0", "smpp://u:geheim@?rate=x"]
)
def test_a_wrong_address_is_said_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="Write the message centre's address") as caught:
        SmppChannel(url)
    assert "geheim" not in str(caught.value)
