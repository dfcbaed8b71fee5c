"""Choosing editions: joins the catalogue, profiles, the current model and the recommender.

Called by the scheduler, the command line, and at the end of joining (one profile). Can be run twice:
what was picked stays picked, and the shelf's guard settles races. Which model may be used, if any, is
``api.jobs.watching``'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from api.wiring import Services

if TYPE_CHECKING:
    from recommender.policy import Policy
    from recommender.select import SelectReport


def select_all(
    services: Services, *, now: datetime | None = None, progress: Callable[[int], None] | None = None
) -> SelectReport:
    """Make an edition for every profile that has something to be told; keeps what it did for the watch."""
    from api.jobs.notebook import Selection

    at = now or services.clock.now()
    done, version = _select(services, None, at, progress)
    services.notebook.change(
        selection=Selection(
            at, done.profiles, done.editions, done.picks, done.conflicts, round(done.seconds, 3), version
        )
    )
    return done


def select_for(
    services: Services, profile_ids: Sequence[int], *, now: datetime | None = None
) -> SelectReport:
    """Make editions for some profiles only."""
    return _select(services, profile_ids, now or services.clock.now(), None)[0]


def _select(
    services: Services,
    profile_ids: Sequence[int] | None,
    now: datetime,
    progress: Callable[[int], None] | None,
) -> tuple[SelectReport, str]:
    from api.jobs.watching import usable_model
    from recommender.select import select_editions  # loaded by the first selection, not by the first page

    model = usable_model(services, now)
    report = select_editions(
        services.shop,
        services.profiles,
        services.editions,
        model,
        services.city,
        now=now,
        policy=_policy(services),
        profile_ids=profile_ids,
        progress=progress,
        hidden=services.feedback.hidden,
        acts=services.feedback,
    )
    return report, model.info.version if model else ""


def _policy(services: Services) -> Policy:
    """Trials and the control group as the settings say; nobody can foretell the draws without the key."""
    from api.jobs.watching import control_share
    from recommender.policy import Policy

    seed = int.from_bytes(blake2b(services.key, digest_size=4, person=b"explore").digest(), "big")
    return Policy(
        seed=seed,
        explore=services.settings.explore,
        control_share=control_share(services),
        key=services.key,
    )
