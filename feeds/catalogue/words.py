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
_ONLY_CHINESE = re.compile(r"[㐀-鿿]")


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
    folded = unicodedata.normalize("NFKC", text).lower()
    return str(_simplifier().convert(folded)) if _ONLY_CHINESE.search(folded) else folded


def one_form(text: str) -> str:
    """Return the form in which names and rule words are compared: folded, white space as one space."""
    return " ".join(fold(text).replace("’", "'").split())


def cut(text: str) -> list[str]:
    """Cut a text into words, in order, repeats kept.

    Chinese is cut in search mode: a long word is followed and preceded by its parts, so that a query
    finds it by either.
    """
    words: list[str] = []
    for run in _WORD.findall(fold(text)):
        if _ONLY_CHINESE.match(run):
            words.extend(_cutter().cut_for_search(run, True))
        else:
            words.append(run)
    return words


def doc_key(doc_no: str) -> str:
    """Reduce a document number to what matters: brackets 〔〕[]() are equal, spaces vanish."""
    folded = unicodedata.normalize("NFKC", doc_no.translate(_BRACKETS))
    return re.sub(r"\s+", "", folded).lower()[:_KEY_MOST]
