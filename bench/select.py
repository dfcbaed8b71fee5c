"""Complete editions: load profiles, score 2,000 candidates, choose 10 with reasons, persist on SQLite.

``profiles_per_s``: one run of selection for 5,000 residents with a trained model, the second edition of
each (the first is made before and not timed). ``over_scoring``: over the rate of scoring alone, measured in
turn with it as ``bench/score.py`` does. ``one_profile_ms``: an edition for one resident on demand, through
the stores, again the second; ``one_over_compute``: over the time of choosing it from what is in memory.
``mb_per_million_profiles``: residents' features and vectors as they are scored, if a million were held at
once (selection holds 512).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from api.jobs.selecting import select_all, select_for
from api.jobs.training import train_model
from bench import score
from bench.tools import NOW, rounded, sample_notices, scratch, seconds
from feeds.catalogue.notices import NewNotice, NoticeContent
from feeds.kernel.db import insert_plain
from feeds.kernel.time import to_micros
from profiles.tables import profile, profile_criterion
from profiles.types import FollowedPlace, Profile
from recommender.blend import ask
from recommender.select import choose
from recommender.simulate import simulate
from recommender.types import Weights

PROFILES, CANDIDATES, ONE_BY_ONE = 5_000, 2_000, 60
_SCORED = 40_000  # profiles in each round of scoring alone; its rate does not depend on them


def run(repeat: int) -> dict[str, Any]:
    """Measure on one installation a round."""
    one = score.city(_SCORED)
    rates, alone, single, bare = [], [], [], []
    picks = held = 0
    for _ in range(max(1, min(repeat, 3))):
        with scratch() as services:
            _fill(services)
            select_all(services, now=NOW - timedelta(days=1))
            services.shop.at(NOW)
            alone.append(_SCORED / seconds(lambda: score.best_of_all(one)))
            report = _select(services, range(1, PROFILES + 1))
            rates.append(PROFILES / report.seconds)
            alone.append(_SCORED / seconds(lambda: score.best_of_all(one)))
            picks, held = report.picks, _held(services)
            for number in range(PROFILES + 1, PROFILES + ONE_BY_ONE + 1):
                bare.append(_choosing(services, number))
                single.append(seconds(lambda number=number: _select(services, [number])))  # type: ignore[misc]
    one_profile, compute = statistics.median(single), statistics.median(bare)
    return {
        "profiles_per_s": rounded(rates, 0),
        "over_scoring": round(statistics.median(rates) / statistics.median(alone), 4),
        "scoring_users_per_s": rounded(alone, 0),
        "one_profile_ms": round(1000 * one_profile, 3),
        "one_compute_ms": round(1000 * compute, 3),
        "one_over_compute": round(one_profile / compute, 2),
        "mb_per_million_profiles": held,
        "profiles": PROFILES,
        "candidates": CANDIDATES,
        "picks": picks,
    }


def _select(services: Any, numbers: Sequence[int]) -> Any:
    return select_for(services, list(numbers), now=NOW)


def _choosing(services: Any, number: int) -> float:
    """Time of choosing for one, with everything read before."""
    ready = services.shop.prepared(NOW, services.models.load_current(), Weights())
    who = services.profiles.many([number])
    shelves = {number: services.editions.shelf(number)}
    return seconds(lambda: choose(who, shelves, ready, NOW))


def _held(services: Any) -> int:
    """Megabytes that a million residents' features and vectors take, from those of 512."""
    ready = services.shop.prepared(NOW, services.models.load_current(), Weights())
    group = next(services.profiles.batches(512))
    asked = ask(group, ready)
    said, places = asked.said, asked.said.places
    arrays = [places.starts, places.rows, places.factors, places.visits, asked.vectors, asked.shares]
    for table in (said.interests, said.roles, said.tastes, asked.users):
        arrays += [table.data, table.indices, table.indptr]
    return round(sum(array.nbytes for array in arrays if array is not None) / len(group))


def _fill(services: Any) -> None:
    """Make candidates, a model and residents."""
    draw = np.random.default_rng(7)
    _notices(services)
    readable = services.notices.pickable(NOW)
    made = simulate(readable, services.city, residents=200, seed=7, now=NOW)
    train_model(services, extra_profiles=made.profiles, extra_rows=made.rows)
    people = [_profile(services, draw) for _ in range(PROFILES + ONE_BY_ONE)]
    rows = [(n, to_micros(NOW), '["zh-Hans"]', 10, 1, 0, f"{n:064}", None) for n in range(1, len(people) + 1)]
    facts: list[tuple[Any, ...]] = []
    for number, one in enumerate(people, start=1):
        said = [("role", code, "") for code in one.roles]
        said += [("place", place.code, place.label) for place in one.places]
        said += [("interest", tag, "") for tag in one.interests]
        facts += [(number, *fact, position) for position, fact in enumerate(said)]
    with services.database.write() as connection:
        insert_plain(connection, profile, rows)
        insert_plain(connection, profile_criterion, facts)


def _notices(services: Any) -> None:
    """Make 2,000 fresh candidates out of the sample city's notices."""
    rows = []
    samples = sample_notices()
    for n in range(CANDIDATES):
        sample = samples[n % len(samples)]
        content = NoticeContent(
            title=f"{sample['title']} {n}",
            lang=sample["lang"],
            agency=sample["agency"],
            published=NOW - timedelta(minutes=4 * n),
        )
        tags = services.tagger.tag(title=content.title, text=sample["body"], agency=content.agency)
        level, place = services.tagger.jurisdiction(tags=tags, region=sample["region"])
        rows.append(
            NewNotice(content=content, source_id=1, guid=f"n{n}", tags=tags, level=level, place=place)
        )
    for start in range(0, len(rows), 500):
        services.notices.add(rows[start : start + 500], at=NOW)


def _profile(services: Any, draw: np.random.Generator) -> Profile:
    city = services.city
    roles, themes = sorted(city.roles), sorted(code for code in city.themes if len(code) == 4)
    places = sorted(code for code, place in city.places.items() if place.kind in ("district", "street"))
    wish = Profile(id=0, created_at=NOW, pace=10)
    return replace(
        wish,
        roles=(str(draw.choice(roles)),),
        places=(FollowedPlace(str(draw.choice(places)), "home"),),
        interests=tuple(f"theme:{code}" for code in draw.choice(themes, 3, replace=False)),
    )
