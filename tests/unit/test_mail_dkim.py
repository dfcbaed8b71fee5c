"""Signatures, judged by an independent verifier (dkimpy), and keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.dkim import SIGNED, DkimKey, DkimSigner, key_pem, new_key, read_keys, relaxed_body
from delivery.mime import to_bytes
from delivery.rsa_signing import fast_signer
from delivery.types import MailMessage
from feeds.kernel.errors import UsageError

RSA, EDWARDS = DkimKey("r1", new_key("rsa")), DkimKey("e1", new_key("ed25519"))
SIGNER = DkimSigner("city.example", [RSA, EDWARDS])
RECORDS = {f"{key.selector}._domainkey.city.example.".encode(): key.record().encode() for key in SIGNER.keys}
LONG = "<https://city.example/u/" + "x" * 900 + ">"
MAIL = MailMessage(
    to="li@例子.测试",
    subject="【示例】示例市公告：今天 6 条与您有关（含 1 条明日截止），长到必须折行的标题一二三四五六七八九",
    text="正文  两个空格 \n.第二行\n\n\n",
    html="<p>正文\t制表</p>\n",
    message_id="<d7.0af3@city.example>",
    sender="示例市公告 <notices@city.example>",
    date=datetime(2026, 10, 12, 1, 0, tzinfo=UTC),
    headers=(
        ("List-Id", "<notices.city.example>"),
        ("Auto-Submitted", "auto-generated"),
        ("List-Unsubscribe", LONG),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ),
)


def found(name: bytes, **_: object) -> bytes | None:
    return RECORDS.get(name)


def holds(data: bytes, number: int = 0) -> bool:
    try:
        return bool(dkim.DKIM(data).verify(idx=number, dnsfunc=found))
    except dkim.DKIMException:
        return False


def test_both_signatures_hold_for_a_mail_with_everything_hard() -> None:
    data = to_bytes(MAIL, SIGNER)
    assert data.count(b"DKIM-Signature:") == 2
    assert holds(data, 0)
    assert holds(data, 1)
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert data.split(b"\r\n\r\n", 1)[1] == to_bytes(MAIL).split(b"\r\n\r\n", 1)[1]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"))))
def test_holds_for_any_text(text: str, subject: str) -> None:
    data = to_bytes(replace(MAIL, text=text, subject=subject[:120]), DkimSigner("city.example", [EDWARDS]))
    assert holds(data)
    body = data.split(b"\r\n\r\n", 1)[1]
    assert relaxed_body(body) == body  # what the signer relies on


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: ", b"Subject: x"),
        (b"List-Unsubscribe: <https://city", b"List-Unsubscribe: <https://evil"),
        (b"From: ", b"From: evil@evil.example\r\nFrom: "),
        (b"To: ", b"Subject: second\r\nTo: "),
        (b"To: ", b"Reply-To: evil@evil.example\r\nTo: "),
        (b"Auto-Submitted: auto-generated", b"Auto-Submitted: no"),
        (b"\r\n--=_", b"\r\nadded\r\n--=_"),
    ],
)
def test_a_change_on_the_way_breaks_it(before: bytes, after: bytes) -> None:
    data = to_bytes(MAIL, SIGNER)
    assert before in data
    assert not holds(data.replace(before, after, 1))


def test_relays_may_fold_and_space_anew() -> None:
    data = (
        to_bytes(MAIL, SIGNER).replace(b"Auto-Submitted: auto", b"AUTO-Submitted:\r\n   auto").rstrip()
        + b"\r\n\r\n\r\n"
    )
    assert holds(data)


def test_every_header_a_mailbox_acts_on_is_signed() -> None:
    head = to_bytes(MAIL, SIGNER).decode("ascii").split("\r\n bh=")[0]
    for name in SIGNED:
        assert f":{name}" in head or f"h={name}" in head
    assert head.count("from") == 2


def test_keys_from_files(tmp_path: Path) -> None:
    (tmp_path / "r.pem").write_bytes(key_pem(RSA.key))
    (tmp_path / "e.pem").write_bytes(key_pem(EDWARDS.key))
    keys = read_keys(f"r1=r.pem, e1={tmp_path}/e.pem", tmp_path)
    assert [(key.selector, key.record()) for key in keys] == [("r1", RSA.record()), ("e1", EDWARDS.record())]


@pytest.mark.parametrize(
    "text", ["r1", "=r.pem", "r1=", "a b=r.pem", "r1=missing.pem", "r1=bad.pem", "r1=r.pem,r1=r.pem"]
)
def test_keys_that_do_not_fit_are_told_and_never_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.pem").write_bytes(key_pem(RSA.key))
    (tmp_path / "bad.pem").write_text(
        "-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----\n"
    )
    with pytest.raises(UsageError) as caught:
        read_keys(text, tmp_path)
    assert "secretsecret" not in str(caught.value)


def test_the_empty_body_and_spaces() -> None:
    assert relaxed_body(b"") == b""
    assert relaxed_body(b"\r\n\r\n") == b""
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"  # the example of RFC 6376, 3.4.5


def test_both_ways_to_sign_give_the_same_signature_from_any_thread() -> None:
    fast = fast_signer(RSA.key)
    assert fast is not None, "Python's own OpenSSL should be found here"
    usual = [RSA.key.sign(b"%d" % n, padding.PKCS1v15(), SHA256()) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: fast(b"%d" % n), range(20))) == usual


@pytest.mark.parametrize("fault", [OSError, AttributeError, RuntimeError])
def test_without_that_openssl_the_usual_library_signs(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def missing() -> None:
        raise fault

    monkeypatch.setattr("delivery.rsa_signing._library", missing)
    slow = DkimKey("r1", RSA.key)
    assert fast_signer(RSA.key) is None
    assert slow.sign(b"x") == RSA.sign(b"x")


def test_a_wrong_signature_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "delivery.rsa_signing._SETTINGS", ((b"rsa_padding_mode", b"pkcs1"),)
    )  # no digest named
    assert fast_signer(RSA.key) is None
