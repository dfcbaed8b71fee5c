"""What a model holds about one resident: projected on tags, against the mean resident."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.held import KINDS, has_own_feature, held
from recommender.model_file import Model, ModelInfo
from recommender.types import FeatureSpace

TAGS = ("theme:0402", "theme:1301", "agency:tax", "place:sl03", "role:citizen", "w:奖励", "odd")
DIM = 4


def model(users: tuple[str, ...], vectors: Any, tags: tuple[str, ...] = TAGS, seed: int = 0) -> Model:
    """A model with these residents' features and drawn item vectors."""
    info: dict[str, Any] = dict.fromkeys(ModelInfo.__dataclass_fields__, 0)
    info |= {"version": "v", "trained_at": datetime(2026, 10, 1, tzinfo=UTC), "dim": DIM}
    rng = np.random.default_rng(seed)
    return Model(
        info=ModelInfo(**info),
        users=FeatureSpace.of(users),
        items=FeatureSpace.of(tags),
        user_vectors=np.asarray(vectors, dtype=np.float32).reshape(len(users), DIM),
        user_biases=np.zeros(len(users), np.float32),
        item_vectors=rng.normal(size=(len(tags), DIM)).astype(np.float32),
        item_biases=np.zeros(len(tags), np.float32),
    )


def test_a_weight_is_what_the_own_feature_adds_beyond_everybodys() -> None:
    own, other = [1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, -1.0]
    made = model(("id:7", "id:8", "role:citizen"), [own, other, [9.0] * DIM])
    mean = (np.asarray(own) + np.asarray(other)) / 2  # what is declared is no resident
    weights = dict(held(made, 7))
    assert set(weights) == {tag for tag in TAGS if tag.partition(":")[0] in KINDS}
    for tag, weight in weights.items():
        expected = made.item_vectors[made.items.columns[tag]] @ (np.asarray(own) - mean)
        assert weight == pytest.approx(expected, abs=1e-5)
    assert held(made, 7) == sorted(held(made, 7), key=lambda pair: (-pair[1], pair[0]))
    # Two residents lie on both sides of their mean.
    assert {tag: -weight for tag, weight in held(made, 8)} == pytest.approx(weights, abs=1e-5)


def test_who_has_no_feature_of_their_own_is_not_held() -> None:
    made = model(("id:7", "role:citizen"), np.ones((2, DIM)))
    assert has_own_feature(made, 7) and not has_own_feature(made, 8)
    assert held(made, 8) == []


def test_the_only_resident_is_measured_against_what_is_declared() -> None:
    made = model(("id:7", "role:citizen"), [[1.0] * DIM, [1.0] * DIM])
    assert held(made, 7) == []  # as everybody: nothing to tell
    alone = model(("id:7",), [[1.0] * DIM])
    assert len(held(alone, 7)) == 5


@pytest.mark.parametrize("most", [-1, 0])
def test_nothing_is_asked_for_and_no_tags_known(most: int) -> None:
    assert held(model(("id:7",), [[1.0] * DIM]), 7, most) == []
    assert held(model(("id:7",), [[1.0] * DIM], tags=("w:奖励",)), 7) == []


@given(st.lists(st.floats(-5, 5, width=32), min_size=3 * DIM, max_size=3 * DIM), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_strongest_are_kept_and_none_is_nought(numbers: list[float], most: int) -> None:
    made = model(("id:1", "id:2", "id:3"), numbers)
    everything, some = dict(held(made, 2, 100)), held(made, 2, most)
    assert len(some) <= most and all(weight for _, weight in some)
    weakest = min((abs(weight) for _, weight in some), default=0.0)
    left_out = [abs(weight) for tag, weight in everything.items() if tag not in dict(some)]
    assert all(weight <= weakest + 1e-6 for weight in left_out)
