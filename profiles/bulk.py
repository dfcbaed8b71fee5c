"""The packing of the ledger for many editions at once, by numpy; same bytes as ``profiles.packing``.

Pure. Kept apart because numpy has no place in the processes that only read feeds. Called by
``recommender.select`` and ``recommender.candidates``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles.packing import HALF_MAX, HAS_PROPENSITY, VERSION, WIDE, Statement, pack_statement, put_varint
from profiles.reasons import CODES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_PICK = np.dtype([("kind", "u1"), ("reasons", "u1"), ("score", "<f2")])
_REASON, _WIDE_REASON = (np.dtype([("said", one), ("worth", "<f2")]) for one in ("u1", "<u2"))


class Statements:
    """Numbers for statements (reasons without their contribution), each packed once. Safe in threads.

    Attributes:
        all: Statements by number; ``codes`` the ledger's number of each one's code, ``packed`` its bytes.
    """

    def __init__(self) -> None:
        self.all: list[Statement] = []
        self.codes: list[int] = []
        self.packed: list[bytes] = []
        self._numbers: dict[Statement, int] = {}
        self._lock = threading.Lock()

    def number(self, code: str, params: tuple[str, ...] = ()) -> int:
        """Return the number of a statement; the same one every time."""
        found = self._numbers.get((code, params))
        if found is None:
            with self._lock:
                found = self._numbers.get((code, params))
                if found is None:
                    self.all.append((code, params))
                    self.codes.append(CODES[code])
                    self.packed.append(pack_statement(CODES[code], params))
                    found = self._numbers[code, params] = len(self.all) - 1
        return found


@dataclass(frozen=True)
class PickTable:
    """The picks of many editions, edition by edition, best first.

    Attributes:
        editions: int64 (n_editions + 1,): where each edition's picks begin; ``reasons``: int64
            (n_picks + 1,): where each pick's reasons begin.
        ids, revisions: int64 (n_picks,).
        kinds: int64 (n_picks,), places in :data:`profiles.packing.KINDS`.
        scores, chances: float32 (n_picks,): score and propensity.
        said: int64 (n_reasons,), numbers of statements. ``worth``: float32 (n_reasons,), contributions.
    """

    editions: Ints
    ids: Ints
    revisions: Ints
    kinds: Ints
    scores: Floats
    chances: Floats
    reasons: Ints
    said: Ints
    worth: Floats


def pack_many(table: PickTable, heads: Sequence[bytes], statements: Statements) -> list[bytes]:
    """Pack every edition of a table.

    Args:
        table: No edition of it empty.
        heads: For each pick its id and revision, packed (:func:`pack_head`).
        statements: That the numbers in the table belong to.
    """
    firsts, counts = _local(table, len(statements.all))
    begins, odd = table.editions.tolist(), table.chances != 1
    picks = np.empty(table.ids.size, dtype=_PICK)
    picks["kind"] = table.kinds | np.where(odd, HAS_PROPENSITY, 0)
    picks["reasons"], picks["score"] = np.diff(table.reasons), _halves(table.scores)
    fixed, rare = picks.tobytes(), _halves(table.chances[odd]).tobytes()
    rare_begins = (2 * np.concatenate([[0], np.cumsum(odd)])[table.editions]).tolist()
    narrow, wide = (_records(kind, counts[1], table.worth) for kind in (_REASON, _WIDE_REASON))
    reason_begins = table.reasons[table.editions].tolist()
    numbers, words = firsts.tolist(), statements.packed
    found, said = [], 0
    for n, count in enumerate(counts[0].tolist()):
        a, b, c, d = begins[n], begins[n + 1], reason_begins[n], reason_begins[n + 1]
        end = said + count
        records, size = (narrow, 3) if count < WIDE else (wide, 4)
        found.append(
            b"".join(
                (
                    _head(count), *[words[number] for number in numbers[said:end]],
                    _count(b - a), *heads[a:b], fixed[4 * a : 4 * b],
                    rare[rare_begins[n] : rare_begins[n + 1]], records[size * c : size * d],
                )
            )
        )  # fmt: skip
        said = end
    return found


def pack_head(notice_id: int, revision: int) -> bytes:
    """What stands first of each pick."""
    body = bytearray()
    put_varint(body, notice_id)
    put_varint(body, revision)
    return bytes(body)


def unpack_many_ids(blobs: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Undo ``profiles.packing.pack_ids`` for many.

    Returns:
        For each id the number of its blob, and the id; both int64.
    """
    data = np.frombuffer(b"\0".join(blobs) + b"\0", dtype=np.uint8)
    ends = np.flatnonzero(data < 0x80)
    begins = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(data.size) - np.repeat(begins, ends - begins + 1)
    parts = (data & 0x7F).astype(np.int64) << (7 * place)
    values = np.add.reduceat(parts, begins) if begins.size else parts
    # A zero begins a new sum, inside a blob or between two.
    sums = np.cumsum(values)
    zero = values == 0
    before = np.maximum.accumulate(np.where(zero, sums, 0))
    sizes = np.array([len(blob) + 1 for blob in blobs], dtype=np.int64)
    owner = np.searchsorted(np.cumsum(sizes), ends, side="right")
    kept = ~zero
    return owner[kept], (sums - before)[kept]


def _local(table: PickTable, width: int) -> tuple[Ints, tuple[Ints, Ints]]:
    """Number the statements inside each edition.

    Returns:
        All statements edition by edition; how many each edition has, and for each reason its number there.
    """
    edition = np.repeat(np.arange(table.editions.size - 1), np.diff(table.reasons[table.editions]))
    keys, place = np.unique(edition * width + table.said, return_inverse=True)
    begins = np.searchsorted(keys, np.arange(table.editions.size) * width)
    return keys % max(width, 1), (np.diff(begins), place - begins[edition])


def _records(kind: Any, said: Ints, worth: Floats) -> bytes:
    found = np.empty(said.size, dtype=kind)
    found["said"] = said & (0xFF if kind is _REASON else 0xFFFF)  # a wide edition does not use narrow records
    found["worth"] = _halves(worth)
    return found.tobytes()


def _halves(values: Floats) -> Any:
    return np.clip(values, -HALF_MAX, HALF_MAX).astype("<f2")


def _head(count: int) -> bytes:
    body = bytearray([VERSION])
    put_varint(body, count)
    return bytes(body)


def _count(count: int) -> bytes:
    body = bytearray()
    put_varint(body, count)
    return bytes(body)
