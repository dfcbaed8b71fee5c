"""What an item is made of as a log and the ranker see it: tags, the themes above them, words. Pure.

One rule for training (``replay.own``) and serving (``second_stage``), so that both mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from feeds.catalogue.tagging import Tag

#: Kinds of tags in the order in which they stand on an item: first what it is about.
_KINDS = {kind: n for n, kind in enumerate(("theme", "life", "type", "role", "place"))}


def tokens_of(tags: Sequence[Tag], words: Iterable[str], parent: Mapping[str, str]) -> tuple[str, ...]:
    """Tokens of an item, without repeats: ``t:theme:0402``, then wider themes, then ``w:奖励``."""
    ordered = sorted(tags, key=lambda tag: (_KINDS.get(tag.kind, len(_KINDS)), -tag.weight, tag.code))
    named = [f"t:{tag.kind}:{tag.code}" for tag in ordered]
    wider = [f"t:theme:{up}" for tag in tags if tag.kind == "theme" and (up := parent.get(tag.code))]
    return tuple(dict.fromkeys([*named, *wider, *(f"w:{word}" for word in words)]))
