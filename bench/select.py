"""Complete editions: load profiles, score 2,000 candidates, choose 10 with reasons, persist on SQLite.

``profiles_per_s``: whole runs of selection for 1,000 residents with a trained model, second edition of
each (the welcome edition is made before and not timed).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from api.jobs.selecting import select_all
from api.jobs.training import train_model
from bench.tools import NOW, rounded, sample_notices, scratch, seconds
from feeds.catalogue.notices import NewNotice, NoticeContent
from profiles.types import FollowedPlace, Profile
from recommender.simulate import simulate

PROFILES, CANDIDATES = 1_000, 2_000


def run(repeat: int) -> dict[str, Any]:
    """Measure on one installation a round."""
    rates, picks = [], 0
    for _ in range(max(1, min(repeat, 3))):
        with scratch() as services:
            draw = np.random.default_rng(7)
            _notices(services)
            readable = services.notices.pickable(NOW)
            made = simulate(readable, services.city, residents=200, seed=7, now=NOW)
            train_model(services, extra_profiles=made.profiles, extra_rows=made.rows)
            for _n in range(PROFILES):
                services.profiles.create(_profile(services, draw), at=NOW)
            select_all(services, now=NOW - timedelta(days=1))
            report = None

            def go(services: Any = services) -> None:
                nonlocal report
                report = select_all(services, now=NOW)

            rates.append(PROFILES / seconds(go))
            picks = report.picks if report else 0
    return {
        "profiles_per_s": rounded(rates, 0),
        "profiles": PROFILES,
        "candidates": CANDIDATES,
        "picks": picks,
    }


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
