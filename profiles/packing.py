"""Packing picks into few bytes, so that a city's ledger stays small. Pure, no I/O.

A profile-day of 10 picks with 3 reasons each stays within 400 bytes. Layout, version 2:

    version u8
    count of statements varint · each: code and count of params u8 (code × 4 + count) · each param
        (length varint, UTF-8)
    count of picks varint · each: notice id varint, revision varint
    for each pick: kind u8, plus 128 if the propensity is not 1 · count of reasons u8 · score f16
    propensity f16 of those picks only where it is not 1
    for each reason, pick by pick: statement u8 (u16 if there are more than 256) · contribution f16

A statement is a reason without its contribution ("you follow theme:0402"). Statements repeat, so they stand
once in front, their usual beginnings ("theme:") as one byte; what is left has a fixed width, so that many
editions are packed at once (``profiles.bulk``). Version 1, in the ledger from before, is still read.
Half floats keep about three decimal digits: enough to show and to train on, not to re-rank.
Called by ``profiles.editions`` and ``profiles.bulk`` only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, overload

from profiles.packing_one import unpack_one
from profiles.types import Pick, PickKind, Reason

#: A reason without its contribution.
Statement: TypeAlias = tuple[str, tuple[str, ...]]

VERSION = 2
KINDS: tuple[PickKind, ...] = ("new", "update", "reminder", "mandatory", "explored")
HAS_PROPENSITY = 0x80
#: From so many statements on, a reason needs two bytes to name one.
WIDE = 257
HALF_MAX = 65504.0
_PARAMS_MOST = 3
_PICK, _HALF = struct.Struct("<BBe"), struct.Struct("<e")
_REASON, _WIDE_REASON = struct.Struct("<Be"), struct.Struct("<He")
# One byte each for how parameters usually begin; \x00 goes before one that begins like a code.
_BEGINNINGS = ("theme:", "place:", "role:", "life:", "agency:", "type:", "word:")


class PackedPicks(Sequence[Pick]):
    """Picks of one edition that were packed already; they become objects only where somebody looks.

    Attributes:
        packed: As :func:`pack_picks` gives them.
        ids: Their notices' ids, packed.
        slots: How many take a slot of the pace.
    """

    __slots__ = ("_made", "_make", "ids", "packed", "size", "slots")

    def __init__(
        self, packed: bytes, ids: bytes, size: int, slots: int, make: Callable[[], tuple[Pick, ...]]
    ) -> None:
        self.packed, self.ids, self.size, self.slots, self._make = packed, ids, size, slots, make
        self._made: tuple[Pick, ...] | None = None

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, key: int) -> Pick: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Pick, ...]: ...
    def __getitem__(self, key: int | slice) -> Pick | tuple[Pick, ...]:
        return self.opened()[key]

    def opened(self) -> tuple[Pick, ...]:
        """The picks themselves, at full precision."""
        if self._made is None:
            self._made = self._make()
        return self._made


def pack_picks(picks: Sequence[Pick], codes: dict[str, int]) -> bytes:
    """Pack picks in their order.

    Args:
        picks: Any number, each with at most 255 reasons.
        codes: Reason code → small stable integer (0 to 63), from ``profiles.reasons``.

    Raises:
        ValueError: If a reason has more than 3 parameters.
    """
    numbers: dict[Statement, int] = {}
    heads, fixed, rare = bytearray(), bytearray(), bytearray()
    reasons: list[tuple[int, float]] = []
    for pick in picks:
        put_varint(heads, pick.notice_id)
        put_varint(heads, pick.revision)
        odd = pick.propensity != 1.0
        kind = KINDS.index(pick.kind) | (HAS_PROPENSITY if odd else 0)
        fixed += _PICK.pack(kind, len(pick.reasons), _clipped(pick.score))
        rare += _HALF.pack(_clipped(pick.propensity)) if odd else b""
        for reason in pick.reasons:
            number = numbers.setdefault((reason.code, reason.params), len(numbers))
            reasons.append((number, _clipped(reason.contribution)))
    head = bytearray([VERSION])
    put_varint(head, len(numbers))
    for code, params in numbers:
        head += pack_statement(codes[code], params)
    put_varint(head, len(picks))
    one = _WIDE_REASON if len(numbers) >= WIDE else _REASON
    return bytes(head + heads + fixed + rare) + b"".join(one.pack(*reason) for reason in reasons)


def pack_statement(code: int, params: Sequence[str]) -> bytes:
    """Pack the code and parameters of a reason.

    Raises:
        ValueError: If there are more than 3 parameters.
    """
    if len(params) > _PARAMS_MOST:
        raise ValueError(f"a reason has at most {_PARAMS_MOST} parameters: {params}")
    body = bytearray([code * 4 + len(params)])
    for param in params:
        encoded = _shorten(param).encode()
        put_varint(body, len(encoded))
        body += encoded
    return bytes(body)


def unpack_picks(data: bytes, names: dict[int, str]) -> tuple[Pick, ...]:
    """Undo :func:`pack_picks`; scores and contributions come back with half-float precision.

    Raises:
        ValueError: If the bytes are of an unknown version or cut short.
    """
    try:
        if data[0] == 1:
            return unpack_one(data, names, lengthen)
        if data[0] != VERSION:
            raise ValueError(f"picks packed by version {data[0]}, this code reads up to {VERSION}")
        return _unpack(data, names)
    except (IndexError, struct.error) as error:
        raise ValueError("packed picks are cut short") from error


def _unpack(data: bytes, names: dict[int, str]) -> tuple[Pick, ...]:
    count, at = varint(data, 1)
    statements: list[Statement] = []
    for _ in range(count):
        (code, params), at = _statement(data, at, names)
        statements.append((code, params))
    heads, at = _heads(data, at)
    end = at + _PICK.size * len(heads)
    fixed = list(_PICK.iter_unpack(data[at:end]))
    at = end
    chances = []
    for kind, _, _ in fixed:
        chances.append(_HALF.unpack_from(data, at)[0] if kind & HAS_PROPENSITY else 1.0)
        at += _HALF.size if kind & HAS_PROPENSITY else 0
    one = _WIDE_REASON if count >= WIDE else _REASON
    end = at + one.size * sum(number for _, number, _ in fixed)
    if end > len(data) or len(fixed) < len(heads):
        raise IndexError
    said = [
        Reason(statements[number][0], statements[number][1], worth)
        for number, worth in one.iter_unpack(data[at:end])
    ]
    picks, first = [], 0
    for (notice_id, revision), (kind, number, score), chance in zip(heads, fixed, chances, strict=True):
        reasons = tuple(said[first : first + number])
        picks.append(Pick(notice_id, revision, KINDS[kind & ~HAS_PROPENSITY], reasons, score, chance))
        first += number
    return tuple(picks)


def unpack_pick_ids(data: bytes, names: dict[int, str]) -> tuple[int, ...]:
    """Return only the notices' ids, in order."""
    if data[:1] != bytes([VERSION]):
        return tuple(pick.notice_id for pick in unpack_picks(data, names))
    try:
        count, at = varint(data, 1)
        for _ in range(count):
            at = _skip_statement(data, at)
        return tuple(notice_id for notice_id, _ in _heads(data, at)[0])
    except IndexError as error:
        raise ValueError("packed picks are cut short") from error


def pack_ids(ids: Iterable[int]) -> bytes:
    """Pack a set of positive ids as ascending differences.

    Packed sets may be put one behind the other with a zero byte between (:func:`add_ids`).
    """
    body = bytearray()
    last = 0
    for value in sorted(set(ids)):
        put_varint(body, value - last)
        last = value
    return bytes(body)


def add_ids(packed: bytes, more: bytes) -> bytes:
    """Put packed ids behind those packed before, without opening them."""
    return packed + b"\0" + more if packed and more else packed or more


def unpack_ids(data: bytes) -> list[int]:
    """Undo :func:`pack_ids` and :func:`add_ids`: set by set, ascending inside each."""
    found: list[int] = []
    at = last = 0
    while at < len(data):
        value, at = varint(data, at)
        last = last + value if value else 0
        if value:
            found.append(last)
    return found


def put_varint(body: bytearray, value: int) -> None:
    """Append an unsigned LEB128 number."""
    if value < 0:
        raise ValueError(f"cannot pack a negative number: {value}")
    while value > 0x7F:
        body.append(value & 0x7F | 0x80)
        value >>= 7
    body.append(value)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned LEB128 number; returns it and where the next thing begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def lengthen(param: str) -> str:
    """Undo what packing does to the beginnings of parameters."""
    if not param or ord(param[0]) > len(_BEGINNINGS):
        return param
    return param[1:] if param[0] == "\x00" else _BEGINNINGS[ord(param[0]) - 1] + param[1:]


def _shorten(param: str) -> str:
    for n, beginning in enumerate(_BEGINNINGS, start=1):
        if param.startswith(beginning):
            return chr(n) + param[len(beginning) :]
    return "\x00" + param if param and ord(param[0]) <= len(_BEGINNINGS) else param


def _statement(data: bytes, at: int, names: dict[int, str]) -> tuple[Statement, int]:
    code, count = divmod(data[at], 4)
    at += 1
    params = []
    for _ in range(count):
        length, at = varint(data, at)
        at += length
        if at > len(data):
            raise IndexError
        params.append(lengthen(data[at - length : at].decode()))
    return (names[code], tuple(params)), at


def _skip_statement(data: bytes, at: int) -> int:
    count = data[at] % 4
    at += 1
    for _ in range(count):
        length, at = varint(data, at)
        at += length
    return at


def _heads(data: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    count, at = varint(data, at)
    heads = []
    for _ in range(count):
        notice_id, at = varint(data, at)
        revision, at = varint(data, at)
        heads.append((notice_id, revision))
    return heads, at


def _clipped(value: float) -> float:
    return max(-HALF_MAX, min(HALF_MAX, value))
