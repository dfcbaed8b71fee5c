"""Public CAP of each warning: ``/alerts/{id}.cap``, for warning systems that read CAP 1.2."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.cap_out import alert_xml
from api.web.access import Access, may, services_of
from api.web.numbers import RowId
from delivery.cap import MEDIA_TYPE

router = APIRouter(include_in_schema=False)


@router.get("/alerts/{notice_id}.cap")
@may(Access.PUBLIC)
def cap(request: Request, notice_id: RowId) -> Response:
    """One warning that stands, or the message that ended it; 404 once it is over."""
    body = alert_xml(services_of(request), notice_id)
    if body is None:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=30", "access-control-allow-origin": "*"}
    return Response(body, media_type=MEDIA_TYPE, headers=headers)
