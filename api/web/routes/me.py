"""A resident's own pages: their picks, feedback, choices, addresses, and the ways out.

Entered by the manage link, without an account. Every change is a POST from a form of ours.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import holding, joining
from api.views import plainly
from api.web import listing, noticeview, observe, opinionview
from api.web.access import Access, form_of, holder_payload, may, profile_of, services_of
from api.web.forms import HOURS, Problem, Wish, changed_profile, check_wish, read_wish, wish_of
from api.web.lostview import lost
from api.web.pages import display_of, go, page, words_of
from api.web.rhythmview import TYPED, awaited, channels_of, read_rhythm
from api.web.routes.joining import vocabulary
from api.web.security import client_key, drop_cookie, set_cookie
from feeds.catalogue.notices import Notice
from feeds.kernel.errors import UsageError
from profiles.contacts import clean_address
from profiles.types import FeedbackKind, Pick, Profile

router = APIRouter(include_in_schema=False)
_STAY = timedelta(days=30)
_VISIT = timedelta(hours=12)
#: What a button may say; with a minus before it, it takes that back.
_GIVEN: dict[str, FeedbackKind] = {
    "like": "like", "save": "save", "less": "less", "hide": "hide", "rating": "rating",
}  # fmt: skip
_SHOWN = 20
_DONE = ("mute", "unmute", "unfollow", "saved", "on", "off", "stopped", "started", "forgot", "rests", "awake")


@router.get("/me/enter")
@may(Access.PUBLIC)
def enter_form(request: Request) -> Response:
    """Ask for the manage secret (or the whole link)."""
    return page(request, "enter.html", private=True, secret="", wrong=False)


@router.get("/me/enter/{secret}")
@may(Access.TOKEN)
def enter_page(request: Request, secret: str) -> Response:
    """The manage link leads here; a button enters, so a link preview cannot."""
    return page(request, "enter.html", private=True, secret=secret, wrong=False)


@router.post("/me/enter")
@may(Access.PUBLIC)
def enter(request: Request) -> Response:
    """Check the secret and open the pages on this device."""
    services, form = services_of(request), form_of(request)
    secret = str(form.get("secret", "")).strip().rstrip("/").rpartition("/")[2]
    profile = services.profiles.by_secret(secret) if secret else None
    if profile is None:
        if not request.app.state.limits["enter"].allows(client_key(request)):
            raise HTTPException(429)
        return page(request, "enter.html", status=422, private=True, secret="", wrong=True)
    stay = _STAY if "stay" in form else _VISIT
    value = request.app.state.signer.seal("me", holder_payload(profile), ends_at=services.clock.now() + stay)
    response = go("/me")
    seconds = int(_STAY.total_seconds()) if "stay" in form else None
    set_cookie(response, "me", value, base_url=services.settings.base_url, seconds=seconds)
    return response


@router.post("/me/leave")
@may(Access.PUBLIC)
def leave(request: Request) -> Response:
    """Close the pages on this device."""
    response = go("/")
    drop_cookie(response, "me", base_url=services_of(request).settings.base_url)
    return response


@router.get("/me")
@may(Access.MANAGE)
def mine(request: Request) -> Response:
    """The picks, newest edition first, each with its reasons and what can be done with it."""
    services, profile, words = services_of(request), profile_of(request), words_of(request)
    picks = _picks(request, profile)
    open_ones = [pick for pick in picks if not pick["opinions"].said.hidden]
    everything = request.query_params.get("all") == "1" or len(open_ones) <= _SHOWN + 5
    shown = open_ones if everything else open_ones[:_SHOWN]
    if everything and len(open_ones) > _SHOWN + 5:
        for pick in shown:  # a pressed button leads back to the whole list
            pick["opinions"] = replace(pick["opinions"], back="all")
    done = request.query_params.get("done", "")
    tag = request.query_params.get("tag", "")
    response = page(
        request,
        "me.html",
        private=True,
        profile=profile,
        picks=shown,
        total=len(open_ones),
        everything=everything,
        hidden=[pick for pick in picks if pick["opinions"].said.hidden],
        tab="picks",
        done=done if done in _DONE else "",
        undo=tag if done == "mute" and tag in profile.mutes else "",
        lost=lost(services, profile),
        awaited=awaited(services, profile, words),
        mutes=[(tag, services.city.label(tag, words.lang)) for tag in profile.mutes],
        **opinionview.reply(request, [pick["opinions"] for pick in shown]),
    )
    return observe.shown(request, response, profile, [pick["item"].notice.id for pick in shown])


@router.post("/me/feedback")
@may(Access.MANAGE)
def feedback(request: Request) -> Response:
    """Keep what they say of a pick, or take it back; nothing is kept while personalisation is off."""
    services, profile, form = services_of(request), profile_of(request), form_of(request)
    said, number = str(form.get("kind", "")), str(form.get("notice", ""))
    kind = _GIVEN.get(said.removeprefix("-"))
    if kind is None or not (number.isascii() and number.isdigit() and len(number) < 16):
        return go("/me")
    value, done = str(form.get("value", "")), ""
    try:
        if said.startswith("-"):
            done = "undone" if holding.take_back(services, profile, int(number), kind) else ""
        elif holding.give(
            services, profile, int(number), kind, value=int(value) if value in "12345" and value else 0
        ):
            done = said
    except UsageError:
        return go("/me")  # not theirs, or not to be liked; our own pages offer no such button
    return go(opinionview.where_back(services, profile, str(form.get("back", "")), int(number), done))


@router.post("/me/mute")
@may(Access.MANAGE)
def mute(request: Request) -> Response:
    """Never pick a tag again, or allow it again."""
    services, profile, form = services_of(request), profile_of(request), form_of(request)
    tag = str(form.get("tag", ""))
    if "undo" in form:
        joining.change(services, replace(profile, mutes=tuple(m for m in profile.mutes if m != tag)))
        return go("/me?done=unmute")
    if not services.city.known(tag):
        raise HTTPException(422)
    joining.mute(services, profile.id, tag)
    return go(f"/me?done=mute&tag={tag}")


@router.post("/me/unfollow")
@may(Access.MANAGE)
def unfollow(request: Request) -> Response:
    """Stop following one tag."""
    holding.unfollow(services_of(request), profile_of(request), str(form_of(request).get("tag", "")))
    return go("/me?done=unfollow")


@router.get("/me/edit")
@may(Access.MANAGE)
def edit_form(request: Request) -> Response:
    """The form of joining, filled with what is held."""
    profile = profile_of(request)
    return _show_edit(request, wish_of(profile, services_of(request).city, display_of(request).lang), {})


@router.post("/me/edit")
@may(Access.MANAGE)
def edit(request: Request) -> Response:
    """Change everything that may be chosen."""
    services, profile = services_of(request), profile_of(request)
    wish = read_wish(form_of(request))
    wanted, problems = check_wish(wish, services.city, contacts=False)
    if problems:
        return _show_edit(request, wish, problems, status=422)
    try:
        joining.change(services, changed_profile(profile, wanted))
    except UsageError as error:
        return _show_edit(request, wish, {"form": Problem("", said=str(error))}, status=422)
    return go("/me?done=saved")


@router.get("/me/settings")
@may(Access.MANAGE)
def settings(request: Request) -> Response:
    """Addresses, messages, personalisation, and everything about leaving."""
    done = request.query_params.get("done", "")
    return _show_settings(request, done=done if done in _DONE else "")


@router.post("/me/address")
@may(Access.MANAGE)
def new_address(request: Request) -> Response:
    """Make a new feed address and show it, this once."""
    services, profile = services_of(request), profile_of(request)
    days = 30 if form_of(request).get("old") == "later" else 0
    token = joining.new_feed_address(services, profile.id, keep_old_days=days)
    return _show_settings(request, feed=f"{services.settings.base_url}/f/{token}", kept=days)


@router.post("/me/personalise")
@may(Access.MANAGE)
def personalise(request: Request) -> Response:
    """Switch personalisation on or off."""
    wanted = form_of(request).get("on") == "1"
    joining.change(services_of(request), replace(profile_of(request), personalised=wanted))
    return go(f"/me/{_from(request)}?done={'on' if wanted else 'off'}")


@router.post("/me/messages")
@may(Access.MANAGE)
def messages(request: Request) -> Response:
    """Start, change or stop the digest of a channel."""
    services, profile, form = services_of(request), profile_of(request), form_of(request)
    channel = str(form.get("channel", ""))
    if channel not in ("email", "sms"):
        raise HTTPException(422)
    if "stop" in form:
        joining.stop_channel(services, profile.id, channel)
        services.contacts.remove(profile.id, channel)
        return go("/me/settings?done=stopped")
    address = str(form.get("address", "")).strip()[:300]
    try:
        clean, rhythm = clean_address(channel, address), read_rhythm(form)
    except UsageError:
        key = "join.error.email" if channel == "email" else "join.error.phone"
        return _show_settings(request, status=422, problems={channel: Problem(key)}, typed={channel: address})
    held = services.contacts.get(profile.id, channel)
    if held is None or held.address != clean:  # the same address stays confirmed
        services.contacts.put(profile.id, channel, clean, at=services.clock.now())
    joining.subscribe(
        services, profile, channel, rhythm.hour, frequency=rhythm.frequency, weekday=rhythm.weekday,
        workdays_only=rhythm.workdays_only,
    )  # fmt: skip
    asked = joining.ask_to_confirm(services, profile, channel)
    if asked and asked != "none":
        return go(f"/me/phone?said={asked}")
    return go("/me/settings?done=started")


@router.get("/me/export")
@may(Access.MANAGE)
def export(request: Request) -> Response:
    """Everything held, as one JSON file."""
    held = joining.export(services_of(request), profile_of(request).id)
    return Response(
        json.dumps(held, ensure_ascii=False, indent=1, default=_plain),
        media_type="application/json",
        headers={
            "content-disposition": 'attachment; filename="mycity-export.json"',
            "cache-control": "no-store",
        },
    )


@router.post("/me/forget")
@may(Access.MANAGE)
def forget(request: Request) -> Response:
    """Delete behaviour and what was learned from it, keep choices."""
    holding.reset(services_of(request), profile_of(request))
    return go(f"/me/{_from(request)}?done=forgot")


@router.get("/me/erase")
@may(Access.MANAGE)
def erase_form(request: Request) -> Response:
    """Say what goes, and ask."""
    return page(request, "erase.html", private=True, tab="settings", missing=False)


@router.post("/me/erase")
@may(Access.MANAGE)
def erase(request: Request) -> Response:
    """Delete the profile with all that hangs on it."""
    services = services_of(request)
    if "sure" not in form_of(request):
        return page(request, "erase.html", status=422, private=True, tab="settings", missing=True)
    joining.erase(services, profile_of(request).id)
    response = page(request, "erased.html", private=True)
    drop_cookie(response, "me", base_url=services.settings.base_url)
    return response


def _from(request: Request) -> str:
    """Which of the two pages that hold the same form it came from."""
    return "model" if form_of(request).get("back") == "model" else "settings"


def _picks(request: Request, profile: Profile) -> list[dict[str, Any]]:
    """The shelf as the page shows it: items with reasons, what was said of them, tags to mute."""
    services, words = services_of(request), words_of(request)
    picks: list[Pick] = [item.pick for item in services.editions.shelf(profile.id).picks]
    notices = services.notices.many(pick.notice_id for pick in picks)
    if not profile.personalised:
        picks = plainly(picks, notices)
    said, fixed = holding.said(services, profile, set(notices)), holding.fixed(services, profile)
    shown = []
    for pick in picks:
        notice = notices.get(pick.notice_id)
        if notice is None or not notice.is_public:
            continue
        shown.append(
            {
                "item": listing.items(services, [notice], words)[0],
                "bars": opinionview.reason_bars(services, profile, pick, words),
                "kind": pick.kind,
                "opinions": opinionview.opinions(
                    services, profile, notice, said.get(notice.id), words, back="me", fixed=fixed
                ),
                "tags": _mutable(request, profile, notice),
            }
        )
    return shown


def _mutable(request: Request, profile: Profile, notice: Notice) -> list[noticeview.ShownTag]:
    """The tags that are offered to be muted beside a notice, wide themes last."""
    services, words = services_of(request), words_of(request)
    # Muting the city or one's own places would hide nearly everything: not offered beside a notice.
    kept = {f"place:{code}" for code in (services.city.place, *services.city.ancestors(services.city.place))}
    kept |= {f"place:{place.code}" for place in profile.places}
    tags = [
        t
        for t in noticeview.shown_tags(services, notice, words)
        if t.kind in ("theme", "place", "agency", "type") and t.tag not in kept
    ]
    wide = {f"theme:{theme.code}" for theme in services.city.themes.values() if not theme.parent}
    tags.sort(key=lambda tag: tag.tag in wide)
    return [t for t in tags if t.tag not in profile.mutes]


def _show_edit(request: Request, wish: Wish, problems: dict[str, Problem], *, status: int = 200) -> Response:
    return page(
        request,
        "join.html",
        status=status,
        private=True,
        wish=wish,
        problems=problems,
        action="/me/edit",
        contacts=False,
        tab="edit",
        **vocabulary(request),
    )


def _show_settings(request: Request, *, status: int = 200, **more: Any) -> Response:
    services, profile = services_of(request), profile_of(request)
    values: dict[str, Any] = {"done": "", "feed": "", "kept": 0, "problems": {}, "typed": {}} | more
    return page(
        request,
        "settings.html",
        status=status,
        private=True,
        profile=profile,
        channels=channels_of(services, profile, words_of(request)),
        typed_here=TYPED,
        lost=lost(services, profile),
        hours=list(HOURS),
        events=holding.counts(services, profile),
        tab="settings",
        **values,
    )


def show_problem(request: Request, field: str, key: str) -> Response:
    """The settings page with an error beside one field; for the routes that belong to it."""
    return _show_settings(request, status=422, problems={field: Problem(key)})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"cannot export {type(value).__name__}")
