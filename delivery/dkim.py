"""Signs mails with DKIM, relaxed/relaxed, with every key that is set (RSA, Ed25519). Pure, but reads keys.

What a reader's mail program acts on is signed, and what could be smuggled in beside it is signed as absent.
It never checks signatures and never sends. Called by ``delivery.mime`` for ``delivery.channels.email``.

Source: RFC 6376 (canonical forms 3.4.2, 3.4.4), RFC 8463 (Ed25519), RFC 8058 section 4 (what must be in).
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from delivery.rsa_signing import Sign, fast_signer
from feeds.kernel.errors import UsageError

SIGNED = (
    "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post", "list-id",
    "auto-submitted", "mime-version", "content-type",
)  # fmt: skip
# Named once more than they occur, so that nobody can add another one on the way.
_ALONE = ("from", "to", "cc", "subject", "date", "reply-to", "content-type")
_BITS = 2048
_WSP = re.compile(rb"[ \t]+")
_BEFORE_END = re.compile(rb"[ \t]+(?=\r\n)")
_SELECTOR = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class DkimKey:
    """One private key and the selector its public half is published under."""

    selector: str
    key: PrivateKey
    _fast: Sign | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = fast_signer(self.key) if isinstance(self.key, rsa.RSAPrivateKey) else None
        object.__setattr__(self, "_fast", found)

    @property
    def algorithm(self) -> str:
        """As the signature names it."""
        return "rsa-sha256" if isinstance(self.key, rsa.RSAPrivateKey) else "ed25519-sha256"

    def record(self) -> str:
        """The text of the DNS record that publishes this key."""
        public = self.key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            kind, data = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            kind, data = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={kind}; p={_base64(data)}"

    def sign(self, data: bytes) -> bytes:
        """Sign canonical headers."""
        if self._fast is not None:
            with contextlib.suppress(RuntimeError):  # the usual way is slower and does as well
                return self._fast(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), SHA256())
        return self.key.sign(hashlib.sha256(data).digest())


class DkimSigner:
    """Signs for one domain; safe to use from several threads.

    Args:
        domain: As in ``d=``; the From address must be in it or below it for DMARC.
        keys: Each makes a signature of its own.
    """

    def __init__(self, domain: str, keys: Sequence[DkimKey]) -> None:
        self.domain, self.keys = domain, tuple(keys)

    def headers(self, head: Sequence[str], body: bytes) -> list[str]:
        """Return one DKIM-Signature header for each key.

        Args:
            head: Header lines in order, each ``Name: value``, folded with CRLF; ASCII.
            body: As it will be sent (before dot-stuffing) and in its canonical form already, see
                :func:`relaxed_body`; ``delivery.mime`` writes no other.
        """
        names, canonical = _signed_headers(head)
        body_hash = _base64(hashlib.sha256(body).digest())
        return [self._one(key, names, canonical, body_hash) for key in self.keys]

    def _one(self, key: DkimKey, names: str, canonical: bytes, body_hash: str) -> str:
        fixed = f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={self.domain}; s={key.selector};"
        start = f"DKIM-Signature: {fixed}\r\n h={names};\r\n bh={body_hash};\r\n b="
        # The canonical form of this very line, written down rather than worked out again.
        own = f"dkim-signature:{fixed} h={names}; bh={body_hash}; b=".encode("ascii")
        signature = _base64(key.sign(canonical + own))
        return start + "\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72))


@lru_cache(maxsize=1024)
def relaxed_header(line: str) -> tuple[str, bytes]:
    """Bring one header into the canonical form that is signed; returns its name and that form."""
    written, _, value = line.partition(":")
    name = written.strip().lower()
    # Unfolds, and makes one blank of any white space; control characters are in no header we write.
    return name, f"{name}:{' '.join(value.split())}\r\n".encode("ascii")


def relaxed_body(body: bytes) -> bytes:
    """Bring a body into the canonical form that is hashed."""
    if b"  " in body or b"\t" in body or b" \r\n" in body:
        body = _WSP.sub(b" ", _BEFORE_END.sub(b"", body))
    stripped = body
    while stripped.endswith(b"\r\n"):
        stripped = stripped[:-2]
    return stripped + b"\r\n" if stripped else b""


def _signed_headers(head: Sequence[str]) -> tuple[str, bytes]:
    """The names for ``h=``, and the canonical lines of those that are there."""
    by_name: dict[str, list[bytes]] = {}
    for written in head:
        name, line = relaxed_header(written)
        by_name.setdefault(name, []).append(line)
    names: list[str] = []
    lines: list[bytes] = []
    for name in SIGNED:
        for line in reversed(by_name.get(name, ())):  # the last one is signed first
            names.append(name)
            lines.append(line)
    return ":".join((*names, *_ALONE)), b"".join(lines)


def read_keys(text: str, folder: Path) -> tuple[DkimKey, ...]:
    """Read ``selector=path.pem,selector2=path.pem``; relative paths start from ``folder``.

    Raises:
        UsageError: If a selector, a file or a key does not fit; no key is ever repeated.
    """
    keys = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        selector, equals, path = (piece.strip() for piece in part.partition("="))
        if not equals or not path or not _SELECTOR.match(selector):
            raise UsageError("MYCITY_DKIM_KEYS: write selector=file.pem, several with commas between them.")
        keys.append(DkimKey(selector, _read_key(folder / path)))
    if len({key.selector for key in keys}) < len(keys):
        raise UsageError("MYCITY_DKIM_KEYS names a selector twice; each key needs its own.")
    return tuple(keys)


def _read_key(path: Path) -> PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"The DKIM key {path} cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"The file {path} holds no private key in PEM without a password.") from error
    if isinstance(key, rsa.RSAPrivateKey) and 2048 <= key.key_size <= 4096:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise UsageError(f"The DKIM key {path} must be RSA of 2048 to 4096 bits, or Ed25519.")


def new_key(kind: str) -> PrivateKey:
    """Make a key of the kind ``rsa`` (2048 bits) or ``ed25519``."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise UsageError(f"There is no DKIM key of the kind {kind!r}; choose rsa or ed25519.")


def key_pem(key: PrivateKey) -> bytes:
    """The private key as it is kept in a file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
