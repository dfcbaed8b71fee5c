from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from string import Formatter

import pytest

from delivery.compose_alert import AlertText, Step, compose_alert_sms
from delivery.compose_sms import TEMPLATES, compose_named, compose_sms
from delivery.errors import PermanentError
from delivery.sms_cost import estimate, said
from delivery.sms_pool import pot_of
from delivery.sms_templates import filled, missing, read_providers, registrations
from delivery.types import Digest, EntryView, SmsMessage
from feeds.kernel.errors import UsageError

FILE = """
[aliyun]
weight = 60
languages = ["zh"]
copies = false
[aliyun.prices]
"+86" = 0.045
"+852" = 0.3
[aliyun.templates]
"digest-zh-1" = "SMS_1"
"digest-zh-2" = { id = "SMS_2", params = ["item1", "item2", "count"] }
"code-zh" = "SMS_3"
[twilio]
from = "+12025550100"
[twilio.prices]
"" = 0.5
"""


def digest(title: str, **more: object) -> Digest:
    at = datetime(2026, 10, 15, 1, 0, tzinfo=UTC)
    entry = EntryView(
        1, 1, "tag:x", "https://x", title, "", "", "zh-Hans", at, at, phone=str(more.pop("phone", ""))
    )
    return Digest(
        "zh-Hans", "示例市", "示例市公告", (entry,), at - timedelta(days=1), at, "Asia/Shanghai", ""
    )


def test_story_1_one_segment_with_phone_and_without_a_link() -> None:
    view = digest("65岁以上老年人免费体检通知", phone="020-0000 1234")
    message = compose_sms(view, to="+8613800000001", out_id="d1")
    assert message.text == "【示例市公告】65岁以上老年人免费体检通知，电话020-0000 1234。拒收请回复R"
    assert len(message.text) <= 70 and message.segments == 1
    copy = compose_sms(view, to="+8613800000002", out_id="d2", whom="母亲")
    assert copy.text == "【示例市公告】为母亲：65岁以上老年人免费体检通知，电话020-0000 1234。拒收请回复R"
    assert (copy.segments, copy.template_id, copy.params["whom"]) == (1, "copy-digest-zh-1-nolink", "母亲")


def test_a_long_official_title_still_fits_one_segment() -> None:
    title = "示例市卫生健康委员会关于开展2026年度65岁及以上老年人免费健康体检工作（第二批次）的通知"
    message = compose_sms(digest(title, phone="12345"), to="+8613800000001", out_id="d1")
    assert message.segments == 1 and "电话12345" in message.text and "65岁" in message.text


def test_templates_have_matching_words_in_both_languages() -> None:
    for name, words in TEMPLATES.items():
        assert "\n" not in words and "http" not in words
        other = name.replace("-zh", "-en") if "-zh" in name else name.replace("-en", "-zh")
        slots = [
            {slot for _, slot, _, _ in Formatter().parse(text) if slot} for text in (words, TEMPLATES[other])
        ]
        assert slots[0] == slots[1], name
    for name in ("alert", "update", "cancel", "fix", "code", "welcome", "stopped", "help"):
        assert f"{name}-zh" in TEMPLATES and f"{name}-en" in TEMPLATES
    assert not TEMPLATES["code-zh"].endswith("{link}")


def test_each_text_is_registered_with_and_without_the_link() -> None:
    names = [item.name for item in registrations(link="city.example/me", languages=["zh"], copies=False)]
    assert {"digest-zh-1", "digest-zh-1-nolink", "code-zh"} <= set(names)
    assert "code-zh-nolink" not in names and not any("-en" in name or "copy-" in name for name in names)
    bare = registrations(link="", languages=["zh"], copies=False)
    assert all(item.name.endswith("-nolink") or item.name == "code-zh" for item in bare)
    found = {item.name: item for item in registrations(link="city.example/me")}
    assert found["digest-zh-1"].text == "${item1}。拒收请回复R city.example/me"
    assert found["digest-zh-1-nolink"].text == "${item1}。拒收请回复R"
    assert found["digest-zh-2"].params == ("count", "item1", "item2")


def test_named_messages() -> None:
    message = compose_named(
        "fix-zh", {"title": "居民水价", "note": "3.54元，不是3.45元。" * 20 + "http://x.cn/1"},
        signature="示例市公告", to="+8613800000001", out_id="d3", link="city.example/me", trim="note",
    )  # fmt: skip
    assert message.text.startswith("【示例市公告】更正：居民水价。3.54元") and "http" not in message.text
    assert message.segments == 2 and message.text.endswith("拒收请回复R")
    assert message.template_id == "fix-zh-nolink"  # the link would cost a segment
    code = compose_named(
        "code-zh", {"code": "123456"}, signature="示例市公告", to="+8613800000001", out_id="d4", link="x"
    )
    assert (code.template_id, code.segments) == ("code-zh", 1) and not code.text.endswith(" x")
    with pytest.raises(PermanentError, match="lacks 'title'"):
        compose_named("fix-zh", {"note": ""}, signature="x", to="+861", out_id="d")
    with pytest.raises(PermanentError, match="not known"):
        compose_named("other-zh", {}, signature="x", to="+861", out_id="d")


def test_the_operators_file() -> None:
    providers = read_providers(FILE)
    aliyun, twilio = providers["aliyun"], providers["twilio"]
    assert (aliyun.weight, twilio.weight, twilio.options) == (60, 50, {"from": "+12025550100"})
    assert [aliyun.price(to) for to in ("+8613800000001", "+85298765432", "+4915100000000")] == [
        450,
        3000,
        None,
    ]
    assert twilio.price("+4915100000000") == 5000
    message = SmsMessage(
        "+8613800000001", "digest-zh-2", {"count": "2", "item1": "甲", "item2": ""}, "", 1, "d1"
    )
    assert filled(aliyun.templates, message).values == (("item1", "甲"), ("item2", "-"), ("count", "2"))
    assert aliyun.carries(message) and twilio.carries(message)
    code = SmsMessage("+8613800000001", "code-zh-nolink", {"code": "1"}, "", 1, "d1")
    assert aliyun.carries(code) and filled(aliyun.templates, code).id == "SMS_3"
    absent = missing(aliyun, link="")
    assert "alert-zh-nolink" in absent and "digest-zh-1-nolink" in absent and "code-zh" not in absent
    assert missing(twilio, link="x") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[nexmo]\n", "[nexmo] is no provider"),
        ("[aliyun]\n", "[aliyun.prices] is missing"),
        ("not toml", "not valid TOML"),
        ('[aliyun]\nweight=101\n[aliyun.prices]\n""=1', "aliyun.weight"),
        ('[aliyun]\nlanguages=["fr"]\n[aliyun.prices]\n""=1', "aliyun.languages"),
        ('[aliyun.prices]\n"86"=1', "must be a prefix"),
        ('[aliyun.prices]\n"+86"=-1', "must be a prefix"),
        ('[aliyun.prices]\n"+86"="dear"', "must be a prefix"),
        ('[aliyun.prices]\n"+86"=1\n[aliyun.templates]\n"news-zh"="1"', "news-zh is none of ours"),
        ('[aliyun.prices]\n"+86"=1\n[aliyun.templates]\n"digest-zh-1"={id="1",params=["count"]}', "item1"),
        ('[aliyun.prices]\n"+86"=1\n[aliyun.templates]\n"digest-zh-1"=""', "needs the provider's id"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_providers(text)
    assert words in str(caught.value)


def test_an_estimate_before_sending() -> None:
    providers = read_providers(FILE)
    found = estimate(providers, {}, segments=2, texts={"+86": 1000, "+49": 10})
    assert found.most == 1000 * 2 * 5000 + 10 * 2 * 5000
    assert found.expected == -(-1000 * 2 * (60 * 450 + 50 * 5000) // 110) + 10 * 2 * 5000
    only = estimate({"aliyun": providers["aliyun"]}, {}, segments=1, texts={"+86": 100, "+49": 5})
    assert (said(only.expected), said(only.most), only.unserved) == ("4.50", "4.50", 5)
    assert [said(money) for money in (0, 450, 12_345_600, -5000)] == ["0.00", "0.045", "1234.56", "-0.50"]


def test_only_warnings_may_use_what_is_kept_for_them() -> None:
    pots = {
        name: pot_of(SmsMessage("+861", name, {}, "", 1, "d"))
        for name in ("alert-zh", "update-en-nolink", "cancel-zh", "fix-zh", "code-zh", "digest-zh-1")
    }
    assert [name for name, pot in pots.items() if pot == "alert"] == [
        "alert-zh",
        "update-en-nolink",
        "cancel-zh",
    ]


def test_no_template_is_registered_that_nothing_sends() -> None:
    """Copies carry digests and corrections; a warning goes by where somebody lives."""
    copies = {name for name in TEMPLATES if name.startswith("copy-")}
    assert not [name for name in copies if re.search("alert|update|cancel", name)]
    assert "copy-fix-zh" in copies and "copy-digest-zh-1" in copies


@pytest.mark.parametrize("lang", ["zh-Hans", "en"])
@pytest.mark.parametrize("step", ["new", "update", "end"])
def test_a_warning_that_says_nothing_more_leaves_no_parameter_empty(step: Step, lang: str) -> None:
    """A provider refuses an empty one, and a dash in its place would be read as a mistake."""
    alert = AlertText(step, lang, "您关注的事项有更新", "", "", "示例市", "示例市公告", "Asia/Shanghai")
    message = compose_alert_sms(alert, to="+8613800000001", out_id="d1")
    assert all(value.strip() for value in message.params.values())
    assert message.params["note"] in message.text and message.segments <= 2


def test_english_advice_is_never_cut_in_its_middle() -> None:
    advice = (
        "Leave the building by the stairs now.\nWalk against the wind and keep away from the street.\nCall."
    )
    alert = AlertText(
        "new", "en", "Gas leak in Langang District: leave now", "", "", "Shili", "Shili", "Asia/Shanghai",
        advice=advice, phone="0000-5550-0121",
    )  # fmt: skip
    text = compose_alert_sms(alert, to="+8613800000001", out_id="d1").text
    assert "…" not in text and ".." not in text and "Call 0000-5550-0121." in text
    chinese = replace(alert, lang="zh", title="漏气", advice="不要开灯。\n步行离开。")
    assert "不要开灯。步行离开。" in compose_alert_sms(chinese, to="+8613800000001", out_id="d1").text
