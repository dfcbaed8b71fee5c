"""What must not go out before a person has looked: the office's word list, and personal numbers. Pure.

Called when a notice comes in (:mod:`feeds.intake.prepare`). It only says what it found; what follows is
decided there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# A Chinese resident identity number: 17 digits and a check sign (GB 11643-1999).
_ID_NUMBER = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5}(?:19|20)\d{9}[0-9Xx](?![0-9A-Za-z])")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SIGNS = "10X98765432"


def objection(words: Sequence[str], folded: str, openness: str = "") -> str:
    """Return why a text must be looked at first, or ``""``.

    Args:
        words: The office's list, folded as the text is.
        folded: Title and text in the form that words are compared in (:func:`one_form`).
        openness: What the document says of itself (公开属性).

    Returns:
        ``word:…`` for the first word of the list that stands in the text, ``id-number`` for a valid
        identity number, ``openness`` for a document that says it is not public.
    """
    for word in words:
        if word in folded:
            return f"word:{word}"
    if any(_is_id(found) for found in _ID_NUMBER.findall(folded)):
        return "id-number"
    return "openness" if "不予公开" in openness or "不公开" in openness else ""


def _is_id(number: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return number[-1].upper() == _SIGNS[total % 11]
