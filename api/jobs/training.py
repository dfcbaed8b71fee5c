"""Training the model from what residents did. The only job that needs the ``[train]`` extra.

A full fit starts from nothing; a partial one teaches the model in use what came after it. Both refresh the
click-through. Without enough feedback, or without the extra, it says so and the service goes on by rules.
Called by the command line, the demo, and (in a process of its own) by ``api.jobs.training_apart``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from api.jobs.library import NOTICES_MOST, published
from api.wiring import Services
from feeds.catalogue.notices import Notice
from feeds.kernel.errors import UsageError
from profiles.feedback import FeedbackRow
from profiles.samples import Samples
from profiles.types import Profile

if TYPE_CHECKING:
    from recommender.model_file import Extra, Model, ModelInfo

SEED = 20261012
# Click-through fades by half in 14 days. In a large city fewer days hold enough, and would not fit in memory.
_SHOWN_DAYS = (56, 14, 4, 1)
_SHOWN_MOST = 1_000_000
_NEW_MOST = 1_000_000
STEPS = 5


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        version: The model in use now; empty where nothing was saved.
        said: One sentence.
    """

    version: str
    said: str


def train_model(
    services: Services,
    *,
    extra_profiles: Sequence[Profile] = (),
    extra_rows: Sequence[FeedbackRow] = (),
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, str]:
    """Fit on all feedback, save, and make it the current model.

    Args:
        services: The joined parts.
        extra_profiles: Simulated residents (demo only).
        extra_rows: What they did.
        seed: Same feedback and seed, same model bit for bit.
        progress: Called with (steps done, all steps).

    Returns:
        The model and the name it was saved under.

    Raises:
        MycityError: If there is too little feedback, lightfm is not installed, or another training runs.
    """
    from recommender.held_out import held_out
    from recommender.train import train

    step = _counter(progress)
    with services.models.training():
        now = services.clock.now()
        own, own_shown = services.feedback.training_rows(), _shown(services, now)
        rows = [*own, *extra_rows]
        shown = [*own_shown, *(row for row in extra_rows if row.kind == "impression")]
        taught = services.profiles.many({row.profile_id for part in (own, own_shown) for row in part})
        profiles, notices = [*taught, *extra_profiles], published(services)
        step()
        model = train(rows, profiles, notices, services.city, seed=seed, now=now)
        step()
        measured = held_out(rows, profiles, notices, services.city, seed=seed, now=now)
        step()
        acts = [row for row in rows if row.kind != "impression"]
        model = _with_extras(services, model, acts, shown, profiles, notices, measured, seed=seed)
        step()
        version = services.models.save(model, known=_known(services))
        services.notebook.change(trained=version)
        step()
    return model, version


def train_further(services: Services, *, seed: int = SEED) -> Trained:
    """Teach the model in use what came after it, and refresh the click-through; saves only what is new.

    Raises:
        UsageError: If there is no model to teach, the clock stands before it, or lightfm is not installed.
        ConflictError: If another training runs.
    """
    from recommender.train import train_partial

    with services.models.training():
        now, model = services.clock.now(), services.models.load_current()
        if model is None:
            raise UsageError("There is no model that could be taught further; run `mycity train`.")
        since = max(filter(None, (model.info.data_until, model.info.trained_at)))
        rows = Samples(services.database).acts_after(model.info.data_until or since, most=_NEW_MOST)
        profiles = services.profiles.many({row.profile_id for row in rows})
        notices = published(services)
        taught = train_partial(model, rows, profiles, notices, services.city, seed=seed, now=now)
        shown = _shown(services, now)
        if taught is None and not any(row.at > since for row in (*shown, *rows)):
            return Trained("", "There was nothing new to learn.")
        base = taught or replace(model, info=_refreshed(model, now))
        people = services.profiles.many({row.profile_id for row in shown})
        # The same span for what was shown and what was done, or showing would look useless.
        since = shown[0].at - timedelta(microseconds=1) if shown else now
        acts = Samples(services.database).acts_after(since, most=_NEW_MOST)
        base = _with_extras(services, base, acts, shown, people, notices, {}, ranker=False)
        version = services.models.save(base, known=_known(services))
        services.notebook.change(trained=version)
        new = base.info.rows - model.info.rows
        return Trained(version, f"Taught {version} with {new} new pairs; in use now.")


def readable(services: Services) -> list[Notice]:
    """Notices in force that a resident can read now, newest first, without bodies."""
    return services.notices.pickable(services.clock.now(), limit=NOTICES_MOST)


def _with_extras(
    services: Services, model: Model, acts: Sequence[FeedbackRow], shown: Sequence[FeedbackRow],
    profiles: Iterable[Profile], notices: Sequence[Notice], measured: dict[str, float],
    *, seed: int = SEED, ranker: bool = True,
) -> Model:  # fmt: skip
    """Add what is counted and trained beside the vectors."""
    from recommender.clickthrough import clickthrough
    from recommender.train import train_ranker

    now, people = services.clock.now(), list(profiles)
    counted = clickthrough([*acts, *shown], people, notices, services.city, now)
    extras: dict[str, Extra] = {**model.extras, "clicks": (counted.facts(), counted.arrays())}
    metrics = {**model.info.metrics, **measured}
    if ranker:
        made, _, figures = train_ranker(acts, shown, people, notices, services.city, now=now, seed=seed)
        metrics |= figures
        extras = {name: one for name, one in extras.items() if name not in ("ranker", "history")} | made
    return replace(model, extras=extras, info=replace(model.info, metrics=metrics))


def _refreshed(model: Model, now: datetime) -> ModelInfo:
    """The facts of a model whose vectors stay and whose click-through is new."""
    old = model.info
    return replace(old, version=f"{now:%Y%m%dT%H%M%SZ}", trained_at=now, kind="partial", full_at=old.full)


def _shown(services: Services, now: datetime) -> list[FeedbackRow]:
    """Impressions of the last weeks, or of fewer days where there are very many."""
    for days in _SHOWN_DAYS:
        rows = services.feedback.impressions(now - timedelta(days=days), limit=_SHOWN_MOST + 1)
        if len(rows) <= _SHOWN_MOST:
            break
    return rows[-_SHOWN_MOST:]


def _known(services: Services) -> Callable[[Collection[str]], Collection[str]]:
    """Which residents may stay in a model as themselves: asked when it is saved, not when it was begun."""

    def still_known(names: Collection[str]) -> Collection[str]:
        ids = [int(name.removeprefix("id:")) for name in names]
        return {f"id:{number}" for number in Samples(services.database).still_observed(ids)}

    return still_known


def _counter(progress: Callable[[int, int], None] | None) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, STEPS)

    if progress is not None:
        progress(0, STEPS)
    return step
