"""Which notices take no liking, disliking or rating: mourning, disaster, penalty, emergencies. Pure.

The one rule for it; it hides nothing and ranks nothing. Called by the pages and the open interface (which
offer fewer buttons) and by what keeps an opinion (which refuses it).
"""

from __future__ import annotations

import re

from feeds.catalogue.notices import Notice

#: Opinions that are out of place on such a notice; saving and hiding it stay possible.
OUT_OF_PLACE = frozenset({"like", "dislike", "less", "rating"})
_TAGS = frozenset({"theme:1701", "life:bereavement", "type:warning", "type:publicity"})
_WORDS = re.compile("讣告|哀悼|公祭|遇难|伤亡|处罚|停业整顿|通报批评")


def takes_likes(notice: Notice) -> bool:
    """Whether liking is decent."""
    if notice.priority == "emergency":
        return False
    if any(f"{tag.kind}:{tag.code}" in _TAGS for tag in notice.tags):
        return False
    return not _WORDS.search(notice.content.title)


def takes(notice: Notice, kind: str) -> bool:
    """Whether an opinion of this kind may be given on this notice."""
    return kind not in OUT_OF_PLACE or takes_likes(notice)
