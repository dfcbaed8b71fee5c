"""Learn vectors of features from who opened what: the only import of LightFM, and only inside :func:`fit`.

Never imported by the serving path: models are served from files by ``model_file``. Called by ``train``.
One thread, so the same rows, vocabulary and seed give the same model bit for bit on the same machine and
build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feeds.kernel.errors import UsageError
from recommender.types import Csr, Floats

DIM = 48
EPOCHS = 20
LEARNING_RATE = 0.05
ALPHA = 1e-6


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training gives of both sides: vectors (n_features, dim), biases (n_features,); float32."""

    user_vectors: Floats
    user_biases: Floats
    item_vectors: Floats
    item_biases: Floats


def fit(
    pairs: Any, users: Csr, items: Csr, *, seed: int, dim: int = DIM, epochs: int = EPOCHS, threads: int = 1
) -> Fitted:
    """Train WARP on pairs of a resident and a notice they cared for.

    Args:
        pairs: COO (n_users, n_items) of ones, no repeats.
        users: CSR (n_users, n_user_features), rows of length 1.
        items: CSR (n_items, n_item_features), rows of length 1.
        seed: Same seed, same model (with one thread).
        dim: Length of the vectors.
        epochs: Passes over the pairs.
        threads: More are faster and no longer repeatable.

    Raises:
        UsageError: If the training extra is not installed.

    Source: docs/decisions/0004-blend.md (WARP, 48 dimensions, 20 epochs, rows of length 1).
    """
    try:
        from lightfm import LightFM
    except ImportError as error:
        raise UsageError("Training needs LightFM; install it with `pip install 'mycity[train]'`.") from error
    model = LightFM(
        no_components=dim, loss="warp", learning_rate=LEARNING_RATE,
        item_alpha=ALPHA, user_alpha=ALPHA, random_state=seed,
    )  # fmt: skip
    model.fit(pairs, user_features=users, item_features=items, epochs=epochs, num_threads=threads)
    arrays = (model.user_embeddings, model.user_biases, model.item_embeddings, model.item_biases)
    return Fitted(*(np.array(array, dtype=np.float32) for array in arrays))
