"""The recommender's own words: candidate, weights, feature space. Pure data, and the one import of scipy.

Nothing here reads a clock, file or database. Named by every module of this room, and by those who call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from feeds.catalogue.notices import Level, Priority
from feeds.catalogue.tagging import Tag
from feeds.kernel.errors import MycityError
from feeds.kernel.ids import content_hash

Floats: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]
#: A scipy ``csr_matrix`` of float32; scipy ships no types.
Csr: TypeAlias = Any

#: A daily edition takes a notice within this span of its release, an archived one of its publication.
HORIZON = timedelta(days=7)
#: In any ten picks: most of one agency, most of one level-1 theme.
BLOCK, AGENCY_CAP, THEME_CAP = 10, 3, 4


class RulesOnlyError(MycityError):
    """There is too little feedback to learn from; editions are made by rules until there is more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What choosing needs of a notice, nothing more.

    Attributes:
        lang: Language tag of its text; ``in_english`` says that an English title stands beside it.
        words: Cut words of the title, repeats removed, in order.
        fresh_at: Where freshness is counted from; ``released_at`` where the horizon is.
        deadline: Last instant to act. ``ends``: when it lapses or expires, whichever comes first.
        agency: Slug, or empty.
        twin: Equal for notices that are the same one from several sources; empty where unknown.
    """

    notice_id: int
    revision: int
    lang: str
    level: Level
    place: str | None
    tags: tuple[Tag, ...]
    words: tuple[str, ...]
    fresh_at: datetime
    deadline: datetime | None = None
    priority: Priority = "normal"
    archive: bool = False
    agency: str = ""
    title: str = ""
    in_english: bool = False
    released_at: datetime | None = None
    ends: datetime | None = None
    twin: str = ""


def _weight(value: float, why: str) -> float:
    default: float = field(default=value, metadata={"why": why})
    return default


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part of the score weighs. The unit is "one exactly followed theme is worth 2".

    Each field carries its reason in ``metadata["why"]``; docs/decisions/0004-blend.md has the whole argument.
    """

    interest: float = _weight(
        2.0, "an exact declared interest outweighs a role and any two days of freshness"
    )
    place: float = _weight(
        2.0, "a notice about the home street equals an exact interest; a district gives 0.8 or less"
    )
    elsewhere: float = _weight(-1.5, "somebody else's street needs an exact interest to be worth a slot")
    role: float = _weight(1.0, "a role is shared by many; it orders within what the person follows")
    learned: float = _weight(
        1.0, "per standard deviation among one's candidates; only beyond 2 sd does it beat an interest"
    )
    learned_cap: float = _weight(3.0, "standard deviations; one outlier must not hide every declared wish")
    learned_floor: float = _weight(
        2.0, "standard deviations from which inference alone is a reason to show something"
    )
    learned_said: float = _weight(
        1.0, "standard deviations from which inference is named beside a declared reason"
    )
    fresh: float = _weight(1.0, "today's beats last week's at equal fit, and never beats a declared interest")
    half_life_hours: float = _weight(72.0, "after the 7 days of the horizon a fifth is left")
    deadline: float = _weight(1.2, "a deadline today lifts what fits by about one role")
    deadline_days: float = _weight(3.0, "working days at which the pressure has halved")
    deadline_reach: float = _weight(15.0, "working days beyond which a deadline is no pressure: three weeks")
    mandatory: float = _weight(10.0, "above any sum of the other parts; the rule puts it first anyway")
    emergency: float = _weight(20.0, "above mandatory")
    citywide: float = _weight(0.2, "breaks ties towards what concerns everybody")

    @classmethod
    def why(cls) -> Mapping[str, str]:
        """Name → reason for its value."""
        return {name: str(item.metadata["why"]) for name, item in cls.__dataclass_fields__.items()}


@dataclass(frozen=True)
class FeatureSpace:
    """A frozen vocabulary: feature name → column. Equal names in equal order give an equal hash."""

    columns: Mapping[str, int]
    hash: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> FeatureSpace:
        """Number the names in the order given; repeats keep their first column."""
        ordered = list(dict.fromkeys(names))
        columns = MappingProxyType({name: n for n, name in enumerate(ordered)})
        return cls(columns, content_hash(*ordered), tuple(ordered))

    def __len__(self) -> int:
        return len(self.columns)


def csr(rows: Iterable[Mapping[int, float]], width: int) -> Csr:
    """Build a float32 CSR matrix, one mapping column → value for each row; columns are sorted."""
    starts: list[int] = [0]
    columns: list[int] = []
    values: list[float] = []
    for row in rows:
        keys = sorted(row)
        columns.extend(keys)
        values.extend(row[key] for key in keys)
        starts.append(len(columns))
    data = np.asarray(values, dtype=np.float32)
    where = np.asarray(columns, dtype=np.int32)
    return sparse.csr_matrix(
        (data, where, np.asarray(starts, dtype=np.int32)), shape=(len(starts) - 1, width)
    )


def ones(rows: Iterable[Iterable[int]], width: int) -> Csr:
    """Build a float32 CSR matrix of ones from the columns of each row; repeats count once."""
    starts: list[int] = [0]
    columns: list[int] = []
    for row in rows:
        columns.extend(sorted(set(row)))
        starts.append(len(columns))
    data = np.ones(len(columns), dtype=np.float32)
    where = np.array(columns, dtype=np.int32)
    return sparse.csr_matrix((data, where, np.array(starts, dtype=np.int32)), shape=(len(starts) - 1, width))


def coo(rows: Iterable[int], columns: Iterable[int], values: Iterable[float], shape: tuple[int, int]) -> Any:
    """A float32 COO matrix of single cells, for training."""
    cells = (np.fromiter(rows, np.int32), np.fromiter(columns, np.int32))
    return sparse.coo_matrix((np.fromiter(values, np.float32), cells), shape=shape)
