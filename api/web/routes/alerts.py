"""The desk's alert pages: the clock, a new warning from ready words, proof of delivery, the issuer table.

What may be done, and by whom, is decided by ``api.jobs.issuing``; its refusals are shown as they are.
Pages that show a running clock reload themselves by a header; nothing here needs a script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
# What the ready words are filled with, beside the places.
_SLOTS = ("time", "phone", "detail", "detail_en")
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
        if step in ("submit", "override"):
            issuing.check(services, wish)
            _sure(services, form, wish)
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
        if step in ("released", "overridden"):
            _sure(
                services, {"everybody": str(form.get("everybody", ""))}, issuing.wish_of(services, notice_id)
            )
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
        form = _filled(services, form, anew=False)
        wish = read_wish(services, form)
        if form.get("do") == "submit":
            issuing.check(services, wish)
            _sure(services, form, wish)
            note, english = form.get("note", ""), form.get("note_en", "")
            issuing.amend(services, notice_id, wish, note, actor, note_en=english)
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
    ticked = [code for code in form["places"].split("|") if code in services.city.places]
    chosen = issuing.places_of(services, ticked, issuing.read_shape(form.get("shape", "")[:2000]))
    before = {name: form.get(f"was_{name}", "")[:200] for name in _SLOTS}
    slots = {name: form.get(name, "")[:200] for name in _SLOTS}
    old_places = [code for code in form.get("was_place", "").split("|") if code in services.city.places]
    if template is None:
        return form
    fresh = issuing.filled(services, template, slots, chosen)
    form.pop("stale", None)
    if anew or not form.get("title_zh", "").strip():
        _put(form, fresh)
    elif "was_place" in form and (before != slots or old_places != list(chosen)):
        ready = issuing.filled(services, template, before, old_places)
        stale = []
        for lang in issuing.LANGS:
            changed = [(before[name], slots[name]) for name in ("phone", "time")]
            changed.append((issuing.named(services, old_places, lang), issuing.named(services, chosen, lang)))
            for part in ("title", "body", "instruction"):
                name, label = f"{part}_{lang}", getattr(template, part).of(lang)
                text = _lines(form.get(name, ""))
                if text == getattr(ready[lang], part):
                    form[name] = getattr(fresh[lang], part)
                    continue
                told = [f"{{{slot}}}" in label for slot in ("phone", "time", "place")]
                form[name], fits = _refilled(text, changed, told)
                if not fits and text:
                    stale.append(name)
        if stale and not form.get("confirmed"):
            return form | {"stale": "|".join(stale)}
    form |= {f"was_{name}": slots[name] for name in _SLOTS}
    return form | {"was_place": "|".join(chosen)}


def _put(form: dict[str, str], words: Mapping[str, Words]) -> None:
    for lang, said in words.items():
        form |= {f"title_{lang}": said.title, f"body_{lang}": said.body}
        form[f"instruction_{lang}"] = said.instruction


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _refilled(text: str, changed: Sequence[tuple[str, str]], told: Sequence[bool]) -> tuple[str, bool]:
    """Put new values where the old ones stand in somebody's own words, and say whether all is up to date."""
    fits = True
    for (old, new), wanted in zip(changed, told, strict=True):
        if old == new or (old and old in new and new in text):
            continue
        if old and old in text:
            text = text.replace(old, new) if new else text
            fits = fits and bool(new)
        elif wanted and new and new not in text:
            fits = False
    return text, fits


def _sure(services: Services, form: Mapping[str, str], wish: Wish) -> None:
    """Refuse what must be meant and was not said to be.

    Raises:
        UsageError: If words may be out of date, or the whole city is not ticked as meant.
    """
    if form.get("stale") and not form.get("confirmed"):
        raise UsageError(
            "Place, time or phone changed, but your own words may name the old ones; check them."
        )
    if issuing.is_everybody(services, wish) and not form.get("everybody"):
        raise UsageError("This goes to everybody in the city; tick that the whole city is meant.")


def _form_of(services: Services, wish: Wish) -> dict[str, str]:
    form = {
        "template": wish.template, "severity": wish.severity, "urgency": wish.urgency,
        "certainty": wish.certainty, "hours": f"{wish.hours:g}", "phone": wish.phone,
        "received": f"{wish.received.astimezone(services.zone):%H:%M}", "places": "|".join(wish.places),
        "was_place": "|".join(wish.places), "was_phone": wish.phone,
    }  # fmt: skip
    _put(form, wish.words)
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
        texts=_texts(services, form, wish, notice), lacks=_lacks(form, notice),
        everybody=_may_be_everybody(services, form), slots=("place", *_SLOTS),
        may_override=issuing.DUTY in actor_of(request).roles,
        testers=len(services.settings.alert_test_list.split(",")) if services.settings.alert_test_list else 0,
        action=f"/editor/alerts/{notice.id}/update" if notice else "/editor/alert/new",
    )  # fmt: skip


def _texts(
    services: Services, form: Mapping[str, str], wish: Wish | None, notice: Notice | None
) -> list[issuing.Shown]:
    if wish is None:
        return []
    changed = {"zh": form.get("note", ""), "en": form.get("note_en", "") or issuing.UPDATED_EN}
    return issuing.shown(services, wish, changed=changed if notice else None)


def _lacks(form: Mapping[str, str], notice: Notice | None) -> str:
    """What the English text does not say: ``detail``, ``update``, or nothing."""
    if not form.get("title_en", "").strip():
        return ""
    if notice is not None:
        return "" if form.get("note_en", "").strip() else "update"
    detail = form.get("detail", "")
    return "detail" if not detail.isascii() and not form.get("detail_en", "").strip() else ""


def _may_be_everybody(services: Services, form: Mapping[str, str]) -> bool:
    whole = services.city.place in form.get("places", "").split("|")
    return whole and form.get("severity") == "Extreme"


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
    waits = notice.state == "in_review"
    wish = issuing.wish_of(services, notice_id) if waits else None
    shown = page(
        request, "editor/alert_show.html", status=status, private=True, actor=actor_of(request),
        notice=notice, wish=wish,
        texts=issuing.shown_of(services, notice_id) if wish else [],
        estimate=issuing.estimate(services, wish) if wish else None,
        everybody=wish is not None and issuing.is_everybody(services, wish),
        where={lang: issuing.named(services, wish.places, lang) for lang in issuing.LANGS} if wish else {},
        may_release=issuing.may_release(services, notice_id, actor_of(request)),
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
