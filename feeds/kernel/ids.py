"""Identifiers that leave the house: entry ids and content hashes.

Pure. Called by the stores (hashes) and by everything that renders a feed (entry ids).
"""

from __future__ import annotations

import hashlib
import re

_DATE = re.compile(r"^\d{4}(-\d{2}(-\d{2})?)?$")


def entry_id(authority: str, year: int | str, notice_id: int) -> str:
    """Name a notice for ever, in the form of RFC 4151: ``tag:<authority>,<year>:notice/<id>``.

    Args:
        authority: A domain the city owned in ``year``; fixed at the first migration.
        year: Four digits (or a full date, as RFC 4151 allows).
        notice_id: Our own number of the notice.

    Raises:
        ValueError: If ``year`` is not a date of RFC 4151.
    """
    if not _DATE.match(str(year)):
        raise ValueError(f"not a year or date: {year!r}")
    return f"tag:{authority},{year}:notice/{notice_id}"


def content_hash(*parts: str | None) -> str:
    """Digest texts so that equal content gives equal digests; ``None`` differs from ``""``.

    Returns:
        32 hexadecimal characters (128 bits of BLAKE2b).
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = b"\x00" if part is None else b"\x01" + part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
