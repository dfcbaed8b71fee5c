"""What comes back: reports, complaints, free words, holiday notes, forgeries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.bounce_reports import (
    BounceReport,
    bounce_token,
    find_token,
    is_dead,
    read_report,
    return_path,
)

KEY = b"a key of at least thirty-two characters"
PATH = return_path(KEY, 17, "bounces.city.example")

DSN = """From: MAILER-DAEMON@mx.example (Mail Delivery System)
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I'm sorry to have to inform you. <li@dead.example>: host said: {diagnostic}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {diagnostic}

--b
Content-Type: text/rfc822-headers

Message-ID: {message_id}
Subject: a digest

--b--
"""


def dsn(
    status: str, diagnostic: str, *, action: str = "failed", to: str = PATH, message_id: str = "<x@y.example>"
) -> bytes:
    recipient = "somebody-else@victim.example"  # never believed
    return DSN.format(
        to=to, status=status, diagnostic=diagnostic, action=action, recipient=recipient, message_id=message_id
    ).replace("\n", "\r\n").encode()  # fmt: skip


@pytest.mark.parametrize(
    ("status", "diagnostic", "verdict"),
    [
        ("5.1.1", "550 5.1.1 <li@dead.example>: Recipient address rejected: User unknown", "bounced"),
        ("5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound", "bounced"),
        ("5.2.1", "550 5.2.1 The email account that you tried to reach is disabled", "bounced"),
        ("5.1.2", "Host or domain name not found", "bounced"),
        ("5.0.0", "550 Mailbox not found. 收件人不存在", "bounced"),
        ("5.2.2", "552 5.2.2 mailbox full", "failed"),
        ("5.7.1", "550 5.7.1 Message rejected as spam", "failed"),
        ("5.7.26", "550-5.7.26 unauthenticated, DMARC policy", "failed"),
        ("5.0.0", "550 Domain frequency limited", "failed"),
        ("5.0.0", "550 Mail content denied 内容被拒收", "failed"),
        ("4.4.7", "delivery time expired", "failed"),
        ("5.4.4", "unable to route", "failed"),
        ("5.1.8", "550 5.1.8 bad sender", "failed"),
    ],
)
def test_a_delivery_status_decides(status: str, diagnostic: str, verdict: str) -> None:
    assert read_report(dsn(status, diagnostic), KEY) == BounceReport(17, verdict, status)  # type: ignore[arg-type]


def test_a_delay_is_no_bounce() -> None:
    assert read_report(dsn("4.4.1", "still trying", action="delayed"), KEY).verdict is None
    assert read_report(dsn("2.0.0", "250 ok", action="delivered"), KEY).verdict == "delivered"


def test_only_our_token_chooses_the_row() -> None:
    wrong = PATH.replace("17-", "18-")
    assert read_report(dsn("5.1.1", "user unknown", to=wrong), KEY).delivery_id is None
    assert (
        read_report(dsn("5.1.1", "user unknown", to="b+17-aaaaaaaaaaaaaaaa@x.example"), KEY).delivery_id
        is None
    )
    assert (
        read_report(dsn("5.1.1", "user unknown"), b"another key of another installation").delivery_id is None
    )
    assert (
        read_report(dsn("5.1.1", "d17 <d17@city.example>", to="notices@city.example"), KEY).delivery_id
        is None
    )
    assert "@" not in PATH.partition("@")[0]
    assert len(PATH.partition("@")[0]) <= 64


@pytest.mark.parametrize("where", ["to", "upper case", "envelope", "quoted message id"])
def test_where_the_token_may_stand(where: str) -> None:
    data = dsn("5.1.1", "user unknown", to="notices@city.example")
    if where == "envelope":
        assert read_report(data, KEY, recipient=PATH).delivery_id == 17
        return
    if where == "quoted message id":
        data = dsn(
            "5.1.1", "user unknown", to="notices@city.example",
            message_id=f"<d.{bounce_token(KEY, 17)}@city.example>",
        )  # fmt: skip
    else:
        data = dsn("5.1.1", "user unknown", to=PATH.upper() if where == "upper case" else PATH)
    assert read_report(data, KEY).delivery_id == 17


ARF = f"""From: <feedback@provider.example>
To: <abuse@city.example>
Subject: FW: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is a complaint.

--b
Content-Type: message/feedback-report

Feedback-Type: KIND
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <{PATH}>

--b
Content-Type: message/rfc822

From: notices@city.example
Subject: digest

text
--b--
"""


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("abuse", "complained"), ("Fraud", "complained"), ("not-spam", None), ("auth-failure", None)],
)
def test_complaints(kind: str, verdict: str | None) -> None:
    found = read_report(ARF.replace("KIND", kind).encode(), KEY)
    assert (found.delivery_id, found.verdict) == (17, verdict)


FREE = [
    # What providers in China send; invented after their manner.
    (
        "Postmaster@qq.example",
        "=?utf-8?b?57O757uf6YCA5L+h?=",
        "您的邮件被退回：收件人邮箱不存在 550 no such user",
        "bounced",
        "550",
    ),
    ("postmaster@163.example", "系统退信", "无法投递，原因：用户邮箱已满", "failed", "5.0.0"),
    (
        "MAILER-DAEMON@old.example",
        "failure notice",
        "Hi. This is qmail. 550 5.1.1 unknown user",
        "bounced",
        "5.1.1",
    ),
    ("MAILER-DAEMON@old.example", "failure notice", "Connected but 452 try again later", "failed", "452"),
]


@pytest.mark.parametrize(("sender", "subject", "text", "verdict", "code"), FREE)
def test_free_words_of_mail_systems(sender: str, subject: str, text: str, verdict: str, code: str) -> None:
    head = f"From: {sender}\r\nTo: {PATH}\r\nSubject: {subject}\r\n"
    data = f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    assert read_report(data.encode(), KEY) == BounceReport(17, verdict, code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sender", "subject", "text"),
    [
        ("li@mail.example", "自动回复：我在休假", "我外出了，您的邮件不存在问题"),
        ("li@mail.example", "Out of office", "user unknown is what I feel like. 550 5.1.1"),
        (
            "li@mail.example",
            "Re: 今天 3 条与您有关",
            "这封邮件无法投递 5.1.1 user unknown",
        ),  # a person, not a system
        ("postmaster@mail.example", "Auto reply", "we got your mail"),
    ],
)
def test_people_and_holiday_notes_are_no_bounces(sender: str, subject: str, text: str) -> None:
    head = f"From: {sender}\r\nTo: {PATH}\r\nSubject: {subject}\r\n"
    data = f"{head}Auto-Submitted: auto-replied\r\n\r\n{text}\r\n"
    assert read_report(data.encode(), KEY).verdict is None


@given(st.binary(max_size=2_000))
def test_anything_may_arrive(data: bytes) -> None:
    assert read_report(data, KEY).delivery_id is None
    read_report(dsn("5.1.1", "x")[:300] + data, KEY)


def test_hostile_mails_are_read_in_time() -> None:
    deep = b"".join(
        b"Content-Type: multipart/report; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(500)
    )
    long = (
        b"To: "
        + b"1-aaaaaaaaaaaaaaab " * 20_000
        + b"\r\nSubject: failure notice\r\n\r\n"
        + b"user " * 100_000
    )
    for data in (
        deep,
        long,
        b"Content-Type: message/delivery-status\r\n\r\n" + b"Action: failed\r\n\r\n" * 20_000,
    ):
        assert read_report(data, KEY).delivery_id is None


def test_dead_needs_a_permanent_code() -> None:
    assert not is_dead("4.1.1", "user unknown")
    assert not is_dead("450", "user unknown")
    assert is_dead("550", "No such user here")
    assert not is_dead("550", "blocked by policy")


def test_tokens_tell_nothing_and_do_not_collide() -> None:
    tokens = {bounce_token(KEY, number) for number in range(500)}
    assert len(tokens) == 500
    assert find_token(["", "x", f"see {bounce_token(KEY, 5)}."], KEY) == 5


@pytest.mark.parametrize(
    "broken",
    [
        b"Subject: =?utf-8?b?a?=\r\n",
        b"Subject: =?idna?q?x?=\r\n",
        b"Content-Type: text/plain; charset=idna\r\n",
        b"Content-Type: text/plain; charset=undefined\r\n",
        b'Content-Type: text/plain; charset="utf\x008"\r\n',
        b"Content-Type: text/plain; charset*=undefined''x\r\n",
    ],
)
def test_a_malformed_mail_raises_nothing_and_is_still_read(broken: bytes) -> None:
    head = f"From: MAILER-DAEMON@mx.example\r\nTo: {PATH}\r\n".encode()
    mail = head + broken + "\r\n550 5.1.1 user unknown, returned mail\xfc 退信".encode("latin-1", "replace")
    assert read_report(mail, KEY) == BounceReport(17, "bounced", "5.1.1")


def test_what_the_parser_itself_cannot_take_is_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr("delivery.bounce_reports.message_from_bytes", breaks)
    assert read_report(b"x", KEY) == BounceReport(None, None, broken=True)
