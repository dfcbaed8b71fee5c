"""Cutting text into words, the same way at write and at query time. Pure, no I/O.

Chinese is folded to Simplified and cut by rjieba; Latin runs are lower-cased. Called by the store
(when a notice is written), by search (when a query comes) and by the recommender's features.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

_WORD = re.compile(r"[0-9a-z]+(?:[.'-][0-9a-z]+)*|[㐀-鿿]+")
_BRACKETS = str.maketrans("〔〕[]（）【】", "()()()()")
# Longer than any real number, shorter than what an index takes.
_KEY_MOST = 200
_ENCLOSED = re.compile(r"^\((?=.*\(.*\))(.*)\)$")
_ONLY_CHINESE = re.compile(r"[㐀-鿿]")
_LAST_LATIN = "\x7f"  # a run of words is either below it or above


@cache
def _simplifier() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


@cache
def _cutter() -> Any:
    # Its dictionary takes half a second to load: only whoever cuts words pays for it.
    import rjieba

    return rjieba


def fold(text: str) -> str:
    """Make variants of one text equal: NFKC, lower case, Traditional to Simplified."""
    return simplified(_normalised(text).lower())


def simplified(text: str) -> str:
    """Turn Traditional characters into Simplified ones; a text without Chinese stays as it is."""
    return str(_simplifier().convert(text)) if _ONLY_CHINESE.search(text) else text


def _normalised(text: str) -> str:
    """NFKC. Where every character has a form of its own, the few that change are replaced one by one.

    Python normalises a text as a whole as soon as one character is not normal, and every Chinese
    comma is not: on a page of Chinese this is ten times as fast.
    """
    odd = set(_ODD.findall(text))
    for character in odd:
        form = _FORMS.get(character)
        if form is None:
            form = unicodedata.normalize("NFKC", character)
            if not _alone(character + form):
                return unicodedata.normalize("NFKC", text)
            _FORMS[character] = form
        if form != character:
            text = text.replace(character, form)
    return text


# All but ASCII, unified ideographs and the brackets and quotes that are normal as they are.
_ODD = re.compile(r"[^\x00-\x7f、-〩㐀-鿿“”‘’—·]")
_FORMS: dict[str, str] = {}  # what becomes of an odd one; filled as they come
# Where no character joins its neighbours: Latin, Greek and Cyrillic without combining marks,
# punctuation and symbols, kana, unified ideographs, full-width forms.
_ALONE = (
    (0x0000, 0x02FF), (0x0370, 0x0482), (0x2000, 0x20CF), (0x2100, 0x2BFF), (0x3000, 0x3029),
    (0x3030, 0x3098), (0x309D, 0x30FF), (0x3200, 0x33FF), (0x3400, 0x9FFF), (0xE000, 0xF8FF),
    (0xFF01, 0xFF60), (0xFFE0, 0xFFE6),
)  # fmt: skip


def _alone(characters: str) -> bool:
    """Whether none of these characters ever joins a neighbour."""
    return all(any(low <= ord(one) <= high for low, high in _ALONE) for one in characters)


def one_form(text: str) -> str:
    """Return the form in which names and rule words are compared: folded, white space as one space."""
    return one_form_of(fold(text)) if text else ""


def one_form_of(folded: str) -> str:
    """Do what :func:`one_form` does with a text that is folded already."""
    return " ".join(folded.replace("’", "'").split())


def cut(text: str) -> list[str]:
    """Cut a text into words, in order, repeats kept.

    Chinese is cut in search mode: a long word is followed and preceded by its parts, so that a query
    finds it by either.
    """
    return cut_folded(fold(text))


def cut_folded(folded: str) -> list[str]:
    """Do what :func:`cut` does with a text that is folded already."""
    runs = _WORD.findall(folded)
    chinese = [run for run in runs if run > _LAST_LATIN]
    if not chinese:
        return runs
    # One call for all runs, a line each: no word reaches across a line.
    pieces = _cutter().cut_for_search("\n".join(chinese), True)
    if len(chinese) == len(runs):
        return [piece for piece in pieces if piece != "\n"]
    lines = iter("\t".join(pieces).split("\t\n\t"))
    words: list[str] = []
    for run in runs:
        if run > _LAST_LATIN:
            words.extend(next(lines).split("\t"))
        else:
            words.append(run)
    return words


def doc_key(doc_no: str) -> str:
    """Reduce a document number to what matters: brackets are equal; spaces, and a pair around it, vanish."""
    if not doc_no:
        return ""
    folded = re.sub(r"\s+", "", unicodedata.normalize("NFKC", doc_no.translate(_BRACKETS))).lower()
    return _ENCLOSED.sub(r"\1", folded)[:_KEY_MOST]
