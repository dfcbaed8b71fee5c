"""What a notice is recognised by when another source says it too, and how sure that is. Pure.

Two questions, answered apart: which stored notices are worth comparing (they share a key, which the
store looks up), and whether one of them is the same document (:func:`likeness`, on digests alone).
Government notices are formulaic: two that differ in one number, date or place are two notices, so
anything below certainty is only linked. Called by ``feeds.intake`` and ``feeds.catalogue.store``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feeds.catalogue.fingerprint import (
    Fingerprint,
    distance,
    fingerprint,
    is_copy,
    plain_form,
    same_numbers,
)
from feeds.catalogue.urls import canonical_url
from feeds.catalogue.words import doc_key
from feeds.kernel.time import EPOCH

if TYPE_CHECKING:  # a NewNotice carries an Identity: the two modules name each other
    from feeds.catalogue.notices import NoticeContent

LikenessKind = Literal["duplicate_of", "reprints", "similar_to"]

NEAR, SURELY_NEAR = 8, 5  # bits of 48 in which two near texts may differ
LONG = 150  # pieces; of shorter texts two that differ in one name are near
SAME_SIZE = 0.8  # the shorter of two near texts has at least this share of the longer one's pieces
DAYS_APART = 3  # between two publications of one notice
DAYS_REISSUED = 31  # where address or document number say that it is one document
_BUCKET = 8  # days; two buckets overlap by half, so that days up to 4 apart share one
_SPECIFIC_CHINESE, _SPECIFIC_LATIN = 10, 40  # characters from which a title names one document
_CHINESE = re.compile(r"[㐀-鿿]")
_DISTINCT_DOC = 4  # characters of a document number that names its issuer and a year


_SAME_TEXT = "the same title and text"
_NEAR_TEXT = "the same title and nearly the same text"
_BY_TEXT = (_SAME_TEXT, _NEAR_TEXT)


@dataclass(frozen=True, slots=True)
class Identity:
    """Digests of a notice, all signed 63-bit or smaller; 0 stands for "has none".

    Attributes:
        keys: What is looked up in ``notice_key``: digests of the address, of (agency, document number),
            of title and days, of the whole text and of bands of it; for a warning, of its messages.
        title_key, doc_key, agency_key, url_key: Digests of the folded title, document number, agency,
            canonical address.
        day: Days since 1970 of publication (UTC), or ``None``.
        simhash: 48 bits of the SimHash of the text's pieces; above them 15 that digest its numbers.
        size: How many pieces the text has.
        text_key: The one of ``keys`` that digests the whole text; not stored apart from them.
        bands: Those of ``keys`` that digest parts of the text, which formulas share, too.
        specific: Whether the title is long enough to name one document; equal titles are equally so.
        copied: Whether the text says that it was taken from elsewhere.
    """

    title_key: int
    doc_key: int
    agency_key: int
    url_key: int
    day: int | None
    simhash: int
    size: int
    lang: str
    keys: tuple[int, ...]
    text_key: int = 0
    bands: tuple[int, ...] = ()
    specific: bool = False
    copied: bool = False


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """The identity of a stored notice that shares a key with the one at hand.

    Attributes:
        shared: The keys they share; that one of them digests the whole text makes the texts equal.
    """

    notice_id: int
    source_id: int | None
    lead_id: int | None
    state: str
    title_key: int
    doc_key: int
    agency_key: int
    url_key: int
    day: int | None
    simhash: int
    size: int
    lang: str
    shared: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Likeness:
    """That a notice says what another one of another source says.

    Attributes:
        kind: ``duplicate_of`` and ``reprints`` are certain: only one of the two is picked.
            ``similar_to`` is not: both are kept and picked, and linked.
        why: For people: which rule said so.
    """

    notice_id: int
    kind: LikenessKind
    why: str = ""

    @property
    def certain(self) -> bool:
        """Whether the two are one document."""
        return self.kind != "similar_to"


def key_of(space: str, *parts: str) -> int:
    """Digest texts of one kind into 1 … 2^63-1; the same in every process and for ever.

    Args:
        space: What the parts are (``url``, ``doc`` …): equal texts of two kinds give two keys.
        parts: The texts; ``("ab", "c")`` differs from ``("a", "bc")``.
    """
    digest = hashlib.blake2b("\x1f".join((space, *parts)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> 1 or 1


def identity_of(
    content: NoticeContent,
    text: str,
    *,
    extra_keys: Iterable[int] = (),
    printed: Fingerprint | None = None,
) -> Identity:
    """Work out what a notice is recognised by.

    Args:
        content: What it says.
        text: Its body as plain text; a long one counts with its beginning.
        extra_keys: More keys of its own (:func:`key_of`), such as those of a warning's messages.
        printed: The text's fingerprint, from whoever has it already.
    """
    title = plain_form(content.title)
    agency = content.agency_slug or plain_form(content.agency)
    number, address = _doc_number(content.doc_no), _address(content.url)
    day = (content.published - EPOCH).days if content.published else None
    printed = printed or fingerprint(text)
    title_key = key_of("title", title) if title else 0
    doc = key_of("doc", number) if number else 0
    agency_key = key_of("agency", agency) if agency else 0
    url_key = key_of("url", address) if address else 0
    specific = _is_specific(title)
    keys = [url_key, printed.exact, *printed.bands, *extra_keys]
    if doc and agency_key:
        keys.append(key_of("doc-agency", str(doc), str(agency_key)))
    if specific:
        keys += [key_of("title-days", title, days) for days in _days(day)]
    return Identity(
        title_key, doc, agency_key, url_key, day, printed.simhash, printed.size, content.lang,
        tuple(dict.fromkeys(filter(None, keys))), printed.exact, printed.bands, specific, is_copy(text),
    )  # fmt: skip


def likeness(mine: Identity, source_id: int | None, others: Sequence[StoredIdentity]) -> Likeness | None:
    """Say which stored notice of another source a notice repeats, if any.

    Certain (``duplicate_of``; ``reprints`` where the agencies differ or the text says so):
    the same address, or the same document number of one agency, with the same title or a near text,
    published within a month; or the same title within three days with the same text, or with a near
    one that names the same numbers and whose agency is not another, unless another source says it
    more than once. Everything else that is the same
    title of those days, or the same text, is ``similar_to``. Never: another language, two different
    document numbers, a notice of the same source, one that was withdrawn.

    Args:
        mine: Of the notice at hand.
        source_id: Of its source; explicit ids rule inside one.
        others: Candidates, any order.

    Returns:
        The surest one; ties go to the lead of its group, then to the smallest id.
    """
    found = [(_compare(mine, other), other) for other in others if _may_compare(source_id, other)]
    alike = [(like, other) for like, other in found if like is not None]
    if not alike:
        return None
    best, _ = min(
        alike, key=lambda pair: (not pair[0].certain, pair[1].lead_id is not None, pair[1].notice_id)
    )
    if best.certain and best.why in _BY_TEXT and _ambiguous(alike):
        return Likeness(best.notice_id, "similar_to", "the same title and text as several others")
    return best


def _may_compare(source_id: int | None, other: StoredIdentity) -> bool:
    return other.source_id != source_id and other.state not in ("withdrawn", "purged")


def _ambiguous(alike: Sequence[tuple[Likeness, StoredIdentity]]) -> bool:
    """Whether one other source says it more than once: then its words do not tell which one this is."""
    sources = [other.source_id for like, other in alike if like.certain]
    return len(sources) > len(set(sources))


def _compare(mine: Identity, other: StoredIdentity) -> Likeness | None:
    if mine.lang.split("-")[0] != other.lang.split("-")[0] or _differ(mine.doc_key, other.doc_key):
        return None
    title = mine.title_key != 0 and mine.title_key == other.title_key
    # A key may outlive the text it was made of; the print never does.
    same = mine.text_key in other.shared and (mine.simhash, mine.size) == (other.simhash, other.size)
    near = same or _near(mine, other)
    other_agency = _differ(mine.agency_key, other.agency_key)
    one_number = mine.doc_key != 0 and mine.doc_key == other.doc_key
    apart = _apart(mine, other)
    if one_number and other_agency:
        return _similar(other, "the same title and document number of another agency") if title else None
    if mine.url_key and mine.url_key == other.url_key:
        # Whoever else says the same title under that address may be a copycat with another text.
        if (near or (title and not other_agency)) and (apart is None or apart <= DAYS_REISSUED):
            return _certain(mine, other, "the same address")
        return _similar(other, "the same address")
    if one_number and (title or near) and (apart is None or apart <= DAYS_REISSUED):
        if mine.agency_key and mine.agency_key == other.agency_key:
            return _certain(mine, other, "the same document number")
        if title and mine.specific and apart is not None:
            return _certain(mine, other, "the same title and document number")
    if title and mine.specific and apart is not None and apart <= DAYS_APART:
        if same:
            return _certain(mine, other, _SAME_TEXT)
        if near and _surely_near(mine, other) and (not other_agency or mine.copied):
            return _certain(mine, other, _NEAR_TEXT)
        return _similar(other, "the same title")
    if one_number and mine.agency_key == other.agency_key:
        return _similar(other, "the same document number")
    if same and (apart is None or apart <= DAYS_REISSUED):
        return _similar(other, "the same text")
    if near and same_numbers(mine.simhash, other.simhash) and apart is not None and apart <= DAYS_APART:
        return _similar(other, "nearly the same text")
    return None


def _certain(mine: Identity, other: StoredIdentity, why: str) -> Likeness:
    # Whoever is earlier is no reprint, in whichever order the two came to us.
    earlier = mine.day is not None and other.day is not None and mine.day < other.day
    reprint = not earlier and (mine.copied or _differ(mine.agency_key, other.agency_key))
    return Likeness(other.notice_id, "reprints" if reprint else "duplicate_of", why)


def _similar(other: StoredIdentity, why: str) -> Likeness:
    return Likeness(other.notice_id, "similar_to", why)


def _differ(one: int, other: int) -> bool:
    return one != 0 and other != 0 and one != other


def _near(mine: Identity, other: StoredIdentity) -> bool:
    if not mine.simhash or not other.simhash:
        return False
    small, large = sorted((mine.size, other.size))
    return small >= SAME_SIZE * large and distance(mine.simhash, other.simhash) <= NEAR


def _surely_near(mine: Identity, other: StoredIdentity) -> bool:
    return (
        min(mine.size, other.size) >= LONG
        and distance(mine.simhash, other.simhash) <= SURELY_NEAR
        and same_numbers(mine.simhash, other.simhash)
    )


def _apart(mine: Identity, other: StoredIdentity) -> int | None:
    return None if mine.day is None or other.day is None else abs(mine.day - other.day)


def _days(day: int | None) -> tuple[str, ...]:
    if day is None:
        return ("undated",)
    return f"a{day // _BUCKET}", f"b{(day + _BUCKET // 2) // _BUCKET}"


def _address(url: str) -> str:
    """An address as it is compared: without scheme; a bare host, or none, says nothing of a notice."""
    _, _, rest = canonical_url(url).partition("://")
    host, _, path = rest.partition("/")
    return rest if host and path else ""


def _doc_number(doc_no: str) -> str:
    """A document number that names its issuer and a number, else ``""`` (无, 暂无, 第1号)."""
    number = doc_key(doc_no)
    return number if len(number) > _DISTINCT_DOC and any(one.isdecimal() for one in number) else ""


def _is_specific(title: str) -> bool:
    return len(title) >= _SPECIFIC_LATIN or len(_CHINESE.findall(title)) >= _SPECIFIC_CHINESE
