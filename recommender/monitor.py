"""Judge the model: may it be used, and if not, why, in one sentence. Pure.

Reads no clock, file or database, and never imports a training library: facts come in, a verdict comes out.
What follows from it is done by ``api.jobs.watching``, its only caller beside tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from recommender.model_format import ModelInfo

State = Literal["fine", "none", "missing", "broken", "mismatched", "older", "stale", "late", "ahead", "worse"]
#: States in which no model is used and editions are made by rules. ``older``: the one in use is broken, or
#: none is named; another good one serves. ``late``: hourly teaching has stopped; the model still serves.
BY_RULES: frozenset[State] = frozenset({"none", "missing", "broken", "mismatched", "stale", "ahead", "worse"})
#: States that need nobody: all is well, or nothing was ever trained.
QUIET: frozenset[State] = frozenset({"fine", "none"})
#: A ranker with some forty features needs about ten lists for each, from people enough that no one's habits
#: are taken for everybody's; below that it only repeats the blend with noise.
MIN_GROUPS, MIN_GROUP_PEOPLE = 400, 40
#: Fewer residents who cared for a notice of the held-out week, or fewer notices of it, give but noise.
MIN_QUESTIONS, MIN_CANDIDATES = 30, 15
#: A clock may be so far behind the one a model was trained by.
CLOCKS_APART = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a model is too old, or too foreign, to be used.

    Attributes:
        full: Age of the last full fit from which a model is stale.
        partial: Age of the last teaching of any kind from which it is late.
        known: Least share of the candidates' tags that a model must know.
    """

    full: timedelta = timedelta(days=7)
    partial: timedelta = timedelta(hours=26)
    known: float = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of the model, in the pages, the command line and the figures alike.

    Attributes:
        why: One sentence in English, what to do included; ``zh`` the same in Chinese.
    """

    state: State
    why: str
    zh: str

    @property
    def usable(self) -> bool:
        """Whether picks are made with a model."""
        return self.state not in BY_RULES

    @property
    def alarm(self) -> bool:
        """Whether somebody must look at it."""
        return self.state not in QUIET

    def sentence(self, lang: str) -> str:
        """The sentence in ``zh`` or ``en``."""
        return self.zh if lang == "zh" else self.why


def judge(
    info: ModelInfo | None, found: str, problem: str, now: datetime, limits: Limits | None,
    *, refreshed_at: datetime | None = None, known_tags: float | None = None,
    resting_until: datetime | None = None,
) -> Verdict:  # fmt: skip
    """Say whether a model may be used.

    Args:
        info: Of the model that was found fit, or ``None``.
        found: What is wrong with the one in use: a state of ``recommender.model_file``, or empty.
        problem: The sentence that goes with it.
        now: The present.
        limits: ``None`` switches the checks of age off (the demo lives in its own days).
        refreshed_at: When hourly teaching last looked, even if there was nothing to learn.
        known_tags: Share of the candidates' tags that the model knows; ``None`` if not measured.
        resting_until: Until when a model that was worse than the control group is not used.
    """
    if info is None:
        state: State = found if found in ("missing", "broken", "mismatched") else "none"  # type: ignore[assignment]
        return Verdict(state, problem, _ZH[state])
    if known_tags is not None and limits is not None and known_tags < limits.known:
        return Verdict(
            "mismatched",
            f"Model {info.version} knows only {known_tags:.0%} of the tags of today's notices; it was "
            "trained for another city or vocabulary. Run `mycity train`; until then editions are made by "
            "rules.",
            _added(_ZH["mismatched"], f"只认识今日公告{known_tags:.0%}的标签"),
        )
    if limits is not None and (aged := _aged(info, now, limits, refreshed_at)) is not None:
        return aged
    if resting_until is not None and now < resting_until:
        return Verdict(
            "worse",
            "Picks were opened clearly less than those of the newest-first control group; editions are made "
            f"by rules until {resting_until:%Y-%m-%d %H:%M} UTC. Put another model in use with "
            "`mycity model --use VERSION` to try again sooner.",
            _ZH["worse"].format(until=f"{resting_until:%Y-%m-%d %H:%M} UTC"),
        )
    if found:
        return Verdict("older", problem, _ZH["older"])
    return Verdict("fine", f"Model {info.version} is in use.", f"正在使用模型 {info.version}。")


def _aged(info: ModelInfo, now: datetime, limits: Limits, refreshed_at: datetime | None) -> Verdict | None:
    if info.trained_at > now + CLOCKS_APART:
        return Verdict(
            "ahead",
            f"Model {info.version} was trained after the present ({now:%Y-%m-%d %H:%M} UTC): set the clock "
            "right, or train again. Until then editions are made by rules.",
            _ZH["ahead"],
        )
    age = now - info.full
    if age > limits.full:
        return Verdict(
            "stale",
            f"The last full training was {_span(age)} ago, more than {_span(limits.full)}; see why "
            "`mycity train` does not run. Until then editions are made by rules.",
            _added(_ZH["stale"], f"上次完整训练：{age.days}天前"),
        )
    taught = max(info.trained_at, refreshed_at or info.trained_at)
    if now - taught > limits.partial:
        return Verdict(
            "late",
            f"Nothing was learned for {_span(now - taught)}, more than {_span(limits.partial)}; see why "
            "`mycity train --partial` does not run. The model is still used.",
            _ZH["late"],
        )
    return None


_ZH: Mapping[str, str] = {
    "none": "尚未训练模型，按规则挑选；有足够反馈后运行 mycity train。",
    "missing": "模型文件不见了，按规则挑选；请运行 mycity train 或 mycity train --rollback。",
    "broken": "模型文件已损坏或格式已旧，按规则挑选；请运行 mycity train 或 mycity train --rollback。",
    "mismatched": "模型与词表不符，按规则挑选；请运行 mycity train。",
    "older": "当前模型不可用，改用之前的完好模型；请运行 mycity train。",
    "stale": "模型过期，按规则挑选；请查明 mycity train 为何没有运行。",
    "late": "每小时的增量训练已停，模型仍在使用；请查明 mycity train --partial 为何没有运行。",
    "ahead": "时钟早于模型的训练时间，按规则挑选；请校准时钟或重新训练。",
    "worse": "推荐的点开率明显低于对照组，{until} 前按规则挑选；可用 mycity model --use 换一个模型。",
}


def _added(sentence: str, more: str) -> str:
    """A Chinese sentence with something in brackets before its full stop."""
    return f"{sentence.removesuffix('。')}（{more}）。"


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} hours"


def held_out_said(info: ModelInfo, lang: str = "en") -> str:
    """Say how a model did on the week it had not seen, or why that was not measured; empty if not tried."""
    figures = info.metrics
    if "held_out_residents" not in figures and "questions" not in figures:
        return ""
    people = int(figures.get("questions", figures.get("held_out_residents", 0)))
    notices = int(figures["held_out_candidates"])
    if "questions" in figures:
        learned, newest = figures["ndcg10_learned"], figures["ndcg10_newest"]
        if lang == "zh":
            return (
                f"留出的最近一周：NDCG@10 {learned:.3f}，最新优先 {newest:.3f}"
                f"（居民{people}人、公告{notices}条）。"
            )
        return (
            f"On the week held out: NDCG@10 {learned:.3f}, newest first {newest:.3f} ({people} residents, "
            f"{notices} notices)."
        )
    if people >= MIN_QUESTIONS and notices >= MIN_CANDIDATES:
        if lang == "zh":
            return "没有在留出的一周上评测：此前的真实反馈不足以训练。"
        return "Not measured on a week held out: the real feedback before it is too little to learn from."
    if lang == "zh":
        return (
            f"没有在留出的一周上评测：最近一周有公告{notices}条，真实关心过其中公告的居民{people}人"
            f"（需{MIN_CANDIDATES}条、{MIN_QUESTIONS}人）。"
        )
    return (
        f"Not measured on a week held out: the last week has {notices} notices, and {people} residents "
        f"really cared for one; {MIN_CANDIDATES} and {MIN_QUESTIONS} are needed."
    )


def ranker_said(info: ModelInfo, lang: str = "en") -> str:
    """Say whether a model holds a ranker, and if not, how far it is; empty where nothing was counted."""
    groups, people = (int(info.metrics.get(name, -1)) for name in ("ranker_groups", "ranker_people"))
    if groups < 0:
        return ""
    if info.metrics.get("ranker_kept"):
        return "有排序器。" if lang == "zh" else "A ranker orders the best picks."
    if "ranker_kept" in info.metrics:
        gain, se = info.metrics["ranker_gain"], info.metrics["ranker_se"]
        if lang == "zh":
            return f"没有排序器：在未见过的时段里，它只比各部分好 {gain:+.3f} ± {se:.3f}。"
        return f"No ranker: on weeks it had not seen it gained {gain:+.3f} ± {se:.3f} NDCG@10 on the parts."
    if lang == "zh":
        return (
            f"无排序器：有人选用的列表{groups}份、居民{people}人（需{MIN_GROUPS}份、{MIN_GROUP_PEOPLE}人）。"
        )
    return (
        f"No ranker: {groups} lists that somebody chose from, by {people} residents; {MIN_GROUPS} and "
        f"{MIN_GROUP_PEOPLE} are needed."
    )
