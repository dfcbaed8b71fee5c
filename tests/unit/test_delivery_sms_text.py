from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.sms_text import clean, clip, graphemes, segments, split, units

FAMILY = "👨‍👩‍👧‍👦"
TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("中文，。 aB3€[]🙂\u0301\u200d👩🇨🇳\ufe0f👍🏽각")),
    max_size=400,
)


@pytest.mark.parametrize(
    ("text", "domestic", "expected"),
    [
        ("", True, 1),
        ("中" * 70, True, 1),
        ("中" * 71, True, 2),
        ("中" * 134, True, 2),
        ("中" * 135, True, 3),
        ("a" * 71, True, 2),  # no discount for Latin letters at home
        ("a" * 160, False, 1),
        ("a" * 161, False, 2),
        ("a" * 306, False, 2),
        ("a" * 307, False, 3),
        ("€" * 80, False, 1),
        ("€" * 81, False, 2),
        ("中" + "a" * 69, False, 1),
        ("中" + "a" * 70, False, 2),
        ("🙂" * 35, False, 1),
        ("🙂" * 36, False, 2),
        ("🙂" * 36, True, 2),
    ],
)
def test_segments(text: str, domestic: bool, expected: int) -> None:
    assert segments(text, domestic) == expected


@given(TEXTS, st.booleans())
def test_parts_join_fit_and_are_valid(text: str, domestic: bool) -> None:
    parts = split(text, domestic)
    assert "".join(parts) == text
    assert len(parts) >= segments(text, domestic)
    assert (len(parts) == 1) == (segments(text, domestic) == 1)
    for part in parts:
        assert part or len(parts) == 1
        assert segments(part, domestic) == 1
        part.encode("utf-16")  # no half of a surrogate pair


@given(TEXTS)
def test_parts_end_between_visible_characters(text: str) -> None:
    clusters = list(graphemes(text))
    assert "".join(clusters) == text
    if all(units(cluster) <= 67 for cluster in clusters):
        edges = {0}
        for cluster in clusters:
            edges.add(max(edges) + len(cluster))
        position = 0
        for part in split(text):
            position += len(part)
            assert position in edges


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("中文", 2), (FAMILY, 1), ("🇨🇳🇩🇪", 2), ("e\u0301a", 2), ("👍🏽", 1), ("1\ufe0f\u20e3", 1),
        ("\u1100\u1161\u11a8", 1), ("🏴\U000e0067\U000e0062\U000e007f", 1), ("禰\U000e0100", 1),
    ],
)  # fmt: skip
def test_graphemes(text: str, count: int) -> None:
    assert len(list(graphemes(text))) == count


@given(TEXTS, st.integers(-1, 90))
def test_clip_never_exceeds(text: str, limit: int) -> None:
    short = clip(text, limit)
    assert units(short) <= max(limit, 0)
    if units(text) <= limit:
        assert short == text
    elif limit > 0:
        assert short.endswith("…")


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("关于开展高新技术企业认定的通知", 9, "关于开展高新技术…"),
        ("申报时间为2026年10月30日", 8, "申报时间为…"),
        ("第一阶梯水价，第二阶梯水价", 9, "第一阶梯水价…"),
        ("印发《上海市规划》的通知", 4, "印发…"),
        ("Consultation on the negative list", 20, "Consultation on the…"),
        (FAMILY + "亲子", 5, "…"),
        ("听螺岛北岸栈道10月17日重新开放", 13, "听螺岛北岸栈道…"),
        ("听螺岛北岸栈道10月17日重新开放", 10, "听螺岛北岸栈道…"),
        ("三条道路封闭，预计19日恢复", 11, "三条道路封闭，预计…"),
        ("轮渡票价由每次12.5元调整", 10, "轮渡票价由每次…"),
        ("就《公共自行车服务规范》征求意见", 11, "就《公共自行车服务规…"),  # else nothing is left
        ("示例市公开征求《公共自行车服务规范》意见", 14, "示例市公开征求…"),
        ("Road works for the bridge", 13, "Road works…"),
        ("ab", 0, ""),
    ],
)
def test_clip_reads_well(text: str, limit: int, expected: str) -> None:
    assert clip(text, limit) == expected


def test_clean_makes_one_line() -> None:
    assert clean(" 停水\r\n通知\x00\u200b　今天\t10时 \u202e") == "停水 通知 今天 10时"


@given(st.text(max_size=80))
def test_clean_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)
