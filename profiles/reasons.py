"""Why a pick was made, in words: codes, their numbers for packing, a sentence each in Chinese and English.

Computes nothing and knows no resident: ``recommender.explain`` finds the reasons, the ledger packs their
numbers, delivery and the pages turn them into sentences here. Pure. A number that was once given never
changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType

from profiles.types import Reason

#: Code → number in the ledger (0 to 255). Add at the end; never renumber, never reuse.
CODES: dict[str, int] = {
    "interest": 1,  # params: tag. They follow this theme, type or word.
    "role": 2,  # params: role tag. It is meant for a role they named.
    "place": 3,  # params: place tag, label; then "around" if it contains the place they follow.
    "life": 4,  # params: life tag. It belongs to a turn in life they follow.
    "agency": 5,  # params: agency tag. It comes from a body they follow.
    "learned": 6,  # params: tag of theirs that weighed most in the model ("around" as above), or nothing.
    "deadline": 7,  # params: ISO date, working days left when it was picked. Always beside a declared reason.
    "fresh": 8,  # It is new; alone only in a welcome edition or with personalisation off.
    "citywide": 9,  # It concerns the whole city.
    "mandatory": 10,  # By rule: everybody it concerns gets it.
    "emergency": 11,  # By rule, at once.
    "update": 12,  # A major revision of what they already had.
    "reminder": 13,  # params: ISO date, working days left when it was picked.
    "explored": 14,  # Shown to learn whether it matters to people like them.
    "popular": 15,  # Many open it, says the model; nothing personal in it.
    "taste": 16,  # params: tag; then "own" if they set its weight themselves. It fits what they open.
    "clicks": 17,  # params: role tag, or nothing for everybody. Those who were shown it often opened it.
    "editor": 18,  # The editors recommend it.
    "similar": 19,  # Like what they read lately, says the ranker.
    "known_agency": 20,  # params: agency tag. They often open what this body publishes.
    "control": 21,  # Newest first, to compare with; disclosed.
}
NAMES: dict[int, str] = {number: code for code, number in CODES.items()}

#: Last parameter of a place that was not followed itself but contains one that was.
AROUND = "around"

#: What a place is to somebody, in both languages; any other label is shown as it was typed.
PLACE_LABELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "home": ("家", "home"),
        "work": ("单位", "work"),
        "parents": ("父母家", "parents’ home"),
        "school": ("学校", "school"),
        "visit": ("出行目的地", "visiting"),
    }
)
#: Reasons that tell nothing about the person and so may stand anywhere.
PUBLIC_CODES = frozenset(
    {"fresh", "citywide", "mandatory", "emergency", "update", "popular", "editor", "control"}
)
#: Reasons that rest on behaviour; everything else is a declared fact or a rule.
INFERRED_CODES = frozenset({"learned", "popular", "taste", "clicks", "similar", "known_agency"})
#: What is untrue where newness alone orders: what was inferred, and what gives a place in the order.
UNTRUE_BY_DATE = INFERRED_CODES | {"deadline", "editor"}
#: Reasons that a rule decided; they have no share of a score.
UNSCORED_CODES = frozenset({"reminder", "explored", "control", "update"})
#: Reasons that rest on everybody's behaviour, and so on simulated residents in the demo. What one person
#: opened is never simulated.
OF_MANY_CODES = frozenset({"learned", "popular", "clicks", "similar"})
_NEUTRAL = ("您关注的事项有更新", "There is news on something you follow")
_PLAIN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "fresh": ("最新发布", "Newly published"),
        "citywide": ("面向全市", "For the whole city"),
        "mandatory": ("按规定须告知您", "Everyone concerned is told by rule"),
        "emergency": ("紧急信息", "Urgent"),
        "update": ("您收到过的内容有重要更正", "Something you received has changed in substance"),
        "explored": ("试着推荐，看看是否对您有用", "A trial, to learn whether it is useful to you"),
        "popular": ("近期较多人查看（模型推断）", "Many people open this (inferred)"),
        "editor": ("编辑推荐", "Recommended by the editors"),
        "similar": ("与您近期看的内容相近（模型推断）", "Like what you read lately (inferred)"),
        "control": ("对照组：按时间排序", "Comparison group: newest first"),
    }
)

LabelOf = Callable[[str, str], str]


def sentence(
    reason: Reason,
    lang: str,
    label: LabelOf,
    today: date | None = None,
    *,
    discreet: bool = False,
    simulated: bool = False,
) -> str:
    """Say a reason in one short sentence without a full stop.

    Args:
        reason: Its ``code`` must be one of :data:`CODES`; missing parameters fall back to the neutral
            sentence.
        lang: Chinese for any ``zh…`` tag, else English.
        label: Name of a tag in a language, e.g. ``City.label``.
        today: Local day of the reader; only decides whether a date needs its year. Without it the year is
            left out, so that what is rendered does not change with time.
        discreet: Nothing that tells about the person: no tag, role, place or date.
        simulated: What the model inferred rests on simulated residents (the demo); it then says so.

    Raises:
        KeyError: If the code is unknown.
    """
    if reason.code not in CODES:
        raise KeyError(reason.code)
    chinese = lang.lower().startswith("zh")
    if discreet and reason.code not in PUBLIC_CODES:
        return _NEUTRAL[not chinese]
    if simulated and reason.code in OF_MANY_CODES:
        said = sentence(reason, lang, label, today)
        for true, made_up in _SIMULATED:
            said = said.replace(true, made_up)
        return said
    if reason.code in _PLAIN:
        return _PLAIN[reason.code][not chinese]
    if reason.code in ("deadline", "reminder"):
        return _dated(reason.params, today, chinese) or _NEUTRAL[not chinese]
    if reason.code == "learned":
        return _learned(reason.params, lang, label, chinese)
    if reason.code == "clicks" and not reason.params:
        return _CLICKS[not chinese]
    if not reason.params:
        return _NEUTRAL[not chinese]
    name = label(reason.params[0], lang)
    if reason.code == "place":
        return _place(name, reason.params[1:], chinese)
    if reason.code == "taste" and "own" in reason.params[1:]:
        return _OWN_TASTE[not chinese].format(name)
    return _NAMING[reason.code][not chinese].format(name)


def is_sensitive(reason: Reason, check: Callable[[str], bool]) -> bool:
    """Whether a reason names something that must not leave the resident's own pages.

    Args:
        reason: Its parameters keep the tags they came from.
        check: Says so of one tag, e.g. ``City.is_sensitive``.
    """
    return any(check(param) for param in reason.params if ":" in param)


def place_label(label: str, lang: str) -> str:
    """Name what a place is to its resident: 家, 单位, 父母家, or the words they chose."""
    known = PLACE_LABELS.get(label)
    return label if known is None else known[not lang.lower().startswith("zh")]


_NAMING: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "interest": ("您关注“{}”", "You follow “{}”"),
        "role": ("面向“{}”身份", "For the role “{}”"),
        "life": ("与您关注的“{}”有关", "About “{}”, which you follow"),
        "agency": ("您关注的部门：{}", "From an agency you follow: {}"),
        "taste": ("您常看“{}”（依据您的阅读）", "You often open “{}” (from what you read)"),
        "clicks": (
            "“{}”身份的人近期常点开（依据点击统计）",
            "Often opened lately in the role “{}” (from clicks)",
        ),
        "known_agency": (
            "您常看“{}”发布的内容（依据您的阅读）",
            "You often open what {} publishes (from what you read)",
        ),
    }
)
_AROUND_PLACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "home": ("您家所在的{}", "{}, where your home is"),
        "work": ("您单位所在的{}", "{}, where you work"),
        "parents": ("您父母家所在的{}", "{}, where your parents live"),
        "school": ("您学校所在的{}", "{}, where your school is"),
        "": ("您关注的地点所在的{}", "{}, around a place you follow"),
    }
)
_OWN_TASTE = ("合您设定的偏好“{}”", "Fits the preference you set for “{}”")
_CLICKS = ("近期常被点开（依据点击统计）", "Often opened lately (from clicks)")
_SIMULATED = (
    ("模型推断", "模拟数据推断"),
    ("inferred", "inferred from simulated data"),
    ("点击统计", "模拟点击统计"),
    ("from clicks", "from simulated clicks"),
)


def _place(name: str, rest: tuple[str, ...], chinese: bool) -> str:
    if rest[1:] == (AROUND,):
        zh, en = _AROUND_PLACES.get(rest[0], _AROUND_PLACES[""])
        return zh.format(name) if chinese else en.format(name)
    label = place_label(rest[0], "zh" if chinese else "en") if rest and rest[0] else ""
    if chinese:
        return f"您关注的地点：{name}·{label}" if label else f"您关注的地点：{name}"
    return f"A place you follow: {name} ({label})" if label else f"A place you follow: {name}"


def _learned(params: tuple[str, ...], lang: str, label: LabelOf, chinese: bool) -> str:
    if not params:
        return "与您看过的内容相近（模型推断）" if chinese else "Similar to what you opened (inferred)"
    name, kind = label(params[0], lang), params[0].partition(":")[0]
    if kind == "role":
        return (
            f"“{name}”身份的人常看（模型推断）" if chinese else f"Often read in the role “{name}” (inferred)"
        )
    if kind == "place" and AROUND in params[1:]:
        return (
            f"关注“{name}”一带的人常看（模型推断）"
            if chinese
            else f"Often read by people following places in {name} (inferred)"
        )
    if kind == "place":
        return (
            f"关注“{name}”的人常看（模型推断）"
            if chinese
            else f"Often read by people following {name} (inferred)"
        )
    return (
        f"与您关注的“{name}”相近（模型推断）"
        if chinese
        else f"Close to “{name}”, which you follow (inferred)"
    )


def _dated(params: tuple[str, ...], today: date | None, chinese: bool) -> str:
    try:
        day = date.fromisoformat(params[0])
    except (IndexError, ValueError):
        return ""
    year = today is not None and today.year != day.year
    left = params[1] if len(params) > 1 and params[1].isdigit() else ""
    if chinese:
        text = f"{day.year}年{day.month}月{day.day}日截止" if year else f"{day.month}月{day.day}日截止"
        return text + (f"，还剩{left}个工作日" if left not in ("", "0") else "")
    text = f"Closes {day.day} {_MONTHS[day.month - 1]}" + (f" {day.year}" if year else "")
    return text + (f", {left} working day{'s' if left != '1' else ''} left" if left not in ("", "0") else "")


_MONTHS = ("January", "February", "March", "April", "May", "June", "July",
           "August", "September", "October", "November", "December")  # fmt: skip
