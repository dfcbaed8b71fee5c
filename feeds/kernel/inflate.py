"""Undoes a Content-Encoding bit by bit, so that a small bomb never becomes a large memory. Pure.

Called by ``feeds.kernel.http``, which counts what comes out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from feeds.kernel.errors import FetchError

_SLICE = 64 * 1024  # most bytes that one step of decompression may give


def inflate(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Undo a Content-Encoding in slices of at most 64 KiB, so that a bomb is cut off by the caller's cap.

    Args:
        chunks: The body as received.
        encoding: ``""``, ``identity``, ``gzip``, ``x-gzip`` or ``deflate`` (with or without zlib header).

    Raises:
        FetchError: If the encoding is another one, or the data is damaged or ends too early.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        yield from chunks
        return
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(f"The answer is packed as {encoding[:40]!r}, which was not asked for.")
    try:
        yield from _unpack(iter(chunks), raw=name == "deflate")
    except zlib.error as error:
        raise FetchError(f"The packed answer is damaged ({error}).") from error


def _unpack(chunks: Iterator[bytes], *, raw: bool) -> Iterator[bytes]:
    first = next(chunks, b"")
    # "deflate" means zlib, but some servers send it without the header that begins with x8 (RFC 1950).
    bits = -zlib.MAX_WBITS if raw and first[:1] and first[0] & 0x0F != 8 else zlib.MAX_WBITS | 32
    unpacker = zlib.decompressobj(bits)
    for chunk in _chain(first, chunks):
        data = chunk
        while data and not unpacker.eof:
            yield unpacker.decompress(data, _SLICE)
            data = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data.startswith(b"\x1f\x8b"):  # another gzip member
                data, unpacker = unpacker.unused_data, zlib.decompressobj(bits)
    yield unpacker.flush()
    if not unpacker.eof and first:
        raise FetchError("The packed answer ends too early.")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
