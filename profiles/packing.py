"""Packing picks into few bytes, so that a city's ledger stays small. Pure, no I/O.

A profile-day of 10 picks with 3 reasons each stays within 400 bytes. Layout, version 1:

    version u8 · count of params varint · each param (length varint, UTF-8)
    count of picks varint · each pick:
        notice id varint · revision varint · kind u8, plus 128 if the propensity is not 1
        score f16 · propensity f16 only if not 1 · count of reasons u8 · each reason:
            code and count of params u8 (code × 4 + count) · contribution f16 · each: index varint

Parameters of reasons repeat (a role, a theme, a place), so they stand once in a table in front,
their usual beginnings ("theme:") as one byte.
Half floats keep about three decimal digits: enough to show and to train on, not to re-rank.
Called by ``profiles.editions`` only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from profiles.types import Pick, PickKind, Reason

_VERSION = 1
_KINDS: tuple[PickKind, ...] = ("new", "update", "reminder", "mandatory", "explored")
_HALF = struct.Struct("<e")
_HALF_MAX = 65504.0
_HAS_PROPENSITY = 0x80
_PARAMS_MOST = 3
# One byte each for how parameters usually begin; \x00 goes before one that begins like a code.
_BEGINNINGS = ("theme:", "place:", "role:", "life:", "agency:", "type:", "word:")


def pack_picks(picks: Sequence[Pick], codes: dict[str, int]) -> bytes:
    """Pack picks in their order.

    Args:
        picks: Any number.
        codes: Reason code → small stable integer (0 to 63), from ``profiles.reasons``.

    Raises:
        ValueError: If a reason has more than 3 parameters.
    """
    table: dict[str, int] = {}
    body = bytearray()
    _put(body, len(picks))
    for pick in picks:
        _put(body, pick.notice_id)
        _put(body, pick.revision)
        body.append(_KINDS.index(pick.kind) | (_HAS_PROPENSITY if pick.propensity != 1.0 else 0))
        body += _half(pick.score) + (_half(pick.propensity) if pick.propensity != 1.0 else b"")
        body.append(len(pick.reasons))
        for reason in pick.reasons:
            if len(reason.params) > _PARAMS_MOST:
                raise ValueError(f"a reason has at most {_PARAMS_MOST} parameters: {reason}")
            body.append(codes[reason.code] * 4 + len(reason.params))
            body += _half(reason.contribution)
            for param in reason.params:
                _put(body, table.setdefault(param, len(table)))
    head = bytearray([_VERSION])
    _put(head, len(table))
    for param in table:
        encoded = _shorten(param).encode()
        _put(head, len(encoded))
        head += encoded
    return bytes(head + body)


def unpack_picks(data: bytes, names: dict[int, str]) -> tuple[Pick, ...]:
    """Undo :func:`pack_picks`; scores and contributions come back with half-float precision.

    Raises:
        ValueError: If the bytes are of an unknown version or cut short.
    """
    try:
        reader = _Reader(data)
        if (version := reader.byte()) != _VERSION:
            raise ValueError(f"picks packed by version {version}, this code reads {_VERSION}")
        params = [reader.text() for _ in range(reader.varint())]
        return tuple(_read_pick(reader, params, names) for _ in range(reader.varint()))
    except (IndexError, struct.error) as error:
        raise ValueError("packed picks are cut short") from error


def pack_ids(ids: Iterable[int]) -> bytes:
    """Pack a set of positive ids as ascending differences."""
    body = bytearray()
    last = 0
    for value in sorted(set(ids)):
        _put(body, value - last)
        last = value
    return bytes(body)


def unpack_ids(data: bytes) -> frozenset[int]:
    """Undo :func:`pack_ids`."""
    reader, last, found = _Reader(data), 0, []
    while reader.at < len(data):
        last += reader.varint()
        found.append(last)
    return frozenset(found)


def _read_pick(reader: _Reader, params: list[str], names: dict[int, str]) -> Pick:
    notice_id, revision, kind = reader.varint(), reader.varint(), reader.byte()
    score = reader.half()
    propensity = reader.half() if kind & _HAS_PROPENSITY else 1.0
    reasons = []
    for _ in range(reader.byte()):
        code, count = divmod(reader.byte(), 4)
        contribution = reader.half()
        reasons.append(
            Reason(names[code], tuple(params[reader.varint()] for _ in range(count)), contribution)
        )
    return Pick(notice_id, revision, _KINDS[kind & ~_HAS_PROPENSITY], tuple(reasons), score, propensity)


def _shorten(param: str) -> str:
    for n, beginning in enumerate(_BEGINNINGS, start=1):
        if param.startswith(beginning):
            return chr(n) + param[len(beginning) :]
    return "\x00" + param if param and ord(param[0]) <= len(_BEGINNINGS) else param


def _lengthen(param: str) -> str:
    if not param or ord(param[0]) > len(_BEGINNINGS):
        return param
    return param[1:] if param[0] == "\x00" else _BEGINNINGS[ord(param[0]) - 1] + param[1:]


class _Reader:
    """Reads the layout above from left to right."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

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
        return _lengthen(self.data[self.at - length : self.at].decode())


def _put(body: bytearray, value: int) -> None:
    """Append an unsigned LEB128 number."""
    if value < 0:
        raise ValueError(f"cannot pack a negative number: {value}")
    while value > 0x7F:
        body.append(value & 0x7F | 0x80)
        value >>= 7
    body.append(value)


def _half(value: float) -> bytes:
    return _HALF.pack(max(-_HALF_MAX, min(_HALF_MAX, value)))
