"""The desk's page of the outbox: what waits, what is held or switched off, and who got what through whom.

Reads and shows; what is done is decided by ``api.jobs.outbox_desk``, what may be told by
``api.jobs.outbox_answers``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.jobs import outbox_answers, outbox_desk
from api.web.access import Access, actor_of, form_of, may, services_of
from api.web.pages import go, page, words_of
from delivery.outbox_log import OutboxLog
from feeds.kernel.errors import MycityError, NotFoundError, UsageError

router = APIRouter(prefix="/editor", include_in_schema=False)
# In the form; never the name of a channel.
_ALL = "all"
_DONE = ("pause", "resume", "release", "cancel")


@router.get("/outbox")
@may(Access.STAFF)
def outbox(request: Request, notice: str = "", profile: str = "", done: str = "") -> Response:
    """The state of sending, and one question about a notice or a resident, from those who may act."""
    if (notice or profile) and not outbox_desk.may_act(actor_of(request)):
        raise HTTPException(403)
    return _show(request, notice.strip(), profile.strip(), done=done if done in _DONE else "")


@router.post("/outbox")
@may(Access.STAFF)
def act(request: Request) -> Response:
    """Switch sending off or on, or decide about a held run; audited."""
    form = form_of(request)
    do, run = str(form.get("do", "")), str(form.get("run", ""))
    try:
        outbox_desk.act(
            services_of(request),
            actor_of(request),
            do,
            channel=_chosen(do, str(form.get("channel", ""))),
            reason=str(form.get("reason", "")).strip(),
            run_id=_number(run),
        )
    except MycityError as error:
        return _show(request, "", "", problem=words_of(request).explain(error), status=422)
    return go(f"/editor/outbox?done={do}")


def _show(request: Request, notice: str, profile: str, *, status: int = 200, **more: Any) -> Response:
    services, words = services_of(request), words_of(request)
    now, log = services.clock.now(), OutboxLog(services.database)
    problem, answer = "", None
    try:
        if notice:
            answer = outbox_answers.who_got(services, _number(notice), actor=actor_of(request).label)
        elif profile:
            answer = outbox_answers.what_came(services, _number(profile), actor=actor_of(request).label)
    except NotFoundError:
        problem = words("outbox.no_notice", n=notice[:20])
        status = 404
    return page(
        request,
        "editor/outbox.html",
        status=status,
        private=True,
        state=services.outbox.status(now),
        held=services.outbox.held_runs(),
        late=log.oldest_due(now),
        stuck=log.held(now),
        now=now,
        why_of=outbox_answers.why_of,
        channels=list(services.channels),
        answer=answer,
        few=outbox_answers.FEW,
        asked={"notice": notice[:20], "profile": profile[:20]},
        may_act=outbox_desk.may_act(actor_of(request)),
        **{"done": "", "problem": problem, **more},
    )


def _chosen(do: str, channel: str) -> str:
    """What is to be stopped must be chosen; "everything" has a word of its own, so that it is no accident."""
    if do != "pause":
        return channel
    if not channel:
        raise UsageError("Choose what to stop.")
    return "" if channel == _ALL else channel


def _number(text: str) -> int:
    """A number of a row, or 0, which no row has."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
