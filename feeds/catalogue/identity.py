"""What a notice is recognised by when another source says it too, and how sure that is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LikenessKind = Literal["duplicate_of", "reprints", "similar_to"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Digests of a notice, all signed 63-bit or smaller; 0 stands for "has none".

    Attributes:
        keys: What is looked up in ``notice_key``: digests of the address, of (agency, document number),
            of title and day, of bands of the text; for a warning, of its messages.
        title_key, doc_key, agency_key, url_key: Digests of the folded title, document number, agency,
            canonical address.
        day: Days since 1970 of publication (UTC), or ``None``.
        simhash: Of the text's pieces.
        size: How many pieces that was made of.
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


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """The identity of a stored notice that shares a key with the one at hand."""

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
