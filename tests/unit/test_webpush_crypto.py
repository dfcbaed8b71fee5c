"""Encryption for browsers against the RFC's own example and another library; signatures that verify."""

from __future__ import annotations

import json
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.webpush_crypto import (
    MOST,
    Device,
    b64,
    derived_key,
    encrypt,
    public_key,
    read_device,
    unb64,
    vapid,
)
from feeds.kernel.errors import UsageError

# RFC 8291, appendix A.
PLAIN = b"When I grow up, I want to be a watermelon"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
POINT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
RESULT = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w"
    "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def key_of(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(unb64(text), "big"), ec.SECP256R1())


def test_the_example_of_the_rfc() -> None:
    device = Device("https://push.example/x", unb64(POINT), unb64(AUTH))
    assert b64(encrypt(PLAIN, device, salt=unb64(SALT), sender=key_of(SENDER))) == RESULT


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=MOST))
def test_an_independent_library_reads_it(data: bytes) -> None:
    http_ece = pytest.importorskip("http_ece", reason="the oracle http-ece is not installed")
    theirs = ec.generate_private_key(ec.SECP256R1())
    auth = os.urandom(16)
    device = Device("https://push.example/x", unb64(public_key(theirs)), auth)
    body = encrypt(data, device, salt=os.urandom(16), sender=ec.generate_private_key(ec.SECP256R1()))
    assert http_ece.decrypt(body, private_key=theirs, auth_secret=auth) == data


def test_what_is_too_long_is_refused() -> None:
    device = Device("https://push.example/x", unb64(POINT), unb64(AUTH))
    with pytest.raises(UsageError, match="shorten"):
        encrypt(b"x" * (MOST + 1), device, salt=unb64(SALT), sender=key_of(SENDER))


def test_the_signature_verifies_and_names_the_service() -> None:
    key = derived_key(b"a key for tests only, long enough to be one")
    header = vapid("https://push.example", key, subject="mailto:a@shili.example", until=1_800_000_000)
    token, named = header.removeprefix("vapid t=").split(", k=")
    head, body, raw = token.split(".")
    assert named == public_key(key)
    assert json.loads(unb64(body)) == {
        "aud": "https://push.example", "exp": 1_800_000_000, "sub": "mailto:a@shili.example",
    }  # fmt: skip
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64(named))
    signature = unb64(raw)
    der = utils.encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )
    point.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))


def test_the_installations_key_is_always_the_same_one() -> None:
    first, second = derived_key(b"one secret"), derived_key(b"one secret")
    assert public_key(first) == public_key(second) != public_key(derived_key(b"another"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"endpoint": "https://push.example/x"}',
        json.dumps({"endpoint": "http://push.example/x", "keys": {"p256dh": POINT, "auth": AUTH}}),
        json.dumps({"endpoint": "https://push.example/x", "keys": {"p256dh": POINT[:-4], "auth": AUTH}}),
        json.dumps({"endpoint": "https://push.example/x", "keys": {"p256dh": POINT, "auth": "AAAA"}}),
        json.dumps({"endpoint": "https://a.example/" + "x" * 999, "keys": {"p256dh": POINT, "auth": AUTH}}),
    ],
)
def test_what_is_no_browser_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="switch it on"):
        read_device(text)


def test_a_device_of_endless_brackets_is_refused() -> None:
    with pytest.raises(UsageError, match="once more"):
        read_device("[" * 100_000)
