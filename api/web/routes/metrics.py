"""Figures for a monitoring system; not public.

Answered to programs on this machine, and to whoever brings the token of ``MYCITY_METRICS_TOKEN``. To
everybody else the address does not exist.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.web.access import Access, may, services_of

router = APIRouter(include_in_schema=False)
# Who stands behind a proxy of this machine looks like this machine, but for these.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via", "x-forwarded-host")


@router.get("/metrics")
@may(Access.PUBLIC)
def metrics(request: Request) -> Response:
    """Tell the figures, or nothing."""
    services = services_of(request)
    if not _may_read(request, services.settings.metrics_token.get_secret_value()):
        raise HTTPException(404)
    # The library takes a moment to load; pages do without it.
    from api.ops.metrics import CONTENT_TYPE, metrics_text

    return Response(metrics_text(services), media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})


def _may_read(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    if token and hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode()):
        return True
    if any(name in request.headers for name in _FORWARDED) or request.client is None:
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
