"""Scoring alone: 100,000 profiles × 2,000 candidates, dim 64, the best 20 of each, against the bare product.

Each profile has a vector, three interests (each met by a few candidates in a hundred), 60 notices that it got
before, and a kind (a language, a first edition or not) that closes a part of the candidates. Freshness and
popularity are priors. ``users_per_s``: all of it, by ``recommender.topk`` on every core. ``ratio_to_matmul``:
over the rate of the matrix product alone (100,000 × 64 by 64 × 2,000, numpy on every core, in the fastest of
three sizes of batch), measured in turn with it; the median of both is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.tools import rounded, seconds
from recommender.threads import side_by_side
from recommender.topk import CLOSED, ROWS, score, top
from recommender.types import Floats, Ints, Rows, lists

PROFILES, CANDIDATES, DIM, BEST = 100_000, 2_000, 64, 20
TAGS, INTERESTS, KINDS, PICKED, MET = 143, 3, 4, 60, 0.04


@dataclass(frozen=True)
class City:
    """What is scored.

    Attributes:
        people: float32 (PROFILES, DIM). ``kinds``: int64 (PROFILES,).
        items: float32 (DIM + KINDS, CANDIDATES): vectors, then the priors of each kind.
        wishes: (ROWS, TAGS) for each block of profiles. ``table``: float32 (TAGS, CANDIDATES).
        picked: int64 (PROFILES, PICKED): columns.
    """

    people: Floats
    kinds: Ints
    items: Floats
    wishes: list[Rows]
    table: Floats
    picked: Ints


def city(profiles: int = PROFILES, candidates: int = CANDIDATES) -> City:
    """Make one up."""
    draw = np.random.default_rng(7)
    prior = np.exp2(-draw.uniform(0, 168, candidates) / 72) + draw.normal(0, 0.3, candidates)
    closed = draw.random((KINDS, candidates)) < np.linspace(0, 0.6, KINDS)[:, None]
    priors = np.where(closed, CLOSED, prior)
    vectors = draw.standard_normal((DIM, candidates)) / 8
    wishes = draw.integers(0, TAGS, (profiles, INTERESTS))
    table = np.where(draw.random((TAGS, candidates)) < MET, draw.uniform(0.4, 1, (TAGS, candidates)), 0)
    return City(
        people=draw.standard_normal((profiles, DIM), dtype=np.float32),
        kinds=draw.integers(0, KINDS, profiles),
        items=np.vstack([vectors, priors]).astype(np.float32),
        wishes=[_wishes(wishes[start : start + ROWS]) for start in range(0, profiles, ROWS)],
        table=table.astype(np.float32),
        picked=draw.integers(0, candidates, (profiles, PICKED)),
    )


def _wishes(tags: Ints) -> Rows:
    twice = [2.0] * len(tags)
    return lists([sorted(set(row)) for row in tags.tolist()], TAGS, twice)


def best(one: City, start: int) -> Ints:
    """Return the best columns of one block of profiles."""
    rows = slice(start, start + ROWS)
    people, kinds = one.people[rows], np.eye(KINDS, dtype=np.float32)[one.kinds[rows]]
    scores = score(np.hstack([people, kinds]), one.items, one.wishes[start // ROWS], one.table)
    scores[np.arange(len(people))[:, None], one.picked[rows]] = CLOSED
    return top(scores, BEST)[0]


def best_of_all(one: City) -> list[Ints]:
    """Return the best columns of everybody."""
    return side_by_side(lambda start: best(one, start), range(0, len(one.people), ROWS))


def bare_product(one: City, batch: int) -> None:
    """Multiply, into the same memory again and again, so that nothing but the product is measured."""
    items = np.ascontiguousarray(one.items[:DIM])
    out = np.empty((batch, items.shape[1]), dtype=np.float32)
    for start in range(0, len(one.people), batch):
        part = one.people[start : start + batch]
        np.matmul(part, items, out=out[: len(part)])


def run(repeat: int) -> dict[str, Any]:
    """Measure in rounds: each size of the product, then scoring."""
    one = city()
    batches: tuple[int, ...] = (1024, 4096, 16384)
    bare: dict[int, list[float]] = {batch: [] for batch in batches}
    whole = []
    for _ in range(max(3, repeat)):
        for batch in batches:
            bare[batch].append(PROFILES / seconds(lambda batch=batch: bare_product(one, batch)))  # type: ignore[misc]
        whole.append(PROFILES / seconds(lambda: best_of_all(one)))
    product_per_s = max(rounded(rates, 0) for rates in bare.values())
    users_per_s = rounded(whole, 0)
    return {
        "users_per_s": users_per_s,
        "ratio_to_matmul": round(users_per_s / product_per_s, 3),
        "matmul_users_per_s": product_per_s,
        "profiles": PROFILES,
        "candidates": CANDIDATES,
        "dim": DIM,
        "best": BEST,
    }
