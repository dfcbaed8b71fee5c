"""When a resident's messages come: their rhythm on channels without a typed address, and their rests.

Decides nothing; ``api.jobs.joining`` checks. Belongs to the settings page of ``routes.me``.
"""

from __future__ import annotations

from datetime import date

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import joining
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.pages import go
from api.web.rhythmview import read_rhythm
from api.web.routes.me import show_problem
from feeds.kernel.errors import UsageError

router = APIRouter(include_in_schema=False)


@router.post("/me/rhythm")
@may(Access.MANAGE)
def rhythm(request: Request) -> Response:
    """Change how often and when a channel that is on sends."""
    services, profile, channel = services_of(request), profile_of(request), _channel(request)
    try:
        wanted = read_rhythm(form_of(request))
    except UsageError as error:
        raise HTTPException(422) from error
    joining.subscribe(
        services, profile, channel, wanted.hour, frequency=wanted.frequency, weekday=wanted.weekday,
        workdays_only=wanted.workdays_only,
    )  # fmt: skip
    return go("/me/settings?done=started")


@router.post("/me/rest")
@may(Access.MANAGE)
def rest(request: Request) -> Response:
    """Let a channel rest for some days, or end its rest."""
    services, profile, form, channel = (
        services_of(request),
        profile_of(request),
        form_of(request),
        _channel(request),
    )
    if "end" in form:
        joining.rest(services, profile.id, channel, None, None)
        return go("/me/settings?done=awake")
    try:
        first, last = (
            date.fromisoformat(text) if text else None
            for text in (_text(form.get(n)) for n in ("first", "last"))
        )
        if first is None:
            raise ValueError
        joining.rest(services, profile.id, channel, first, last, keeps=form.get("keeps") != "0")
    except (ValueError, UsageError):
        return show_problem(request, f"{channel}-rest", "rhythm.error_days")
    return go("/me/settings?done=rests")


def _channel(request: Request) -> str:
    """The channel of the form, which must be on."""
    channel = str(form_of(request).get("channel", ""))
    if services_of(request).subscriptions.live(profile_of(request).id, channel) is None:
        raise HTTPException(422)
    return channel


def _text(value: object) -> str:
    return str(value or "").strip()[:10]
