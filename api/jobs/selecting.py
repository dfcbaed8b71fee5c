"""Choosing editions: joins the catalogue, profiles, the current model and the recommender.

Called by the scheduler, the command line, and at the end of joining (one profile). Can be run twice:
what was picked stays picked, and the shelf's guard settles races.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from api.wiring import Services

if TYPE_CHECKING:
    from recommender.select import SelectReport


def select_all(
    services: Services, *, now: datetime | None = None, progress: Callable[[int], None] | None = None
) -> SelectReport:
    """Make an edition for every profile that has something to be told."""
    return _select(services, None, now, progress)


def select_for(
    services: Services, profile_ids: Sequence[int], *, now: datetime | None = None
) -> SelectReport:
    """Make editions for some profiles only."""
    return _select(services, profile_ids, now, None)


def _select(
    services: Services,
    profile_ids: Sequence[int] | None,
    now: datetime | None,
    progress: Callable[[int], None] | None,
) -> SelectReport:
    from recommender.select import select_editions  # loaded by the first selection, not by the first page

    return select_editions(
        services.shop,
        services.profiles,
        services.editions,
        services.models.load_current(),
        services.city,
        now=now or services.clock.now(),
        profile_ids=profile_ids,
        progress=progress,
    )
