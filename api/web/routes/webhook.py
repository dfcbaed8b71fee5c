"""A resident's own page about their webhook: set up, prove, test, change the secret, stop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import webhooks
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.forms import HOURS, Problem
from api.web.pages import page
from api.web.security import Limiter
from feeds.kernel.errors import UsageError
from profiles.types import Frequency

router = APIRouter(include_in_schema=False)
_CODES = ("ok", "gone", "timeout", "tls", "blocked", "unreachable", "no_echo", "changed", "none", "demo")
_CALLS = 20  # of one resident to their endpoint from this page, in ten minutes


@router.get("/me/webhook")
@may(Access.MANAGE)
def show(request: Request) -> Response:
    """How the webhook stands."""
    return _page(request)


@router.post("/me/webhook")
@may(Access.MANAGE)
def set_up(request: Request) -> Response:
    """Keep an address and show its secret, this once."""
    url = str(form_of(request).get("url", "")).strip()[:1000]
    try:
        secret = webhooks.set_up(services_of(request), profile_of(request), url)
    except UsageError:
        return _page(request, status=422, problems={"url": Problem("webhook.error_url")}, typed=url)
    return _page(request, secret=secret)


@router.post("/me/webhook/check")
@may(Access.MANAGE)
def check(request: Request) -> Response:
    """Ask the endpoint whether it wants this; begin if it does."""
    hour = str(form_of(request).get("hour", ""))
    frequency: Frequency = "immediate" if form_of(request).get("frequency") == "immediate" else "daily"
    if not (hour.isascii() and hour.isdigit() and int(hour) in HOURS):
        raise HTTPException(422)
    _count(request)
    code = webhooks.prove(services_of(request), profile_of(request), int(hour), frequency)
    return _told(request, "check", code)


@router.post("/me/webhook/test")
@may(Access.MANAGE)
def test(request: Request) -> Response:
    """Send a test message."""
    _count(request)
    return _told(request, "test", webhooks.test(services_of(request), profile_of(request)))


@router.post("/me/webhook/secret")
@may(Access.MANAGE)
def rotate(request: Request) -> Response:
    """Make a new secret and show it, this once."""
    secret = webhooks.rotate(services_of(request), profile_of(request))
    return _page(request, secret=secret or "", rotated=bool(secret))


@router.post("/me/webhook/stop")
@may(Access.MANAGE)
def stop(request: Request) -> Response:
    """End it and forget the address."""
    webhooks.stop(services_of(request), profile_of(request).id)
    return _page(request, done="stopped")


def _count(request: Request) -> None:
    limits = request.app.state.limits
    if not limits.setdefault("webhook", Limiter(_CALLS, 600)).allows(str(profile_of(request).id)):
        raise HTTPException(429)


def _told(request: Request, what: str, code: str) -> Response:
    known = code if code in _CODES else "http"
    result = {"what": what, "code": known, "status": code.removeprefix("http_")}
    return _page(request, status=200 if code == "ok" else 422, result=result)


def _page(request: Request, *, status: int = 200, **context: Any) -> Response:
    values: dict[str, Any] = {
        "problems": {}, "typed": "", "secret": "", "rotated": False, "done": "", "result": None,
    }  # fmt: skip
    services = services_of(request)
    return page(
        request,
        "me_webhook.html",
        status=status,
        private=True,
        tab="settings",
        hook=webhooks.state(services, profile_of(request).id),
        hours=list(HOURS),
        codes=_CODES,
        sends=services.settings.webhooks,
        **(values | context),
    )
