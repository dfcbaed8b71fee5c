"""Learn vectors of features from who opened what: the only import of LightFM, inside functions.

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
#: Of going on from a fitted model: smaller steps, few passes.
REFIT_RATE, REFIT_EPOCHS = 0.01, 3
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
    model = _new(seed, dim, LEARNING_RATE)
    model.fit(pairs, user_features=users, item_features=items, epochs=epochs, num_threads=threads)
    return _taken(model)


def refit(
    start: Fitted, pairs: Any, users: Csr, items: Csr, *, seed: int, epochs: int = REFIT_EPOCHS,
    threads: int = 1,
) -> Fitted:  # fmt: skip
    """Go on training from what was fitted before, over the same vocabularies; rows may be others.

    Args:
        start: Vectors to begin with; they are not changed.
        pairs: COO (n_users, n_items) of ones: what is new, or the latest; may be empty.
        users: CSR (n_users, n_user_features) over the vocabulary that ``start`` was fitted on.
        items: CSR (n_items, n_item_features) over the vocabulary that ``start`` was fitted on.
        seed: Same input and seed, same model (with one thread).
        epochs: Passes over the pairs; steps are smaller than in :func:`fit`, so that an hour does not undo
            a year.
        threads: More are faster and no longer repeatable.

    Raises:
        UsageError: If the training extra is not installed.
        ValueError: If the vocabularies have other lengths than the vectors.
    """
    shapes = (users.shape[1], items.shape[1])
    if shapes != (len(start.user_vectors), len(start.item_vectors)):
        raise ValueError(f"The vectors are of another vocabulary than {shapes}.")
    if not pairs.nnz:
        return Fitted(*(np.array(array) for array in _arrays(start)))
    model = _new(seed, start.user_vectors.shape[1], REFIT_RATE)
    # No epoch: the library makes its arrays, which are then replaced.
    model.fit_partial(pairs, user_features=users, item_features=items, epochs=0)
    model.user_embeddings, model.user_biases, model.item_embeddings, model.item_biases = (
        np.ascontiguousarray(array, dtype=np.float32).copy() for array in _arrays(start)
    )
    model.fit_partial(pairs, user_features=users, item_features=items, epochs=epochs, num_threads=threads)
    return _taken(model)


def _new(seed: int, dim: int, rate: float) -> Any:
    try:
        from lightfm import LightFM
    except ImportError as error:
        raise UsageError("Training needs LightFM; install it with `pip install 'mycity[train]'`.") from error
    return LightFM(
        no_components=dim,
        loss="warp",
        learning_rate=rate,
        item_alpha=ALPHA,
        user_alpha=ALPHA,
        random_state=seed,
    )


def _arrays(fitted: Fitted) -> tuple[Floats, Floats, Floats, Floats]:
    return fitted.user_vectors, fitted.user_biases, fitted.item_vectors, fitted.item_biases


def _taken(model: Any) -> Fitted:
    arrays = (model.user_embeddings, model.user_biases, model.item_embeddings, model.item_biases)
    return Fitted(*(np.array(array, dtype=np.float32) for array in arrays))
