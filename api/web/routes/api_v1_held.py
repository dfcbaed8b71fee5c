"""The open interface on what is held of a resident: taste, model, reset; by Bearer secret.

Shows and passes on; what may be kept is decided in ``api.jobs.holding``. Belongs to ``routes.api_v1``.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.jobs import holding
from api.web.access import Access, may, profile_of, services_of
from api.web.routes.api_v1 import BEARER, MISSING, profile_out
from api.web.schemas import (
    EventOut,
    HeldOut,
    LeaningOut,
    ModelOut,
    ResetIn,
    ResetOut,
    TasteIn,
    TasteOut,
    TastesOut,
)

router = APIRouter(prefix="/api/v1", tags=["v1"])


@router.get("/profile/taste", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def get_taste(request: Request, response: Response) -> TastesOut:
    """Tags that were learned or set, with their weights."""
    response.headers["cache-control"] = "no-store"
    return TastesOut(taste=_taste(request))


@router.put("/profile/taste", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def put_taste(request: Request, wanted: TasteIn) -> TastesOut:
    """Set the weight of one tag; learning leaves it alone from then on."""
    holding.set_taste(services_of(request), profile_of(request), wanted.tag, wanted.weight)
    return TastesOut(taste=_taste(request))


@router.delete("/profile/taste/{tag}", status_code=204, responses=BEARER | MISSING)
@may(Access.MANAGE, bearer=True)
def delete_taste(request: Request, tag: str, relearn: bool = False) -> Response:
    """Delete a tag and never learn it again; with `relearn` it may be learned anew."""
    services, profile = services_of(request), profile_of(request)
    if relearn:
        holding.release_taste(services, profile, tag)
    else:
        holding.drop_taste(services, profile, tag)
    return Response(status_code=204)


@router.get("/profile/model", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def get_model(request: Request, response: Response) -> HeldOut:
    """Everything that is held behind the choices, and what follows from it."""
    services, profile = services_of(request), profile_of(request)
    response.headers["cache-control"] = "no-store"
    held = holding.held(services, profile)
    model = held.model
    return HeldOut(
        choices=profile_out(profile),
        taste=_taste(request),
        model=ModelOut(
            version=model.version,
            trained=model.trained_at,
            own_feature=model.own,
            events_missing=model.missing,
            leaning=[LeaningOut(tag=tag, weight=weight) for tag, weight in model.leaning],
            simulated_share=model.simulated,
        ),
        events=dict(held.counts.kinds),
        events_since=held.counts.since,
        latest=[
            EventOut(
                notice_id=row.notice_id,
                kind=row.kind,
                at=row.at,
                channel=row.channel,
                value=row.value,
                simulated=row.simulated,
            )
            for row in held.latest
        ],
        control_share=held.share,
        in_control=held.in_control,
        tried=held.tried,
    )


@router.post("/profile/reset", responses=BEARER)
@may(Access.MANAGE, bearer=True)
def post_reset(request: Request, wanted: ResetIn) -> ResetOut:
    """Forget what was done and what was learned from it; choices stay."""
    services, profile = services_of(request), profile_of(request)
    return ResetOut(events=holding.reset(services, profile, own=wanted.own_weights))


def _taste(request: Request) -> list[TasteOut]:
    services, profile = services_of(request), profile_of(request)
    label = services.city.label
    held = sorted(services.taste.of(profile.id), key=lambda t: (not t.weight, -t.weight, t.tag))
    return [
        TasteOut(
            tag=t.tag, zh=label(t.tag, "zh"), en=label(t.tag, "en"), weight=round(t.weight, 4), own=t.own
        )
        for t in held
    ]
