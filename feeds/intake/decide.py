"""Decides what an entry is: new, changed, the same, or said twice; and how much a change matters.

Pure: no clock, database or network. Called by :mod:`feeds.intake.landing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from feeds.catalogue.notices import NoticeContent, StoredKey
from feeds.catalogue.urls import canonical_url as canonical_url
from feeds.intake.fields import clean, one_line
from feeds.intake.sanitise import to_text
from feeds.intake.types import Decision
from feeds.kernel.ids import content_hash

MAX_GUID = 500  # bytes; longer names are replaced by their digest
FLOOD_LEAST, FLOOD_SHARE = 10, 0.8
MAJOR_BODY = 0.2  # share of different 4-character pieces from which a body counts as another one
_SIMILAR_SAMPLE = 100_000
MOST_CHANGES = 24  # of one entry by its publisher within a week; more is no news but an unstable page


def decide(key: StoredKey | None, content_hash: str, *, recent_changes: int = 0) -> Decision:
    """Say what to do with one entry.

    Args:
        key: What is stored under its (source, guid), or ``None``.
        content_hash: Digest of its normalised content.
        recent_changes: How often its publisher changed it within the last week, as
            ``NoticeStore.recent_changes`` counts; asked for changed entries only.

    Returns:
        ``new`` if nothing is stored; ``same`` if the content is, if the notice was withdrawn or purged
        here (upstream may not bring it back), or if it changes all the time (reason ``flapping …``);
        else ``changed``.
    """
    if key is None:
        return Decision("new")
    if key.content_hash == content_hash:
        return Decision("same", key.notice_id)
    if key.state in ("withdrawn", "purged"):
        return Decision("same", key.notice_id, reason=f"{key.state} here; upstream's change is not taken")
    if recent_changes >= MOST_CHANGES:
        return Decision("same", key.notice_id, reason=f"flapping: changed {recent_changes} times in a week")
    return Decision("changed", key.notice_id)


def is_major(old: NoticeContent, new: NoticeContent) -> bool:
    """Whether people who have read the old text need to see the new one.

    True if title (beyond spacing), deadline or document number changed, or a fifth of the body did.
    """
    if (
        _bare(old.title) != _bare(new.title)
        or old.deadline != new.deadline
        or _bare(old.doc_no) != _bare(new.doc_no)
    ):
        return True
    return difference(to_text(old.body), to_text(new.body)) >= MAJOR_BODY


def difference(one: str, other: str) -> float:
    """Share of four-character pieces that two texts do not have in common: 0 equal, 1 nothing in common."""
    if one == other:
        return 0.0
    pieces, others = _pieces(one), _pieces(other)
    union = len(pieces | others)
    return 1 - len(pieces & others) / union if union else 0.0


def is_flood(decisions: Sequence[Decision], *, has_history: bool, same: int = 0, deferred: int = 0) -> bool:
    """Whether most of an answer suddenly looks new although the source is known: its ids have changed."""
    new = sum(decision.action == "new" for decision in decisions) + deferred
    total = len(decisions) + same + deferred
    return has_history and total >= FLOOD_LEAST and new > FLOOD_SHARE * total


def guid_of(given: str, content: NoticeContent) -> str:
    """Name an entry inside its source: its own id, else its address, else what it says first."""
    name = one_line(clean(given)[0]) or canonical_url(content.url)
    if not name:
        published = content.published.isoformat() if content.published else None
        return "hash:" + content_hash(content.title, published, content.agency)
    return name if len(name.encode()) <= MAX_GUID else "hash:" + content_hash(name)


def nth_guid(guid: str, taken: set[str]) -> str:
    """Give a later row with a taken id its own: ``id#2``, ``id#3`` …; the same order gives the same names."""
    number = 2
    while f"{guid}#{number}" in taken:
        number += 1
    return f"{guid}#{number}"


def feed_guids(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Repair a feed that gives one id to different entries: there, the address joins the id.

    Args:
        entries: (guid, url) in the order of the feed. A feed's order moves, so numbering would not hold.
    """
    urls = Counter(guid for guid, _ in set(entries))
    return [f"{guid}|{url}" if urls[guid] > 1 and url else guid for guid, url in entries]


def _bare(text: str) -> str:
    return "".join(text.split())


def _pieces(text: str) -> set[str]:
    bare = _bare(text)[:_SIMILAR_SAMPLE]
    return {bare[at : at + 4] for at in range(max(len(bare) - 3, 1))} if bare else set()
