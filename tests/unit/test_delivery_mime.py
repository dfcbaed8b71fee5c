from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import PermanentError
from delivery.mime import address, piece, sender_address, to_bytes
from delivery.types import MailMessage, Piece

LONG = "https://city.example/u/" + "x" * 200
MAIL = MailMessage(
    to="resident@mail.example",
    subject="【示例】示例市公告：今天 6 条与您有关（含 1 条明日截止）",
    text="正文\n第二行\n",
    html="<p>正文</p>\n",
    message_id="<d7.0af3@city.example>",
    sender="示例市公告 <notices@city.example>",
    date=datetime(2026, 10, 12, 1, 0, 0, 5, tzinfo=UTC),
    headers=(
        ("List-Id", "<notices.city.example>"),
        ("List-Unsubscribe", f"<{LONG}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ),
)
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=200)


def parsed(message: MailMessage) -> EmailMessage:
    found = email.message_from_bytes(to_bytes(message), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def bodies(message: EmailMessage) -> list[str]:
    return [part.get_content().replace("\r\n", "\n") for part in message.iter_parts()]


def test_round_trip() -> None:
    found = parsed(MAIL)
    assert found["Subject"] == MAIL.subject
    assert found["To"] == MAIL.to
    assert found["From"].addresses[0].display_name == "示例市公告"
    assert found["From"].addresses[0].addr_spec == "notices@city.example"
    assert found["Message-ID"] == MAIL.message_id
    assert found["Date"].datetime == MAIL.date.replace(microsecond=0)
    assert found.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in found.iter_parts()] == ["text/plain", "text/html"]
    assert bodies(found) == [MAIL.text, MAIL.html]


def test_same_message_same_bytes() -> None:
    assert to_bytes(MAIL) == to_bytes(replace(MAIL))


def test_the_unsubscribe_header_is_one_raw_line() -> None:
    lines = to_bytes(MAIL).split(b"\r\n")
    assert f"List-Unsubscribe: <{LONG}>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines


def test_a_header_of_998_bytes_passes_and_one_more_does_not() -> None:
    room = 998 - len("List-Unsubscribe: ")
    assert to_bytes(replace(MAIL, headers=(("List-Unsubscribe", "x" * room),)))
    with pytest.raises(PermanentError, match="longer than 998"):
        to_bytes(replace(MAIL, headers=(("List-Unsubscribe", "x" * (room + 1)),)))


@given(PRINTABLE, PRINTABLE, PRINTABLE)
def test_any_text_survives(subject: str, text: str, html: str) -> None:
    message = replace(MAIL, subject=subject, text=text, html=html)
    data = to_bytes(message)
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\n." not in data  # or SMTP would end there
    # The stdlib's folding drops white space at the ends of a header; ours are compared by words.
    assert str(parsed(message)["Subject"]).split() == subject.split()
    assert bodies(parsed(message)) == [text, html]


@pytest.mark.parametrize(
    "evil", ["\r\nBcc: a@b.example", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\ud800"]
)
def test_header_injection_is_refused(evil: str) -> None:
    for message in (
        replace(MAIL, subject="a" + evil),
        replace(MAIL, to="a@b.example" + evil),
        replace(MAIL, sender=f"Name{evil} <a@b.example>"),
        replace(MAIL, sender=f"Name <a@b.example{evil}>"),
        replace(MAIL, message_id=f"<a{evil}@b.example>"),
        replace(MAIL, headers=(("X-A", "a" + evil),)),
        replace(MAIL, headers=(("X-A" + evil, "a"),)),
    ):
        with pytest.raises(PermanentError):
            to_bytes(message)


@pytest.mark.parametrize("name", ["Bcc", "TO", "Content-Type", "Resent-To", "X A", "X:A", ""])
def test_some_headers_may_not_be_added(name: str) -> None:
    with pytest.raises(PermanentError):
        to_bytes(replace(MAIL, headers=((name, "a@b.example"),)))


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a@", "@b.example", "a@b.example, c@d.example", "a@b.example;c@d.example",
        "<a@b.example>", "A <a@b.example>", "a b@c.example", "a@b@c.example", "a..b@c.example",
        ".a@c.example", "张@例子.example", "a@-b.example", "a@b..example", '"a"@b.example',
        "a@[127.0.0.1]", "a@b.example>", f"{'a' * 65}@b.example",
    ],
)  # fmt: skip
def test_exactly_one_plain_recipient(text: str) -> None:
    with pytest.raises(PermanentError):
        to_bytes(replace(MAIL, to=text))


def test_an_international_domain_becomes_ascii() -> None:
    assert address("zhang@例子.测试") == "zhang@xn--fsqu00a.xn--0zwm56d"
    assert b"To: zhang@xn--fsqu00a.xn--0zwm56d\r\n" in to_bytes(replace(MAIL, to="zhang@例子.测试"))
    assert sender_address("市 <a@例子.测试>") == "a@xn--fsqu00a.xn--0zwm56d"


def test_a_quoted_sender_name() -> None:
    found = parsed(replace(MAIL, sender='Shili (sample), "the" city <a@b.example>'))
    assert found["From"].addresses[0].display_name == 'Shili (sample), "the" city'


def test_a_date_without_zone_is_refused() -> None:
    with pytest.raises(PermanentError, match="time zone"):
        to_bytes(replace(MAIL, date=datetime(2026, 1, 1)))  # noqa: DTZ001


@given(st.lists(PRINTABLE, max_size=4), PRINTABLE)
def test_pieces_are_the_text_they_were_made_of(begin: list[str], end: str) -> None:
    pieces = [piece(f"{one}\n", before=n % 2 == 0) for n, one in enumerate(begin)] + [piece(end, last=True)]
    text = "".join(one.text for one in pieces)
    body = Piece(text, b"".join(one.wire for one in pieces))
    message = replace(MAIL, text=text, pieces=(body, Piece(MAIL.html, b"never read\r\n")))
    assert "".join(text.split()) == "".join("".join([*begin, end]).split())
    data = to_bytes(replace(message, html="<p></p>\n"))
    assert max(map(len, data.split(b"\r\n"))) <= 998
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert bodies(found) == [text, "<p></p>\n"]


def test_pieces_of_another_text_are_never_sent() -> None:
    message = replace(MAIL, pieces=(piece("x\n", last=True), piece("y\n", last=True)))
    assert to_bytes(message) == to_bytes(MAIL)
