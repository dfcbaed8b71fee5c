"""What pages note of their reader: that a list of picks was shown, and that a pick was opened.

Only of the holder of a profile who has personalisation on (``api.jobs.signals`` checks that), and only where
a person looks: not for HEAD, not for what a browser fetches in advance. A page never fails, and a list never
waits, because of what is noted. Called by the routes of the residents' pages.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from api.jobs import signals
from api.web.access import services_of
from feeds.kernel.errors import MycityError
from profiles.types import Profile

_log = structlog.get_logger(__name__)


def is_looked_at(request: Request) -> bool:
    """Whether a person asked for this page, as far as the request tells."""
    early = "prefetch" in request.headers.get("sec-purpose", "") or "mycity.head" in request.scope
    return not early and request.method == "GET"


def shown(request: Request, response: Response, profile: Profile, notice_ids: Iterable[int]) -> Response:
    """Note, once the page is out, that it showed these notices in this order; returns the response."""
    numbers = list(notice_ids)
    if numbers and profile.personalised and is_looked_at(request):
        response.background = BackgroundTask(
            signals.shown, services_of(request), profile.id, numbers, channel="web"
        )
    return response


def opened(request: Request, profile: Profile, notice_id: int) -> None:
    """Note that the holder of a profile opened one of their picks, from a page of ours."""
    ours = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    if not (profile.personalised and ours and is_looked_at(request)):
        return
    try:
        signals.opened(services_of(request), profile.id, notice_id)
    except MycityError as error:
        _log.error("open_lost", error=type(error).__name__)
