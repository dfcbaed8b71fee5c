"""Who may call a route: declared beside each one, enforced here, denied where nothing is declared.

Never renders a page. A test walks the application's routes and fails for one without a declaration.
Called by FastAPI before every route.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.web.security import client_key, cookie_name, from_our_page
from feeds.desk.staff import Actor
from feeds.kernel.time import from_micros, to_micros
from profiles.types import Profile

if TYPE_CHECKING:
    from api.wiring import Services

_SAFE = ("GET", "HEAD", "OPTIONS")
_Route = TypeVar("_Route", bound=Callable[..., Any])


class Access(Enum):
    """Who may call a route.

    PUBLIC: anybody. TOKEN: whoever knows the secret in the address; the route looks it up.
    MANAGE: the holder of a profile, by cookie (pages) or by Bearer secret (interface).
    STAFF: a member of staff who signed in. DEMO: anybody, but only in the demo.
    """

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    MANAGE = "manage"
    STAFF = "staff"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route declared.

    Attributes:
        bearer: A call of the open interface: JSON only, no cookie counts, a manage secret comes as Bearer.
        foreign: Other programs may POST here without our form (RFC 8058 one-click).
        hidden: Exists only once there is staff (the sign-in page of the desk).
        raw: The route reads the body itself, byte by byte, because its sender signed it.
    """

    who: Access
    bearer: bool = False
    foreign: bool = False
    hidden: bool = False
    raw: bool = False


class GoTo(Exception):
    """Answer with a redirect to a page of ours."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def may(
    who: Access, *, bearer: bool = False, foreign: bool = False, hidden: bool = False, raw: bool = False
) -> Callable[[_Route], _Route]:
    """Declare who may call a route."""

    def declare(route: _Route) -> _Route:
        route.__dict__["mycity_access"] = Rule(who, bearer, foreign, hidden, raw)
        return route

    return declare


def rule_of(endpoint: object) -> Rule | None:
    """What a route's function declared, if anything."""
    return getattr(endpoint, "mycity_access", None)


def services_of(request: Request) -> Services:
    """The joined parts."""
    return cast("Services", request.app.state.services)


async def guard(request: Request) -> None:
    """Let a request through to its route, or not; puts ``form``, ``profile`` and ``actor`` on its state.

    Raises:
        HTTPException: 401, 403 or 404.
        GoTo: To a sign-in page.
    """
    rule = rule_of(request.scope.get("endpoint"))
    if rule is None:
        raise HTTPException(404)
    services = services_of(request)
    if rule.who is Access.DEMO and not services.demo:
        raise HTTPException(404)
    if (rule.who is Access.STAFF or rule.hidden) and not await run_in_threadpool(services.staff.any):
        raise HTTPException(404)
    if request.method not in _SAFE and not rule.bearer:
        await _check_form(request, rule)
    elif request.method in ("POST", "PUT") and _content_type(request) != "application/json":
        raise HTTPException(415)  # a form of another site can send anything but JSON
    if rule.who is Access.MANAGE:
        request.state.profile = await run_in_threadpool(_must_hold, request, rule)
    elif rule.who is Access.STAFF:
        request.state.actor = await run_in_threadpool(_must_work_here, request)


def form_of(request: Request) -> FormData:
    """The form of this request, read by the guard."""
    return cast(FormData, request.state.form)


def profile_of(request: Request) -> Profile:
    """Whose profile the guard let in."""
    return cast(Profile, request.state.profile)


def actor_of(request: Request) -> Actor:
    """Which member of staff the guard let in."""
    return cast(Actor, request.state.actor)


def holder(request: Request) -> Profile | None:
    """The profile whose manage cookie came along, or ``None``; for pages that anybody may read."""
    services = services_of(request)
    value = request.cookies.get(cookie_name("me", services.settings.base_url), "")
    payload = request.app.state.signer.unseal("me", value, now=services.clock.now()) if value else None
    if payload is None:
        return None
    number, _, born = payload.partition("-")
    found = services.profiles.many([int(number)])
    # SQLite gives the number of an erased profile to the next one, so its birth is in the cookie too.
    return found[0] if found and found[0].created_at == from_micros(int(born)) else None


def holder_payload(profile: Profile) -> str:
    """What a manage cookie says of its holder."""
    return f"{profile.id}-{to_micros(profile.created_at)}"


def session_of(request: Request) -> str:
    """What binds a form to a browser: the cookies that give rights, or nothing."""
    base = services_of(request).settings.base_url
    return "|".join(request.cookies.get(cookie_name(name, base), "") for name in ("me", "staff"))


async def _check_form(request: Request, rule: Rule) -> None:
    services = services_of(request)
    kind = _content_type(request)
    if not rule.raw and kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        request.state.form = await request.form(max_files=0, max_fields=2000, max_part_size=256 * 1024)
    else:
        request.state.form = FormData()
    if rule.foreign:
        return
    token = str(request.state.form.get("_form", ""))
    signer, session = request.app.state.signer, session_of(request)
    if not from_our_page(request.headers, services.settings.base_url) or not signer.is_form_token(
        token, session, now=services.clock.now()
    ):
        raise HTTPException(403)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _must_hold(request: Request, rule: Rule) -> Profile:
    if rule.bearer:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        found = (
            services_of(request).profiles.by_secret(secret.strip()) if scheme.lower() == "bearer" else None
        )
        if found is None:
            if not request.app.state.limits["enter"].allows(client_key(request)):
                raise HTTPException(429)
            raise HTTPException(401, headers={"www-authenticate": "Bearer"})
        return found
    profile = holder(request)
    if profile is None:
        raise GoTo("/me/enter")
    return profile


def _must_work_here(request: Request) -> Actor:
    services = services_of(request)
    value = request.cookies.get(cookie_name("staff", services.settings.base_url), "")
    payload = request.app.state.signer.unseal("staff", value, now=services.clock.now()) if value else None
    actor = services.staff.get(int(payload)) if payload else None
    if actor is None:
        raise GoTo("/editor/enter")
    return actor
