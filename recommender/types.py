"""The recommender's own words: candidate, weights, feature space. Pure data, and the one import of scipy.

Nothing here reads a clock, file or database. Named by every module of this room, and by those who call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import _sparsetools

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

#: How often a pair is shown to the learner in each pass. A like says more than an open; repeating it, unlike
#: a smaller or larger weight, leaves the step of the learner as it is.
TIMES: Mapping[str, int] = {"open": 1, "click": 1, "save": 2, "like": 2, "rating": 2}
REFUSED = frozenset({"dislike", "hide", "less"})
#: Ratings of 4 and 5 teach, 1 and 2 take back, 3 says nothing.
GOOD, BAD = 4.0, 2.0


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
        prominence: The editors' weight: 1 recommended, -1 held back, 0 neither.
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
    prominence: int = 0


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
    second: float = _weight(
        1.5,
        "per standard deviation among one's best, times the share its gate gave the ranker: what proved "
        "itself on weeks it had not seen weighs more than the vectors alone, and still not a followed street",
    )
    learned_floor: float = _weight(
        2.0, "standard deviations from which inference alone is a reason to show something"
    )
    learned_said: float = _weight(
        1.0, "standard deviations from which inference is named beside a declared reason"
    )
    taste: float = _weight(
        1.0, "what they often open weighs a quarter of an exact interest for one like, three quarters at most"
    )
    taste_cap: float = _weight(1.5, "sum of tastes met; behaviour alone must not beat a declared interest")
    taste_least: float = _weight(
        -3.0, "sum of tastes met, downwards: who asks for less means it, so it goes twice as far as a like"
    )
    unwanted: float = _weight(
        0.6,
        "share of a followed tag's strength that a taste of -1 for the same tag takes: two thirds of a "
        "point after one word, so that it is felt while the interest stands",
    )
    unwanted_rest: float = _weight(
        0.1, "share that is always left: who follows a tag still hears of it, behind everything else"
    )
    taste_floor: float = _weight(
        0.5, "from here taste alone is a reason to show something: one save of its like"
    )
    said: float = _weight(0.2, "what taste, clicks or editors add from here on is named as a reason")
    clicks: float = _weight(
        0.6, "twice the usual rate of clicks (0.7 of lift) is worth less than half a role"
    )
    editor: float = _weight(0.5, "a recommendation is worth a day and a half of freshness, and half a role")
    diversity: float = _weight(
        0.85, "share of relevance in the order; 0.8 to 0.9 costs 1 % of NDCG and shows more themes"
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
    return lists([sorted(set(row)) for row in rows], width).csr()


@dataclass(frozen=True, slots=True)
class Rows:
    """A few columns in each row, as CSR: what scipy would look at again and again stands bare here.

    Attributes:
        indptr, indices: int32, ascending inside a row. ``data``: float32.
        width: How many columns there are.
    """

    indptr: Any
    indices: Any
    data: Floats
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.indptr) - 1, self.width

    @property
    def nnz(self) -> int:
        """How many cells there are."""
        return len(self.data)

    def part(self, start: int, stop: int) -> Rows:
        """Some of the rows, without a copy."""
        begins = self.indptr[start : stop + 1]
        first, end = int(begins[0]), int(begins[-1])
        return Rows(begins - begins[0], self.indices[first:end], self.data[first:end], self.width)

    def csr(self) -> Csr:
        """The same for scipy."""
        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)


def lists(
    rows: Sequence[Sequence[int]], width: int, values: Sequence[float] | None = None, *, each: bool = False
) -> Rows:
    """Put lists of columns behind each other.

    Args:
        rows: Columns, ascending and without repeats.
        width: How many columns there are.
        values: One for each row, which stands in all its columns; ``None`` for ones.
        each: ``values`` are one for each cell instead, row by row.
    """
    counts = np.fromiter(map(len, rows), np.int32, len(rows))
    starts = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(counts, out=starts[1:])
    where = np.fromiter(chain.from_iterable(rows), np.int32, int(starts[-1]))
    if values is None:
        return Rows(starts, where, np.ones(where.size, np.float32), width)
    data = np.array(values, dtype=np.float32)
    return Rows(starts, where, data if each else np.repeat(data, counts), width)


def add_product(out: Floats, left: Rows, table: Floats) -> None:
    """Add ``left @ table`` to ``out``, in place.

    Args:
        out: float32 (rows, columns), contiguous.
        left: (rows, tags), few in a row.
        table: float32 (tags, columns).
    """
    if not left.nnz or not out.size:
        return
    if _IN_PLACE and out.flags.c_contiguous and table.flags.c_contiguous:
        _sparsetools.csr_matvecs(
            *left.shape,
            out.shape[1],
            left.indptr,
            left.indices,
            left.data,
            table.reshape(-1),
            out.reshape(-1),
        )
    else:
        out += left.csr() @ table


# What scipy itself calls for ``left @ table``, after making an array of zeros for it: a third of the time.
_IN_PLACE = hasattr(_sparsetools, "csr_matvecs")


def coo(rows: Iterable[int], columns: Iterable[int], values: Iterable[float], shape: tuple[int, int]) -> Any:
    """A float32 COO matrix of single cells, for training."""
    cells = (np.fromiter(rows, np.int32), np.fromiter(columns, np.int32))
    return sparse.coo_matrix((np.fromiter(values, np.float32), cells), shape=shape)
