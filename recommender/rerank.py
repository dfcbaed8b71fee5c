"""The ranker as it serves: what the model file keeps of it, and the best of a batch in a new order.

Never imports a training library. Made by ``learner``, kept in the model file as the extras ``ranker`` and
``history``, used by ``select``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recommender import pairs
from recommender.history import ItemRows, ItemSpace, Persons, World, csr_of, l1, l2
from recommender.log import BANDS
from recommender.mix import PARTS, Gate, Mix
from recommender.pairs import NAMES, Scene
from recommender.ranker import Ranker
from recommender.types import FeatureSpace, Floats, Ints, ones

_WORLD = ("items", "events", "by_group")


@dataclass(frozen=True)
class Known:
    """Items published before that events may be about; the newest stand last.

    Attributes:
        ids: int64 (n,). ``time``: int64 (n,). ``start``: int64 (n + 1,), ``column``: int64: features of each.
    """

    ids: Ints
    time: Ints
    start: Ints
    column: Ints

    def rows(self, space: ItemSpace) -> ItemRows:
        """The items as rows over a space."""
        text = csr_of(space.weight[self.column], self.column, self.start, space.width)
        author, kind = np.full(len(self.ids), -1, dtype=np.int64), np.full(len(self.ids), -1, dtype=np.int64)
        owner = np.repeat(np.arange(len(self.ids)), np.diff(self.start))
        for mark, found in (("a:", author), ("k:", kind)):
            is_one = np.array([name.startswith(mark) for name in space.features.names], dtype=bool)
            is_one[: space.tokens] = False
            cells = is_one[self.column]
            found[owner[cells]] = self.column[cells]
        return ItemRows(l2(text), text, author, kind, self.time)


@dataclass(frozen=True)
class Recent:
    """What is known of one resident when serving.

    Attributes:
        events: (notice id, days since), newest first, without impressions and refusals.
        roles: ``role:…`` tokens. ``interests``: ``interest:…`` tokens. ``known``: how many events there are
            in all.
    """

    events: Sequence[tuple[int, float]] = ()
    roles: Sequence[str] = ()
    interests: Sequence[str] = ()
    known: int = 0


@dataclass(frozen=True)
class Served:
    """The learned pipeline beside the vectors.

    Attributes:
        space, world: What items are made of, and how often that was cared for, as of the training.
        known: The latest items, so that what a resident cared for can be compared with what is new.
    """

    ranker: Ranker
    mix: Mix
    gate: Gate
    space: ItemSpace
    world: World
    known: Known

    def extras(self) -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """What goes into a model file, by name."""
        proof = {"mix": asdict(self.mix), "gate": self.gate.facts(), "features": list(NAMES)}
        facts = {
            "features": list(self.space.features.names), "tokens": self.space.tokens,
            "groups": list(self.world.groups.names), "at": self.world.at,
        }  # fmt: skip
        arrays = {name: getattr(self.world, name) for name in _WORLD} | {"weight": self.space.weight}
        arrays |= {f"known_{name}": getattr(self.known, name) for name in Known.__dataclass_fields__}
        return {"ranker": (self.ranker.facts() | proof, self.ranker.arrays()), "history": (facts, arrays)}

    @classmethod
    def of(cls, extras: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Served:
        """Read back.

        Raises:
            ValueError: If something is missing, does not fit together, is not finite, or is of other
            features.
        """
        try:
            (facts, arrays), (told, held) = extras["ranker"], extras["history"]
            if tuple(facts["features"]) != NAMES:
                raise ValueError("The ranker was trained on other features than this release has.")
            ranker = Ranker.of(facts, arrays)
            mix = Mix(tuple(map(str, facts["mix"]["part"])), tuple(map(float, facts["mix"]["share"])))
            gate = Gate(**dict(facts["gate"]))
            space = ItemSpace.of(
                FeatureSpace.of(told["features"]), np.asarray(held["weight"]), int(told["tokens"])
            )
            groups = FeatureSpace.of(told["groups"])
            items, events, by_group = (np.asarray(held[name]) for name in _WORLD)
            world = World(items, events, groups, by_group, int(told["at"]))
            known = Known(*(np.asarray(held[f"known_{n}"]) for n in Known.__dataclass_fields__))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The ranker's part of the model cannot be read: {error!r}.") from error
        return cls(ranker, mix, gate, space, world, known)._checked()

    def _checked(self) -> Served:
        world, known, width = self.world, self.known, self.space.width
        shapes = [array.shape[1:] for array in (world.items, world.events, world.by_group)]
        fits = (
            self.ranker.width == len(NAMES) and [*shapes, self.space.weight.shape] == [(width,)] * 4
            and world.by_group.shape[0] == len(world.groups) and 0 <= self.space.tokens <= width
            and len(self.mix.part) == len(self.mix.share) == len(BANDS) and set(self.mix.part) <= set(PARTS)
            and known.ids.shape == known.time.shape and known.start.shape == (len(known.ids) + 1,)
            and known.start[0] == 0 and known.start[-1] == len(known.column)
            and (np.diff(known.start) >= 0).all()
            and ((known.column >= 0) & (known.column < width)).all()
        )  # fmt: skip
        if not fits:
            raise ValueError("The ranker's parts do not fit together.")
        numbers = (world.items, world.events, world.by_group, self.space.weight, np.array(self.mix.share))
        if not all(np.isfinite(array).all() for array in numbers):
            raise ValueError("The ranker's history holds numbers that are not finite.")
        return self

    @cached_property
    def _known_rows(self) -> ItemRows:
        return self.known.rows(self.space)

    def scene(
        self, ids: Ints, tokens: Sequence[Sequence[str]], agency: Sequence[str], kind: Sequence[str],
        time: Ints, now: int,
    ) -> Stage:  # fmt: skip
        """Work out what does not depend on the resident, once for the candidates of a run.

        Args:
            ids: int64 (n,) of the candidates.
            tokens: Their words ``w:…`` and tags ``t:…``.
            agency: Their bodies, empty where unknown.
            kind: Kinds of these.
            time: int64 (n,), when each was published, seconds since 1970.
            now: Seconds since 1970; a clock before the training counts as the moment of the training.
        """
        author, body = (
            np.array([self.space.column(mark + name) if name else -1 for name in names], dtype=np.int64)
            for mark, names in (("a:", agency), ("k:", kind))
        )
        rows = self.space.rows(tokens, author, body, time)
        copies = {name: getattr(self.world, name).copy() for name in _WORLD}
        world = replace(self.world, **copies)
        world.fade(max(now, world.at))
        # Candidates are known too, in front: what a resident opened today is not in the model yet.
        known = self._known_rows
        both = ItemRows(*(_above(getattr(rows, n), getattr(known, n)) for n in ItemRows.__dataclass_fields__))
        every = np.concatenate([ids, self.known.ids])
        place = {number: row for row, number in enumerate(every.tolist())}
        return Stage(self, pairs.scene(world, rows, both, len(known), now), place)


@dataclass(frozen=True)
class Stage:
    """The candidates of a run, ready to be put in order.

    Attributes:
        place: Notice id → row among the known items.
    """

    served: Served
    scene: Scene
    place: Mapping[int, int]

    def features(self, people: Sequence[Recent], columns: Ints, learned: Floats) -> Floats:
        """Say everything of residents and their best candidates.

        Args:
            people: n residents.
            columns: int64 (n, m): which candidates.
            learned: float32 (n, m): LightFM's score in standard deviations, 0 without one.

        Returns:
            float32 (n, m, n_features).
        """
        x = pairs.features(self.scene, self._persons(people), columns)
        x[:, :, pairs.LEARNED] = learned
        return x

    def reasons(self, x: Floats) -> dict[str, Floats]:
        """What each reason contributed to the ranker's score of rows: code → float32 (n,)."""
        parts, _ = self.served.ranker.contributions(x)
        found: dict[str, Floats] = {}
        for column, (_, group) in enumerate(pairs.FEATURES):
            if code := pairs.REASONS.get(group):
                found[code] = found.get(code, np.float32(0)) + parts[:, column]
        return found

    def _persons(self, people: Sequence[Recent]) -> Persons:
        widest = max([1, *(len(one.events) for one in people)])
        event = np.full((len(people), widest), -1, dtype=np.int64)
        age = np.zeros((len(people), widest), dtype=np.float32)
        for row, one in enumerate(people):
            for n, (number, days) in enumerate(one.events):
                event[row, n], age[row, n] = self.place.get(number, -1), max(days, 0.0)
        space, groups = self.served.space, self.served.world.groups.columns
        roles = ones(([groups[role] for role in one.roles if role in groups] for one in people), len(groups))
        none = np.full((len(people), 1), -1, dtype=np.int64)
        known = np.array([one.known for one in people], dtype=np.float32)
        wishes = ones((space.wishes(one.interests) for one in people), space.width)
        return Persons(
            event, age, none, np.zeros(none.shape, np.float32), l1(roles), none[:, 0], wishes, known
        )


def _above(upper: Any, lower: Any) -> Any:
    """Two arrays, or two CSR matrices, one above the other."""
    if not hasattr(upper, "indptr"):
        return np.concatenate([upper, lower])
    start = np.concatenate([upper.indptr, upper.indptr[-1] + lower.indptr[1:]])
    data, column = np.concatenate([upper.data, lower.data]), np.concatenate([upper.indices, lower.indices])
    return csr_of(data, column, start, upper.shape[1])
