"""Lists of feeds (OPML) to be taken into a feed reader: the city's, a resident's own, a personal one.

Shows nothing that the same address without ``.opml``, or the page, would not show.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.feed_lists import own_list, personal_list, public_list
from api.web.access import Access, may, profile_of, services_of
from api.web.pages import display_of

router = APIRouter(include_in_schema=False)


@router.get("/feeds.opml")
@may(Access.PUBLIC)
def public_feeds(request: Request) -> Response:
    """Every public feed."""
    return _opml(public_list(services_of(request), display_of(request).lang), private=False)


@router.get("/me/feeds.opml")
@may(Access.MANAGE)
def own_feeds(request: Request) -> Response:
    """The public feeds of what a resident follows, nothing sensitive among them."""
    body = own_list(services_of(request), profile_of(request), display_of(request).lang)
    return _opml(body, private=True)


@router.get("/f/{token}.opml")
@may(Access.TOKEN)
def personal_feed(request: Request, token: str) -> Response:
    """The personal feed as a list of one; unknown and ended addresses answer alike."""
    services = services_of(request)
    if services.tokens.resolve(token, now=services.clock.now()) is None:
        raise HTTPException(404)
    return _opml(personal_list(services, token, display_of(request).lang), private=True)


def _opml(body: bytes, *, private: bool) -> Response:
    headers = {
        "content-disposition": 'attachment; filename="mycity.opml"',
        "cache-control": "private, no-store" if private else "private, no-cache",
        "vary": "Accept-Language, Cookie",
    }
    if private:
        headers |= {"x-robots-tag": "noindex, nofollow", "referrer-policy": "no-referrer"}
    return Response(body, media_type="text/x-opml; charset=utf-8", headers=headers)
