"""How a source is doing, judged against its own past, and when that is worth an alarm.

It looks nothing up and tells nobody. Called by ``feeds.intake.sources`` (for what was just polled,
and for all from time to time); shown by ``mycity sources list``, ``/metrics`` and the editors' console. Pure.

Sources rot in quiet ways: a list changes its HTML and is read as empty, an office stops publishing, an
address answers with something else. So each is compared with what it used to do, not with others:

* ``empty``, ``shrunk``: nothing, or less than a fifth, of the entries it usually has; alarms at once.
* ``unreadable``: it answers 200, twice in a row, with something that cannot be read.
* ``failing``: no good answer for three hours and an interval, in at least three attempts; or none at
  all, where the first attempt failed.
* ``flapping``: it works now, but 20 polls failed within a week.
* ``silent``: entries of a source come like calls: at a rate of λ a week, none in t weeks has the chance
  e^(-λt). Below 1 in 1,000 (seven entries are missing), after nine days at least (longer than any public
  holiday), and longer than its own longest silence of the last thirteen weeks, that is no accident.
* ``gone`` (410), ``held`` (an editor must look), ``overdue`` (due for six hours, so nobody is polling).

Warnings (CAP) come when there is something to warn of: none of them is ever empty, shrunk or silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from feeds.intake.source_types import Source

State = Literal[
    "paused", "gone", "held", "unreadable", "failing", "empty", "shrunk", "overdue", "silent", "flapping",
    "new", "fine",
]  # fmt: skip
ALARMS: tuple[State, ...] = (
    "gone", "held", "unreadable", "failing", "empty", "shrunk", "overdue", "silent", "flapping",
)  # fmt: skip

WEEKS = 13
SHRUNK_BELOW = 0.2
SMALLEST_LIST = 5  # a list of four that shows one is no news
MISSING = 7.0  # e^-7 is 1 in 1,100
SHORTEST_SILENCE = timedelta(days=9)
FEWEST_WEEKS = 3
OUTAGE = timedelta(hours=3)
FLAPS = 20
OVERDUE = timedelta(hours=6)
_WEEK = timedelta(weeks=1)
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class History:
    """What the log of polls says about one source.

    Attributes:
        weeks: New entries in each of the last weeks, newest first, at most :data:`WEEKS`; only whole
            weeks of its life, so that the archive of the first poll is not among them.
        usual: Entries its answers usually hold (the median of those that held any); 0 where none did.
        failed: Polls that failed within the last seven days.
    """

    weeks: tuple[int, ...] = ()
    usual: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """One verdict.

    Attributes:
        state: The gravest thing there is to say.
        zh, en: One sentence for an editor: what is the matter and what to do.
        per_week: New entries a week that it used to bring (a median); ``None`` while it is too new to say.
        this_week: New entries of the last seven days.
    """

    state: State
    zh: str
    en: str
    per_week: float | None = None
    this_week: int = 0

    @property
    def alarm(self) -> str:
        """The state, where somebody should look; else ``""``."""
        return self.state if self.state in ALARMS else ""


def health(source: Source, history: History | None, now: datetime) -> Health:
    """Judge one source.

    Args:
        source: As it stands; an alarm it already bears goes on until what caused it is over.
        history: Its past; ``None`` where nobody looked it up: what needs one is then believed of the
            alarm that is stored, so that a look at all sources costs no look at their past.
        now: When.

    Returns:
        The first that applies, in the order of :data:`State`.
    """
    state, numbers = _judged(source, history, now)
    zh, en = _FIRST_FAILED if state == "failing" and _never_answered(source) else _SENTENCES[state]
    weeks = history.weeks if history else ()
    return Health(
        state,
        zh.format(**numbers),
        en.format(**numbers),
        _rate(weeks) if len(weeks) >= FEWEST_WEEKS else None,
        weeks[0] if weeks else 0,
    )


def _judged(source: Source, history: History | None, now: datetime) -> tuple[State, dict[str, object]]:
    if source.paused:
        return "paused", {}
    if source.gone_at is not None:
        return "gone", {"day": source.gone_at.date()}
    if source.held_at is not None:
        return "held", {"error": source.last_error}
    for rule in _RULES:
        found = rule(source, history, now)
        if found is not None:
            return found
    if source.polls == 0 and source.url:
        return "new", {}
    return "fine", {}


_Found = tuple[State, dict[str, object]] | None


def _failing(source: Source, history: History | None, now: datetime) -> _Found:
    if source.failures >= 2 and source.last_status == 200:
        return "unreadable", {"error": source.last_error}
    bad_since = source.last_ok_at or source.created_at
    patience = OUTAGE + timedelta(seconds=source.interval_s)
    if _never_answered(source) or (source.failures >= 3 and now - bad_since >= patience):
        hours = int((now - bad_since).total_seconds() // _HOUR_S)
        return "failing", {"hours": hours, "failures": source.failures, "error": source.last_error}
    return None


def _never_answered(source: Source) -> bool:
    """Whether it was asked, and never well: people add a source and look whether it works."""
    return source.failures > 0 and source.polls == 0 and source.last_ok_at is None


def _empty(source: Source, history: History | None, now: datetime) -> _Found:
    if source.kind == "cap" or source.polls == 0:
        return None
    has, usual = source.last_entries, history.usual if history else 0
    numbers: dict[str, object] = {"usual": usual or "?", "has": has}
    if has == 0 and (usual or source.alarm == "empty"):
        return "empty", numbers
    if history is None:
        return ("shrunk", numbers) if source.alarm == "shrunk" else None
    return ("shrunk", numbers) if usual >= SMALLEST_LIST and has < usual * SHRUNK_BELOW else None


def _silent(source: Source, history: History | None, now: datetime) -> _Found:
    if source.kind == "cap" or source.last_new_at is None or not source.url:
        return None
    quiet = now - source.last_new_at
    numbers: dict[str, object] = {"days": quiet.days}
    if source.alarm == "silent" and source.alarm_at and source.last_new_at <= source.alarm_at:
        return "silent", numbers  # its busy weeks leave the log one day; the silence is no shorter for that
    before = history.weeks[quiet // _WEEK + 1 :] if history else ()
    if quiet < SHORTEST_SILENCE or len(before) < FEWEST_WEEKS:
        return None
    missing = _rate(before) * (quiet / _WEEK)
    longest = (_longest_gap(before) + 1) * _WEEK
    return ("silent", numbers) if missing >= MISSING and quiet > longest else None


def _flapping(source: Source, history: History | None, now: datetime) -> _Found:
    if history is None:
        return ("flapping", {"failed": f"≥{FLAPS}"}) if source.alarm == "flapping" else None
    return ("flapping", {"failed": history.failed}) if history.failed >= FLAPS else None


def _overdue(source: Source, history: History | None, now: datetime) -> _Found:
    due = source.next_poll_at
    if not source.url or due is None or now - due < OVERDUE:
        return None
    return "overdue", {"hours": int((now - due).total_seconds() // _HOUR_S)}


_RULES: tuple[Callable[[Source, History | None, datetime], _Found], ...] = (
    _failing, _empty, _overdue, _silent, _flapping,
)  # fmt: skip


def _rate(weeks: Sequence[int]) -> float:
    """Entries a week: the smaller of mean and median, so that one flood makes no busy source."""
    return min(float(median(weeks)), sum(weeks) / len(weeks)) if weeks else 0.0


def _longest_gap(weeks: Sequence[int]) -> int:
    """The most weeks in a row without any entry."""
    longest = run = 0
    for count in weeks:
        run = 0 if count else run + 1
        longest = max(longest, run)
    return longest


_FIRST_FAILED = (
    "第一次抓取就失败，至今没有成功过：{error}",
    "The first poll failed, and none has worked yet: {error}",
)
_SENTENCES: dict[State, tuple[str, str]] = {
    "fine": ("正常。", "Works."),
    "new": ("尚无成功抓取。", "No good answer yet."),
    "paused": ("已暂停。", "Paused."),
    "gone": (
        "信源于 {day} 答复 410（已永久停用），不再抓取；请更换地址或暂停它。",
        "It answered 410 (gone for good) on {day} and is asked no more; give it a new address or pause it.",
    ),
    "held": ("等待编辑处理：{error}", "An editor must look and release it: {error}"),
    "unreadable": (
        "能打开但无法读取，页面或格式可能已变：{error}",
        "It answers, but cannot be read; its format may have changed: {error}",
    ),
    "failing": (
        "{hours} 小时没有成功抓取，已连续失败 {failures} 次：{error}",
        "No good answer for {hours} hours, {failures} failures in a row: {error}",
    ),
    "empty": (
        "突然没有条目（平常约 {usual} 条），页面可能已改版；请查看最近一次答复并修改配置。",
        "Suddenly without entries (usually about {usual}); its page may have changed: "
        "look at its last answer and mend its recipe.",
    ),
    "shrunk": (
        "只剩 {has} 条（平常约 {usual} 条），页面可能已改版；请查看最近一次答复。",
        "Down to {has} entries (usually about {usual}); its page may have changed: look at its last answer.",
    ),
    "silent": (
        "{days} 天没有新条目，与其以往的频率不符；请到原网站核对。",
        "Nothing new for {days} days, unlike before; compare it with the website.",
    ),
    "flapping": (
        "七天内失败 {failed} 次，时好时坏；请查看抓取记录。",
        "It failed {failed} times within seven days, on and off; look at its polls.",
    ),
    "overdue": (
        "应抓取而未抓取已 {hours} 小时；请检查调度程序是否在运行。",
        "Due for {hours} hours, but nobody polled it; check that the scheduler is running.",
    ),
}
