"""Counted addresses in mail: a link that leads to our own page of a notice, and a one-pixel picture.

Where a link leads is looked up, never read from the address. No cookie is set or read, and nothing is
kept of anybody who did not agree to it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from api.jobs import engagement
from api.web.access import Access, may, services_of

router = APIRouter(include_in_schema=False)
_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex, nofollow",
    # The picture is shown inside mail programs, which are other sites.
    "cross-origin-resource-policy": "cross-origin",
}


@router.get("/r/{code}")
@may(Access.TOKEN)
def follow(request: Request, code: str) -> Response:
    """Lead to a notice; an unknown code leads nowhere."""
    services = services_of(request)
    found = engagement.followed(services, code, _asked(request), head=_head(request))
    if found is None:
        raise HTTPException(404)
    target = f"{services.settings.base_url}/notices/{found.notice_id}" + ("?ask=1" if found.veiled else "")
    return RedirectResponse(target, 302, headers=_HEADERS)


@router.get("/o/{code}.gif")
@may(Access.TOKEN)
def picture(request: Request, code: str) -> Response:
    """Give one transparent pixel."""
    if not engagement.opened(services_of(request), code, _asked(request), head=_head(request)):
        raise HTTPException(404)
    return Response(_PIXEL, media_type="image/gif", headers=_HEADERS)


def _asked(request: Request) -> dict[str, str]:
    return {name.lower(): text[:500] for name, text in request.headers.items()}


def _head(request: Request) -> bool:
    return request.method == "HEAD" or bool(request.scope.get("mycity.head"))
