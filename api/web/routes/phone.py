"""A resident's phone on their own pages: the code that confirms it, and copies for relatives.

Entered by the manage link. Nothing here says of a stranger's number more than its owner agreed to.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import copying, phones
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.forms import Problem
from api.web.pages import go, page, words_of
from api.web.security import client_key
from feeds.kernel.errors import UsageError
from profiles.copies import RELATIONS, Copy

router = APIRouter(include_in_schema=False)
_SAID = ("sent", "wait", "enough", "busy", "unfit")


@router.get("/me/phone")
@may(Access.MANAGE)
def phone_form(request: Request) -> Response:
    """Ask for the code that was sent, or say that the phone is confirmed."""
    said = request.query_params.get("said", "")
    return _show_phone(request, said=said if said in _SAID else "")


@router.post("/me/phone")
@may(Access.MANAGE)
def phone_check(request: Request) -> Response:
    """Check the code."""
    if not request.app.state.limits["enter"].allows(f"code {client_key(request)}"):
        raise HTTPException(429)
    typed = str(form_of(request).get("code", ""))[:40]
    if phones.check(services_of(request), profile_of(request), typed):
        return go("/me/phone")
    return _show_phone(request, status=422, problems={"code": Problem("phone.wrong")})


@router.post("/me/phone/again")
@may(Access.MANAGE)
def phone_again(request: Request) -> Response:
    """Send another code, within limits."""
    return go(f"/me/phone?said={phones.ask(services_of(request), profile_of(request))}")


@router.get("/me/copies")
@may(Access.MANAGE)
def copies(request: Request) -> Response:
    """Who gets copies, who was asked, and a form to ask somebody."""
    return _show_copies(request)


@router.post("/me/copies")
@may(Access.MANAGE)
def add_copy(request: Request) -> Response:
    """Ask somebody whether they want copies."""
    services, form = services_of(request), form_of(request)
    number = str(form.get("number", "")).strip()[:60]
    try:
        copying.ask(services, profile_of(request), number, str(form.get("relation", "")))
    except UsageError as error:
        said = words_of(request).explain(error)
        problems = {"number": Problem("", said=said)}
        return _show_copies(request, status=422, problems=problems, typed=number)
    return go("/me/copies")


@router.post("/me/copies/end")
@may(Access.MANAGE)
def end_copy(request: Request) -> Response:
    """End a copy; its recipient is told."""
    services, number = services_of(request), str(form_of(request).get("copy", ""))
    own = {str(copy.id): copy for copy in services.copies.of(profile_of(request).id)}
    if number in own:
        copying.end(services, own[number], reason="resident")
    return go("/me/copies")


def _show_phone(request: Request, *, status: int = 200, **more: Any) -> Response:
    services, profile = services_of(request), profile_of(request)
    contact = services.contacts.get(profile.id, "sms")
    values: dict[str, Any] = {"said": "", "problems": {}} | more
    return page(
        request,
        "phone.html",
        status=status,
        private=True,
        tab="settings",
        number=contact.address if contact else "",
        confirmed=contact is not None and contact.verified_at is not None,
        **values,
    )


def _show_copies(request: Request, *, status: int = 200, **more: Any) -> Response:
    services, profile, words = services_of(request), profile_of(request), words_of(request)
    contact = services.contacts.get(profile.id, "sms")
    ready = contact is not None and contact.verified_at is not None
    values: dict[str, Any] = {"problems": {}, "typed": ""} | more
    return page(
        request,
        "copies.html",
        status=status,
        private=True,
        tab="settings",
        ready=ready and services.subscriptions.live(profile.id, "sms") is not None,
        copies=[(copy, _state(copy)) for copy in services.copies.of(profile.id)],
        relations={key: names[0 if words.lang == "zh" else 1] for key, names in RELATIONS.items()},
        **values,
    )


def _state(copy: Copy) -> str:
    """Which sentence says how a copy stands."""
    if copy.ended_at is not None:
        return "refused" if copy.ended_reason == "recipient" else "ended"
    return "live" if copy.confirmed_at is not None else "waiting"
