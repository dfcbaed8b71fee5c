"""Joining without an account: the form, and the one page that shows the new addresses."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import joining
from api.views import shelf_view
from api.web.access import Access, form_of, may, services_of
from api.web.forms import HOURS, PlaceRow, Problem, Wish, blank_wish, check_wish, read_wish
from api.web.pages import display_of, page, today
from api.web.security import client_key
from feeds.catalogue.vocabulary import City
from feeds.kernel.errors import UsageError
from feeds.kernel.time import at_local_time

router = APIRouter(include_in_schema=False)
_SHOWN = 10
_STAY_MOST = timedelta(days=90)


@router.get("/join")
@may(Access.PUBLIC)
def join_form(request: Request, role: str = "", place: str = "", until: str = "") -> Response:
    """The form, empty but for what a link (or a square code on a poster) brought along."""
    city = services_of(request).city
    roles = [role] if role in city.roles else ["tourist"] if until and "tourist" in city.roles else []
    wish = blank_wish(display_of(request).lang, roles)
    if place and (found := city.resolve_place(place[:80])) is not None:
        wish = replace(wish, places=(PlaceRow("", found.code, "visit" if until else "home"),))
    return show_form(request, wish, {}, until=until if _last_day(request, until) else "")


@router.post("/join")
@may(Access.PUBLIC)
def join(request: Request) -> Response:
    """Create a profile and show its addresses, this once."""
    services, form = services_of(request), form_of(request)
    wish = read_wish(form)
    profile, problems = check_wish(wish, services.city)
    until = str(form.get("until", "")).strip()[:10]
    last = _last_day(request, until)
    if until and last is None:
        problems["until"] = Problem("stay.wrong")
    if "more" in form or problems:
        return show_form(request, wish, problems, status=422 if problems else 200, until=until)
    if not request.app.state.once.first(f"join {form['_form']}"):
        return page(request, "join_twice.html", status=409, private=True)
    if not request.app.state.limits["join"].allows(client_key(request)):
        raise HTTPException(429)
    try:
        joined = joining.join(
            services,
            profile,
            email=wish.email,
            phone=wish.phone,
            digest_hour=int(wish.hour or 8),
            ends_at=at_local_time(last + timedelta(days=1), 0, services.zone) if last else None,
        )
    except UsageError as error:
        return show_form(request, wish, {"form": Problem("", said=str(error))}, status=422, until=until)
    shelf = services.editions.shelf(joined.profile.id)
    lang = display_of(request).lang
    base = services.settings.base_url
    return page(
        request,
        "joined.html",
        private=True,
        profile=joined.profile,
        typed=_typed(wish, services.city),
        email=wish.email,
        phone=wish.phone,
        ends=last,
        feed=f"{base}/f/{joined.feed_token}",
        manage=f"{base}/me/enter/{joined.manage_secret}",
        picks=shelf_view(services, joined.profile, shelf, lang=lang, limit=_SHOWN),
        total=len(shelf.picks),
    )


def show_form(
    request: Request, wish: Wish, problems: dict[str, Problem], *, status: int = 200, until: str = ""
) -> Response:
    """Show the form with what was typed and an error beside each field that has one."""
    return page(
        request,
        "join.html",
        status=status,
        private=status != 200,
        wish=wish,
        problems=problems,
        action="/join",
        contacts=True,
        until=until,
        **vocabulary(request),
    )


def _last_day(request: Request, text: str) -> date | None:
    """The last day of a visitor's stay, today to 90 days on; ``None`` for anything else."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    first = today(services_of(request))
    return day if first <= day <= first + _STAY_MOST else None


def _typed(wish: Wish, city: City) -> dict[str, str]:
    """What was written for each place that is now called otherwise."""
    found = {}
    for row in wish.places:
        place = city.resolve_place(row.typed) if row.typed else None
        if place and row.typed not in (place.label.zh, place.label.en, *place.aliases):
            found[place.code] = row.typed
    return found


def vocabulary(request: Request) -> dict[str, object]:
    """What the form offers: themes by parent, places by district, hours."""
    services = services_of(request)
    city, counts = services.city, services.notices.tag_counts("theme")
    # The themes with the most notices come first; the official order begins with the State Council.
    parents = sorted((t for t in city.themes.values() if not t.parent), key=lambda t: -counts.get(t.code, 0))
    children = {theme.code: [t for t in city.themes.values() if t.parent == theme.code] for theme in parents}
    districts = [p for p in city.places.values() if p.kind == "district"]
    inside = {p.code: [q for q in city.places.values() if q.parent == p.code] for p in districts}
    zones = [p for p in city.places.values() if p.kind == "zone" and p.parent not in inside]
    return {
        "parents": parents,
        "children": children,
        "districts": districts,
        "inside": inside,
        "zones": zones,
        "hours": list(HOURS),
    }
