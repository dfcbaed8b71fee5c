"""What the system knows of a resident, on their own page: seen whole, changed or deleted one by one.

Shows and passes on; what may be kept is decided in ``api.jobs.holding``. Every change is a POST from a form
of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import holding
from api.web import listing, opinionview
from api.web.access import Access, form_of, may, profile_of, services_of
from api.web.pages import go, page, words_of
from api.web.wording import Words
from feeds.kernel.errors import NotFoundError, UsageError
from profiles.reasons import place_label
from profiles.taste import TasteTag
from profiles.types import FeedbackKind, Profile

router = APIRouter(include_in_schema=False)
_ABOUT = ("stronger", "weaker", "delete", "release", "add")
_DONE = (*_ABOUT, "on", "off", "forgot", "event")
_LEVELS = {3: "much_more", 2: "more", 1: "bit_more", -1: "bit_less", -2: "less", -3: "much_less"}
_KINDS: dict[str, FeedbackKind] = {kind: kind for kind in holding.ACTS}
#: So many learned tags stand open; the others are folded away.
_STRONG = 10
#: A learned weight nearer to 0 than this is hardly one: a tenth of a like.
_FAINT = 0.1
#: Of these a resident may choose one to add; streets are followed, not weighed.
_CHOICES = ("theme", "life", "type", "agency", "place")


@dataclass(frozen=True, slots=True)
class Row:
    """One tag of taste as the page shows it.

    Attributes:
        id: Of its element, so that a change leads back to it.
        level: Key of the word for its weight.
        top, bottom: It cannot go further up, or down.
        weak: Learned, and not among the strongest or hardly there; it stands folded away.
    """

    item: TasteTag
    id: str
    name: str
    kind: str
    level: str
    sensitive: bool
    top: bool
    bottom: bool
    weak: bool


@router.get("/me/model")
@may(Access.MANAGE)
def model(request: Request) -> Response:
    """Everything that is held, what it leads to, and how to change it."""
    return _show(request)


@router.post("/me/taste")
@may(Access.MANAGE)
def taste(request: Request) -> Response:
    """Set one tag stronger or weaker, add one, delete one for good, or let it be learned again."""
    services, profile, form = services_of(request), profile_of(request), form_of(request)
    tag, do = str(form.get("tag", ""))[:96], str(form.get("do", ""))
    try:
        if do in ("stronger", "weaker"):
            holding.move_taste(services, profile, tag, up=do == "stronger")
        elif do == "add":
            weight = str(form.get("weight", ""))
            known = {str(level) for level in _LEVELS}
            holding.set_taste(services, profile, tag, float(weight) if weight in known else 0.0)
        elif do == "delete":
            holding.drop_taste(services, profile, tag)
        elif do == "release":
            holding.release_taste(services, profile, tag)
        else:
            raise HTTPException(422)
    except NotFoundError:
        return go("/me/model")  # it went meanwhile
    except UsageError:
        return _show(request, problem=words_of(request)("taste.refused"), status=422)
    return go(f"/me/model?done={do}&tag={tag}#{'taste' if do in ('delete', 'release') else _id(tag)}")


@router.post("/me/events")
@may(Access.MANAGE)
def events(request: Request) -> Response:
    """Delete one thing that was done, with what it taught."""
    services, profile, form = services_of(request), profile_of(request), form_of(request)
    number, kind = str(form.get("notice", "")), _KINDS.get(str(form.get("kind", "")))
    if kind and number.isascii() and number.isdigit() and len(number) < 16:
        holding.take_back(services, profile, int(number), kind)
    return go("/me/model?done=event#events")


@router.get("/me/saved")
@may(Access.MANAGE)
def saved(request: Request) -> Response:
    """What a resident saved, the latest first; purged notices fall out."""
    services, profile, words = services_of(request), profile_of(request), words_of(request)
    numbers = holding.saved(services, profile)
    found = services.notices.many(numbers)
    shown = [found[number] for number in numbers if number in found and found[number].is_public]
    return page(
        request,
        "saved.html",
        private=True,
        profile=profile,
        items=listing.items(services, shown, words),
        tab="saved",
        **opinionview.reply(request, []),
    )


def _show(request: Request, *, problem: str = "", status: int = 200) -> Response:
    services, profile, words = services_of(request), profile_of(request), words_of(request)
    held, city = holding.held(services, profile), services.city
    done, about = request.query_params.get("done", ""), request.query_params.get("tag", "")
    notices = services.notices.many(row.notice_id for row in held.latest)
    leaning = [abs(weight) for _, weight in held.model.leaning]
    roles = tuple(f"role:{code}" for code in profile.roles)
    sensitive = city.is_sensitive
    return page(
        request,
        "model.html",
        status=status,
        private=True,
        profile=profile,
        tab="model",
        held=held,
        rows=_rows(request, held.taste, words),
        tag_name=lambda tag: listing.tag_name(city, tag, words.lang),
        never=held.never,
        never_veiled=any(map(sensitive, held.never)),
        roles=roles,
        veiled=any(map(sensitive, (*roles, *profile.interests, *profile.mutes))),
        places=[
            (city.label(f"place:{place.code}", words.lang), place_label(place.label, words.lang))
            for place in profile.places
        ],
        sensitive=sensitive,
        most_lean=max(leaning, default=1.0) or 1.0,
        latest=[(row, _title(request, notices.get(row.notice_id), profile, words)) for row in held.latest],
        choices=_choices(request, profile, {item.tag for item in held.taste}, words),
        levels=list(_LEVELS.items()),
        done=done if done in _DONE else "",
        about=about if city.known(about) and done in _ABOUT else "",
        problem=problem,
    )


def _rows(request: Request, taste: Sequence[TasteTag], words: Words) -> list[Row]:
    city = services_of(request).city
    strong = sorted((t for t in taste if not t.own), key=lambda t: (-abs(t.weight), t.tag))[:_STRONG]
    rows = []
    for item in taste:
        step = holding.level_of(item.weight)
        faint = not item.own and abs(item.weight) < _FAINT
        rows.append(
            Row(
                item=item,
                id=_id(item.tag),
                name=listing.tag_name(city, item.tag, words.lang),
                kind=item.tag.partition(":")[0],
                level="hardly" if faint else _LEVELS[step],
                sensitive=city.is_sensitive(item.tag),
                top=step == 3 and item.own,
                bottom=step == -3 and item.own,
                weak=faint or (not item.own and item not in strong),
            )
        )
    return rows


def _id(tag: str) -> str:
    return "tag-" + "".join(sign if sign.isalnum() else "-" for sign in tag)


def _title(request: Request, notice: Any, profile: Profile, words: Words) -> str:
    """The title of a notice somebody did something with; neutral words where others may look on."""
    city = services_of(request).city
    if notice is None or not notice.is_public:
        return ""
    if profile.discreet and any(city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags):
        return words("feedpage.neutral")
    return listing.shown_title(city, notice, words.lang)[1]


def _choices(
    request: Request, profile: Profile, held: set[str], words: Words
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The tags that may be added, by kind; sensitive ones only where the resident follows them already."""
    services = services_of(request)
    city, agreed = services.city, holding.agreed(services, profile)
    codes = {
        "theme": city.themes, "life": city.life_events, "type": city.notice_types, "agency": city.agencies,
        "place": [code for code, place in city.places.items() if place.kind in ("district", "zone")],
    }  # fmt: skip
    found = []
    for kind in _CHOICES:
        tags = [f"{kind}:{code}" for code in codes[kind]]
        free = [tag for tag in tags if tag not in held and (tag in agreed or not city.is_sensitive(tag))]
        found.append((kind, [(tag, listing.tag_name(city, tag, words.lang)) for tag in free]))
    return [(kind, tags) for kind, tags in found if tags]
