from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.channels import smpp_pdu as pdu
from delivery.channels.smpp_pdu import BadPacketError, Short, decode_short, part_of, parts_of, text_of
from delivery.channels.smpp_words import classify, read_receipt
from delivery.errors import PermanentError, RetryableError, ThrottledError
from delivery.sms_errors import RefusedNumberError
from delivery.sms_text import GSM_ALPHABET, GSM_EXTENDED, graphemes, segments, split, units

NOW = datetime(2026, 10, 12, tzinfo=UTC)
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
GSM_TEXT = st.text(st.sampled_from([*(GSM_ALPHABET.replace("\x1b", "")), *GSM_EXTENDED]), max_size=500)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=500)


@given(
    ASCII, ASCII, st.binary(max_size=140), st.integers(0, 255), st.integers(0, 255),
    st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=30), max_size=4),
)  # fmt: skip
def test_what_is_written_is_read(
    source: str, destination: str, data: bytes, esm: int, coding: int, options: dict[int, bytes]
) -> None:
    options.pop(pdu.TAG_MESSAGE_PAYLOAD, None)
    short = Short(source, destination, data, esm, coding, 1, (5, 0), (1, 1), "", options)
    assert decode_short(short.encode()) == short


@given(st.binary(max_size=200))
def test_torn_bytes_are_an_error_and_nothing_else(data: bytes) -> None:
    try:
        short = decode_short(data)
    except BadPacketError:
        return
    part_of(short)
    text_of(short.data, short.coding)
    read_receipt(short, NOW)


@given(GSM_TEXT)
def test_abroad_the_gsm_alphabet_joins_again(text: str) -> None:
    parts = parts_of(text, 9, domestic=False)
    assert len(parts) >= segments(text, False)
    read = []
    for number, part in enumerate(parts, 1):
        body, reference, total, place = part_of(Short("", "", part.data, 0x40 if part.has_header else 0))
        assert (total, place) == (len(parts), number) and reference in (0, 9)
        assert len(body) <= (153 if part.has_header else 160)
        read.append(text_of(body, part.coding))
    assert "".join(read) == text


@given(ANY)
def test_at_home_every_part_is_readable_alone(text: str) -> None:
    parts = parts_of(text, 300, domestic=True)
    read = []
    for part in parts:
        assert part.coding == 8 and len(part.data) <= 140
        body = part_of(Short("", "", part.data, 0x40 if part.has_header else 0))[0]
        piece = body.decode("utf-16-be")  # strict: no half of a pair
        read.append(piece)
    assert "".join(read) == text
    if all(units(cluster) <= 67 for cluster in graphemes(text)):
        assert [list(graphemes(piece)) for piece in read] == [list(graphemes(piece)) for piece in split(text)]


@given(st.text(st.sampled_from("ab€[中🙂"), min_size=140, max_size=330))
def test_one_character_beyond_the_alphabet_shifts_all_of_it(text: str) -> None:
    codings = {part.coding for part in parts_of(text, 1, domestic=False)}
    assert codings == ({8} if "中" in text or "🙂" in text else {0})


def test_other_headers_of_parts() -> None:
    sixteen = Short("", "", bytes([6, 8, 4, 1, 2, 3, 2]) + b"ab", 0x40)
    assert part_of(sixteen) == (b"ab", 0x0102, 3, 2)
    by_option = Short("", "", b"ab", options={0x020C: b"\0\7", 0x020E: b"\2", 0x020F: b"\1"})
    assert part_of(by_option) == (b"ab", 7, 2, 1)
    assert part_of(Short("", "", bytes([4, 5, 2, 1, 1]) + b"ab", 0x40)) == (b"ab", 0, 1, 1)  # a port, no part


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("id:7 sub:001 dlvrd:001 submit date:2610120900 done date:2610120901 stat:DELIVRD err:000 text:",
         {}, ("7", "delivered", "DELIVRD")),
        ("id:7 stat:UNDELIV err:027", {}, ("7", "failed", "UNDELIV 027")),
        ("ID:a-b STAT:rejectd ERR:1", {}, ("a-b", "failed", "REJECTD 1")),
        ("id:7 stat:ACCEPTD err:000", {}, None),
        ("id:7 stat:ENROUTE", {}, None),
        ("", {0x001E: b"12\0", 0x0427: b"\2"}, ("12", "delivered", "DELIVRD")),
        ("", {0x001E: b"12\0", 0x0427: b"\5"}, ("12", "failed", "UNDELIV")),
        ("no receipt at all", {}, None),
    ],
)  # fmt: skip
def test_receipts(text: str, options: dict[int, bytes], expected: tuple[str, str, str] | None) -> None:
    receipt = read_receipt(Short("", "", text.encode(), 4, 0, options=options), NOW)
    found = (receipt.provider_ref, receipt.state, receipt.code) if receipt else None
    assert found == expected


def test_what_a_status_means() -> None:
    assert isinstance(classify(0x58), ThrottledError) and isinstance(classify(0x14), ThrottledError)
    assert type(classify(0x0B)) is RefusedNumberError
    assert type(classify(0x08)) is RetryableError and type(classify(0x45)) is RetryableError
    assert type(classify(0x43)) is PermanentError and "0x99" in str(classify(0x99))
