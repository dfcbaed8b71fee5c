"""The open interface on when messages come: rhythm, rests, and why nothing came; by Bearer secret.

Shows and passes on; what may be chosen is decided in ``api.jobs.joining``. Belongs to ``routes.api_v1``.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import joining, silence
from api.jobs.digests import CHANNELS
from api.web.access import Access, may, profile_of, services_of
from api.web.routes.api_v1 import BEARER, MISSING
from api.web.schemas import RestIn, RhythmIn, SubscriptionOut, SubscriptionsOut

router = APIRouter(prefix="/api/v1", tags=["v1"])


@router.get("/profile/subscriptions", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def get_subscriptions(request: Request, response: Response) -> SubscriptionsOut:
    """Every channel that is on: its rhythm, its rest, and why the last message did or did not come."""
    response.headers["cache-control"] = "no-store"
    found = (_shown(request, channel) for channel in CHANNELS)
    return SubscriptionsOut(subscriptions=[one for one in found if one is not None])


@router.put("/profile/subscriptions/{channel}", responses=BEARER | MISSING)
@may(Access.MANAGE, bearer=True)
def put_subscription(request: Request, channel: str, wanted: RhythmIn) -> SubscriptionOut:
    """Change the rhythm of a channel that is on; nothing is lost or repeated by it."""
    _must_be_on(request, channel)
    joining.subscribe(
        services_of(request), profile_of(request), channel, wanted.hour, frequency=wanted.frequency,
        weekday=wanted.weekday, workdays_only=wanted.workdays_only,
    )  # fmt: skip
    return _must_be_on(request, channel)


@router.put("/profile/subscriptions/{channel}/rest", responses=BEARER | MISSING)
@may(Access.MANAGE, bearer=True)
def put_rest(request: Request, channel: str, wanted: RestIn) -> SubscriptionOut:
    """Let a channel rest; emergency warnings still come."""
    _must_be_on(request, channel)
    services, profile = services_of(request), profile_of(request)
    joining.rest(services, profile.id, channel, wanted.first, wanted.last, keeps=wanted.keeps)
    return _must_be_on(request, channel)


@router.delete("/profile/subscriptions/{channel}/rest", status_code=204, responses=BEARER | MISSING)
@may(Access.MANAGE, bearer=True)
def delete_rest(request: Request, channel: str) -> Response:
    """End a rest; doing so twice is fine."""
    _must_be_on(request, channel)
    joining.rest(services_of(request), profile_of(request).id, channel, None, None)
    return Response(status_code=204)


def _must_be_on(request: Request, channel: str) -> SubscriptionOut:
    found = _shown(request, channel)
    if found is None:
        raise HTTPException(404)
    return found


def _shown(request: Request, channel: str) -> SubscriptionOut | None:
    services, profile = services_of(request), profile_of(request)
    live = services.subscriptions.live(profile.id, channel)
    if live is None:
        return None
    contact = services.contacts.get(profile.id, channel)
    answer = silence.why(services, profile.id, channel)
    return SubscriptionOut(
        channel=channel,
        frequency=live.frequency,
        hour=live.local_hour,
        weekday=live.weekday,
        workdays_only=live.workdays_only,
        verified=contact is not None and contact.verified_at is not None,
        rests_from=live.paused_from,
        rests_until=live.paused_until,
        rest_keeps=live.pause_keeps,
        next_due=answer.next_due,
        last_result=answer.code,
        last_result_zh=answer.zh,
        last_result_en=answer.en,
    )
