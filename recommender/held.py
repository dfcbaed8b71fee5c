"""What a trained model holds about one resident, said in tags: which they lean to and which they shun.

Reads the model's arrays only: it learns nothing, serves no pick and loads no training library. Called by
``api.jobs.holding`` for the resident's own page, the interface and the command line.
"""

from __future__ import annotations

import numpy as np

from recommender.features import identity
from recommender.model_file import Model
from recommender.types import Floats

#: Kinds of tags that say something to a person; single words of titles do not.
KINDS = frozenset({"theme", "type", "agency", "life", "place", "role"})


def has_own_feature(model: Model, profile_id: int) -> bool:
    """Whether the model knows this resident as themselves, beside what they declared."""
    return identity(profile_id) in model.users.columns


def held(model: Model, profile_id: int, most: int = 12) -> list[tuple[str, float]]:
    """Project a resident's own vector on the tags of the model, against the mean resident.

    The weight of a tag is ``item_vector(tag) · (own vector - mean of all own vectors)``: what the resident's
    own feature adds to the raw score of a notice that has this tag alone, more than everybody's does. Where
    nobody else has a vector of their own, the mean is that of what residents declare.

    Args:
        model: Any model that was loaded; unknown tags in it are said as they stand.
        profile_id: Whose vector.
        most: How many tags at most, those furthest from the mean.

    Returns:
        (tag, weight), highest weight first, ties by tag; unit of the model's raw score. Empty where the model
        has no feature of this resident, or no tag, or ``most`` is 0 or less.
    """
    column = model.users.columns.get(identity(profile_id))
    tags = [(n, name) for n, name in enumerate(model.items.names) if name.partition(":")[0] in KINDS]
    if column is None or not tags or most <= 0:
        return []
    own = model.user_vectors[column] - _mean(model, column)
    weights = model.item_vectors[[n for n, _ in tags]] @ own
    named = [(name, float(weight)) for (_, name), weight in zip(tags, weights, strict=True)]
    strongest = sorted(named, key=lambda pair: (-abs(pair[1]), pair[0]))[:most]
    return sorted((pair for pair in strongest if pair[1]), key=lambda pair: (-pair[1], pair[0]))


def _mean(model: Model, column: int) -> Floats:
    """The mean of all residents' own vectors, or of what they declare where there is no other resident."""
    own = [n for n, name in enumerate(model.users.names) if name.startswith("id:")]
    rows = own if len(own) > 1 else [n for n in range(len(model.users)) if n != column]
    if not rows:
        return np.zeros(model.user_vectors.shape[1], dtype=np.float32)
    mean: Floats = model.user_vectors[rows].mean(axis=0, dtype=np.float32)
    return mean
