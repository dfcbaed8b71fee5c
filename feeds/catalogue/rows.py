"""Notices as rows and back: what is a column, what goes into details, which words are indexed.

Pure conversions, no statement is made here. Called by ``feeds.catalogue.store`` only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from feeds.catalogue.notices import NewNotice, Notice, NoticeContent, freshness
from feeds.catalogue.tagging import Tag
from feeds.catalogue.words import cut, doc_key


def content_columns(content: NoticeContent) -> dict[str, Any]:
    """Return the columns that follow from what a notice says."""
    details = content.to_dict()
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


def new_row(item: NewNotice, at: datetime, number: int) -> dict[str, Any]:
    """Return the row of a notice that is stored for the first time; ``number`` is its material number."""
    released = at if item.state == "released" else None
    return content_columns(item.content) | {
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
    }


def first_revision(notice_id: int, item: NewNotice, at: datetime) -> dict[str, Any]:
    """Return the row of its first revision."""
    return revision_row(notice_id, 1, at, item.actor, "", True, item.content)


def revision_row(
    notice_id: int, revision: int, at: datetime, actor: str, note: str, major: bool, content: NoticeContent
) -> dict[str, Any]:
    """Return the row of one kept revision."""
    return {
        "notice_id": notice_id,
        "revision": revision,
        "made_at": at,
        "actor": actor,
        "note": note,
        "major": major,
        "content": content.to_dict(),
    }


def tag_row(notice_id: int, tag: Tag) -> dict[str, Any]:
    """Return the row of a tag."""
    return {
        "notice_id": notice_id,
        "kind": tag.kind,
        "code": tag.code,
        "cause": tag.cause,
        "weight": tag.weight,
    }


def words_row(notice_id: int, content: NoticeContent) -> dict[str, Any]:
    """Return the row of a notice's words, cut for the full-text index."""
    # Markup never holds a word of ours apart from tag names, so a plain strip by the cutter's
    # word pattern would index "p" and "a"; take the text between tags instead.
    words = cut(
        " ".join((content.title, content.title_en, content.doc_no, content.agency, _text(content.body)))
    )
    return {"notice_id": notice_id, "words": " ".join(words), "length": min(len(words), 32767)}


def _text(html: str) -> str:
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
    )
