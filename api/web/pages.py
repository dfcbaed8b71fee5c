"""Renders pages: templates, the words of a language, and what every page needs to know.

Decides nothing and reads no store. Called by the routes and by the error handlers of ``app``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.web.access import services_of, session_of
from api.web.security import set_cookie
from api.web.wording import FULL, LANGS, Lang, Words, choose_lang, words
from feeds.intake.sanitise import sanitise
from feeds.kernel.time import local_date

if TYPE_CHECKING:
    from api.wiring import Services

ZOOMS = ("m", "l", "xl")
_HERE = Path(__file__).parent
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Display:
    """How a page is to be shown: its language and the size of its text."""

    lang: Lang
    zoom: str


def words_of(request: Request) -> Words:
    """The words in this reader's language."""
    return words(display_of(request).lang)


def display_of(request: Request) -> Display:
    """Read language and text size: asked for now, remembered, or by the browser."""
    asked, kept = request.query_params, request.cookies
    lang = choose_lang(
        asked.get("lang", ""), kept.get("mycity-lang", ""), request.headers.get("accept-language", "")
    )
    zoom = asked.get("text", "")
    zoom = zoom if zoom in ZOOMS else kept.get("mycity-text", "")
    return Display(lang, zoom if zoom in ZOOMS else "m")


def page(
    request: Request, template: str, *, status: int = 200, private: bool = False, **context: Any
) -> Response:
    """Render a page.

    Args:
        request: Whom it is for.
        template: A file of ``templates/``.
        status: HTTP status.
        private: It shows something of one person: never stored, never indexed.
        context: What the template needs.
    """
    services, display = services_of(request), display_of(request)
    values = _common(request, services, display) | context | {"private": private}
    response = HTMLResponse(_environment().get_template(template).render(values), status_code=status)
    response.headers["content-language"] = FULL[display.lang]
    response.headers["vary"] = "Accept-Language, Cookie"
    response.headers["cache-control"] = "private, no-store" if private else "private, no-cache"
    if private:
        response.headers["x-robots-tag"] = "noindex, nofollow"
    _remember(request, response, services)
    return response


def go(path: str) -> Response:
    """Send the browser to a page of ours after a POST."""
    return RedirectResponse(path, status_code=303)


def static_files() -> Mapping[str, bytes]:
    """The files under ``static/``, read once."""
    return _static()


def today(services: Services) -> date:
    """The local day."""
    return local_date(services.clock.now(), services.zone)


def _common(request: Request, services: Services, display: Display) -> dict[str, Any]:
    now = services.clock.now()
    t = words(display.lang)
    city = services.city
    name = city.name.of(display.lang)
    return {
        "t": t,
        "lang": display.lang,
        "html_lang": FULL[display.lang],
        "zoom": display.zoom,
        "city": city,
        "city_name": name.removesuffix(" (sample city)") if city.sample_mark else name,
        "sample": bool(city.sample_mark),
        "base_url": services.settings.base_url,
        "demo": services.demo,
        "now": now,
        "today": local_date(now, services.zone),
        "label": lambda tag: city.label(tag, display.lang),
        "clock_text": lambda instant: t.instant(instant, services.zone),
        "day_text": lambda instant: t.day(_as_day(instant, services), local_date(now, services.zone)),
        "form_token": lambda: request.app.state.signer.form_token(session_of(request), now=now),
        "here": request.url.path,
        "switch": lambda key, value: _switched(request, key, value),
        "version": _static_version(),
    }


def _as_day(value: datetime | date, services: Services) -> date:
    return local_date(value, services.zone) if isinstance(value, datetime) else value


def _switched(request: Request, key: str, value: str) -> str:
    """The address of this page with one preference changed; after a POST, the front page."""
    if request.method not in ("GET", "HEAD"):
        return f"/?{urlencode({key: value})}"
    pairs = [(k, v) for k, v in parse_qsl(request.url.query) if k not in (key, "done", "from")]
    path = "/" + request.url.path.lstrip("/")  # "//host" would lead to another site
    return f"{path}?{urlencode([*pairs, (key, value)])}"


def _remember(request: Request, response: Response, services: Services) -> None:
    """Keep a preference that was asked for in the address; it says nothing about the person."""
    secure = services.settings.base_url.startswith("https://")
    for key, known in (("lang", LANGS), ("text", ZOOMS)):
        value = request.query_params.get(key, "")
        if value in known:
            response.set_cookie(
                f"mycity-{key}", value, max_age=_YEAR, path="/", httponly=True, samesite="lax", secure=secure
            )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["safe_body"] = lambda body: Markup(sanitise(body))  # noqa: S704 - cleaned once more on the way out
    return environment


@lru_cache(maxsize=1)
def _static() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir()) if path.is_file()}


@lru_cache(maxsize=1)
def _static_version() -> str:
    from feeds.kernel.ids import content_hash

    return content_hash(*(f"{name}{data.hex()}" for name, data in _static().items()))[:10]


__all__ = ["Display", "display_of", "go", "page", "set_cookie", "static_files", "today", "words_of"]
