"""A resident's own page about opens and clicks: what is counted, the switch, and what is held."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.jobs import engagement
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.pages import go, page

router = APIRouter(include_in_schema=False)
_DONE = ("on", "off")
_SHOWN = 50


@router.get("/me/receipts")
@may(Access.MANAGE)
def receipts(request: Request) -> Response:
    """Say what the switch does, and show what is held."""
    services, profile = services_of(request), profile_of(request)
    done = request.query_params.get("done", "")
    events = services.engagement.of(profile.id)
    return page(
        request,
        "me_receipts.html",
        private=True,
        tab="settings",
        done=done if done in _DONE else "",
        agreed=bool(services.consents.agreed(engagement.PURPOSE, [profile.id])),
        observed=profile.personalised,
        events=events[::-1][:_SHOWN],
        total=len(events),
    )


@router.post("/me/receipts")
@may(Access.MANAGE)
def switch(request: Request) -> Response:
    """Agree, or take it back; then everything that was held goes."""
    services, profile = services_of(request), profile_of(request)
    if form_of(request).get("on") == "1":
        engagement.agree(services, profile.id)
        return go("/me/receipts?done=on")
    engagement.withdraw(services, profile.id)
    return go("/me/receipts?done=off")
