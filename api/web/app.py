"""The web application: routes, wrappers and error pages, joined around the services.

``create_app`` opens nothing and starts nothing. Called by the server commands and by tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from api.web.access import GoTo, guard
from api.web.pages import page, words_of
from api.web.routes import (
    alerts,
    alerts_out,
    api_v1,
    api_v1_held,
    api_v1_rhythm,
    captured,
    channels,
    clicks,
    editor,
    feed_lists,
    hooks,
    hub,
    joining,
    me,
    metrics,
    model,
    outbox,
    personal,
    phone,
    portal,
    reach,
    receipts,
    recommender,
    rhythm,
    sms_hooks,
    sources,
    webhook,
    wechat_hooks,
)
from api.web.security import BodyTooLarge, Limiter, Once, Shield, Signer
from feeds.kernel.errors import ConflictError, MycityError, NotFoundError, StorageError

if TYPE_CHECKING:
    from api.wiring import Services

_KNOWN = (403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503)


class Site(FastAPI):
    """FastAPI with the shield outside everything, the page for unforeseen errors included."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap what the framework built."""
        return Shield(super().build_middleware_stack(), self.state.services.settings.base_url)


def create_app(services: Services) -> FastAPI:
    """Make the application of one installation.

    Args:
        services: The joined parts; its settings say under which address people come.
    """
    app = Site(
        title=f"{services.city.name.en}: MyCity",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(guard)],
    )
    app.state.services = services
    app.state.signer = Signer(services.key)
    app.state.once = Once()
    app.state.limits = {"join": Limiter(60, 3600), "enter": Limiter(20, 600)}
    for module in (
        portal,
        joining,
        feed_lists,  # before personal: its addresses also begin like a feed's page
        personal,
        me,
        model,
        editor,
        alerts,
        alerts_out,
        sources,
        outbox,
        recommender,
        captured,
        channels,
        reach,
        wechat_hooks,
        hooks,
        sms_hooks,
        phone,
        metrics,
        api_v1,
        api_v1_held,
        hub,
        clicks,
        receipts,
        webhook,
        api_v1_rhythm,
        rhythm,
    ):
        app.include_router(module.router)
    _handle_errors(app)
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> Response:
        return fail(
            request, error.status_code, headers=dict(error.headers or {}), detail=str(error.detail or "")
        )

    @app.exception_handler(RequestValidationError)
    def on_invalid(request: Request, error: RequestValidationError) -> Response:
        if not request.url.path.startswith("/api/"):
            # Pages only take free text; a path that is not a number names nothing.
            return fail(request, 404)
        first = error.errors()[0]
        spot = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return JSONResponse({"error": f"{first['msg']}.", "field": spot}, 422)

    @app.exception_handler(MycityError)
    def on_own(request: Request, error: MycityError) -> Response:
        status = {NotFoundError: 404, ConflictError: 409, StorageError: 503}.get(type(error), 422)
        return fail(
            request, status, said=words_of(request).explain(error) if status != 404 else "", detail=str(error)
        )

    @app.exception_handler(BodyTooLarge)
    def on_large(request: Request, error: BodyTooLarge) -> Response:
        return fail(request, 413)

    @app.exception_handler(GoTo)
    def on_go(request: Request, error: GoTo) -> Response:
        return RedirectResponse(error.path, 303)

    @app.exception_handler(Exception)
    def on_slip(request: Request, error: Exception) -> Response:
        try:
            return fail(request, 500)
        except Exception:  # the error page itself cannot be made (say, a broken template)
            return PlainTextResponse("Something went wrong here. 出错了，请稍后再试。\n", 500)


def fail(
    request: Request, status: int, *, headers: dict[str, str] | None = None, said: str = "", detail: str = ""
) -> Response:
    """Answer an error: a page in the reader's language with a next step, or JSON for the interface."""
    if request.url.path.startswith("/api/"):
        standard = words_for_api(status)
        return JSONResponse(
            {"error": standard if not detail or detail in _PHRASES else detail}, status, headers=headers
        )
    shown = status if status in _KNOWN else 500 if status >= 500 else 422
    response = page(request, "error.html", status=status, private=True, code=shown, said=said)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


_API_WORDS = {
    401: "Send the manage secret as `Authorization: Bearer …`.",
    403: "This call did not come from a page of ours.",
    404: "There is nothing here.",
    405: "This address does not take that method.",
    410: "This notice was removed.",
    413: "The body is larger than 512 kB.",
    415: "Send the body as application/json.",
    429: "Too many attempts; wait ten minutes and try again.",
    500: "Something went wrong here; try again later.",
}
_PHRASES = frozenset(
    (
        "Not Found",
        "Unauthorized",
        "Forbidden",
        "Method Not Allowed",
        "Gone",
        "Unprocessable Entity",
        "Unprocessable Content",
        "Too Many Requests",
        "Unsupported Media Type",
        "Internal Server Error",
    )
)


def words_for_api(status: int) -> str:
    """The one sentence of the interface for a status."""
    return _API_WORDS.get(status, "The request does not fit; see /api/v1/openapi.json.")
