"""Our own hub (WebSub): takes subscriptions to public feeds. Verifies and sends nothing itself.

Anybody may ask; nothing is sent to an address before it has confirmed that it wants it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from api.jobs import hub
from api.web.access import Access, form_of, may, services_of
from api.web.security import Limiter, client_key
from delivery.hub_rules import Refused

router = APIRouter(include_in_schema=False)
_PLAIN = {"cache-control": "no-store"}
_MOST_ASKED = 300  # requests of one client in an hour
_ABOUT = (
    "This is the WebSub hub of the public feeds served here (W3C WebSub, section 5).\n"
    "Subscribe by POST with hub.mode, hub.topic and hub.callback; /about/feeds lists the feeds.\n"
)


@router.get("/hub")
@may(Access.PUBLIC)
def about(request: Request) -> Response:
    """Say what this address is."""
    _must_be_ours(request)
    return PlainTextResponse(_ABOUT, headers=_PLAIN)


@router.post("/hub")
@may(Access.PUBLIC, foreign=True)
def ask(request: Request) -> Response:
    """Take a request to subscribe or unsubscribe; it is verified right after the answer."""
    _must_be_ours(request)
    limits = request.app.state.limits
    if not limits.setdefault("hub", Limiter(_MOST_ASKED, 3600)).allows(client_key(request)):
        return PlainTextResponse("Too many requests; try again in an hour.\n", 429, headers=_PLAIN)
    services = services_of(request)
    try:
        hub.ask(services, {name: str(value) for name, value in form_of(request).items()})
    except Refused as error:
        return PlainTextResponse(f"{error}\n", error.status, headers=_PLAIN)
    return Response(status_code=202, headers=_PLAIN, background=BackgroundTask(hub.verify_due, services))


def _must_be_ours(request: Request) -> None:
    if not hub.is_ours(services_of(request)):
        raise HTTPException(404)
