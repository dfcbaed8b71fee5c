"""A small learned model for tests that need one and no training."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from recommender.model_file import Model, ModelInfo
from recommender.types import FeatureSpace
from tests.factories import NOW

ARRAYS = ("user_vectors", "user_biases", "item_vectors", "item_biases")


def small(*, minutes: int = 0, fill: float = 0.5, **changes: Any) -> Model:
    """A model of three features a side; ``minutes`` later than NOW, arrays around ``fill``."""
    at = NOW + timedelta(minutes=minutes)
    info = ModelInfo(
        f"{at:%Y%m%dT%H%M%SZ}", at, 60, 6, 9, 0.0, 1, 4, 20,
        data_from=NOW - timedelta(days=9), data_until=NOW, metrics={"ndcg10_learned": 0.25},
    )  # fmt: skip
    users, items = (
        FeatureSpace.of(["id:7", "id:8", "role:citizen"]),
        FeatureSpace.of(["theme:01", "w:税", "w:水"]),
    )
    base = np.arange(12, dtype=np.float32).reshape(3, 4) / 7 + fill
    model = Model(info, users, items, base, base[:, 0].copy(), -base, base[:, 1].copy())
    return replace(model, info=replace(info, vocabulary=model.vocabulary), **changes)


def same(one: Model, other: Model) -> bool:
    return (
        replace(one.info, version="") == replace(other.info, version="")
        and (one.users, one.items) == (other.users, other.items)
        and all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)
    )
