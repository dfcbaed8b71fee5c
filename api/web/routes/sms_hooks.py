"""Addresses that SMS providers call: receipts of our texts, and texts that people sent to us.

The adapter of the provider checks what it signs and reads it; here it is written down at once and answered
in the provider's own form, and acted on after the answer. A wrong secret, an unknown provider and one that
is not set up get the same answer. Says nothing about anybody.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api.jobs import texting
from api.web.access import Access, may, services_of
from api.web.security import BodyTooLarge

router = APIRouter(include_in_schema=False)
MOST_BODY = 256 * 1024
# What each provider wants to read, else it calls again.
_FORMS: Mapping[str, tuple[str, str]] = {
    "aliyun": ('{"code":0,"msg":"成功"}', "application/json"),
    "tencent": ('{"result":0,"errmsg":"OK"}', "application/json"),
    "twilio": ('<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml"),
}


@router.post("/hooks/sms/{provider}/{secret}")
@may(Access.TOKEN, foreign=True, raw=True)
async def receive(request: Request, provider: str, secret: str) -> Response:
    """Take a provider's call."""
    services = services_of(request)
    right = hmac.compare_digest(secret.encode(), texting.hook_secret(services, provider).encode())
    if not right or provider not in _FORMS:
        raise HTTPException(404)
    try:
        body = await request.body()
    except (BodyTooLarge, ClientDisconnect):
        raise HTTPException(413) from None
    if len(body) > MOST_BODY:
        raise HTTPException(413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = f"?{request.url.query}" if request.url.query else ""
    url = f"{services.settings.base_url}{request.url.path}{query}"
    kept = await run_in_threadpool(texting.read, services, provider, headers, body, url)
    if kept is None:
        raise HTTPException(404)
    text, kind = _FORMS[provider]
    later = _later(request, services, kept) if kept.rows else None
    return Response(text, media_type=kind, headers={"cache-control": "no-store"}, background=later)


def _later(request: Request, services: Any, kept: texting.Kept) -> BackgroundTask:
    """Act after the answer, one call after the other; what dies in between, the people tick makes up for."""
    state = request.app.state
    if not hasattr(state, "texts_turn"):
        state.texts_turn = CapacityLimiter(1)

    async def act() -> None:
        await to_thread.run_sync(texting.act, services, kept, limiter=state.texts_turn)

    return BackgroundTask(act)
