"""The desk's alert pages: the clock, a new warning from ready words, proof of delivery, the issuer table.

What may be done, and by whom, is decided by ``api.jobs.issuing``; its refusals are shown as they are.
Pages that show a running clock reload themselves by a header; nothing here needs a script.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from api.jobs import alert_proof, alerts, issuing, outbox_desk
from api.jobs.issuing import Wish, Words
from api.web.access import Access, actor_of, form_of, may, services_of
from api.web.numbers import RowId
from api.web.pages import go, page, words_of
from api.web.wording import Words as Said
from api.wiring import Services
from feeds.catalogue.notices import Notice
from feeds.intake.cap_words import CERTAINTY, SEVERITY, URGENCY
from feeds.kernel.errors import MycityError, NotFoundError, UsageError

router = APIRouter(prefix="/editor", include_in_schema=False)
_RELOAD_S, _COUNT_S = 5, 20
_DONE = ("written", "released", "overridden", "countersigned", "updated", "cancelled", "tested", "resent")
_HOURS = ("1", "2", "4", "6", "12", "24", "48")


@router.get("/alerts")
@may(Access.STAFF)
def overview(request: Request) -> Response:
    """Warnings of the last week, each with its clock."""
    services = services_of(request)
    lines = alert_proof.overview(services, services.clock.now())
    shown = page(
        request, "editor/alerts.html", private=True, actor=actor_of(request), lines=lines,
        clock=lambda line: clock_text(line.seconds, words_of(request)), refresh=_RELOAD_S,
    )  # fmt: skip
    if any(line.running for line in lines):
        shown.headers["refresh"] = str(_RELOAD_S)
    return shown


def clock_text(seconds: int, words: Said) -> str:
    """``3:07`` below an hour, else hours and minutes."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    return words("warn.hours", h=hours, m=minutes) if hours else f"{minutes}:{left:02}"


@router.get("/issuers")
@may(Access.STAFF)
def issuers(request: Request) -> Response:
    """Who may have which warnings passed on at once."""
    rows = services_of(request).city.issuers
    return page(request, "editor/alert_issuers.html", private=True, actor=actor_of(request), rows=rows)


@router.get("/alert/new")
@may(Access.STAFF)
def new_form(request: Request, template: str = "") -> Response:
    """Choose ready words, or fill in the chosen ones."""
    services = services_of(request)
    chosen = services.city.alert_templates.get(template)
    if chosen is None:
        return page(
            request, "editor/alert_choose.html", private=True, actor=actor_of(request),
            templates=services.city.alert_templates.values(),
        )  # fmt: skip
    now = services.clock.now().astimezone(services.zone)
    form = {
        "template": template, "severity": chosen.severity, "urgency": chosen.urgency,
        "certainty": chosen.certainty, "hours": f"{chosen.hours:g}", "received": f"{now:%H:%M}",
        "time": f"{now:%H:%M}",
    }  # fmt: skip
    return _show_form(request, form)


@router.post("/alert/new")
@may(Access.STAFF)
def new(request: Request) -> Response:
    """Fill, preview, try out, or write and hand to a second person (or release alone)."""
    services, actor, form = services_of(request), actor_of(request), _values(request)
    step = form.get("do", "")
    try:
        form = _filled(services, form, anew=step == "fill")
        wish = read_wish(services, form)
        if step == "test":
            sent = issuing.try_out(services, wish, actor)
            return _show_form(request, form, wish=wish, tested=sum(sent.values()))
        if step in ("submit", "override"):
            notice = issuing.write(services, wish, actor)
            if step == "override":
                issuing.override(services, notice.id, actor, form.get("note", ""))
            response = go(
                f"/editor/alerts/{notice.id}?done={'overridden' if step == 'override' else 'written'}"
            )
            return _telling(response, services, notice.id) if step == "override" else response
        issuing.check(services, wish)
    except MycityError as error:
        return _show_form(request, form, problem=words_of(request).explain(error), status=422)
    return _show_form(request, form, wish=wish)


@router.get("/alerts/{notice_id}")
@may(Access.STAFF)
def show(request: Request, notice_id: RowId) -> Response:
    """One warning: its clock, what may be done next, and the proof of its delivery."""
    done = request.query_params.get("done", "")
    return _show(request, notice_id, done=done if done in _DONE else "")


@router.post("/alerts/{notice_id}")
@may(Access.STAFF)
def act(request: Request, notice_id: RowId) -> Response:
    """Release, override, countersign, end, or write to the unconfirmed now."""
    services, actor, form = services_of(request), actor_of(request), form_of(request)
    step, note = str(form.get("do", "")), str(form.get("note", "")).strip()[:1000]
    try:
        if step == "released":
            issuing.release(services, notice_id, actor)
        elif step == "overridden":
            issuing.override(services, notice_id, actor, note)
        elif step == "countersigned":
            issuing.countersign(services, notice_id, actor)
        elif step == "cancelled":
            issuing.cancel(services, notice_id, note, actor)
        else:
            raise HTTPException(422)
    except NotFoundError:
        raise HTTPException(404) from None
    except MycityError as error:
        return _show(request, notice_id, problem=words_of(request).explain(error), status=422)
    return _telling(go(f"/editor/alerts/{notice_id}?done={step}"), services, notice_id)


@router.get("/alerts/{notice_id}/update")
@may(Access.STAFF)
def update_form(request: Request, notice_id: RowId) -> Response:
    """The form of an update, with what stands now."""
    services, notice = services_of(request), _get(request, notice_id)
    if notice.state != "released" or not (notice.content.extra.get("cap") or {}).get("own"):
        raise HTTPException(404)
    wish = issuing.wish_of(services, notice_id)
    return _show_form(request, _form_of(services, wish), notice=notice)


@router.post("/alerts/{notice_id}/update")
@may(Access.STAFF)
def update(request: Request, notice_id: RowId) -> Response:
    """Preview an update, or tell it."""
    services, actor, form = services_of(request), actor_of(request), _values(request)
    notice = _get(request, notice_id)
    try:
        wish = read_wish(services, form)
        if form.get("do") == "submit":
            issuing.amend(services, notice_id, wish, form.get("note", ""), actor)
            return _telling(go(f"/editor/alerts/{notice_id}?done=updated"), services, notice_id)
        issuing.check(services, wish)
    except MycityError as error:
        problem = words_of(request).explain(error)
        return _show_form(request, form, notice=notice, problem=problem, status=422)
    return _show_form(request, form, notice=notice, wish=wish)


@router.get("/alerts/{notice_id}/unconfirmed.csv")
@may(Access.STAFF)
def unconfirmed(request: Request, notice_id: RowId) -> Response:
    """Those nobody knows to have got it, with masked addresses; that somebody took it is in the audit.

    For an editor or whoever is on duty; never of a sensitive matter.
    """
    services = services_of(request)
    if not outbox_desk.may_act(actor_of(request)):
        raise HTTPException(403)
    _get(request, notice_id)
    now = services.clock.now()
    lines = alert_proof.unconfirmed_csv(services, notice_id, now)
    try:
        first = next(lines)  # a warning nobody was told of has no table
    except NotFoundError:
        raise HTTPException(404) from None
    except UsageError:
        raise HTTPException(403) from None
    services.audit.append(
        "export-unconfirmed", actor=actor_of(request).label, at=now, notice_id=notice_id, details={}
    )

    def body() -> Any:
        yield "\ufeff" + first
        yield from lines

    headers = {
        "content-disposition": f'attachment; filename="unconfirmed-{notice_id}.csv"',
        "cache-control": "private, no-store",
    }
    return StreamingResponse(body(), media_type="text/csv; charset=utf-8", headers=headers)


# -- forms -----------------------------------------------------------------------------------------


def read_wish(services: Services, form: Mapping[str, str]) -> Wish:
    """Read a form.

    Raises:
        UsageError: If something in it cannot be read.
    """
    try:
        hours = float(form.get("hours") or "6")
    except ValueError:
        raise UsageError("A warning lasts more than 0 and at most 168 hours.") from None
    for name, table in (("severity", SEVERITY), ("urgency", URGENCY), ("certainty", CERTAINTY)):
        if form.get(name) not in table:
            raise UsageError(f"Choose one of the offered words for {name}.")
    words = {
        lang: Words(
            *(form.get(f"{part}_{lang}", "").strip()[:2000] for part in ("title", "body", "instruction"))
        )
        for lang in issuing.LANGS
    }
    places = tuple(code for code in form.get("places", "").split("|") if code in services.city.places)
    return Wish(
        template=form.get("template", ""),
        places=places,
        severity=form["severity"],
        urgency=form["urgency"],
        certainty=form["certainty"],
        hours=hours,
        received=_today_at(services, form.get("received", "")),
        words=words,
        phone=form.get("phone", "").strip()[:30],
        shape=issuing.read_shape(form.get("shape", "")[:2000]),
    )


def _today_at(services: Services, text: str) -> datetime:
    """The last time that a clock showed ``21:50``; now where nothing is given."""
    now = services.clock.now()
    if not text.strip():
        return now
    try:
        hour, minute = (int(part) for part in text.replace("：", ":").split(":"))
        at = now.astimezone(services.zone).replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        raise UsageError("Write the time of day like 21:50.") from None
    return (at if at <= now else at - timedelta(days=1)).astimezone(now.tzinfo)


def _values(request: Request) -> dict[str, str]:
    form = form_of(request)
    values = {key: str(value) for key, value in form.items() if not key.startswith("_")}
    values["places"] = "|".join(str(one) for one in form.getlist("place"))
    return values


def _filled(services: Services, form: dict[str, str], *, anew: bool) -> dict[str, str]:
    """Put the slots into the ready words, where no words stand yet or new ones are wished."""
    template = services.city.alert_templates.get(form.get("template", ""))
    if template is None or not (anew or not form.get("title_zh", "").strip()):
        return form
    slots = {name: form.get(name, "")[:200] for name in ("time", "phone", "detail")}
    chosen = [code for code in form["places"].split("|") if code]
    for lang, words in issuing.filled(services, template, slots, chosen).items():
        form |= {f"title_{lang}": words.title, f"body_{lang}": words.body}
        form[f"instruction_{lang}"] = words.instruction
    return form


def _form_of(services: Services, wish: Wish) -> dict[str, str]:
    form = {
        "template": wish.template, "severity": wish.severity, "urgency": wish.urgency,
        "certainty": wish.certainty, "hours": f"{wish.hours:g}", "phone": wish.phone,
        "received": f"{wish.received.astimezone(services.zone):%H:%M}", "places": "|".join(wish.places),
    }  # fmt: skip
    for lang, words in wish.words.items():
        form |= {f"title_{lang}": words.title, f"body_{lang}": words.body}
        form[f"instruction_{lang}"] = words.instruction
    return form


def _show_form(
    request: Request,
    form: Mapping[str, str],
    *,
    wish: Wish | None = None,
    notice: Notice | None = None,
    problem: str = "",
    tested: int = 0,
    status: int = 200,
) -> Response:
    services = services_of(request)
    districts = [p for p in services.city.places.values() if p.kind == "district"]
    inside = {p.code: [q for q in services.city.places.values() if q.parent == p.code] for p in districts}
    template = services.city.alert_templates.get(form.get("template", ""))
    return page(
        request, "editor/alert_new.html", status=status, private=True, actor=actor_of(request), form=form,
        ready=template, districts=districts, inside=inside, chosen=set(form.get("places", "").split("|")),
        levels={"severity": SEVERITY, "urgency": URGENCY, "certainty": CERTAINTY},
        hours=_HOURS, problem=problem, tested=tested, notice=notice,
        estimate=issuing.estimate(services, wish) if wish else None, wish=wish,
        may_override=issuing.DUTY in actor_of(request).roles,
        testers=len(services.settings.alert_test_list.split(",")) if services.settings.alert_test_list else 0,
        action=f"/editor/alerts/{notice.id}/update" if notice else "/editor/alert/new",
    )  # fmt: skip


def _show(
    request: Request, notice_id: int, *, done: str = "", problem: str = "", status: int = 200
) -> Response:
    services, words, notice = services_of(request), words_of(request), _get(request, notice_id)
    now = services.clock.now()
    lines = [line for line in [alert_proof.line_of(services, notice_id, now)] if line]
    if not lines:
        raise HTTPException(404)
    try:
        proof = alert_proof.proof(services, notice_id, now)
    except NotFoundError:
        proof = None
    shown = page(
        request, "editor/alert_show.html", status=status, private=True, actor=actor_of(request),
        notice=notice,
        line=lines[0], clock=clock_text(lines[0].seconds, words), done=done, problem=problem, proof=proof,
        states=alert_proof.STATES, own=bool((notice.content.extra.get("cap") or {}).get("own")),
        may_override=issuing.DUTY in actor_of(request).roles, log=services.audit.of(notice_id),
        resend_minutes=services.settings.alert_resend_minutes,
        may_list=proof is not None and not proof.hidden and outbox_desk.may_act(actor_of(request)),
    )  # fmt: skip
    if lines[0].running:
        shown.headers["refresh"] = str(_RELOAD_S)
    elif proof and any(counts["queued"] for counts in proof.channels.values()):
        shown.headers["refresh"] = str(_COUNT_S)  # counting a whole city takes a moment
    return shown


def _telling(response: Response, services: Services, notice_id: int) -> Response:
    """Tell people once the editor has their answer."""
    response.background = BackgroundTask(alerts.tell, services, notice_id)
    return response


def _get(request: Request, notice_id: int) -> Notice:
    try:
        return services_of(request).notices.get(notice_id)
    except NotFoundError:
        raise HTTPException(404) from None
