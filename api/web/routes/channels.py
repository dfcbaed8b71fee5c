"""A resident's further channels: their browsers, their chat tool, WeChat. Shows and passes on.

The one page with a script: a browser only lets a script ask whether it may notify. Without the script
everything else on it works. Every change is a POST from a form of ours.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.jobs import further
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.pages import go, page, static_files, words_of
from api.web.security import CSP
from delivery.channels.apprise import SCHEMES
from delivery.webpush_crypto import derived_key, public_key
from feeds.kernel.errors import UsageError

router = APIRouter(include_in_schema=False)
_WITH_SCRIPT = f"{CSP}; script-src 'self'; worker-src 'self'"
_DONE = ("push", "chat", "stopped")


@router.get("/me/channels")
@may(Access.MANAGE)
def channels(request: Request) -> Response:
    """What is on, what it does, and how to switch it on and off."""
    return _show(request)


@router.post("/me/channels/push")
@may(Access.MANAGE)
def add_browser(request: Request) -> Response:
    """Notify this browser from now on; the script has put its word into the form."""
    services, profile = services_of(request), profile_of(request)
    try:
        further.add_device(services, profile, str(form_of(request).get("device", ""))[:4000])
    except UsageError as error:
        return _show(request, push_problem=words_of(request).explain(error), status=422)
    return go("/me/channels?done=push#push")


@router.post("/me/channels/chat")
@may(Access.MANAGE)
def add_chat(request: Request) -> Response:
    """Use a resident's own chat tool."""
    services, profile = services_of(request), profile_of(request)
    url = str(form_of(request).get("url", ""))[:600]
    if not services.settings.apprise:
        return go("/me/channels")
    try:
        further.set_chat_tool(services, profile, url)
    except UsageError as error:
        return _show(request, chat_problem=words_of(request).explain(error), url=url, status=422)
    return go("/me/channels?done=chat#chat")


@router.post("/me/channels/stop")
@may(Access.MANAGE)
def stop(request: Request) -> Response:
    """End one of them and forget what it needs."""
    services, profile = services_of(request), profile_of(request)
    channel = str(form_of(request).get("channel", ""))
    if channel in further.CHANNELS:
        further.stop(services, profile.id, channel)
    return go(f"/me/channels?done=stopped#{ {'webpush': 'push', 'apprise': 'chat'}.get(channel, 'wechat') }")


@router.get("/push-worker.js")
@may(Access.PUBLIC)
def worker(request: Request) -> Response:
    """The script that shows a note when no page is open; its place at the root lets it open any page."""
    headers = {"cache-control": "public, max-age=3600", "content-security-policy": "default-src 'none'"}
    return Response(static_files()["push-worker.js"], media_type="text/javascript", headers=headers)


def _show(
    request: Request, *, push_problem: str = "", chat_problem: str = "", url: str = "", status: int = 200
) -> Response:
    services, profile = services_of(request), profile_of(request)
    done = request.query_params.get("done", "")
    live = {one.channel for one in services.subscriptions.of(profile.id) if one.ended_at is None}
    response = page(
        request,
        "me_channels.html",
        status=status,
        private=True,
        tab="settings",
        done=done if done in _DONE else "",
        live=live,
        browsers=len(further.devices(services, profile.id)),
        push_key=public_key(derived_key(services.key)),
        push_real=services.channels["webpush"].name == "webpush",
        push_problem=push_problem,
        chat_problem=chat_problem,
        chat_on=services.settings.apprise,
        schemes=SCHEMES,
        url=url,
        wechat_on=bool(services.settings.wechat_app_id) or services.demo,
    )
    response.headers["content-security-policy"] = _WITH_SCRIPT
    return response
