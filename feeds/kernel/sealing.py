"""Seals short secrets at rest (AES-256-GCM), each bound to the row it stands in.

Knows no table and keeps nothing. A sealed text that was moved to another row, or sealed with another
key, does not open. Called by the stores that must give a secret back (webhook and hub secrets).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from feeds.kernel.errors import StorageError

_NONCE = 12


class Sealer:
    """Seals and opens for one purpose.

    Args:
        key: The installation's secret key, at least 16 bytes.
        purpose: Names the derived key; the same for sealing and opening, another for everything else.
    """

    def __init__(self, key: bytes, purpose: str) -> None:
        self._cipher = AESGCM(hmac.new(key, purpose.encode(), hashlib.sha256).digest())

    def seal(self, text: str, bound_to: str) -> bytes:
        """Return what may be stored; the same text gives other bytes each time."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(), bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> str:
        """Return what was sealed.

        Raises:
            StorageError: If it was sealed with another key or for another row.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.encode()).decode()
        except InvalidTag as error:
            raise StorageError(
                "A secret cannot be opened with this MYCITY_SECRET_KEY; use the key it was sealed with."
            ) from error
