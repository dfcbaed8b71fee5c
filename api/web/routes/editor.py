"""The desk: write, preview, submit, approve, reject, correct, withdraw.

Pages exist only once there is staff. What may be done, and by whom, is decided by ``feeds.desk``; its
refusals are shown as they are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import source_views
from api.jobs import alerts
from api.web import listing, noticeview, sourceview
from api.web.access import Access, actor_of, form_of, may, services_of
from api.web.forms import Problem, Sheet, check_sheet, desk_tag, place_names, read_sheet, sheet_of
from api.web.numbers import RowId
from api.web.pages import go, page, words_of
from api.web.routes.joining import vocabulary
from api.web.security import client_key, drop_cookie, set_cookie
from api.wiring import Services
from feeds.catalogue.notices import Notice, NoticeContent, Prominence, State
from feeds.catalogue.tagging import Tag
from feeds.intake.sanitise import to_text
from feeds.kernel.errors import MycityError, NotFoundError

router = APIRouter(prefix="/editor", include_in_schema=False)
_SHIFT = timedelta(hours=8)
_TABS: dict[str, tuple[State, ...]] = {
    "draft": ("draft",),
    "review": ("in_review",),
    "released": ("released",),
    "closed": ("withdrawn", "expired"),
    "untagged": (),
}
_DONE = ("saved", "submitted", "approved", "rejected", "corrected", "withdrawn", "weighed", "retagged")
_WEIGHTS: dict[str, Prominence] = {"-1": -1, "0": 0, "1": 1}
_LISTED = 100


@router.get("/enter")
@may(Access.PUBLIC, hidden=True)
def enter_form(request: Request) -> Response:
    """Ask for an access key."""
    return page(request, "editor/enter.html", private=True, wrong=False)


@router.post("/enter")
@may(Access.PUBLIC, hidden=True)
def enter(request: Request) -> Response:
    """Check the key and begin a shift of eight hours."""
    services = services_of(request)
    actor = services.staff.enter(str(form_of(request).get("key", "")).strip())
    if actor is None:
        if not request.app.state.limits["enter"].allows(client_key(request)):
            raise HTTPException(429)
        return page(request, "editor/enter.html", status=422, private=True, wrong=True)
    value = request.app.state.signer.seal("staff", str(actor.staff_id), ends_at=services.clock.now() + _SHIFT)
    response = go("/editor/")
    seconds = int(_SHIFT.total_seconds())
    set_cookie(response, "staff", value, base_url=services.settings.base_url, seconds=seconds)
    return response


@router.post("/leave")
@may(Access.STAFF)
def leave(request: Request) -> Response:
    """End the shift on this device."""
    response = go("/editor/enter")
    drop_cookie(response, "staff", base_url=services_of(request).settings.base_url)
    return response


@router.get("/")
@may(Access.STAFF)
def desk(request: Request, tab: str = "") -> Response:
    """What waits at the desk."""
    services, words = services_of(request), words_of(request)
    counts = services.notices.counts()
    sizes = {name: sum(counts.by_state.get(state, 0) for state in states) for name, states in _TABS.items()}
    sizes["untagged"] = counts.untagged
    if tab not in _TABS:
        tab = "review" if sizes["review"] else "draft" if sizes["draft"] else "released"
    found = (
        services.notices.untagged(limit=_LISTED)
        if tab == "untagged"
        else services.notices.by_state(_TABS[tab], limit=_LISTED)
    )
    return page(
        request,
        "editor/desk.html",
        private=True,
        actor=actor_of(request),
        tab=tab,
        sizes=sizes,
        found=listing.items(services, found, words),
        alarms=source_views.alarms(services),
        changes=services.notices.count_pending(),
        recommender=_recommender(services),
        why_held=lambda notice: sourceview.hold_reason(notice.reason, words),
        origin=lambda notice: noticeview.origin(services, notice),
        alike=lambda notice: noticeview.alike(services, notice),
    )


def _recommender(services: Services) -> tuple[str, str]:
    """A key of ``watch`` that says how the recommender is, and the badge to say it on."""
    from api.jobs.watching import view

    verdict = view(services).verdict
    if verdict.alarm:
        return "link_alarm", "urgent"
    return ("link_fine", "later") if verdict.usable else ("link_rules", "past")


@router.get("/write")
@may(Access.STAFF)
def write_form(request: Request) -> Response:
    """An empty sheet."""
    actor = actor_of(request)
    return _show_sheet(request, Sheet(agency=actor.agency), {}, action="/editor/write", notice=None)


@router.post("/write")
@may(Access.STAFF)
def write(request: Request) -> Response:
    """Suggest tags, preview, or save a draft (and submit it)."""
    services, actor, form = services_of(request), actor_of(request), form_of(request)
    sheet = place_names(read_sheet(form), services.city)
    content, tags, problems = check_sheet(sheet, services)
    if form.get("do") == "preview" or problems:
        return _show_sheet(
            request, sheet, problems, action="/editor/write", notice=None, preview=(content, tags)
        )
    priority = sheet.priority if sheet.priority in ("normal", "mandatory", "emergency") else "normal"
    try:
        notice = services.desk.write(content, tags=tags, actor=actor, priority=priority)  # type: ignore[arg-type]
        if form.get("do") == "submit":
            services.desk.submit(notice.id, actor)
    except MycityError as error:
        return _show_sheet(request, sheet, _refused(request, error), action="/editor/write", notice=None)
    return go(f"/editor/notices/{notice.id}?done={'submitted' if form.get('do') == 'submit' else 'saved'}")


@router.get("/notices/{notice_id}")
@may(Access.STAFF)
def show(request: Request, notice_id: RowId) -> Response:
    """One notice at the desk, with what may be done next and its history."""
    done = request.query_params.get("done", "")
    return _show_notice(request, _get(request, notice_id), done=done if done in _DONE else "")


@router.get("/notices/{notice_id}/edit")
@may(Access.STAFF)
def edit_form(request: Request, notice_id: RowId) -> Response:
    """The sheet of a draft, or the correction of a public notice."""
    notice = _get(request, notice_id)
    if notice.state not in ("draft", "released"):
        raise HTTPException(404)
    sheet = sheet_of(services_of(request), notice.content, notice.tags, notice.priority)
    return _show_sheet(request, sheet, {}, action=f"/editor/notices/{notice_id}/edit", notice=notice)


@router.post("/notices/{notice_id}/edit")
@may(Access.STAFF)
def edit(request: Request, notice_id: RowId) -> Response:
    """Change a draft, or correct a public notice."""
    services, actor, form = services_of(request), actor_of(request), form_of(request)
    notice = _get(request, notice_id)
    seen = _seen(request)
    sheet = place_names(read_sheet(form), services.city)
    content, tags, problems = check_sheet(sheet, services, base=notice)
    correcting = notice.state == "released"
    only_tags = correcting and content.hash() == notice.content.hash() and set(tags) != set(notice.tags)
    if correcting and not only_tags and sheet.major not in ("yes", "no"):
        problems["major"] = Problem("desk.error.major")
    where = f"/editor/notices/{notice_id}/edit"
    if form.get("do") == "preview" or problems:
        if form.get("do") == "preview":
            problems.pop("major", None)
        return _show_sheet(request, sheet, problems, action=where, notice=notice, preview=(content, tags))
    try:
        if only_tags:
            services.desk.retag(notice_id, tags, actor)
            return go(f"/editor/notices/{notice_id}?done=retagged")
        if correcting:
            major = sheet.major == "yes"
            services.desk.correct(
                notice_id, content, major=major, note=sheet.note, actor=actor, tags=tags, seen=seen
            )
        else:
            edited = services.desk.edit(notice_id, content, tags=tags, actor=actor, seen=seen)
            if form.get("do") == "submit":
                services.desk.submit(notice_id, actor, seen=edited.revision)
    except MycityError as error:
        return _show_sheet(request, sheet, _refused(request, error), action=where, notice=notice)
    done = "corrected" if correcting else "submitted" if form.get("do") == "submit" else "saved"
    return _telling(go(f"/editor/notices/{notice_id}?done={done}"), services, notice)


@router.post("/notices/{notice_id}/move")
@may(Access.STAFF)
def move(request: Request, notice_id: RowId) -> Response:
    """Submit, approve, reject or withdraw."""
    desk, actor, form = services_of(request).desk, actor_of(request), form_of(request)
    notice, note = _get(request, notice_id), str(form.get("note", "")).strip()[:1000]
    step, seen = str(form.get("do", "")), _seen(request)
    try:
        if step == "submitted":
            desk.submit(notice_id, actor, seen=seen)
        elif step == "approved":
            desk.approve(notice_id, actor, seen=seen)
        elif step == "rejected":
            desk.reject(notice_id, actor, note)
        elif step == "withdrawn":
            desk.withdraw(notice_id, note, actor)
        else:
            raise HTTPException(422)
    except MycityError as error:
        return _show_notice(
            request, notice, problem=words_of(request).explain(error), step=step, note=note, status=422
        )
    return _telling(go(f"/editor/notices/{notice_id}?done={step}"), services_of(request), notice)


@router.post("/notices/{notice_id}/weight")
@may(Access.STAFF)
def weight(request: Request, notice_id: RowId) -> Response:
    """Set a notice off in ranking, or hold it back; no revision, and no feed moves."""
    services, notice = services_of(request), _get(request, notice_id)
    wanted = _WEIGHTS.get(str(form_of(request).get("weight", "")))
    if wanted is None:
        raise HTTPException(422)
    try:
        services.desk.weigh(notice_id, wanted, actor_of(request))
    except MycityError as error:
        return _show_notice(request, notice, problem=words_of(request).explain(error), status=422)
    return go(f"/editor/notices/{notice_id}?done=weighed")


def _telling(response: Response, services: Services, notice: Notice) -> Response:
    """Let people know of an emergency once the editor has their answer."""
    if notice.priority == "emergency":
        response.background = BackgroundTask(alerts.tell, services, notice.id)
    return response


def _get(request: Request, notice_id: int) -> Notice:
    try:
        notice = services_of(request).notices.get(notice_id)
    except NotFoundError:
        raise HTTPException(404) from None
    if notice.state == "purged":
        raise HTTPException(410)
    return notice


def _refused(request: Request, error: Exception) -> dict[str, Problem]:
    return {"form": Problem("", said=words_of(request).explain(error))}


def _show_notice(request: Request, notice: Notice, *, status: int = 200, **more: Any) -> Response:
    services, words = services_of(request), words_of(request)
    revisions = services.notices.revisions(notice.id)
    log = services.audit.of(notice.id)
    names = {row["actor"]: _name(request, row["actor"]) for row in log}
    values: dict[str, Any] = {"done": "", "problem": "", "step": "", "note": ""} | more
    return page(
        request,
        "editor/notice.html",
        status=status,
        private=True,
        actor=actor_of(request),
        notice=notice,
        facts=noticeview.facts(services, notice, words),
        tags=noticeview.shown_tags(services, notice, words),
        revisions=revisions,
        log=log,
        names=names,
        origin=noticeview.origin(services, notice),
        alike=noticeview.alike(services, notice),
        why_held=sourceview.hold_reason(notice.reason, words) if notice.state == "in_review" else "",
        tab="",
        **values,
    )


def _name(request: Request, actor: str) -> str:
    kind, _, number = actor.partition(":")
    found = services_of(request).staff.get(int(number)) if kind == "staff" and number.isdigit() else None
    return found.name if found else actor


def _seen(request: Request) -> int | None:
    """The revision the form was made from, so that nothing changed meanwhile is lost or released unread."""
    given = str(form_of(request).get("revision", "")) if request.method == "POST" else ""
    return int(given) if given.isdigit() else None


def _show_sheet(
    request: Request,
    sheet: Sheet,
    problems: dict[str, Problem],
    *,
    action: str,
    notice: Notice | None,
    preview: tuple[NoticeContent, tuple[Tag, ...]] | None = None,
) -> Response:
    services, words = services_of(request), words_of(request)
    suggested = []
    if preview is not None:
        content = preview[0]
        chosen = {f"{tag.kind}:{tag.code}" for tag in preview[1]}
        found = services.tagger.tag(
            title=content.title, text=to_text(content.body), agency=content.agency, doc_type=content.doc_type
        )
        suggested = [
            noticeview.shown_tag(services, tag, words)
            for tag in found
            if f"{tag.kind}:{tag.code}" not in chosen
        ]
    return page(
        request,
        "editor/write.html",
        status=422 if problems else 200,
        private=True,
        actor=actor_of(request),
        sheet=sheet,
        problems=problems,
        action=action,
        notice=notice,
        revision=_seen(request) or (notice.revision if notice else 0),
        suggested=suggested,
        tab="write",
        preview=preview[0] if preview else None,
        preview_tags=[noticeview.shown_tag(services, tag, words) for tag in preview[1]] if preview else [],
        chosen={f"{tag.kind}:{tag.code}" for tag in map(desk_tag, sheet.tags)},
        **vocabulary(request),
    )
