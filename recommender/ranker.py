"""A trained ranker as it is served: trees as flat arrays, evaluated and explained by numpy alone.

Never imports the training library. A tree of at most 16 leaves is answered without walking it: each
feature's value rules out some leaves (a mask of 16 bits, looked up by where the value lies among the
thresholds), and the first leaf that is left is the one reached. Made by ``boosting``, kept in the model
file, used by ``learner`` and ``select``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from recommender.types import Floats, Ints

#: Leaves that a mask has room for.
MOST_LEAVES = 16
#: Rows looked at together, so that what is worked on stays in the processor's cache.
CHUNK = 512
_STEPS = 32
_ARRAYS = ("feature", "threshold", "left", "right", "lost", "value", "start")


@dataclass(frozen=True)
class Ranker:
    """Trees; a score is the sum of the values of the leaves reached.

    Attributes:
        width: Number of features of a row.
        feature: int32 (n_nodes,): what a node asks about; -1 at a leaf.
        threshold: float64 (n_nodes,): goes left where the value is not above it.
        left, right: int32 (n_nodes,): children, counted within the tree, always behind their parent.
        lost: bool (n_nodes,): goes left where the value is NaN.
        value: float64 (n_nodes,): mean of what is below; at a leaf, what it adds to the score.
        start: int64 (n_trees + 1,): where each tree's nodes begin.
    """

    width: int
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    lost: np.ndarray
    value: np.ndarray
    start: Ints
    names: tuple[str, ...] = field(default=())

    @classmethod
    def of_trees(cls, trees: Sequence[Sequence[Mapping[str, float]]], width: int) -> Ranker:
        """Build from trees as lists of nodes, parents before children."""
        nodes = [node for tree in trees for node in tree]
        start = np.cumsum([0, *(len(tree) for tree in trees)])

        def column(name: str, kind: Any) -> np.ndarray:
            return np.array([node.get(name, 0) for node in nodes], dtype=kind)

        return cls(
            width, column("feature", np.int32), column("threshold", np.float64), column("left", np.int32),
            column("right", np.int32), column("lost", np.bool_), column("value", np.float64),
            start.astype(np.int64),
        )._checked()  # fmt: skip

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.start) - 1

    def scores(self, x: Floats) -> Floats:
        """Score rows.

        Args:
            x: float32 (n, width); NaN is unknown.

        Returns:
            float32 (n,); no unit, higher is better, comparable only within one question.
        """
        if x.ndim != 2 or x.shape[1] != self.width:
            raise ValueError(f"A row has {self.width} features, not {x.shape[1:]}.")
        found = np.empty(len(x), dtype=np.float32)
        for low in range(0, len(x), CHUNK):
            found[low : low + CHUNK] = self._table.values[self._leaves(x[low : low + CHUNK])].sum(axis=1)
        return found

    def contributions(self, x: Floats) -> tuple[Floats, float]:
        """Split scores over the features: each step on the way to a leaf belongs to the feature asked there.

        Returns:
            float32 (n, width) and the base, the same for all rows; a row's sum and the base are its score,
            but for float rounding.
        """
        found = np.empty(x.shape, dtype=np.float32)
        for low in range(0, len(x), _STEPS):
            found[low : low + _STEPS] = self._table.steps[self._leaves(x[low : low + _STEPS])].sum(axis=1)
        return found, float(self.value[self.start[:-1]].sum())

    def _leaves(self, x: Floats) -> Ints:
        """Number of the leaf that each row reaches in each tree: (n, n_trees), counted in steps of 16."""
        left = np.full((len(x), self.trees), 0xFFFF, dtype=np.uint16)
        for column, (cuts, masks) in self._table.masks.items():
            values = x[:, column].astype(np.float64)
            where = np.searchsorted(cuts, values, side="left")
            where[np.isnan(values)] = len(cuts) + 1
            left &= masks[where]
        return _FIRST[left] + np.arange(0, MOST_LEAVES * self.trees, MOST_LEAVES)

    @cached_property
    def _table(self) -> _Table:
        return _Table.of(self)

    def facts(self) -> dict[str, Any]:
        """What goes beside the arrays in a model file."""
        return {"width": self.width, "names": list(self.names)}

    def arrays(self) -> dict[str, np.ndarray]:
        """What goes into a model file."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def of(cls, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Ranker:
        """Read back.

        Raises:
            ValueError: If something is missing, has another shape, is not finite, or is no tree.
        """
        try:
            width, names = int(facts["width"]), tuple(str(name) for name in facts["names"])
            found = [np.asarray(arrays[name]) for name in _ARRAYS]
        except (KeyError, TypeError) as error:
            raise ValueError(f"A ranker lacks {error}.") from error
        return cls(
            width, found[0], found[1], found[2], found[3], found[4], found[5], found[6], names
        )._checked()

    def _checked(self) -> Ranker:
        nodes = len(self.feature)
        same = all(getattr(self, name).shape == (nodes,) for name in _ARRAYS[:-1])
        start = self.start
        if not same or start.ndim != 1 or not len(start) or start[0] != 0 or start[-1] != nodes:
            raise ValueError("A ranker's arrays do not fit together.")
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.value).all()):
            raise ValueError("A ranker holds numbers that are not finite.")
        size = np.diff(start)
        if (size < 1).any() or (size > 2 * MOST_LEAVES - 1).any() or (size % 2 == 0).any():
            raise ValueError(f"A tree has 1 to {MOST_LEAVES} leaves.")
        if (self.feature < -1).any() or (self.feature >= self.width).any():
            raise ValueError(f"A ranker asks about features beyond {self.width}.")
        inner = self.feature >= 0
        here = np.arange(nodes) - np.repeat(start[:-1], size)
        last = np.repeat(size, size)
        for child in (self.left, self.right):
            if (inner & ((child <= here) | (child >= last))).any():
                raise ValueError("A ranker's trees have branches that lead nowhere.")
        base = np.repeat(start[:-1], size)
        children = np.sort(np.concatenate([(base + self.left)[inner], (base + self.right)[inner]]))
        roots = np.zeros(nodes, dtype=bool)
        roots[start[:-1]] = True
        if not np.array_equal(children, np.flatnonzero(~roots)):
            raise ValueError("A ranker's trees have branches that meet or are lost.")
        return self


#: Mask of the leaves left → number of the first one.
_FIRST = np.array(
    [(mask & -mask).bit_length() - 1 if mask else 0 for mask in range(1 << MOST_LEAVES)], dtype=np.intp
)


@dataclass(frozen=True)
class _Table:
    """The trees ready to be asked.

    Attributes:
        masks: Feature → its thresholds over all trees, sorted, and uint16 (n_thresholds + 2, n_trees): the
            leaves that remain for a value at each place among them; the last line is for NaN.
        values: float64 (16 x n_trees,): of the leaves, left to right.
        steps: float64 (16 x n_trees, width): what each feature adds on the way to a leaf.
    """

    masks: dict[int, tuple[np.ndarray, np.ndarray]]
    values: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, ranker: Ranker) -> _Table:
        """Walk each tree once."""
        size = MOST_LEAVES * ranker.trees
        table = cls({}, np.zeros(size), np.zeros((size, ranker.width)))
        for column in np.unique(ranker.feature[ranker.feature >= 0]).tolist():
            cuts = np.unique(ranker.threshold[ranker.feature == column])
            table.masks[column] = cuts, np.full((len(cuts) + 2, ranker.trees), 0xFFFF, dtype=np.uint16)
        for tree, low in enumerate(ranker.start[:-1].tolist()):
            table._walk(ranker, tree, low, low, 0, np.zeros(ranker.width))
        return table

    def _walk(self, ranker: Ranker, tree: int, low: int, node: int, first: int, way: np.ndarray) -> int:
        """Fill in what is below a node; returns the number of the leaf after it."""
        column = int(ranker.feature[node])
        if column < 0:
            leaf = MOST_LEAVES * tree + first
            self.values[leaf], self.steps[leaf] = ranker.value[node], way
            return first + 1
        bounds = [first]
        for child in (low + int(ranker.left[node]), low + int(ranker.right[node])):
            step = way.copy()
            step[column] += ranker.value[child] - ranker.value[node]
            bounds.append(self._walk(ranker, tree, low, child, bounds[-1], step))
        lefts, rights = _bits(bounds[0], bounds[1]), _bits(bounds[1], bounds[2])
        cuts, masks = self.masks[column]
        at = int(np.searchsorted(cuts, ranker.threshold[node]))
        masks[: at + 1, tree] &= np.uint16(0xFFFF ^ rights)
        masks[at + 1 : -1, tree] &= np.uint16(0xFFFF ^ lefts)
        masks[-1, tree] &= np.uint16(0xFFFF ^ (rights if ranker.lost[node] else lefts))
        return bounds[-1]


def _bits(low: int, high: int) -> int:
    """Ones from bit ``low`` up to, not including, bit ``high``."""
    return (1 << high) - (1 << low)
