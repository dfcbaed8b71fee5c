"""Pages behind a secret address: a resident's picks, the confirmation of an address, the stop.

Reading needs no cookie; it is noted that the picks were shown, unless their resident switched personalisation
off. Confirming and stopping need a POST.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import holding, joining
from api.views import shelf_view
from api.web import observe, opinionview
from api.web.access import Access, holder, may, services_of
from api.web.pages import display_of, page, words_of
from profiles.types import Profile

router = APIRouter(include_in_schema=False)


@router.get("/f/{token}")
@may(Access.TOKEN)
def feed_page(request: Request, token: str) -> Response:
    """The feed as a page; unknown and ended addresses answer alike."""
    services = services_of(request)
    profile_id = services.tokens.resolve(token, now=services.clock.now())
    found = services.profiles.many([profile_id]) if profile_id is not None else []
    if not found:
        raise HTTPException(404)
    profile = found[0]
    # Whoever stands beside the reader sees this page too, so it is worded like the feed.
    entries = shelf_view(
        services, profile, services.editions.shelf(profile.id), lang=display_of(request).lang, surface="feed"
    )
    reader = holder(request)
    buttons: dict[int, opinionview.Opinions] = {}
    if reader is not None and reader.id == profile.id and profile.personalised:
        buttons = _buttons(request, profile, [entry.notice_id for entry in entries], token)
    response = page(
        request,
        "feed_page.html",
        private=True,
        picks=entries,
        buttons=buttons,
        mutes=profile.mutes,
        feed=f"{services.settings.base_url}/f/{token}",
        **opinionview.reply(request, buttons.values()),
    )
    return observe.shown(request, response, profile, [entry.notice_id for entry in entries])


def _buttons(
    request: Request, profile: Profile, numbers: list[int], token: str
) -> dict[int, opinionview.Opinions]:
    """What the holder, who has also entered by the manage link, can say of each entry."""
    services, words = services_of(request), words_of(request)
    said, fixed = holding.said(services, profile, numbers), holding.fixed(services, profile)
    return {
        number: opinionview.opinions(
            services, profile, notice, said.get(number), words, back=f"f/{token}", fixed=fixed
        )
        for number, notice in services.notices.many(numbers).items()
    }


@router.get("/u/{token}")
@may(Access.TOKEN)
def stop_page(request: Request, token: str) -> Response:
    """Ask before stopping; mail scanners follow every link."""
    stop = services_of(request).tokens.find_stop(token)
    if stop is None:
        raise HTTPException(404)
    return page(request, "stop.html", private=True, channel=stop.channel, done=False)


@router.post("/u/{token}")
@may(Access.TOKEN, foreign=True)
def stop_now(request: Request, token: str) -> Response:
    """Stop, for the button and for a mail program's own (RFC 8058); doing so twice is fine."""
    services = services_of(request)
    stop = joining.stop(services, token)
    if stop is None:
        raise HTTPException(404)
    services.contacts.remove(stop.profile_id, stop.channel)  # the page promises it
    return page(request, "stop.html", private=True, channel=stop.channel, done=True)


@router.get("/c/{token}")
@may(Access.TOKEN)
def confirm_page(request: Request, token: str) -> Response:
    """Ask before confirming; a link preview must not do it."""
    services = services_of(request)
    target = services.tokens.find_confirmation(token, now=services.clock.now())
    if target is None:
        raise HTTPException(404)
    return page(request, "confirm.html", private=True, channel=target.channel, done=False)


@router.post("/c/{token}")
@may(Access.TOKEN)
def confirm_now(request: Request, token: str) -> Response:
    """Confirm that an address is the resident's; doing so twice is fine."""
    target = joining.confirm(services_of(request), token)
    if target is None:
        raise HTTPException(404)
    return page(request, "confirm.html", private=True, channel=target.channel, done=True)
