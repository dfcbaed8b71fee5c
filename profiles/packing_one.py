"""Reading picks packed in the layout that the ledger began with. Pure; called by ``profiles.packing`` only.

version u8 (1) · count of params varint · each param (length varint, UTF-8)
count of picks varint · each: notice id varint · revision varint
kind u8, plus 128 if the propensity is not 1
score f16 · propensity f16 only if not 1 · count of reasons u8 · each reason:
code and count of params u8 (code × 4 + count) · contribution f16 · each param: index varint
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from profiles.types import Pick, PickKind, Reason

_KINDS: tuple[PickKind, ...] = ("new", "update", "reminder", "mandatory", "explored")
_HALF = struct.Struct("<e")


def unpack_one(data: bytes, names: dict[int, str], lengthen: Callable[[str], str]) -> tuple[Pick, ...]:
    """Read picks of version 1.

    Raises:
        IndexError, struct.error: If the bytes are cut short.
    """
    reader = _Reader(data)
    params = [lengthen(reader.text()) for _ in range(reader.varint())]
    return tuple(_pick(reader, params, names) for _ in range(reader.varint()))


def _pick(reader: _Reader, params: list[str], names: dict[int, str]) -> Pick:
    notice_id, revision, kind = reader.varint(), reader.varint(), reader.byte()
    score = reader.half()
    propensity = reader.half() if kind & 0x80 else 1.0
    reasons = []
    for _ in range(reader.byte()):
        code, count = divmod(reader.byte(), 4)
        worth = reader.half()
        reasons.append(Reason(names[code], tuple(params[reader.varint()] for _ in range(count)), worth))
    return Pick(notice_id, revision, _KINDS[kind & 0x7F], tuple(reasons), score, propensity)


class _Reader:
    """Reads the layout above from left to right, behind its version."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 1

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def half(self) -> float:
        value: float = _HALF.unpack_from(self.data, self.at)[0]
        self.at += 2
        return value

    def text(self) -> str:
        length = self.varint()
        self.at += length
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - length : self.at].decode()
