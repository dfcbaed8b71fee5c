"""The editors' console of sources: how each is doing, what waits, and the few steps an editor may take.

Reads and shows; what is done is decided by ``api.jobs.overseeing``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import source_views
from api.jobs import alerts, overseeing
from api.web import noticeview, sourceview
from api.web.access import Access, actor_of, form_of, may, services_of
from api.web.pages import go, page, words_of
from feeds.catalogue.notices import Revision
from feeds.kernel.errors import MycityError, NotFoundError

router = APIRouter(prefix="/editor", include_in_schema=False)
_SHOWN = ("all", "alarms", "held", "paused")
_DONE = ("poll", "pause", "resume", "release")
_DECIDED = ("taken", "dismissed")
_POLLS = 15


@router.get("/sources")
@may(Access.STAFF)
def sources(request: Request, show: str = "all") -> Response:
    """All sources that are polled, those that need a person first."""
    services, words = services_of(request), words_of(request)
    views = source_views.overview(services, alarms_first=True)
    tests: dict[str, Callable[[source_views.SourceView], bool]] = {
        "all": lambda one: True,
        "alarms": lambda one: bool(one.health.alarm),
        "held": lambda one: one.source.held_at is not None,
        "paused": lambda one: one.source.paused,
    }
    show = show if show in _SHOWN else "all"
    now = services.clock.now()
    return page(
        request,
        "editor/sources.html",
        private=True,
        tab="sources",
        show=show,
        sizes={name: sum(map(test, views)) for name, test in tests.items()},
        items=[sourceview.item(one, words, now) for one in views if tests[show](one)],
    )


@router.get("/sources/{slug}")
@may(Access.STAFF)
def source(request: Request, slug: str) -> Response:
    """One source: settings, health, weeks, polls, and the answers kept for diagnosis."""
    done = request.query_params.get("done", "")
    return _show(request, slug, done=done if done in _DONE else "")


@router.post("/sources/{slug}")
@may(Access.STAFF)
def act(request: Request, slug: str) -> Response:
    """Poll now, pause, resume or release."""
    step = str(form_of(request).get("do", ""))
    try:
        overseeing.oversee(services_of(request), slug, step, actor_of(request))
    except NotFoundError:
        raise HTTPException(404) from None
    except MycityError as error:
        return _show(request, slug, problem=words_of(request).explain(error), status=422)
    return go(f"/editor/sources/{slug}?done={step}")


@router.get("/changes")
@may(Access.STAFF)
def changes(request: Request) -> Response:
    """Changes of public notices that wait for an editor."""
    services, words = services_of(request), words_of(request)
    waiting = overseeing.pending(services)
    done = request.query_params.get("done", "")
    return page(
        request,
        "editor/sources_changes.html",
        private=True,
        tab="changes",
        done=done if done in _DECIDED else "",
        items=[(one, sourceview.hold_reason(one.reason, words)) for one in waiting],
    )


@router.get("/changes/{notice_id}")
@may(Access.STAFF)
def change(request: Request, notice_id: int) -> Response:
    """One change, word by word."""
    return _show_change(request, notice_id)


@router.post("/changes/{notice_id}")
@may(Access.STAFF)
def decide(request: Request, notice_id: int) -> Response:
    """Take a change, or leave the notice as it is."""
    services, actor, form = services_of(request), actor_of(request), form_of(request)
    note, step = str(form.get("note", "")).strip()[:1000], str(form.get("do", ""))
    seen, major = str(form.get("seen", "")), str(form.get("major", ""))
    try:
        if step == "take" and major not in ("yes", "no"):
            said = words_of(request)("desk.error.major")
            return _show_change(request, notice_id, problem=said, note=note, status=422)
        if step == "take":
            overseeing.take_change(services, notice_id, actor, seen=seen, major=major == "yes", note=note)
        elif step == "dismiss":
            overseeing.dismiss_change(services, notice_id, actor, note=note)
        else:
            raise HTTPException(422)
    except NotFoundError:
        raise HTTPException(404) from None
    except MycityError as error:
        said = words_of(request).explain(error)
        return _show_change(request, notice_id, problem=said, note=note, status=422)
    response = go(f"/editor/changes?done={'taken' if step == 'take' else 'dismissed'}")
    if step == "take":  # if it is a warning, people must hear of it
        response.background = BackgroundTask(alerts.tell, services, notice_id)
    return response


def _show(request: Request, slug: str, *, status: int = 200, **more: Any) -> Response:
    services, words = services_of(request), words_of(request)
    try:
        view = source_views.view(services, slug)
    except NotFoundError:
        raise HTTPException(404) from None
    answers = services.sources.answers(slug)
    good = next((one.headers for one in answers if one.which == "good"), None)
    held = source_views.held_entries(services, view.source, answers) if view.source.held_at else None
    now = services.clock.now()
    return page(
        request,
        "editor/sources_one.html",
        status=status,
        private=True,
        tab="sources",
        item=sourceview.item(view, words, now, good),
        weeks=view.weeks,
        settings=_settings(request, view),
        held=held,
        polls=services.sources.polls(slug, limit=_POLLS),
        explain=lambda text: words.explain(ValueError(text)),
        answers=[(one, source_views.readable(one)) for one in answers],
        **{"done": "", "problem": "", **more},
    )


def _settings(request: Request, view: source_views.SourceView) -> list[tuple[str, str]]:
    services, words = services_of(request), words_of(request)
    one = view.source
    place = services.city.label(f"place:{one.place}", words.lang) if one.place in services.city.places else ""
    rows = [
        ("kind", words(f"source.kind_{one.kind}")),
        ("url", one.url or ""),
        ("agency", one.agency),
        ("place", place),
        ("release", words(f"source.release_{one.release}")),
        ("interval", words("source.minutes", n=one.interval_s // 60)),
        ("tags", words("links.comma").join(services.city.label(tag, words.lang) for tag in one.tags)),
        ("rules", "\n".join(one.rules)),
        ("full_text", words("source.yes") if one.full_text else ""),
        ("hub", one.hub),
        ("moved_to", one.moved_to),
        ("licence", one.licence),
        ("recipe", "\n".join(f"{key} = {value}" for key, value in one.recipe.items())),
    ]
    return [row for row in rows if row[1]]


def _show_change(request: Request, notice_id: int, *, status: int = 200, **more: Any) -> Response:
    services, words = services_of(request), words_of(request)
    try:
        waiting = overseeing.pending_of(services, notice_id)
    except NotFoundError:
        raise HTTPException(404) from None
    notice = waiting.notice
    old = Revision(notice.id, notice.revision, waiting.at, "", "", False, notice.content)
    new = Revision(notice.id, notice.revision + 1, waiting.at, "intake", "", False, waiting.content)
    return page(
        request,
        "editor/sources_change.html",
        status=status,
        private=True,
        tab="changes",
        waiting=waiting,
        seen=waiting.content.hash(),
        reason=sourceview.hold_reason(waiting.reason, words),
        changes=noticeview.compare_revisions(old, new),
        **{"problem": "", "note": "", **more},
    )
