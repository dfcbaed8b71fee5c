"""What WeChat's server sends to ours and how it is answered: signatures, encryption, small XML. Pure.

Opens nothing. Whoever cannot sign with the agreed token is not WeChat, whatever the message says.
Called by ``api.web.routes.wechat_hooks``.

Source: developers.weixin.qq.com, "Message push": signature by SHA-1 over the sorted parts; AES-256-CBC with
PKCS#7 to 32 bytes, 16 random bytes and the length in front, the app id behind.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from feeds.kernel.errors import BadInputError, UsageError

_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message or event of a reader.

    Attributes:
        reader: Their openid; ``account`` is ours.
        kind: ``text`` or ``event``.
        text: What they wrote, or the key of the menu entry they tapped.
        event: ``subscribe``, ``unsubscribe``, ``CLICK``, ``subscribe_msg_popup_event`` …; else ``""``.
        choices: Template id → ``accept`` or ``reject``, of events about subscription messages.
    """

    reader: str
    account: str
    kind: str
    text: str = ""
    event: str = ""
    choices: Mapping[str, str] | None = None


class Wire:
    """Checks, opens and closes messages of one account.

    Args:
        app_id: Of the account.
        token: The token that was agreed on in the account's console.
        aes_key: The 43 characters of the EncodingAESKey; ``""`` for plain messages.

    Raises:
        UsageError: If the key is not 43 characters of base64.
    """

    def __init__(self, app_id: str, token: str, aes_key: str = "") -> None:
        self._app_id, self._token = app_id, token
        self._key = b""
        if aes_key:
            try:
                self._key = base64.b64decode(aes_key + "=", validate=True)
            except ValueError:
                self._key = b""
            if len(self._key) != _BLOCK:
                raise UsageError(
                    "MYCITY_WECHAT_AES_KEY has 43 characters; copy it from the account's console."
                )

    def signed(self, signature: str, timestamp: str, nonce: str, *more: str) -> bool:
        """Whether somebody who knows the token says this."""
        return hmac.compare_digest(self.sign(timestamp, nonce, *more).encode(), signature.encode())

    def sign(self, timestamp: str, nonce: str, *more: str) -> str:
        """Return the signature over some parts, in hexadecimal."""
        parts = sorted((self._token, timestamp, nonce, *more))
        return hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()

    def open(self, encrypted: str) -> str:
        """Decrypt what was sent to this account.

        Raises:
            BadInputError: If it was not encrypted for it.
        """
        try:
            data = base64.b64decode(encrypted, validate=True)
            decryptor = Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16])).decryptor()
            plain = decryptor.update(data) + decryptor.finalize()
            plain = plain[: -plain[-1]]
            size = int.from_bytes(plain[16:20], "big")
            text, owner = plain[20 : 20 + size].decode(), plain[20 + size :].decode()
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise BadInputError("The message cannot be decrypted with MYCITY_WECHAT_AES_KEY.") from error
        if owner != self._app_id:
            raise BadInputError("The message was encrypted for another account.")
        return text

    def close(self, text: str, *, salt: bytes) -> str:
        """Encrypt an answer; ``salt`` is 16 random bytes."""
        data = text.encode()
        plain = salt + len(data).to_bytes(4, "big") + data + self._app_id.encode()
        fill = _BLOCK - len(plain) % _BLOCK
        plain += bytes([fill]) * fill
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16])).encryptor()
        return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()

    def envelope(self, text: str, *, timestamp: str, nonce: str, salt: bytes) -> str:
        """An encrypted answer with its signature, as XML."""
        sealed = self.close(text, salt=salt)
        signature = self.sign(timestamp, nonce, sealed)
        return (
            f"<xml><Encrypt>{sealed}</Encrypt><MsgSignature>{signature}</MsgSignature>"
            f"<TimeStamp>{escape(timestamp)}</TimeStamp><Nonce>{escape(nonce)}</Nonce></xml>"
        )


def reply(incoming: Incoming, text: str, *, at: int) -> str:
    """An answer to a reader, as XML; ``at`` in seconds since 1970."""
    return (
        f"<xml><ToUserName>{escape(incoming.reader)}</ToUserName>"
        f"<FromUserName>{escape(incoming.account)}</FromUserName><CreateTime>{at}</CreateTime>"
        f"<MsgType>text</MsgType><Content>{escape(text)}</Content></xml>"
    )
