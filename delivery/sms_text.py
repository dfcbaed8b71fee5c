"""Counting, cutting and splitting the text of short messages. Pure.

A segment carries 70 UTF-16 units alone and 67 in a chain; domestic providers bill every character
as one, also Latin letters, so there is no GSM-7 discount at home. Characters outside the BMP (most
emoji, rare ideographs) travel as two units and are counted as two. Called by ``delivery.compose``.

Source: the billing page of a large domestic provider (signature included, at most 70, then 67
each), 3GPP TS 23.038 for the GSM alphabet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_SPACE = re.compile(r"[\s\u3000]+")
# The default alphabet of 3GPP TS 23.038 in the order of its codes (the place of the escape holds none),
# and its extension: character → second code. A character of the extension takes two places.
GSM_ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40,
    "€": 0x65,
}  # fmt: skip
_GSM = frozenset(GSM_ALPHABET) - {"\x1b"}
_GSM_EXTENSION = frozenset(GSM_EXTENDED)
_BOUNDARY = frozenset(" ，。；：、！？,.;:!?）)》】」”—-/·")
_OPENERS = "（(《【「“"
# What is one thing to its reader: a number with its unit, a date, a time, a span of them; a quoted name.
_NUMBER = re.compile(
    r"(?:[0-9０-９](?:[0-9０-９.,:：/%％~～\-—–]*[0-9０-９%％])?(?:年度?|月份?|[日号时点分秒岁元条个]|周[岁年])*[至到]?)+"
)
_QUOTED = re.compile(r"《[^《》]*》|“[^“”]*”|「[^「」]*」")
ELLIPSIS = "…"


def clean(text: str) -> str:
    """Make one line: controls, line breaks and invisible marks become single spaces."""
    return _SPACE.sub(" ", _CONTROL.sub(" ", text)).strip()


def units(text: str) -> int:
    """Count UTF-16 units: 1 for each character of the BMP, 2 for each beyond."""
    return len(text) + sum(1 for char in text if char > "\uffff")


def segments(text: str, domestic: bool = True) -> int:
    """Count the segments that a text is billed as; an empty text counts 1.

    Args:
        text: Everything the resident reads, the signature included.
        domestic: Chinese billing: 70 alone, else 67 each. Otherwise GSM-7 160/153 where the
            alphabet allows it (extension characters count 2), else UCS-2 70/67.
    """
    size, single, chained = _measure(text, domestic)
    return 1 if size <= single else -(-size // chained)


def split(text: str, domestic: bool = True) -> list[str]:
    """Cut a text into parts that fit a segment each, never inside a visible character.

    The parts join to ``text``. A cluster of marks too long for a segment is cut between code
    points. Where a visible character would straddle two segments there may be one part more than
    :func:`segments` counts.
    """
    size, single, chained = _measure(text, domestic)
    if size <= single:
        return [text]
    gsm = single == 160
    parts: list[str] = []
    part, used = "", 0
    for piece in _pieces(text, chained, gsm):
        cost = _cost(piece, gsm)
        if part and used + cost > chained:
            parts.append(part)
            part, used = "", 0
        part, used = part + piece, used + cost
    return [*parts, part]


def clip(text: str, limit: int) -> str:
    """Shorten to at most ``limit`` units, ending in ``…`` if anything was left out.

    Cuts after a punctuation mark in the last quarter if there is one, else before a Latin word or
    number that would be torn, else between two visible characters; leaves no bracket that was just
    opened. Never cuts inside a number or a date, nor inside a quoted name unless too little would be left
    before it. ``limit`` below 1 gives ``""``.
    """
    if units(text) <= limit:
        return text
    if limit < 1:
        return ""
    kept, used = [], 0
    for cluster in graphemes(text):
        if used + units(cluster) > limit - 1:
            break
        kept.append(cluster)
        used += units(cluster)
    return (_tidy(_unbroken(_at_boundary(kept, text), text)) if kept else "") + ELLIPSIS


def is_gsm(text: str) -> bool:
    """Whether the GSM alphabet suffices, so that 160 characters fit into a segment abroad."""
    return all(char in _GSM or char in _GSM_EXTENSION for char in text)


def graphemes(text: str) -> Iterator[str]:
    """Yield what a reader sees as one character: base with marks, emoji sequences, flags."""
    cluster = ""
    for char in text:
        if cluster and not _joins(cluster, char):
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


def _measure(text: str, domestic: bool) -> tuple[int, int, int]:
    if not domestic and is_gsm(text):
        return _cost(text, True), 160, 153
    return units(text), 70, 67


def _cost(text: str, gsm: bool) -> int:
    return len(text) + sum(char in _GSM_EXTENSION for char in text) if gsm else units(text)


def _pieces(text: str, limit: int, gsm: bool) -> Iterator[str]:
    for cluster in graphemes(text):
        if _cost(cluster, gsm) <= limit:
            yield cluster
        else:
            yield from cluster


def _joins(cluster: str, char: str) -> bool:
    if char == "\u200d" or unicodedata.category(char) in ("Mn", "Mc", "Me"):
        return True
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":
        return True
    if cluster[-1] == "\u200d":
        return char > "\u2000"
    if _is_flag(char):
        return all(_is_flag(before) for before in cluster) and len(cluster) % 2 == 1
    return _is_jamo(cluster[-1], char)


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _is_jamo(before: str, char: str) -> bool:
    """Hangul written in parts: a vowel or final after a leading consonant, vowel or syllable."""
    if not "\u1160" <= char <= "\u11ff":
        return False
    return "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"


def _at_boundary(kept: list[str], text: str) -> str:
    """Move the cut back to a punctuation mark close by, or out of a Latin word or a number."""
    whole = "".join(kept)
    following = text[len(whole) : len(whole) + 1]
    if following in _BOUNDARY or following in _OPENERS:
        return whole
    for index in range(len(kept) - 1, len(kept) * 3 // 4 - 1, -1):
        if kept[index] in _BOUNDARY:
            return "".join(kept[: index + 1])
    cut = len(kept)
    while cut > len(kept) * 3 // 5 and _in_word(kept[cut - 1], following):
        cut, following = cut - 1, kept[cut - 1]
    return whole if _in_word(kept[cut - 1], following) else "".join(kept[:cut])


def _unbroken(kept: str, text: str) -> str:
    """Move the cut back to the beginning of a quoted name, a number or a date that it would tear."""
    for things, least in ((_QUOTED, len(kept) // 3), (_NUMBER, 1)):
        for thing in things.finditer(text):
            if max(least, 1) <= thing.start() < len(kept) < thing.end():
                kept = kept[: thing.start()]
    return kept


def _in_word(before: str, after: str) -> bool:
    return before.isascii() and before.isalnum() and after.isascii() and after.isalnum()


def _tidy(text: str) -> str:
    return text.rstrip(" ，、；：,;:—-/·" + _OPENERS)
