"""Keyword rules and the office's word list: what is taken, left out, tagged, and shown to an editor first."""

from __future__ import annotations

import pytest

from feeds.catalogue.checks import objection
from feeds.catalogue.words import one_form
from feeds.intake.rules import Verdict, apply_rules, read_rules
from feeds.kernel.errors import UsageError


@pytest.mark.parametrize(
    ("lines", "title", "text", "verdict"),
    [
        ([], "任何", "内容", Verdict()),
        (["include: 住房, 公积金"], "公积金提取", "", Verdict()),
        (["include: 住房, 公积金"], "招聘公告", "提到住房补贴", Verdict()),
        (["include: 住房"], "招聘公告", "", Verdict(skipped="include")),
        (["exclude: 招聘"], "关于招聘的公告", "", Verdict(skipped="exclude: 招聘")),
        (["exclude title: 招聘"], "公告", "附招聘岗位", Verdict()),
        (["include: 公告", "exclude: 招聘"], "招聘公告", "", Verdict(skipped="exclude: 招聘")),
        (["tag theme:0402: 停水+示例区"], "停水通知", "示例区东部", Verdict(tags=("theme:0402",))),
        (["tag theme:0402: 停水+示例区"], "停水通知", "西部", Verdict()),
        (
            ["tag role:citizen: 停水", "tag role:citizen: 停电"],
            "停水停电",
            "",
            Verdict(tags=("role:citizen",)),
        ),
        (["review: 拆迁、征收"], "土地徵收公告", "", Verdict(review="review: 拆迁、征收")),
        (["EXCLUDE： ＡＢＣ"], "abc notice", "", Verdict(skipped="EXCLUDE： ＡＢＣ")),
        (["# a remark", "", "exclude: x y"], "now x  y here", "", Verdict(skipped="exclude: x y")),
    ],
)
def test_what_rules_make_of_an_entry(lines: list[str], title: str, text: str, verdict: Verdict) -> None:
    assert apply_rules(read_rules(lines), title, text) == verdict


@pytest.mark.parametrize(
    "line",
    ["drop: x", "include", "include:", "include: , ,", "tag: 停水", "tag theme:04 x", "include theme:1: x"],
)
def test_a_rule_that_cannot_be_read_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(UsageError, match="write it like"):
        read_rules([line])


def test_a_tag_that_the_city_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="does not have"):
        read_rules(["tag theme:9999: 停水"], known=lambda tag: False)


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 100"):
        read_rules(["exclude: x"] * 101)


@pytest.mark.parametrize(
    ("text", "openness", "found"),
    [
        ("供水通知", "主动公开", ""),
        ("（此件不公开）", "", "word:此件不公开"),
        ("机密★一年", "", "word:机密★"),
        ("本办法所称机密，是指……", "", ""),
        ("申请人张某，身份证号 11010519491231002X", "", "id-number"),
        ("申请人张某，身份证号 110105194912310021", "", ""),  # the check sign is wrong
        ("编号 1101051949123100211234", "", ""),
        ("申请人张某，身份证号 110105********002X", "", ""),
        ("供水通知", "不予公开", "openness"),
    ],
)
def test_what_an_editor_must_see_first(text: str, openness: str, found: str) -> None:
    words = [one_form(word) for word in ("此件不公开", "机密★")]
    assert objection(words, one_form(text), openness) == found
