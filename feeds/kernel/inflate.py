"""Undoes a Content-Encoding bit by bit, so that a small bomb never becomes a large memory. Pure.

The only import of brotli. Called by ``feeds.kernel.http``, which counts what comes out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import brotli  # type: ignore[import-untyped]

from feeds.kernel.errors import FetchError

ACCEPTED = "gzip, deflate, br"  # what a request may offer
_SLICE = 64 * 1024  # most bytes that one step of decompression should give


def inflate(chunks: Iterable[bytes], encoding: str, name: str = "The answer") -> Iterator[bytes]:
    """Undo a Content-Encoding in slices of about 64 KiB, so that a bomb is cut off by the caller's cap.

    Args:
        chunks: The body as received.
        encoding: ``""``, ``identity``, ``gzip``, ``x-gzip``, ``deflate`` (with or without zlib header) or
            ``br``. A body packed more than once is refused: nobody honest does that, and bombs do.
        name: Begins the sentence of an error.

    Yields:
        At most 64 KiB (``br``: at most 128 KiB) a piece; pieces may be empty.

    Raises:
        FetchError: If the encoding is another one, or the data is damaged or ends too early.
    """
    packings = [part.strip() for part in encoding.lower().split(",") if part.strip() not in ("", "identity")]
    if not packings:
        yield from chunks
        return
    how = packings[0]
    if len(packings) > 1:
        raise FetchError(
            f"{name} is packed {len(packings)} times ({encoding[:40]!r}), which was not asked for; "
            "ask its owner to pack it once."
        )
    if how not in ("gzip", "x-gzip", "deflate", "br"):
        raise FetchError(
            f"{name} is packed as {encoding[:40]!r}, which was not asked for; only {ACCEPTED} are read."
        )
    try:
        unpacked = _unpack_brotli(chunks) if how == "br" else _unpack(iter(chunks), raw=how == "deflate")
        yield from unpacked
    except EOFError as error:
        raise FetchError(f"{name} is packed and ends too early; it may be cut off on the way.") from error
    except (zlib.error, brotli.error) as error:
        raise FetchError(f"{name} is packed, but damaged ({str(error).strip('. ') or how}).") from error


def _unpack(chunks: Iterator[bytes], *, raw: bool) -> Iterator[bytes]:
    first = next(chunks, b"")
    # "deflate" means zlib, but some servers send it without the header that begins with x8 (RFC 1950).
    bits = -zlib.MAX_WBITS if raw and first[:1] and first[0] & 0x0F != 8 else zlib.MAX_WBITS | 32
    unpacker = zlib.decompressobj(bits)
    for chunk in _chain(first, chunks):
        data = chunk
        if unpacker.eof and data.startswith(b"\x1f\x8b"):  # another member that begins with the chunk
            unpacker = zlib.decompressobj(bits)
        while data and not unpacker.eof:
            yield unpacker.decompress(data, _SLICE)
            data = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data.startswith(b"\x1f\x8b"):  # another gzip member
                data, unpacker = unpacker.unused_data, zlib.decompressobj(bits)
    yield unpacker.flush()
    if not unpacker.eof and first:
        raise EOFError


def _unpack_brotli(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = brotli.Decompressor()
    began = False
    for chunk in chunks:
        data = chunk
        began = began or bool(chunk)
        if chunk and unpacker.is_finished():
            raise brotli.error("something follows its end")
        while not unpacker.is_finished():
            piece = unpacker.process(data, output_buffer_limit=_SLICE)
            data = b""
            yield piece
            # It may hold megabytes back although it says that it can take more; an empty piece is the end.
            if not piece and unpacker.can_accept_more_data():
                break
    if began and not unpacker.is_finished():
        raise EOFError


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
