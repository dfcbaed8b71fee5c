"""Notices that no office published: a day's news of a made-up city, tagged as imperfectly as real ones. Pure.

Called by the benches. What a notice is *really* about is a :class:`Subject`; its tags say that only in part,
because tagging makes mistakes. Every title carries the city's sample mark. Same seed and day, same news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from feeds.catalogue.notices import Level, NewNotice, NoticeContent
from feeds.catalogue.tagging import Tag
from recommender.simulation.scene import Scene

#: Chances: of a second theme, that a theme is tagged wrongly, that a concerned role is tagged, of a deadline.
_SECOND, _MISTAGGED, _ROLE_TAGGED, _DEADLINE = 0.25, 0.08, 0.7, 0.25
#: Of all notices, what concerns a district only, or a street only; what is in English only.
_DISTRICT, _STREET, _ENGLISH = 0.3, 0.2, 0.1
#: Log-odds by which one notice is opened more than another by everybody.
_APPEAL = 0.4
_KINDS = ("通知", "公告", "实施办法", "办事指南", "申报通知", "提醒")
_WORDS = (
    "申请材料",
    "办理时间",
    "补贴标准",
    "报名",
    "名单公示",
    "征求意见",
    "试点",
    "网上办理",
    "窗口调整",
    "收费",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a notice is really about.

    Attributes:
        themes: Theme → how much, above 0 and at most 1.
        roles: Whom it is for.
        place: Code of the district or street it belongs to; empty for the whole city.
        lang: Language of its text.
        appeal: Log-odds by which everybody opens it more, or less.
    """

    themes: Mapping[str, float]
    roles: tuple[str, ...] = ()
    place: str = ""
    lang: str = "zh-Hans"
    appeal: float = 0.0


@dataclass(frozen=True, slots=True)
class Printed:
    """One made-up notice, ready to be stored, and what it is really about."""

    notice: NewNotice
    subject: Subject


def print_day(
    scene: Scene, day: int, *, count: int, morning: datetime, seed: int, late_share: float = 0.0,
    archive: bool = False,
) -> list[Printed]:  # fmt: skip
    """Make up the news of one day.

    Args:
        scene: What there is to say.
        day: Its number; part of the seed and of every guid.
        count: How many notices.
        morning: They were published in the 24 hours before.
        seed: Of all days.
        late_share: Chance that a notice is about the late theme; 0 until it is there.
        archive: They were there before the service began.
    """
    draw = np.random.default_rng((seed, 1000 + day))
    return [_printed(scene, f"{day}-{n}", morning, late_share, archive, draw) for n in range(count)]


def _printed(
    scene: Scene, name: str, morning: datetime, late_share: float, archive: bool, draw: np.random.Generator
) -> Printed:
    column = _theme(scene, late_share, draw)
    themes = {scene.themes[column]: 1.0}
    if draw.random() < _SECOND:
        themes.setdefault(scene.themes[_theme(scene, 0.0, draw)], 0.7)
    roles = tuple(r for n, r in enumerate(scene.roles) if draw.random() < scene.concerns[n, column])
    level, place = _where(scene, draw)
    lang = "en" if draw.random() < _ENGLISH else "zh-Hans"
    subject = Subject(themes, roles, place, lang, float(draw.normal(0, _APPEAL)))
    agency = scene.agencies[column]
    content = NoticeContent(
        title=_title(scene, subject, agency, name, draw), body="<p>【示例】</p>", lang=lang,
        agency=scene.city.agencies[agency].label.zh if agency else "", agency_slug=agency,
        published=morning - timedelta(minutes=int(draw.integers(1, 24 * 60))),
        deadline=morning + timedelta(days=int(draw.integers(4, 26))) if draw.random() < _DEADLINE else None,
    )  # fmt: skip
    tags = _tags(scene, subject, agency, draw)
    where = place or scene.city.place
    return Printed(
        NewNotice(content, 1, f"made-up-{name}", tags, level, where, archive=archive, actor="simulation"),
        subject,
    )


def _theme(scene: Scene, late_share: float, draw: np.random.Generator) -> int:
    if scene.late and draw.random() < late_share:
        return scene.column[scene.late]
    return int(draw.choice(len(scene.themes), p=scene.chances))


def _where(scene: Scene, draw: np.random.Generator) -> tuple[Level, str]:
    luck = draw.random()
    level: Level = "street" if luck < _STREET else "district" if luck < _STREET + _DISTRICT else "city"
    places = sorted(code for code, place in scene.city.places.items() if place.kind == level)
    if level == "city" or not places:
        return "city", ""
    return level, str(draw.choice(places))


def _title(scene: Scene, subject: Subject, agency: str, name: str, draw: np.random.Generator) -> str:
    """A title that says its themes, place and office, as titles of notices do."""
    city, tongue = scene.city, "en" if subject.lang == "en" else "zh"
    names = [city.label(f"theme:{code}", tongue) for code in subject.themes]
    place = city.label(f"place:{subject.place}", tongue) if subject.place else ""
    office = city.label(f"agency:{agency}", tongue)
    if tongue == "en":
        return f"[SAMPLE] {office}: {' and '.join(names)} {place} (no. {name})"
    kind, word = draw.choice(_KINDS), draw.choice(_WORDS)
    return f"{city.sample_mark}{office}关于{place}{'、'.join(names)}{word}的{kind}（{name}号）"


def _tags(scene: Scene, subject: Subject, agency: str, draw: np.random.Generator) -> tuple[Tag, ...]:
    """What the tagger would find: a theme is sometimes taken for another one, a role often not named."""
    found: dict[tuple[str, str], float] = {}
    for code, weight in subject.themes.items():
        said = code if draw.random() >= _MISTAGGED else scene.themes[_theme(scene, 0.0, draw)]
        found["theme", said] = weight
        found["theme", scene.city.themes[said].parent] = weight
    for role in subject.roles:
        if draw.random() < _ROLE_TAGGED:
            found["role", role] = 0.8
    if subject.place:
        found["place", subject.place] = 1.0
    if agency:
        found["agency", agency] = 1.0
    return tuple(Tag(kind, code, "simulation", weight) for (kind, code), weight in found.items())
