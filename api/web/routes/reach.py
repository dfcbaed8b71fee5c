"""The editors' page of channels: whom each can reach, whether it really sends, what it costs. Shows only."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.jobs.reaching import overview
from api.web.access import Access, may, services_of
from api.web.pages import page

router = APIRouter(prefix="/editor", include_in_schema=False)


@router.get("/channels")
@may(Access.STAFF)
def channels(request: Request, role: str = "", place: str = "", theme: str = "") -> Response:
    """Counts for everybody, or for those who named a role, a place or a theme."""
    services = services_of(request)
    asked = {"role": role, "place": place, "theme": theme}
    named = [f"{kind}:{code}" for kind, code in asked.items() if code]
    tags = [tag for tag in named if services.city.known(tag)]
    return page(
        request,
        "editor/channels.html",
        private=True,
        found=overview(services, tags),
        asked=asked,
        tags=tags,
        choices={kind: _choices(request, kind) for kind in asked},
    )


def _choices(request: Request, kind: str) -> list[str]:
    city = services_of(request).city
    if kind == "role":
        return list(city.roles)
    if kind == "theme":
        return [code for code in city.themes if len(code) == 2]
    return [code for code, place in city.places.items() if place.kind in ("district", "zone")]
