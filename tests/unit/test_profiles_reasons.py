"""Every reason has a sentence in both languages, a number for ever, and a discreet form."""

from __future__ import annotations

from datetime import date

import pytest

from profiles.reasons import CODES, NAMES, is_sensitive, place_label, sentence
from profiles.types import Reason
from tests.unit.recommender_world import city

# Written into every ledger: a number that changes its meaning makes old editions lie.
NUMBERS = {
    "interest": 1,
    "role": 2,
    "place": 3,
    "life": 4,
    "agency": 5,
    "learned": 6,
    "deadline": 7,
    "fresh": 8,
    "citywide": 9,
    "mandatory": 10,
    "emergency": 11,
    "update": 12,
    "reminder": 13,
    "explored": 14,
    "popular": 15,
    "taste": 16,
    "clicks": 17,
    "editor": 18,
    "similar": 19,
    "known_agency": 20,
    "control": 21,
}
PARAMS = {
    "interest": ("theme:0402",),
    "role": ("role:enterprise",),
    "place": ("place:sl0101", "parents"),
    "life": ("life:graduation",),
    "agency": ("agency:tax",),
    "learned": ("theme:0402",),
    "deadline": ("2026-10-30", "5"),
    "reminder": ("2026-10-30", "5"),
    "taste": ("theme:0402",),
    "clicks": ("role:enterprise",),
    "known_agency": ("agency:tax",),
}


def said(code: str, *params: str, lang: str = "zh-Hans", **kwargs: object) -> str:
    return sentence(Reason(code, params, 1.0), lang, city().label, **kwargs)  # type: ignore[arg-type]


def test_numbers_never_change() -> None:
    assert CODES == NUMBERS
    assert {number: code for code, number in CODES.items()} == NAMES


@pytest.mark.parametrize(
    ("code", "params", "zh", "en"),
    [
        ("interest", ("theme:0402",), "您关注“税务”", "You follow “Taxation”"),
        ("interest", ("word:电梯",), "您关注“电梯”", "You follow “电梯”"),
        ("role", ("role:enterprise",), "面向“企业”身份", "For the role “Enterprise”"),
        (
            "place",
            ("place:sl0101", "parents"),
            "您关注的地点：鼓汀街道·父母家",
            "A place you follow: Guting Subdistrict (parents’ home)",
        ),
        ("place", ("place:sl0101",), "您关注的地点：鼓汀街道", "A place you follow: Guting Subdistrict"),
        (
            "place",
            ("place:sl0101", "画室"),
            "您关注的地点：鼓汀街道·画室",
            "A place you follow: Guting Subdistrict (画室)",
        ),
        (
            "agency",
            ("agency:tax",),
            "您关注的部门：示例市税务局",
            "From an agency you follow: Shili Tax Service",
        ),
        (
            "learned",
            ("theme:0402",),
            "与您关注的“税务”相近（模型推断）",
            "Close to “Taxation”, which you follow (inferred)",
        ),
        (
            "learned",
            ("role:enterprise",),
            "“企业”身份的人常看（模型推断）",
            "Often read in the role “Enterprise” (inferred)",
        ),
        (
            "learned",
            (),
            "与您看过的内容相近（模型推断）",
            "Similar to what you opened (inferred)",
        ),
        ("citywide", (), "面向全市", "For the whole city"),
        (
            "deadline",
            ("2026-10-30", "5"),
            "10月30日截止，还剩5个工作日",
            "Closes 30 October, 5 working days left",
        ),
        ("deadline", ("2026-10-12", "0"), "10月12日截止", "Closes 12 October"),
        (
            "reminder",
            ("2026-10-30", "1"),
            "10月30日截止，还剩1个工作日",
            "Closes 30 October, 1 working day left",
        ),
        (
            "taste",
            ("theme:0402",),
            "您常看“税务”（依据您的阅读）",
            "You often open “Taxation” (from what you read)",
        ),
        (
            "taste",
            ("theme:0402", "own"),
            "合您设定的偏好“税务”",
            "Fits the preference you set for “Taxation”",
        ),
        (
            "clicks",
            ("role:enterprise",),
            "“企业”身份的人近期常点开（依据点击统计）",
            "Often opened lately in the role “Enterprise” (from clicks)",
        ),
        ("clicks", (), "近期常被点开（依据点击统计）", "Often opened lately (from clicks)"),
        ("editor", (), "编辑推荐", "Recommended by the editors"),
        ("similar", (), "与您近期看的内容相近（模型推断）", "Like what you read lately (inferred)"),
        (
            "known_agency",
            ("agency:tax",),
            "您常看“示例市税务局”发布的内容（依据您的阅读）",
            "You often open what Shili Tax Service publishes (from what you read)",
        ),
        ("control", (), "对照组：按时间排序", "Comparison group: newest first"),
    ],
)
def test_sentences(code: str, params: tuple[str, ...], zh: str, en: str) -> None:
    assert said(code, *params) == zh
    assert said(code, *params, lang="zh-Hant") == zh
    assert said(code, *params, lang="en") == en


def test_a_date_of_another_year_names_it() -> None:
    assert said("deadline", "2027-01-08", "3", today=date(2026, 12, 30)) == "2027年1月8日截止，还剩3个工作日"
    assert said("deadline", "2027-01-08", "3", today=date(2026, 12, 30), lang="en").startswith(
        "Closes 8 January 2027"
    )


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("lang", ["zh-Hans", "en", "fr"])
def test_every_code_speaks_even_without_parameters(code: str, lang: str) -> None:
    assert said(code, *PARAMS.get(code, ()), lang=lang)
    assert said(code, lang=lang)
    assert said(code, "not a date", lang=lang)


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("lang", ["zh-Hans", "en"])
def test_discreet_sentences_tell_nothing(code: str, lang: str) -> None:
    text = said(code, *PARAMS.get(code, ()), lang=lang, discreet=True)
    for tag in ("theme:0402", "role:enterprise", "place:sl0101", "life:graduation", "agency:tax"):
        assert city().label(tag, lang) not in text
    assert said("role", "role:aid", lang=lang, discreet=True) == said(
        "interest", "theme:0402", lang=lang, discreet=True
    )


def test_the_demo_says_what_rests_on_simulated_residents() -> None:
    for code in ("learned", "popular", "clicks", "similar"):
        assert "模拟" in said(code, *PARAMS.get(code, ()), simulated=True)
        assert "simulated" in said(code, *PARAMS.get(code, ()), lang="en", simulated=True)
    # What one person opened is never simulated, and a rule is a rule.
    for code in sorted(set(CODES) - {"learned", "popular", "clicks", "similar"}):
        assert "simulated" not in said(code, *PARAMS.get(code, ()), lang="en", simulated=True)


def test_sensitive_reasons_are_found_by_their_tags() -> None:
    check = city().is_sensitive
    sensitive_theme = next(f"theme:{code}" for code, theme in city().themes.items() if theme.sensitive)
    for code in ("taste", "learned"):
        assert is_sensitive(Reason(code, (sensitive_theme,), 1.0), check)
    assert is_sensitive(Reason("taste", (sensitive_theme, "own"), 1.0), check)
    assert is_sensitive(Reason("clicks", ("role:aid",), 1.0), check)
    assert not is_sensitive(Reason("known_agency", ("agency:tax",), 1.0), check)
    assert not is_sensitive(Reason("clicks"), check)
    assert is_sensitive(Reason("role", ("role:aid",), 1.0), check)
    assert is_sensitive(Reason("learned", ("role:aid",), 1.0), check)
    assert not is_sensitive(Reason("role", ("role:citizen",), 1.0), check)
    assert not is_sensitive(Reason("place", ("place:sl01", "home"), 1.0), check)
    assert not is_sensitive(Reason("citywide"), check)


def test_unknown_codes_are_refused_and_labels_translated() -> None:
    with pytest.raises(KeyError):
        said("guess")
    assert [place_label(label, "zh") for label in ("home", "work", "parents", "店")] == [
        "家",
        "单位",
        "父母家",
        "店",
    ]
    assert place_label("work", "en") == "work"
