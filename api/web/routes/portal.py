"""Pages that anybody may read: the portal, search, one notice, help, privacy, probes, files.

Reads only; the one thing it records is that the holder of a profile opened one of their own picks.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.jobs import holding
from api.web import listing, noticeview, observe, opinionview
from api.web.access import Access, holder, may, services_of
from api.web.pages import page, static_files, words_of
from feeds.catalogue.notices import Notice
from feeds.kernel.errors import NotFoundError, StorageError
from profiles.types import Profile

router = APIRouter(include_in_schema=False)
_TYPES = {
    ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}  # fmt: skip


@router.get("/")
@may(Access.PUBLIC)
def portal(request: Request, role: str = "", theme: str = "", place: str = "", before: str = "") -> Response:
    """The front page: search, channels of the roles, latest notices."""
    services, words = services_of(request), words_of(request)
    lang = request.query_params.get("in", "")
    query = listing.Query(role, theme, place, lang if lang in ("zh", "en", "all") else "", before)
    if not listing.known_query(services.city, query):
        raise HTTPException(404)
    # Without a wish, notices in the reader's own language come, and all of them where there are none.
    effective = query if query.lang else listing.with_lang(query, words.lang)
    found = listing.find(services, effective, words)
    if not found.items and not query.lang and not before:
        effective = listing.with_lang(query, "all")
        found = listing.find(services, effective, words)
    counts = services.notices.tag_counts("theme")
    themes = sorted(
        ((item, counts[item.code]) for item in services.city.themes.values() if counts.get(item.code)),
        key=lambda pair: -pair[1],
    )
    top = services.city.themes[theme].parent or theme if theme else ""
    return page(
        request,
        "portal.html",
        query=query,
        shown_lang=effective.lang,
        found=found,
        days=listing.by_day(found.items),
        emergencies=listing.emergencies(services, words),
        themes=[pair for pair in themes if not pair[0].parent],
        top=top,
        inside=[pair for pair in themes if top and pair[0].parent == top],
        filtered=bool(role or theme or place),
        districts=_districts(request),
    )


@router.get("/search")
@may(Access.PUBLIC)
def search(request: Request, q: str = "") -> Response:
    """Full-text search over public notices."""
    services, words = services_of(request), words_of(request)
    q = " ".join(q.split())[:200]
    hits = [notice for notice, _ in services.search.find(q, limit=30)] if q else []
    return page(request, "search.html", q=q, found=listing.items(services, hits, words))


@router.get("/notices/{notice_id}")
@may(Access.PUBLIC)
def notice_page(request: Request, notice_id: str) -> Response:
    """One notice, at its current revision, with what changed and why each tag was given."""
    services, words = services_of(request), words_of(request)
    notice = public_notice(request, notice_id)
    reader = holder(request)
    from_me = reader is not None and request.query_params.get("from") == "me"
    if reader is not None and from_me:
        observe.opened(request, reader, notice.id)
    if request.query_params.get("ask") == "1" and _is_sensitive(request, notice):
        return page(request, "ask.html", private=True, notice=notice)
    change = noticeview.last_change(services.notices.revisions(notice.id))
    mark, title, title_lang = listing.shown_title(services.city, notice, words.lang)
    source = _source(request, notice)
    return page(
        request,
        "notice.html",
        private=reader is not None,
        notice=notice,
        mark=mark,
        title=title,
        title_lang=title_lang,
        change=change,
        change_note=words.explain(ValueError(change[1].note)) if change else "",
        changes=noticeview.compare_revisions(*change) if change else {},
        badge=listing.badge(notice, words, services),
        facts=noticeview.facts(services, notice, words),
        tags=noticeview.shown_tags(services, notice, words),
        related=noticeview.related(services, notice, words),
        source=source,
        from_me=from_me,
        signed_in=reader is not None,
        crumb=next((c for c in notice.codes("theme") if c in services.city.themes), ""),
        **_mine(request, reader, notice),
    )


@router.get("/about/feeds")
@may(Access.PUBLIC)
def about_feeds(request: Request) -> Response:
    """What a feed is, how to use one, and every public feed."""
    return page(request, "about_feeds.html", districts=_districts(request))


@router.get("/about/privacy")
@may(Access.PUBLIC)
def about_privacy(request: Request) -> Response:
    """What is held, why, for how long, and how to stop."""
    share = services_of(request).settings.control_share
    return page(request, "about_privacy.html", control_share=f"{share * 100:g}" if share else "")


@router.get("/healthz")
@may(Access.PUBLIC)
def healthz(request: Request) -> Response:
    """Whether the process answers."""
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


@router.get("/readyz")
@may(Access.PUBLIC)
def readyz(request: Request) -> Response:
    """Whether the database answers and has its tables."""
    try:
        services_of(request).notices.material_number()
    except StorageError:
        return JSONResponse({"status": "unavailable"}, 503, headers={"cache-control": "no-store"})
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


@router.get("/static/{name}")
@may(Access.PUBLIC)
def static(request: Request, name: str) -> Response:
    """Our own style sheet and icon; an address with a version never changes."""
    data = static_files().get(name)
    if data is None:
        raise HTTPException(404)
    known = "v" in request.query_params
    return Response(
        data,
        media_type=_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"),
        headers={
            "cache-control": "public, max-age=31536000, immutable" if known else "public, max-age=3600",
        },
    )


@router.get("/robots.txt")
@may(Access.PUBLIC)
def robots(request: Request) -> Response:
    """Keep crawlers away from personal pages."""
    closed = ("/f/", "/u/", "/c/", "/me", "/editor", "/captured", "/search")
    return PlainTextResponse("User-agent: *\n" + "".join(f"Disallow: {path}\n" for path in closed))


def public_notice(request: Request, text: str) -> Notice:
    """Return a notice that a resident may see.

    Raises:
        HTTPException: 404 for unknown ones and drafts alike, 410 for purged ones.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise HTTPException(404)
    try:
        notice = services_of(request).notices.get(int(text))
    except NotFoundError:
        raise HTTPException(404) from None
    if notice.state == "purged":
        raise HTTPException(410)
    if not notice.is_public:
        raise HTTPException(404)
    return notice


def _mine(request: Request, reader: Profile | None, notice: Notice) -> dict[str, Any]:
    """What the notice page says to the resident it was chosen for: why, and what they can say of it."""
    if reader is None:
        return {"mine": None, "bars": [], "mutes": (), "ratings": (), **opinionview.reply(request, [])}
    services, words = services_of(request), words_of(request)
    shelf = services.editions.shelf(reader.id).picks
    pick = next((item.pick for item in shelf if item.pick.notice_id == notice.id), None)
    said = holding.said(services, reader, [notice.id]).get(notice.id)
    fixed = holding.fixed(services, reader)
    mine = (
        opinionview.opinions(services, reader, notice, said, words, back="notice", fixed=fixed)
        if pick
        else None
    )
    return {
        "mine": mine if reader.personalised else None,
        "bars": opinionview.reason_bars(services, reader, pick, words) if pick else [],
        "mutes": reader.mutes,
        "ratings": opinionview.RATINGS,
        **opinionview.reply(request, [mine] if mine else []),
    }


def _is_sensitive(request: Request, notice: Notice) -> bool:
    city = services_of(request).city
    return any(city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)


def _source(request: Request, notice: Notice) -> object | None:
    """The source it came from, if that is known and has a name."""
    services = services_of(request)
    if notice.source_id is None:
        return None
    return next((item for item in services.sources.list() if item.id == notice.source_id), None)


def _districts(request: Request) -> list[tuple[str, str]]:
    city, lang = services_of(request).city, words_of(request).lang
    return [(p.code, p.label.of(lang)) for p in city.places.values() if p.kind in ("district", "zone")]
