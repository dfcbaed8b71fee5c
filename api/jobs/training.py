"""Training the model from what residents did. The only job that needs the ``[train]`` extra.

Called by the command line and the demo. Without enough feedback, or without the extra, it says so
and the service goes on by rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from api.wiring import Services
from feeds.catalogue.notices import Notice
from profiles.feedback import FeedbackRow
from profiles.types import Profile

if TYPE_CHECKING:
    from recommender.model_file import Model

SEED = 20261012
# Enough to learn the city's words; more adds time, not quality.
_NOTICES_MOST = 20_000


def train_model(
    services: Services,
    *,
    extra_profiles: Sequence[Profile] = (),
    extra_rows: Sequence[FeedbackRow] = (),
    seed: int = SEED,
) -> tuple[Model, str]:
    """Fit on all feedback, save, and make it the current model.

    Args:
        services: The joined parts.
        extra_profiles: Simulated residents (demo only).
        extra_rows: What they did.
        seed: Same feedback and seed, same model bit for bit.

    Returns:
        The model and the name it was saved under.

    Raises:
        MycityError: If there is too little feedback, or lightfm is not installed.
    """
    from recommender.train import train

    profiles = [profile for batch in services.profiles.batches() for profile in batch]
    rows = services.feedback.training_rows()
    model = train(
        [*rows, *extra_rows],
        [*profiles, *extra_profiles],
        readable(services),
        services.city,
        seed=seed,
        now=services.clock.now(),
    )
    return model, services.models.save(model)


def readable(services: Services) -> list[Notice]:
    """Notices a resident could have read, newest first, without bodies."""
    return services.notices.pickable(services.clock.now(), limit=_NOTICES_MOST)
