"""Encrypts notes for browsers (RFC 8291, aes128gcm) and signs who sends them (VAPID, RFC 8292). Pure.

Called by ``delivery.channels.webpush``. The salt and the sender's key of one note are arguments, so that
the RFC's own example can be checked byte for byte.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from feeds.kernel.errors import UsageError

RECORD = 4096
#: Most bytes of a note: one record without its padding mark, tag and head.
MOST = RECORD - 17 - 86
_POINT = 65


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that agreed to be notified: where its push service is, and its keys."""

    endpoint: str
    p256dh: bytes
    auth: bytes


def unb64(text: str) -> bytes:
    """Decode URL-safe base64 with or without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(data: bytes) -> str:
    """Encode as URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_device(text: str) -> Device:
    """Read what a browser's ``PushSubscription`` says of itself, as JSON.

    Raises:
        UsageError: If it is none.
    """
    try:
        said = json.loads(text)
        endpoint, keys = str(said["endpoint"]), said["keys"]
        point, auth = unb64(str(keys["p256dh"])), unb64(str(keys["auth"]))
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError("The browser did not say how it can be notified; switch it on once more.") from error
    if not endpoint.startswith("https://") or len(endpoint) > 1000 or len(auth) != 16 or len(point) != _POINT:
        raise UsageError("The browser did not say how it can be notified; switch it on once more.")
    return Device(endpoint, point, auth)


def encrypt(data: bytes, device: Device, *, salt: bytes, sender: ec.EllipticCurvePrivateKey) -> bytes:
    """Encrypt a note for one device as a single record.

    Args:
        data: At most :data:`MOST` bytes.
        device: Whose keys.
        salt: 16 random bytes, new for each note.
        sender: A P-256 key, new for each note.

    Raises:
        UsageError: If the note is too long.
    """
    if len(data) > MOST:
        raise UsageError(f"The note has {len(data)} bytes, more than {MOST}; shorten it.")
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), device.p256dh)
    ours = _point(sender)
    shared = sender.exchange(ec.ECDH(), theirs)
    secret = _derive(shared, device.auth, b"WebPush: info\x00" + device.p256dh + ours, 32)
    key = _derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
    head = salt + RECORD.to_bytes(4, "big") + bytes([len(ours)]) + ours
    return head + AESGCM(key).encrypt(nonce, data + b"\x02", None)


def vapid(origin: str, key: ec.EllipticCurvePrivateKey, *, subject: str, until: int) -> str:
    """Return the Authorization header that says who sends.

    Args:
        origin: Of the push service, e.g. ``https://push.example``.
        key: The installation's own.
        subject: ``mailto:`` or ``https:`` address where the service can complain.
        until: Seconds since 1970, at most a day from now.
    """
    head = b64(json.dumps({"typ": "JWT", "alg": "ES256"}, separators=(",", ":")).encode())
    claims = {"aud": origin, "exp": until, "sub": subject}
    body = b64(json.dumps(claims, separators=(",", ":")).encode())
    signature = key.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(signature)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"vapid t={head}.{body}.{b64(raw)}, k={public_key(key)}"


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """The key that browsers are told (``applicationServerKey``)."""
    return b64(_point(key))


def derived_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Make the installation's own key from its secret, always the same one."""
    seed = int.from_bytes(_derive(secret, b"mycity/webpush", b"vapid", 48), "big")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return ec.derive_private_key(seed % (order - 1) + 1, ec.SECP256R1())


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)
