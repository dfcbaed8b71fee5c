"""Train the ranker: the only import of LightGBM, and only inside :func:`fit`.

Never imported by the serving path: rankers are served from their trees by ``ranker``. Called by
``learner``. One thread and fixed seeds, so the same rows and seed give the same trees bit for bit on the
same machine and build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from feeds.kernel.errors import UsageError
from recommender.ranker import Ranker
from recommender.types import Floats, Ints

ROUNDS = 250
#: Source of the values: docs/decisions/0012-ranker.md. A leaf mask holds 16 leaves, so no tree may have more.
PARAMETERS: Mapping[str, Any] = {
    "objective": "lambdarank", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 50,
    "lambda_l2": 5.0, "feature_fraction": 0.4, "bagging_fraction": 0.8, "bagging_freq": 1,
    "lambdarank_truncation_level": 15,
    "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip


def fit(x: Floats, y: Ints, groups: Ints, *, seed: int, rounds: int = ROUNDS) -> Ranker:
    """Train LambdaRank trees.

    Args:
        x: float32 (n, n_features); NaN stands for unknown.
        y: int64 (n,): 1 for what was cared for, else 0.
        groups: int64 (n_questions,): rows of each question, one after another; they sum to n.
        seed: Same rows and seed, same trees.
        rounds: Trees.

    Returns:
        A ranker of ``rounds`` trees at most; fewer where nothing is left to learn.

    Raises:
        UsageError: If the training extra is not installed.
        ValueError: If there are no rows, or the groups do not sum to them.
    """
    if not len(x) or int(np.sum(groups)) != len(x) or len(y) != len(x):
        raise ValueError("A ranker needs rows, a mark for each, and groups that sum to them.")
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: its OpenMP library is missing
        raise UsageError("Training needs LightGBM; install it with `pip install 'mycity[train]'`.") from error
    data = lightgbm.Dataset(x, np.asarray(y, dtype=np.int32), group=np.asarray(groups), free_raw_data=True)
    booster = lightgbm.train(dict(PARAMETERS) | {"seed": seed}, data, num_boost_round=rounds)
    return from_dump(booster.dump_model(), x.shape[1])


def from_dump(dump: Mapping[str, Any], width: int) -> Ranker:
    """Read LightGBM's own description of its trees.

    Args:
        dump: What ``Booster.dump_model`` gives.
        width: Number of features.
    """
    trees = [_flat(info["tree_structure"]) for info in dump["tree_info"]]
    return Ranker.of_trees(trees, width)


def _flat(root: Mapping[str, Any]) -> list[dict[str, float]]:
    """One tree as a list of nodes, parents before children; a leaf has feature -1."""
    nodes: list[dict[str, float]] = []

    def add(node: Mapping[str, Any]) -> int:
        here = len(nodes)
        if "split_feature" not in node:
            nodes.append({"feature": -1, "value": float(node.get("leaf_value", 0.0))})
            return here
        nodes.append({})
        missing = node["missing_type"]
        left, right = add(node["left_child"]), add(node["right_child"])
        # Without a branch for unknown values LightGBM reads them as 0.
        lost = node["default_left"] if missing != "None" else node["threshold"] >= 0
        nodes[here] = {
            "feature": node["split_feature"], "threshold": node["threshold"], "left": left, "right": right,
            "lost": float(lost), "value": float(node["internal_value"]),
        }  # fmt: skip
        return here

    add(root)
    return nodes
