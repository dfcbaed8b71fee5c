"""Addresses that other programs call: WebSub hubs verify subscriptions here and send content.

Answers a hub quickly and says nothing about why; content is taken in afterwards, one message at a
time. Whoever does not know the secret address gets the same answer as for one that has ended.
"""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response

from api.jobs import websub
from api.web.access import Access, may, services_of
from api.web.security import BodyTooLarge
from api.wiring import Services
from feeds.intake.websub_rules import Subscription

MOST_CHALLENGE = 4096  # characters
MOST_WAITING = 32  # messages in memory; beyond, their sources are polled instead
_PLAIN = {"cache-control": "no-store"}

router = APIRouter(include_in_schema=False)


@router.get("/hooks/websub/{path}")
@may(Access.TOKEN)
def verify(request: Request, path: str) -> Response:
    """Confirm to a hub what we asked it for (W3C WebSub §5.3); anything else is not found."""
    asked = request.query_params
    challenge = asked.get("hub.challenge", "")
    mode = asked.get("hub.mode", "")
    if mode != "denied" and not 0 < len(challenge) <= MOST_CHALLENGE:
        return _none_here(404)
    judgement = websub.verify(
        services_of(request),
        path,
        mode=mode,
        topic=asked.get("hub.topic", ""),
        lease=asked.get("hub.lease_seconds", ""),
        reason=asked.get("hub.reason", ""),
    )
    if judgement == "refuse":
        return _none_here(404)
    return PlainTextResponse("" if judgement == "denied" else challenge, headers=_PLAIN)


@router.post("/hooks/websub/{path}")
@may(Access.TOKEN, foreign=True)
async def receive(request: Request, path: str) -> Response:
    """Take a message from a hub; a forged one gets the same answer (W3C WebSub §7.1)."""
    services = services_of(request)
    have = await run_in_threadpool(services.websub.by_path, path)
    if have is None or have.state == "ended":
        return _none_here(410)  # tells the hub to stop
    body = await _body(request)
    if body is None:
        await run_in_threadpool(websub.remind, services, have)
        return Response(status_code=202)
    treatment = await run_in_threadpool(
        websub.receive,
        services,
        have,
        signature=request.headers.get("x-hub-signature", ""),
        links=request.headers.getlist("link"),
        body=body,
    )
    if treatment != "take":
        return Response(status_code=202)
    return Response(status_code=202, background=_later(request, services, have, body))


async def _body(request: Request) -> bytes | None:
    """The bytes as they came; ``None`` if there are too many or too few, or the guard read them as a form."""
    try:
        return await request.body()
    except (BodyTooLarge, ClientDisconnect, RuntimeError):
        return None


def _later(request: Request, services: Services, have: Subscription, body: bytes) -> BackgroundTask:
    """Take a message in after the answer, one after the other: there is one writer at a time."""
    state = request.app.state
    if not hasattr(state, "websub_turn"):
        state.websub_turn = CapacityLimiter(1)
    turn: CapacityLimiter = state.websub_turn
    if turn.statistics().tasks_waiting >= MOST_WAITING:
        return BackgroundTask(websub.remind, services, have)
    kind = request.headers.get("content-type", "")

    async def take() -> None:
        await to_thread.run_sync(websub.take, services, have, body, kind, limiter=turn)

    return BackgroundTask(take)


def _none_here(status: int) -> Response:
    return PlainTextResponse("There is no subscription at this address.\n", status, headers=_PLAIN)
