"""The address that WeChat's server calls: checks who calls, and answers a reader's word within the call.

Whoever cannot sign gets the same answer as for an address that does not exist. Bodies are small; a message
that cannot be read is answered with nothing, so that WeChat does not repeat it.
"""

from __future__ import annotations

import os

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from api.jobs import wechat
from api.web.access import Access, may, services_of
from api.wiring import Services
from delivery.wechat_wire import Incoming, Wire, reply
from feeds.intake.parsers.xml_tree import Element, read_xml
from feeds.kernel.errors import BadInputError

router = APIRouter(include_in_schema=False)
_MOST = 64 * 1024
# WeChat calls at once and repeats within seconds; an older call was taken from somebody's log.
_FRESH_SECONDS = 300
_log = structlog.get_logger(__name__)


@router.get("/hooks/wechat")
@may(Access.TOKEN)
def verify(request: Request) -> Response:
    """Show WeChat's console that this address knows the token."""
    wire = _wire(services_of(request))
    _must_be_signed(request, services_of(request), wire)
    return PlainTextResponse(request.query_params.get("echostr", "")[:200])


@router.post("/hooks/wechat")
@may(Access.TOKEN, foreign=True)
async def receive(request: Request) -> Response:
    """Take a reader's message or event, and answer it."""
    services = services_of(request)
    wire = _wire(services)
    _must_be_signed(request, services, wire)
    body = await request.body()
    if len(body) > _MOST:
        raise HTTPException(413)
    said = await run_in_threadpool(_answered, request, services, wire, body)
    return Response(said, media_type="application/xml" if said != "success" else "text/plain")


def _answered(request: Request, services: Services, wire: Wire, body: bytes) -> str:
    try:
        root, _ = read_xml(body.decode("utf-8", "replace"), "the message")
        sealed = root.say("Encrypt")
        if services.settings.wechat_aes_key.get_secret_value() and not sealed:
            # The signature does not cover the body: in the encrypted mode a plain one is nobody's.
            raise BadInputError("The message is not encrypted although MYCITY_WECHAT_AES_KEY is set.")
        if sealed:
            asked = request.query_params
            proof = [asked.get(name, "") for name in ("msg_signature", "timestamp", "nonce")]
            if not wire.signed(*proof, sealed):
                return "success"
            root, _ = read_xml(wire.open(sealed), "the message")
        incoming = _read(root)
        number = root.say("MsgId") or f"{incoming.reader}{root.say('CreateTime')}{incoming.event}"
        if not request.app.state.once.first(f"wechat/{number}"):
            return "success"  # said again because our answer came late
        answer = wechat.answer(services, incoming)
    except BadInputError as error:
        _log.warning("wechat_unreadable", error=str(error))
        return "success"
    if not answer:
        return "success"
    now = int(services.clock.now().timestamp())
    said = reply(incoming, answer, at=now)
    if not sealed:
        return said
    return wire.envelope(said, timestamp=str(now), nonce=os.urandom(4).hex(), salt=os.urandom(16))


def _read(root: Element) -> Incoming:
    event = root.say("Event")
    choices = {
        one.say("TemplateId"): one.say("SubscribeStatusString")
        for one in root.walk()
        if one.name == "List" and one.say("TemplateId")
    }
    return Incoming(
        reader=root.say("FromUserName")[:64],
        account=root.say("ToUserName")[:64],
        kind=root.say("MsgType"),
        text=(root.say("EventKey") if event == "CLICK" else root.say("Content"))[:200],
        event=event,
        choices=choices if event.startswith("subscribe_msg_") else None,
    )


def _wire(services: Services) -> Wire:
    settings = services.settings
    token = settings.wechat_token.get_secret_value()
    if not settings.wechat_app_id or not token:
        raise HTTPException(404)
    return Wire(settings.wechat_app_id, token, settings.wechat_aes_key.get_secret_value())


def _must_be_signed(request: Request, services: Services, wire: Wire) -> None:
    asked = request.query_params
    stamp, now = asked.get("timestamp", ""), services.clock.now().timestamp()
    fresh = stamp.isascii() and stamp.isdigit() and abs(int(stamp[:12]) - now) <= _FRESH_SECONDS
    if not fresh or not wire.signed(asked.get("signature", ""), stamp, asked.get("nonce", "")):
        raise HTTPException(404)
