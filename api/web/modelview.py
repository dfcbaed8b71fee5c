"""What the page about the recommender shows: the verdict in words, facts, and measures as bars.

Turns views into words and numbers for the template; reads no store and judges nothing. Called by
``api.web.routes.recommender``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from api.web.sourceview import since
from api.web.wording import Words
from feeds.catalogue.vocabulary import City
from recommender.monitor import held_out_said, ranker_said

if TYPE_CHECKING:
    from api.jobs.watching import View
    from recommender.figures import Measures, Share
    from recommender.model_file import ModelInfo

_MOST = 12  # groups shown of themes, agencies and places
_WIDE = 2.0  # where the bars of parity end: twice an even share


@dataclass(frozen=True, slots=True)
class Part:
    """A named bar; ``width`` is 0 to 100, ``text`` says the figure."""

    name: str
    text: str
    width: float


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of the chart of tenths, in an SVG 64 high."""

    x: int
    y: float
    height: float
    text: str


def facts(found: View, words: Words, now: datetime) -> list[tuple[str, str]]:
    """Say where the model comes from: pairs of a key of ``watch`` and its value."""
    info = found.info
    if info is None:
        return []
    rows = [
        ("version", info.version),
        ("kind", words(f"watch.kind_{info.kind}")),
        ("trained", since(info.trained_at, words, now)),
        ("full", since(info.full, words, now)),
        ("data", _range(info)),
        ("size", words("watch.size_text", pairs=info.rows, users=info.users, items=info.items)),
        ("simulated", _percent(info.simulated_share)),
        ("vocabulary", info.vocabulary),
        ("seed", str(info.seed)),
    ]
    if said := held_out_said(info, words.lang):
        rows.append(("held_out", said))
    if said := ranker_said(info, words.lang):
        rows.append(("ranker", said))
    return rows


def selection(found: View, words: Words, now: datetime) -> list[tuple[str, str]]:
    """Say what the last selection did."""
    last = found.notes.selection
    if last is None:
        return []
    return [
        ("when", since(last.at, words, now)),
        ("by", last.model or words("watch.rules")),
        ("profiles", f"{last.profiles:,}"),
        ("picks", f"{last.picks:,}"),
        ("conflicts", f"{last.conflicts:,}"),
        ("seconds", f"{last.seconds:g}"),
    ]


def measures(one: Measures, words: Words, city: City) -> dict[str, Any]:
    """Say everything measured, as bars with their figures beside them."""
    by = {
        kind: [_share(_named(kind, share.name, words, city), share, words) for share in shares[:_MOST]]
        for kind, shares in one.by.items()
    }
    return {
        "coverage": [
            _share(words("watch.days", n=days), share, words) for days, share in one.coverage.items()
        ],
        "by": by,
        "reasons": [
            Part(words(f"watch.reason_{share.name}"), _percent(share.rate), 100 * share.rate)
            for share in one.reasons
        ],
        "clicks": _clicks(one, words),
        "tenths": _tenths(one.deciles, words),
        "parity": {kind: _parity(one, kind, words, city) for kind in one.parity},
        "wait": None if one.wait_median is None else _span(one.wait_median, words),
        "explored": _percent(one.explored),
        "known": None if one.known_tags is None else _percent(one.known_tags),
    }


def versions(
    kept: Sequence[tuple[str, ModelInfo | None]], found: View, words: Words, now: datetime
) -> list[dict[str, Any]]:
    """One row a kept version, newest first."""
    return [
        {
            "version": version,
            "kind": words(f"watch.kind_{info.kind}") if info else words("watch.unfit"),
            "trained": since(info.trained_at, words, now) if info else "",
            "pairs": f"{info.rows:,}" if info else "",
            "mark": _mark(version, found),
            "fit": info is not None and version != found.standing.current,
        }
        for version, info in kept
    ]


def _mark(version: str, found: View) -> str:
    if version == found.serving:
        return "serving"
    return "named" if version == found.standing.current else ""


def _clicks(one: Measures, words: Words) -> dict[str, Any] | None:
    compared = one.comparison
    if compared is None:
        return None
    most = max(compared.personalised, compared.control, 1e-9)
    groups = (("personalised", compared.personalised), ("control", compared.control))
    return {
        "parts": [
            Part(words(f"watch.group_{name}", n=people), f"{rate:.2%}", 100 * rate / most)
            for (name, rate), people in zip(groups, compared.people, strict=True)
        ],
        "verdict": words(f"watch.verdict_{compared.verdict.replace(' ', '_')}"),
        "interval": words(
            "watch.interval",
            middle=f"{compared.difference:+.2%}", low=f"{compared.low:+.2%}", high=f"{compared.high:+.2%}",
        ),
    }  # fmt: skip


def _tenths(deciles: Sequence[tuple[float, int, float]], words: Words) -> list[Column]:
    most = max((used for _, _, used in deciles), default=0.0) or 1.0
    return [
        Column(n * 20, 64 - max(2.0, 64 * used / most), max(2.0, 64 * used / most),
               words("watch.tenth", n=n + 1, rate=f"{used:.1%}", pairs=pairs))
        for n, (_, pairs, used) in enumerate(deciles)
    ]  # fmt: skip


def _parity(one: Measures, kind: str, words: Words, city: City) -> list[Part]:
    named = ((_named(kind, group, words, city), ratio) for group, ratio in one.parity[kind].ratios[:_MOST])
    return [Part(name, f"{ratio:.2f}", min(100.0, 100 * ratio / _WIDE)) for name, ratio in named]


def _share(name: str, share: Share, words: Words) -> Part:
    text = words("watch.of", part=int(share.part), whole=int(share.whole), rate=_percent(share.rate))
    return Part(name, text, 100 * share.rate)


def _named(kind: str, code: str, words: Words, city: City) -> str:
    kind = {"home": "place", "reader": "lang"}.get(kind, kind)
    if not code:
        return words(f"watch.no_{kind}")
    if kind == "lang":
        short = "zh" if code.lower().startswith("zh") else code
        return words(f"watch.lang_{short}") if words.has(f"watch.lang_{short}") else code
    return city.label(f"{kind}:{code}", words.lang)


def _range(info: ModelInfo) -> str:
    if info.data_from is None or info.data_until is None:
        return "—"
    return f"{info.data_from:%Y-%m-%d} – {info.data_until:%Y-%m-%d %H:%M} UTC"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _span(seconds: float, words: Words) -> str:
    if seconds >= 2 * 3600:
        return words("watch.hours", n=round(seconds / 3600))
    return words("watch.minutes", n=max(1, round(seconds / 60)))
