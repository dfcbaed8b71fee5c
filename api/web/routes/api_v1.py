"""The open interface, version 1: notices, vocabulary, and a resident's profile by Bearer secret.

What comes in and what goes out are different models; an unknown field in a body is refused. Errors are
``{"error": one sentence, "field": …}``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.jobs import holding, joining
from api.views import shelf_view
from api.web import listing
from api.web.access import Access, may, profile_of, services_of
from api.web.numbers import RowId
from api.web.routes.portal import public_notice
from api.web.schemas import (
    Act,
    ChoicesIn,
    DoneOut,
    ErrorOut,
    FeedbackIn,
    JoinedOut,
    JoinIn,
    Language,
    NoticeOut,
    NoticesOut,
    PickOut,
    PicksOut,
    PlaceOut,
    ProfileOut,
    TagOut,
    VocabularyOut,
    WordOut,
)
from api.web.security import client_key
from delivery.types import EntryView
from feeds.catalogue.notices import Notice
from feeds.catalogue.store import NoticeFilter
from feeds.kernel.errors import UsageError
from profiles.types import FollowedPlace, Profile

router = APIRouter(prefix="/api/v1", tags=["v1"])

_REFUSED: dict[int | str, dict[str, Any]] = {422: {"model": ErrorOut}, 429: {"model": ErrorOut}}
BEARER: dict[int | str, dict[str, Any]] = {401: {"model": ErrorOut}, 422: {"model": ErrorOut}}
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": ErrorOut}, 410: {"model": ErrorOut}}


@router.get("/openapi.json", include_in_schema=False)
@may(Access.PUBLIC)
def openapi(request: Request) -> Response:
    """This interface, described."""
    app = request.app
    described = dict(app.openapi())
    described["servers"] = [{"url": services_of(request).settings.base_url}]
    schemes = described.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["manageSecret"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "The manage secret, shown once at joining.",
    }
    for path, item in described["paths"].items():
        if path.startswith("/api/v1/profile") and path != "/api/v1/profiles":
            for operation in item.values():
                operation["security"] = [{"manageSecret": []}]
    return JSONResponse(described)


@router.get("/notices", responses=_REFUSED)
@may(Access.PUBLIC)
def list_notices(
    request: Request,
    role: str = "",
    theme: str = "",
    place: str = "",
    lang: Annotated[str, Query(max_length=16)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str, Query(max_length=40)] = "",
) -> NoticesOut:
    """List public notices, freshest first."""
    services = services_of(request)
    city = services.city
    query = listing.Query(role, theme, place)
    if not listing.known_query(city, query):
        raise HTTPException(422, "That role, theme or place is not in /api/v1/vocabulary.")
    mark = listing.read_mark(before) if before else None
    if before and mark is None:
        raise HTTPException(422, "`before` takes the value of `next` of an earlier answer.")
    inside = (
        tuple(code for code in city.places if code == place or place in city.ancestors(code)) if place else ()
    )
    which = NoticeFilter(
        tags=query.tags, places=inside, lang="".join(c for c in lang if c.isalnum() or c == "-")
    )
    found = services.notices.latest(which, limit=limit + 1, before=mark)
    following = listing.mark_of(found[limit - 1]) if len(found) > limit else None
    return NoticesOut(notices=[_notice(request, item) for item in found[:limit]], next=following)


@router.get("/notices/{notice_id}", responses=MISSING)
@may(Access.PUBLIC)
def get_notice(request: Request, notice_id: str) -> NoticeOut:
    """One public notice with its text; drafts and unknown ids answer alike, purged ones 410."""
    notice = public_notice(request, notice_id)
    return _notice(request, notice).model_copy(update={"body_html": notice.content.body})


@router.get("/vocabulary")
@may(Access.PUBLIC)
def vocabulary(request: Request) -> VocabularyOut:
    """Roles, themes, places, life events, types and agencies of this city."""
    city = services_of(request).city

    def say(code: str, entry: Any, parent: str = "") -> WordOut:
        return WordOut(
            code=code,
            zh=entry.label.zh,
            en=entry.label.en,
            parent=parent,
            sensitive=getattr(entry, "sensitive", False),
        )

    return VocabularyOut(
        city=WordOut(code=city.slug, zh=city.name.zh, en=city.name.en),
        roles=[say(code, item) for code, item in city.roles.items()],
        themes=[say(code, item, item.parent) for code, item in city.themes.items()],
        places=[say(code, item, item.parent) for code, item in city.places.items()],
        life_events=[say(code, item) for code, item in city.life_events.items()],
        types=[say(code, item) for code, item in city.notice_types.items()],
        agencies=[say(code, item, item.place) for code, item in city.agencies.items()],
    )


@router.post("/profiles", status_code=201, responses=_REFUSED)
@may(Access.PUBLIC, bearer=True)
def create_profile(request: Request, response: Response, wanted: JoinIn) -> JoinedOut:
    """Join: create a profile and its feed address. Both secrets are shown this once."""
    services = services_of(request)
    wish = _wish(request, wanted)
    if not request.app.state.limits["join"].allows(client_key(request)):
        raise HTTPException(429)
    joined = joining.join(
        services, wish, email=wanted.email, phone=wanted.phone, digest_hour=wanted.digest_hour
    )
    response.headers["cache-control"] = "no-store"
    return JoinedOut(
        profile=profile_out(joined.profile),
        feed_token=joined.feed_token,
        manage_secret=joined.manage_secret,
        feed_url=f"{services.settings.base_url}/f/{joined.feed_token}.atom",
    )


@router.get("/profile", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def get_profile(request: Request, response: Response) -> ProfileOut:
    """The choices that are held."""
    response.headers["cache-control"] = "no-store"
    return profile_out(profile_of(request))


@router.put("/profile", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def put_profile(request: Request, wanted: ChoicesIn) -> ProfileOut:
    """Replace the choices."""
    old = profile_of(request)
    wish = replace(_wish(request, wanted), id=old.id, created_at=old.created_at)
    return profile_out(joining.change(services_of(request), wish))


@router.delete("/profile", status_code=204, responses=BEARER)
@may(Access.MANAGE, bearer=True)
def delete_profile(request: Request) -> Response:
    """Erase the profile and all that hangs on it."""
    joining.erase(services_of(request), profile_of(request).id)
    return Response(status_code=204)


@router.get("/profile/picks", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def get_picks(request: Request, response: Response, lang: Language | None = None) -> PicksOut:
    """What was chosen for this resident, and why."""
    services, profile = services_of(request), profile_of(request)
    response.headers["cache-control"] = "no-store"
    shelf = services.editions.shelf(profile.id)
    entries = shelf_view(services, profile, shelf, lang=lang or profile.lang)
    return PicksOut(picks=[_pick(entry) for entry in entries])


@router.post("/profile/feedback", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def post_feedback(request: Request, given: FeedbackIn) -> DoneOut:
    """Tell what was done with a pick, or said of it; only what was picked for this resident counts."""
    services, profile = services_of(request), profile_of(request)
    value = float(given.value)
    return DoneOut(kept=holding.give(services, profile, given.notice_id, given.kind, value=value))


@router.delete("/profile/feedback/{notice_id}", status_code=204, responses=BEARER)
@may(Access.MANAGE, bearer=True)
def delete_feedback(request: Request, notice_id: RowId, kind: Act) -> Response:
    """Take back one kind of act on a notice, with what it taught; doing so twice is fine."""
    holding.take_back(services_of(request), profile_of(request), notice_id, kind)
    return Response(status_code=204)


def _wish(request: Request, wanted: ChoicesIn) -> Profile:
    city = services_of(request).city
    places = []
    for item in wanted.places:
        place = city.resolve_place(item.place)
        if place is None:
            raise HTTPException(422, f"{city.name.en} has no place {item.place!r}; see /api/v1/vocabulary.")
        places.append(FollowedPlace(place.code, item.label))
    tags = [*(f"role:{code}" for code in wanted.roles), *wanted.interests]
    if any(city.is_sensitive(tag) for tag in tags) and not wanted.agree_sensitive:
        raise HTTPException(
            422, "A sensitive role or interest is kept only with consent; set agree_sensitive to true."
        )
    wish = Profile(
        id=0,
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        roles=tuple(dict.fromkeys(wanted.roles)),
        places=tuple({place.code: place for place in places}.values()),
        interests=tuple(dict.fromkeys(wanted.interests)),
        mutes=tuple(dict.fromkeys(wanted.mutes)),
        langs=tuple(dict.fromkeys(wanted.languages)),
        pace=wanted.pace,
        personalised=wanted.personalised,
        discreet=wanted.discreet,
    )
    try:
        joining.check(services_of(request), wish)
    except UsageError as error:
        raise HTTPException(422, str(error)) from None
    return wish


def profile_out(profile: Profile) -> ProfileOut:
    """The choices of a resident."""
    return ProfileOut(
        created=profile.created_at,
        roles=list(profile.roles),
        places=[PlaceOut(code=place.code, label=place.label) for place in profile.places],
        interests=list(profile.interests),
        mutes=list(profile.mutes),
        languages=list(profile.langs),
        pace=profile.pace,
        personalised=profile.personalised,
        discreet=profile.discreet,
    )


def _pick(entry: EntryView) -> PickOut:
    return PickOut(
        notice_id=entry.notice_id,
        revision=entry.revision,
        title=entry.title,
        summary=entry.summary,
        lang=entry.lang,
        url=entry.url,
        agency=entry.agency,
        published=entry.published,
        updated=entry.updated,
        deadline=entry.deadline,
        mark=entry.mark,
        reasons=list(entry.reasons),
    )


def _notice(request: Request, notice: Notice) -> NoticeOut:
    services, content = services_of(request), notice.content
    label = services.city.label
    tags = [f"{tag.kind}:{tag.code}" for tag in notice.tags]
    return NoticeOut(
        id=notice.id,
        revision=notice.revision,
        state=notice.state,
        title=content.title,
        title_en=content.title_en,
        lang=content.lang,
        agency=content.agency,
        doc_no=content.doc_no,
        kind=content.kind,
        priority=notice.priority,
        published=content.published,
        released=notice.released_at,
        changed=notice.changed_at,
        deadline=content.deadline,
        deadline_precision=content.deadline_precision,
        phone=content.phone,
        url=f"{services.settings.base_url}/notices/{notice.id}",
        source_url=content.url,
        withdrawn_because=notice.reason if notice.state == "withdrawn" else "",
        tags=[
            TagOut(tag=t, zh=label(t, "zh"), en=label(t, "en"), cause=tag.cause)
            for t, tag in zip(tags, notice.tags, strict=True)
        ],
        body_html=None,
    )
