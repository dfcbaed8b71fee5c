"""The editors' page of the recommender: which model serves, how it does, and another one put in its place.

Reads and shows; what is judged and done is decided by ``api.jobs.watching``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.web.access import Access, actor_of, form_of, may, services_of
from api.web.pages import go, page, words_of
from feeds.kernel.errors import MycityError

router = APIRouter(prefix="/editor", include_in_schema=False)


@router.get("/recommender")
@may(Access.STAFF)
def recommender(request: Request) -> Response:
    """The verdict, the model's facts, and what was last measured."""
    return _show(request, done=request.query_params.get("done", "") == "used")


@router.post("/recommender")
@may(Access.STAFF)
def put_in_use(request: Request) -> Response:
    """Put another kept version in use; audited."""
    from api.jobs import watching

    version = str(form_of(request).get("version", ""))[:60]
    try:
        if version not in services_of(request).models.versions():
            return _show(request, problem=words_of(request)("watch.no_version"), status=422)
        watching.use(services_of(request), version, actor_of(request))
    except MycityError as error:
        return _show(request, problem=words_of(request).explain(error), status=422)
    return go("/editor/recommender?done=used")


def _show(request: Request, *, status: int = 200, **more: Any) -> Response:
    from api.jobs import watching
    from api.web import modelview  # the numerical libraries are loaded by the first look at this page

    services, words = services_of(request), words_of(request)
    now = services.clock.now()
    found = watching.view(services, now)
    measured = found.notes.measures
    return page(
        request,
        "editor/recommender.html",
        status=status,
        private=True,
        found=found,
        sentence=found.verdict.sentence(words.lang),
        facts=modelview.facts(found, words, now),
        said=words.explain(ValueError(found.notes.said)),
        selection=modelview.selection(found, words, now),
        measured=measured,
        shown=modelview.measures(measured, words, services.city) if measured else None,
        versions=modelview.versions(watching.kept(services), found, words, now),
        may_change="editor" in actor_of(request).roles,
        **{"done": False, "problem": "", **more},
    )
