"""What the recommender does, in figures: coverage, reasons, click-through, waits, calibration, parity. Pure.

Reads no clock, file or database: samples of the ledger and of feedback come in, figures come out. It judges
nothing (``control`` compares with the control group). Called by ``api.jobs.watching`` and the notebook.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from profiles.types import Edition
from recommender.clickthrough import OPENED
from recommender.control import Comparison

if TYPE_CHECKING:  # the store stands beside the row; a pure module must not load it
    from profiles.feedback import FeedbackRow


@dataclass(frozen=True, slots=True)
class Seen:
    """One pair of a resident and a notice they were shown, as watching needs it.

    Attributes:
        sure: How sure a person saw it, 0 to 1 (the surest impression).
        used: Whether it was opened, clicked, saved, liked or rated well.
        first_at: When it was shown first.
        wait: Seconds from the first impression to the first act; ``None`` without one.
        score: Of the pick, where one is known and was made by score.
        control: Whether the resident was in the control group then.
    """

    profile_id: int
    notice_id: int
    sure: float
    used: bool
    first_at: datetime
    wait: float | None = None
    score: float | None = None
    control: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """One released notice, as coverage and parity need it."""

    notice_id: int
    at: datetime
    theme: str
    agency: str
    place: str
    lang: str


@dataclass(frozen=True, slots=True)
class Share:
    """Part of a whole; ``rate`` is 0 where the whole is empty."""

    name: str
    part: float
    whole: float

    @property
    def rate(self) -> float:
        """Part over whole."""
        return self.part / self.whole if self.whole else 0.0


@dataclass(frozen=True, slots=True)
class Parity:
    """How evenly groups of notices are picked, or groups of residents served.

    Attributes:
        ratios: Group → its share of picks over its share of notices (of residents); 1 is even. Groups with
            too few members are left out.
        least, most: The extremes of them; ``None`` with fewer than two groups.
    """

    ratios: tuple[tuple[str, float], ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything that is measured at one time. Shares are 0 to 1, waits in seconds.

    Attributes:
        sampled: That not all editions of the span were read; coverage is then a lower bound.
        coverage: Days → share of the notices released since that were picked for anybody; ``by``: the same
            over 30 days for each theme, agency and place.
        reasons: Reason code → picks that it leads.
        known_tags: Share of the week's tags that the model knows; ``vocabulary`` says of which model.
        deciles: Picks by score, lowest tenth first: mean score, pairs shown, share used.
    """

    at: datetime
    editions: int = 0
    picks: int = 0
    sampled: bool = False
    coverage: Mapping[int, Share] = field(default_factory=dict)
    by: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)
    reasons: tuple[Share, ...] = ()
    explored: float = 0.0
    comparison: Comparison | None = None
    deciles: tuple[tuple[float, int, float], ...] = ()
    wait_median: float | None = None
    parity: Mapping[str, Parity] = field(default_factory=dict)
    known_tags: float | None = None
    vocabulary: str = ""


def pairs_seen(
    rows: Iterable[FeedbackRow],
    *,
    scores: Mapping[tuple[int, int], float] | None = None,
    in_control: Callable[[int, datetime], bool] | None = None,
) -> list[Seen]:
    """Join impressions with what followed them, one entry for each pair of resident and notice.

    Args:
        rows: Feedback in any order; simulated rows and acts without an impression do not count.
        scores: Of picks that were made by score, by (profile, notice).
        in_control: Whether a resident was in the control group at an instant; ``None``: nobody was.
    """
    shown: dict[tuple[int, int], tuple[float, datetime]] = {}
    acted: dict[tuple[int, int], datetime] = {}
    for row in sorted(rows, key=lambda one: one.at):
        pair = (row.profile_id, row.notice_id)
        if row.simulated:
            continue
        if row.kind == "impression":
            sure, first = shown.get(pair, (0.0, row.at))
            shown[pair] = (max(sure, row.sure), first)
        elif pair in shown and (row.kind in OPENED or (row.kind == "rating" and row.value >= 4)):
            acted.setdefault(pair, row.at)
    found = []
    for (profile_id, notice_id), (sure, first) in shown.items():
        at = acted.get((profile_id, notice_id))
        waited = None if at is None else (at - first).total_seconds()
        control = in_control is not None and in_control(profile_id, first)
        score = None if scores is None else scores.get((profile_id, notice_id))
        found.append(Seen(profile_id, notice_id, sure, at is not None, first, waited, score, control))
    return found


def coverage(
    released: Sequence[Released], editions: Sequence[Edition], now: datetime, days: Sequence[int] = (7, 30)
) -> tuple[dict[int, Share], dict[str, tuple[Share, ...]]]:
    """Share of the notices released in the last days that were picked for anybody.

    Returns:
        By number of days; and by theme, agency and place over the longest span, largest groups first.
    """
    picked = {pick.notice_id for edition in editions for pick in edition.picks}
    spans = {}
    for span in days:
        since = [one for one in released if one.at >= now - timedelta(days=span)]
        spans[span] = Share(str(span), sum(one.notice_id in picked for one in since), len(since))
    recent = [one for one in released if one.at >= now - timedelta(days=max(days))]
    by = {}
    for kind in ("theme", "agency", "place"):
        groups: dict[str, list[bool]] = defaultdict(list)
        for one in recent:
            groups[getattr(one, kind)].append(one.notice_id in picked)
        shares = [Share(name, sum(hits), len(hits)) for name, hits in groups.items()]
        by[kind] = tuple(sorted(shares, key=lambda share: (-share.whole, share.name)))
    return spans, by


def parity(
    released: Sequence[Released], editions: Sequence[Edition], kind: Literal["place", "lang"],
    *, least_notices: int = 5,
) -> Parity:  # fmt: skip
    """Compare each group's share of picks with its share of the released notices.

    Only picks of the given notices count; groups below ``least_notices`` are left out of both.
    """
    group_of = {one.notice_id: getattr(one, kind) for one in released}
    picks = (group_of.get(pick.notice_id, "") for edition in editions for pick in edition.picks)
    return evenness(Counter(group_of.values()), Counter(picks), least_notices)


def evenness(sizes: Mapping[str, int], parts: Mapping[str, int], least: int) -> Parity:
    """Compare each group's share of something with its share of the members.

    Args:
        sizes: Group → members. Groups below ``least``, and the group without a name, are left out.
        parts: Group → what it got.
        least: Fewest members of a group that is compared.
    """
    kept = {group for group, size in sizes.items() if size >= least and group}
    members, got = sum(sizes[group] for group in kept), sum(parts.get(group, 0) for group in kept)
    if not got:
        return Parity()
    ratios = {group: (parts.get(group, 0) / got) / (sizes[group] / members) for group in kept}
    ordered = tuple(sorted(ratios.items(), key=lambda item: (-sizes[item[0]], item[0])))
    if len(ordered) < 2:
        return Parity(ordered)
    return Parity(ordered, min(ratios.values()), max(ratios.values()))


def reasons(editions: Sequence[Edition]) -> tuple[tuple[Share, ...], float]:
    """Share of picks by their first reason, largest first; and the share that was explored."""
    picks = [pick for edition in editions for pick in edition.picks]
    leads = Counter(pick.reasons[0].code if pick.reasons else "none" for pick in picks)
    explored = sum(pick.kind == "explored" for pick in picks)
    shares = tuple(Share(code, count, len(picks)) for code, count in leads.most_common())
    return shares, explored / len(picks) if picks else 0.0


def deciles(seen: Iterable[Seen], *, groups: int = 10) -> tuple[tuple[float, int, float], ...]:
    """Does a higher score mean more use? Pairs in ten equal groups by score, lowest first.

    Returns:
        Mean score, pairs, share used of each; empty with fewer than ten pairs a group. Pairs of equal score
        may stand in neighbouring groups.
    """
    scored = sorted((one.score, one.used) for one in seen if one.score is not None and not one.control)
    if len(scored) < groups * 10:
        return ()
    found = []
    for n in range(groups):
        part = scored[len(scored) * n // groups : len(scored) * (n + 1) // groups]
        mean = sum(score for score, _ in part) / len(part)
        found.append((mean, len(part), sum(used for _, used in part) / len(part)))
    return tuple(found)


def wait(seen: Iterable[Seen]) -> float | None:
    """Median seconds from the first impression to the first act; ``None`` where nobody acted."""
    waits = [one.wait for one in seen if one.wait is not None]
    return median(waits) if waits else None


def measures_to(measures: Measures) -> dict[str, Any]:
    """Turn measures into JSON-ready values."""
    plain = asdict(measures)
    plain["at"] = measures.at.isoformat()
    return plain


def measures_from(plain: Mapping[str, Any]) -> Measures:
    """Undo :func:`measures_to`.

    Raises:
        KeyError, TypeError, ValueError: If the values are not what it wrote.
    """
    values = dict(plain)
    compared = values["comparison"]
    if compared is not None:
        compared = Comparison(**compared | {"people": (compared["people"][0], compared["people"][1])})
    return Measures(
        **values
        | {
            "at": datetime.fromisoformat(values["at"]),
            "coverage": {int(days): Share(**share) for days, share in values["coverage"].items()},
            "by": {kind: _shares(shares) for kind, shares in values["by"].items()},
            "reasons": _shares(values["reasons"]),
            "comparison": compared,
            "deciles": tuple((mean, int(pairs), used) for mean, pairs, used in values["deciles"]),
            "parity": {
                kind: Parity(tuple((name, ratio) for name, ratio in one["ratios"]), one["least"], one["most"])
                for kind, one in values["parity"].items()
            },
        }
    )


def _shares(plain: Iterable[Mapping[str, Any]]) -> tuple[Share, ...]:
    return tuple(Share(**share) for share in plain)
