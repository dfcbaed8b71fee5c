"""What a made-up city has to say: its themes, how common each is, whom it concerns, who publishes it. Pure.

Called by ``press`` (which writes its notices) and ``people`` (who live in it). Takes its words from the
tables of a ``City``; the rest is invented from a seed, or read off given notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from recommender.types import Floats

#: Few themes make most of the news: the chance of the n-th falls as n to the power of this.
_COMMON = -0.6
#: How much a theme concerns each role: mostly one or two of them.
_CONCERN = 0.35


@dataclass(frozen=True)
class Scene:
    """The subjects of a made-up city.

    Attributes:
        themes: Codes of level-2 themes, none of them sensitive.
        chances: float64 (n_themes,): share of the news that each makes; 0 for :attr:`late`.
        concerns: float32 (n_roles, n_themes), 0 to 1: how much a theme is a matter of a role.
        roles: Role codes, in the order of ``concerns``.
        agencies: Slug of the office that publishes each theme.
        late: A theme that nobody has heard of at first (its level-1 theme too); empty for none.
    """

    city: City
    themes: tuple[str, ...]
    chances: npt.NDArray[np.float64]
    concerns: Floats
    roles: tuple[str, ...]
    agencies: tuple[str, ...]
    late: str = ""

    @cached_property
    def column(self) -> Mapping[str, int]:
        """Theme → its column."""
        return {code: n for n, code in enumerate(self.themes)}

    @cached_property
    def row(self) -> Mapping[str, int]:
        """Role → its row in ``concerns``."""
        return {code: n for n, code in enumerate(self.roles)}


def scene(city: City, *, themes: int = 40, late: bool = True, seed: int) -> Scene:
    """Invent the subjects of a city.

    Args:
        city: Whose themes, roles and agencies are drawn from.
        themes: How many level-2 themes are ever written about, at most all.
        late: Also keep one theme back, of a level-1 theme that no other belongs to.
        seed: Same seed, same scene.
    """
    draw = np.random.default_rng(seed)
    calm = sorted(code for code, item in city.themes.items() if item.parent and not item.sensitive)
    order = [calm[n] for n in draw.permutation(len(calm))]
    kept = order[0] if late and order else ""
    if kept:
        order = [code for code in order if city.themes[code].parent != city.themes[kept].parent]
    codes = tuple(order[:themes])
    chances = np.arange(1, len(codes) + 1, dtype=np.float64) ** _COMMON
    if kept:
        codes, chances = (*codes, kept), np.append(chances, 0.0)
    roles = tuple(sorted(city.roles))
    concerns = np.minimum(draw.gamma(_CONCERN, 1.0, (len(roles), len(codes))), 1.0).astype(np.float32)
    total = chances.sum()
    return Scene(
        city, codes, chances / total if total else chances, concerns, roles,
        _agencies(city, len(codes), draw), kept,
    )  # fmt: skip


def scene_of(notices: Iterable[Notice], city: City) -> Scene:
    """Read the subjects off some notices: what they are about, how often, and for whom.

    Level-1 themes are left out, because tagging adds them to every theme below. Nobody publishes anything
    more here, so there are no agencies and nothing comes late.
    """
    roles = tuple(sorted(city.roles))
    row = {role: n for n, role in enumerate(roles)}
    counts: dict[str, float] = {}
    meant: dict[str, Floats] = {}
    for notice in notices:
        for code in notice.codes("theme"):
            if code in city.themes and city.themes[code].parent:
                counts[code] = counts.get(code, 0.0) + 1
                line = meant.setdefault(code, np.zeros(len(roles), dtype=np.float32))
                line[[row[role] for role in notice.codes("role") if role in row]] += 1
    codes = tuple(sorted(counts))
    shares = np.array([counts[code] for code in codes], dtype=np.float64)
    lines = [meant[code] / np.float32(counts[code]) for code in codes]
    concerns = np.array(lines, dtype=np.float32).reshape(len(codes), len(roles)).T
    return Scene(city, codes, shares / shares.sum() if codes else shares, concerns, roles, ("",) * len(codes))


def _agencies(city: City, count: int, draw: np.random.Generator) -> tuple[str, ...]:
    """An office of the whole city for each theme; one office may have several."""
    offices: Sequence[str] = sorted(slug for slug, one in city.agencies.items() if one.place == city.place)
    return tuple(str(draw.choice(offices)) if offices else "" for _ in range(count))
