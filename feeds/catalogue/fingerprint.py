"""Digests of a text that stay equal, or nearly so, when the text is said again elsewhere. Pure.

A text becomes words (a Chinese character, a run of letters, a run of digits), four in a row are a
piece. From the pieces come a SimHash (Charikar 2002; near texts differ in few bits) and bands of
minima (Broder 1997; near texts share most of them). Variants of a character are equal: width, case,
Traditional and Simplified. Nothing here knows what a notice is. Called by ``feeds.catalogue.identity``.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from feeds.catalogue.words import simplified

LEAST_PIECES = 20  # a text of fewer says too little to be recognised by
MOST_CHARACTERS = 20_000  # of a longer text only the beginning counts
MOST_PIECES = 2_000  # of more pieces those with the smallest digests stand for all
BITS = 48  # of the SimHash
_BAND_STARTS, _MINIMA = (0, 3, 6), 9  # three bands of three minima each

_Array = NDArray[np.uint64]
_LETTER, _CHINESE, _DIGIT, _NUMERAL = 1, 2, 3, 4
# Not 一: it is in every other sentence (统一, 进一步), and 第二 differs from 第一 without it.
_NUMERALS = frozenset("〇零二三四五六七八九十百千万亿")
_EDGE = 240  # characters at either end of a text where a page's own remarks stand
# What pages write around a text and what therefore differs between two copies of it. The first character
# stands apart, because a search for one of a few characters is many times as fast as one for a choice.
_REMARK = re.compile(
    r"[发發更成公信浏瀏点點阅閱来來稿责責作编編字视視【\[](?:"
    r"[布佈新表文开開息]?(?:日期|[时時][间間])\s*[:：]\s*\d{4}[-年/.]\d{1,2}[-月/.]\d{1,2}日?"
    r"(?:\s*\d{1,2}:\d{2}(?::\d{2})?)?"
    r"|[览覽击擊读讀](?:次[数數]|量|[数數])?\s*[:：]?\s*\d+\s*次?"
    r"|(?:源|者|[辑輯]|任[编編][辑輯])\s*[:：]\s*[^\s|，。]{1,30}"
    r"|(?:[体體号號]|力保[护護]色)\s*[:：]?\s*[\[【（(]?\s*大\s*中\s*小\s*[\]】）)]?"
    r"|(?:打印(?:本[页頁])?|[关關][闭閉](?:窗口)?|分享|收藏|返回(?:[顶頂]部)?)[】\]])"
)
_COPIED = ("转自", "轉自", "转载", "轉載", "摘自", "原载", "原載", "eprinted from", "riginally published")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a text is recognised by.

    Attributes:
        simhash: 48 bits of the SimHash and above them 15 bits that digest the numbers it names;
            0 for a text that is too short.
        size: Pieces of the text.
        exact: Digest (63 bits) of all its words in order; 0 for a text that is too short.
        bands: Digests (63 bits) of which near texts share at least one; empty for a short text.
    """

    simhash: int
    size: int
    exact: int
    bands: tuple[int, ...]


def fingerprint(text: str) -> Fingerprint:
    """Digest a text; pages' own remarks at either end (dates, counts, buttons) do not count.

    Args:
        text: Plain text of any length and language.
    """
    return fingerprints([text])[0]


def fingerprints(texts: Sequence[str]) -> list[Fingerprint]:
    """Digest texts as :func:`fingerprint` does each; many short ones take half the time together."""
    found: list[Fingerprint] = []
    batch: list[str] = []
    waiting = 0
    for text in texts:
        # A text that is too short has no words here, and ends as one that has none.
        plain = _without_remarks(text[:MOST_CHARACTERS]) if len(text) >= LEAST_PIECES else ""
        if batch and waiting + len(plain) > MOST_CHARACTERS:
            found += _together(batch)
            batch, waiting = [], 0
        batch.append(plain)
        waiting += len(plain)
    return found + _together(batch) if batch else found


def _together(texts: Sequence[str]) -> list[Fingerprint]:
    words, kinds, firsts = _words(texts)
    spans = [*itertools.pairwise((*firsts, len(words)))]
    found = [Fingerprint(0, max(end - first - 3, 0), 0, ()) for first, end in spans]
    long = [at for at, empty in enumerate(found) if empty.size >= LEAST_PIECES]
    if not long:
        return found
    # The words' digests are mixed well, so sums of odd multiples of them are, too.
    pieces = words[:-3] * _FACTORS[0] + words[1:-2] * _FACTORS[1] + words[2:-1] * _FACTORS[2] + words[3:]
    kept = [_smallest(pieces[first : end - 3]) for first, end in (spans[at] for at in long)]
    starts = np.cumsum([0, *map(len, kept)])
    joined = np.concatenate(kept)
    hashes, bands = _simhashes(joined, starts), _bands(joined, starts[:-1])
    named = np.where(kinds >= _DIGIT, words, np.uint64(0))
    for at, simhash, band in zip(long, hashes, bands, strict=True):
        first, end = spans[at]
        exact = hashlib.blake2b(words[first:end].tobytes(), digest_size=8).digest()
        numbers = int(named[first:end].sum(dtype=np.uint64)) >> 49
        whole = int.from_bytes(exact, "big") >> 1 or 1
        found[at] = Fingerprint(numbers << BITS | simhash, found[at].size, whole, band)
    return found


def _smallest(pieces: _Array) -> _Array:
    return pieces if len(pieces) <= MOST_PIECES else np.partition(pieces, MOST_PIECES)[:MOST_PIECES]


def distance(one: int, other: int) -> int:
    """Count the bits in which two SimHashes differ, 0 to 48; their numbers do not count."""
    return ((one ^ other) & ((1 << BITS) - 1)).bit_count()


def same_numbers(one: int, other: int) -> bool:
    """Whether two texts name the same numbers, as far as 15 bits can tell."""
    return one >> BITS == other >> BITS


def is_copy(text: str) -> bool:
    """Whether a text says of itself, at its beginning or end, that it was taken from elsewhere."""
    edges = text if len(text) <= 2 * _EDGE else f"{text[:_EDGE]}\n{text[-_EDGE:]}"
    return any(said in edges for said in _COPIED)


def plain_form(text: str) -> str:
    """Reduce a short text to the letters and digits that matter: two titles that read alike are equal.

    Spaces and punctuation vanish, except between digits: ``1.5`` is not ``15``.
    """
    return _GAP.sub("", text.translate(_FORMS)).strip()


_GAP = re.compile(r"(?<![0-9]) +| +(?![0-9])")


class _Forms(dict[int, str]):
    """Code point → how it is compared; filled as characters come."""

    def __missing__(self, code: int) -> str:
        self[code] = form = _form(chr(code))
        return form


def _form(character: str) -> str:
    folded = simplified(unicodedata.normalize("NFKC", character).lower())
    return "".join(one if one.isalnum() else " " for one in folded)


_FORMS = _Forms()

# The same as arrays: code point → digest of its form, and → its kind (0: separates words).
_UNKNOWN = 255
_digests = np.zeros(0x20000, dtype=np.uint64)
_kinds = np.full(0x20000, _UNKNOWN, dtype=np.uint8)


def _learn(codes: NDArray[np.uint32]) -> None:
    for code in np.unique(codes).tolist():
        form = _FORMS[code].strip()
        # What becomes several characters (㎡ → m2) stands for itself: both copies have it.
        _digests[code] = _mix(np.array([ord(form) if len(form) == 1 else code], dtype=np.uint64))[0]
        _kinds[code] = _kind(form) if form else 0  # last: who sees it known finds its digest


def _kind(form: str) -> int:
    if form in _NUMERALS:
        return _NUMERAL
    if form.isdecimal():
        return _DIGIT
    return _CHINESE if "㐀" <= form[0] <= "鿿" or ord(form[0]) > 0xFFFF else _LETTER


def _words(texts: Sequence[str]) -> tuple[_Array, NDArray[np.uint8], list[int]]:
    """Return a digest of each word of the texts, in order, its kind, and where each text's words begin."""
    # A line break separates words, and every character is one number: texts stay apart.
    raw = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    raw = np.minimum(raw, np.uint32(0x1FFFF))  # rarer planes are as good as one character
    kinds = _kinds[raw]
    if (unknown := kinds == _UNKNOWN).any():
        _learn(raw[unknown])
        kinds = _kinds[raw]
    kept = kinds.nonzero()[0]
    kind, digests = kinds[kept], _digests[raw[kept]]
    odd = kind & 1  # letters and digits, which form words with their neighbours of the same kind
    joined = odd[1:].astype(bool) & (kind[1:] == kind[:-1]) & (kept[1:] == kept[:-1] + 1)
    later = joined.nonzero()[0] + 1
    begins = [*itertools.accumulate((len(text) + 1 for text in texts[:-1]), initial=0)]
    singles: list[int] = np.searchsorted(kept, begins).tolist()
    if not len(later):
        return digests * _powers()[0], kind, singles
    place = np.zeros(len(kept), dtype=np.intp)
    place[later] = 1
    run = place.cumsum()
    first = np.ones(len(kept), dtype=bool)
    first[later] = False
    starts = first.nonzero()[0]
    place = run - np.maximum.accumulate(run * first)
    words = np.add.reduceat(digests * _powers()[place & 63], starts)
    firsts: list[int] = np.searchsorted(starts, singles).tolist()
    return words, kind[starts], firsts


def _simhashes(pieces: _Array, starts: NDArray[np.intp]) -> list[int]:
    """The SimHash of each text; its pieces begin at one of ``starts`` and end at the next."""
    # Bits as bytes, eight to a number, so that eight are counted by one addition; 255 fill a byte.
    lanes = np.unpackbits(pieces.view(np.uint8)).view(np.uint64).reshape(-1, 8)
    parts = [np.arange(first, end, 255) for first, end in itertools.pairwise(starts.tolist())]
    sums = np.add.reduceat(lanes, np.concatenate(parts), axis=0).view(np.uint8).reshape(-1, 64)
    firsts = np.cumsum([0, *map(len, parts[:-1])])
    counts = np.add.reduceat(sums, firsts, axis=0, dtype=np.int32)[:, :BITS]
    bits = np.packbits(counts * 2 > np.diff(starts).reshape(-1, 1), axis=1)
    return [int.from_bytes(one.tobytes(), "big") for one in bits]


def _bands(pieces: _Array, starts: NDArray[np.intp]) -> list[tuple[int, ...]]:
    minima = np.minimum.reduceat(pieces * _multipliers(), starts, axis=1)
    return [
        tuple(
            ((text[at] * _ODDS[0] + text[at + 1] * _ODDS[1] + text[at + 2] * _ODDS[2]) & _MASK) >> 1
            for at in _BAND_STARTS
        )
        for text in minima.T.tolist()
    ]


def _mix(values: _Array) -> _Array:
    """Spread every bit over all others (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_ODDS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_FACTORS = tuple(np.uint64(one) for one in _ODDS)
_MASK = (1 << 64) - 1


@cache
def _powers() -> _Array:
    return np.multiply.accumulate(np.full(64, 0x100000001B3, dtype=np.uint64))


@cache
def _multipliers() -> _Array:
    # Odd factors permute the 64-bit numbers; drawn once, fixed for ever: stored bands depend on them.
    return (_mix(np.arange(1, _MINIMA + 1, dtype=np.uint64) * _FACTORS[0]) | np.uint64(1)).reshape(-1, 1)


def _without_remarks(text: str) -> str:
    if len(text) <= 2 * _EDGE:
        return _REMARK.sub(" ", text)
    return _REMARK.sub(" ", text[:_EDGE]) + text[_EDGE:-_EDGE] + _REMARK.sub(" ", text[-_EDGE:])
