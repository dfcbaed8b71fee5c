"""Notices as rows and back: what is a column, what goes into details, which words are indexed.

Conversions only. Called by the catalogue's store modules only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from feeds.catalogue.identity import Identity
from feeds.catalogue.notices import NewNotice, Notice, NoticeContent, freshness
from feeds.catalogue.tagging import Tag
from feeds.catalogue.words import cut, doc_key


def content_columns(content: NoticeContent, said: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the columns that follow from what a notice says.

    Args:
        content: What it says.
        said: ``content.to_dict()``, from whoever has it already.
    """
    details = dict(content.to_dict() if said is None else said)
    details.pop("body", None)
    return {
        "lang": content.lang,
        "title": content.title,
        "body": content.body,
        "details": details,
        "content_hash": content.hash(),
        "agency_slug": content.agency_slug,
        "doc_key": doc_key(content.doc_no),
        "kind": content.kind,
        "published": content.published,
        "deadline": content.deadline,
        "expires": content.expires,
    }


def new_row(
    item: NewNotice, said: Mapping[str, Any], at: datetime, number: int, lead_id: int | None
) -> dict[str, Any]:
    """Return the row of a notice that is stored for the first time.

    Args:
        item: The notice.
        said: Its content's ``to_dict()``.
        at: When it is stored.
        number: Its material number.
        lead_id: The notice that is picked in its place, if any.
    """
    released = at if item.state == "released" else None
    return content_columns(item.content, said) | {
        "source_id": item.source_id,
        "guid": item.guid,
        "upstream_hash": item.content.hash(),
        "state": item.state,
        "revision": 1,
        "level": item.level,
        "place": item.place,
        "priority": item.priority,
        "archive": item.archive,
        "created_at": at,
        "released_at": released,
        "changed_at": released,
        "fresh_at": freshness(item.content, at, archive=item.archive),
        "material_number": number,
        "reason": item.reason,
        "lead_id": lead_id,
        "prominence": 0,
    }


def revision_row(
    notice_id: int, revision: int, at: datetime, actor: str, note: str, major: bool, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of one kept revision; ``said`` is its content's ``to_dict()``."""
    return {
        "notice_id": notice_id,
        "revision": revision,
        "made_at": at,
        "actor": actor,
        "note": note,
        "major": major,
        "content": said,
    }


def tag_row(notice_id: int, tag: Tag) -> tuple[Any, ...]:
    """Return the row of a tag, in the order of the table's columns."""
    return notice_id, tag.kind, tag.code, tag.cause, tag.weight


def words_row(notice_id: int, content: NoticeContent, words: Sequence[str] | None) -> tuple[Any, ...]:
    """Return the row of a notice's words for the full-text index; ``None`` cuts them here.

    In the order of the table's columns.
    """
    if words is None:
        # Markup never holds a word of ours apart from tag names, so a plain strip by the cutter's
        # word pattern would index "p" and "a"; take the text between tags instead.
        words = cut(
            " ".join(
                (content.title, content.title_en, content.doc_no, content.agency, plain_text(content.body))
            )
        )
    return notice_id, " ".join(words), min(len(words), 32767)


def key_rows(notice_id: int, identity: Identity) -> list[tuple[int, int]]:
    """Return the rows of a notice's keys, in the order of the table's columns."""
    return [(key, notice_id) for key in identity.keys]


def print_row(notice_id: int, source_id: int | None, identity: Identity) -> tuple[Any, ...]:
    """Return the row of what is compared when a key is found twice, in the order of the table's columns."""
    return (
        notice_id, source_id, identity.title_key, identity.doc_key, identity.agency_key, identity.url_key,
        identity.day, identity.simhash, identity.size, identity.lang,
    )  # fmt: skip


def plain_text(html: str) -> str:
    """Return the text between the tags of sanitised HTML."""
    return LexborHTMLParser(html).text(separator=" ") if "<" in html else html


def notice_of(row: Any, tags: tuple[Tag, ...]) -> Notice:
    """Return the notice that a row and its tags stand for; a row without body gives an empty one."""
    body = row._mapping.get("body", "")
    return Notice(
        id=row.id,
        source_id=row.source_id,
        guid=row.guid,
        state=row.state,
        revision=row.revision,
        content=NoticeContent.from_dict(row.details | {"body": body}),
        tags=tags,
        level=row.level,
        place=row.place,
        priority=row.priority,
        archive=row.archive,
        created_at=row.created_at,
        released_at=row.released_at,
        changed_at=row.changed_at,
        material_number=row.material_number,
        reason=row.reason,
        lead_id=row.lead_id,
        prominence=row.prominence,
    )
