"""What people write to us: stop is understood generously, sign-up narrowly, machines are told apart."""

from __future__ import annotations

import pytest

from delivery.compose_reply import compose_reply
from delivery.compose_sms import TEMPLATES
from delivery.errors import PermanentError
from delivery.sms_words import Command, read


@pytest.mark.parametrize(
    "text",
    [
        "TD",
        "td",
        " Td ",
        "ＴＤ",
        "T D",
        "T",
        "ｔ",
        "R",
        "r。",
        "0",
        "00000",
        "退订",
        "退訂",
        "退 订",
        "回复TD",
        "“R”",
        "【TD】",
        "回复TD退订",
        "STOP",
        "stop.",
        "Stop all",
        "UNSUBSCRIBE",
        "Unsubscribe me please",
        "请退订",
        "我要退订！",
        "退订，谢谢",
        "不要再发了",
        "拒收",
        "别发了",
        "取消订阅",
        "TD了",
        "stop sending me this",
        "停",
        "END",
        "quit",
        "回复 TD",
    ],
)
def test_stop_is_understood_generously(text: str) -> None:
    assert read(text).word == "stop"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("DY", ()),
        ("dy", ()),
        ("ＤＹ", ()),
        ("D Y", ()),
        ("订阅", ()),
        ("訂閱", ()),
        ("“DY”", ()),
        ("发送DY", ()),
        ("DY 汀阳", ("汀阳",)),
        ("DY汀阳", ("汀阳",)),
        ("dy+鼓汀街道 老人", ("鼓汀街道", "老人")),
        ("訂閱　鼓汀", ("鼓汀",)),
        ("subscribe Tingyang", ("tingyang",)),
        ("DY，汀阳、柘渡", ("汀阳", "柘渡")),
        ("START", ()),
    ],
)
def test_sign_up_with_what_stands_beside_it(text: str, rest: tuple[str, ...]) -> None:
    assert read(text) == Command("start", rest)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("dye", "other"),
        ("dynamic", "other"),
        ("starting", "other"),
        ("今天天气不错", "other"),
        ("", "other"),
        ("🙂", "other"),
        ("不要退订", "other"),
        ("别退订", "other"),
        ("没有退订", "other"),
        ("tomorrow", "other"),
        ("订餐", "other"),
        ("退订短信是怎么回事为什么我没有订过你们这个东西却一直在收到", "other"),
        ("HELP", "help"),
        ("帮助", "help"),
        ("幫助", "help"),
        ("？", "help"),
        ("Y", "yes"),
        ("是", "yes"),
        ("好的。", "yes"),
        ("同意", "yes"),
        ("不是我", "not_me"),
        ("发错了", "not_me"),
        ("wrong number", "not_me"),
        ("退订回复TD，这是一条很长很长的广告短信", "robot"),
        ("【某平台】您的订单已发货，拒收请回复R", "robot"),
        ("[自动回复] 我在开会", "robot"),
        ("AUTO-REPLY: away", "robot"),
        ("【示例市公告】已停止，不再给您发公告短信。", "robot"),
    ],
)
def test_everything_else(text: str, word: str) -> None:
    assert read(text).word == word


def test_a_text_of_any_length_is_read_quickly_and_its_rest_is_bounded() -> None:
    assert read("DY " + "汀" * 100_000) == Command("start", ("汀" * 20,))
    assert len(read("DY " + "汀 " * 50).rest) == 4


ANSWERS = (
    "welcome",
    "unplaced",
    "already",
    "stopped",
    "help",
    "kept",
    "still",
    "code",
    "copyask",
    "copyon",
    "copyoff",
    "copyend",
)
PARAMS = {
    "scope": "文澜桥街道",
    "hour": "9",
    "phone": "12345",
    "example": "鼓汀",
    "name": "汀洋路小区",
    "code": "012345",
    "whom": "您的母亲",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_is_one_or_two_segments_in_both_languages(answer: str) -> None:
    options = {"signature": "示例市公告", "link": "", "sample": True, "to": "+8613800000001", "out_id": "d1"}
    said = compose_reply(answer, PARAMS, lang="zh-Hans", **options)  # type: ignore[arg-type]
    assert said.segments == 1, (len(said.text), said.text)
    assert "{" not in said.text
    assert said.text.startswith("【示例市公告】【示例】")
    english = compose_reply(answer, PARAMS, lang="en", **options)  # type: ignore[arg-type]
    assert english.segments <= 3
    assert TEMPLATES[f"{answer}-en"]
    assert said.text == "【示例市公告】【示例】" + TEMPLATES[f"{answer}-zh"].format(link="", **PARAMS)


def test_a_parameter_never_carries_a_web_address_or_a_long_text() -> None:
    options = {"signature": "示例市公告", "link": "", "sample": False, "to": "+8613800000001", "out_id": "d1"}
    evil = PARAMS | {"name": "http://evil.example/x www.evil.cn evil.com " + "长" * 90}
    said = compose_reply("unplaced", evil, lang="zh", **options)  # type: ignore[arg-type]
    assert "evil" not in said.text
    assert len(said.params["name"]) <= 24
    with pytest.raises(PermanentError):
        compose_reply("welcome", {}, lang="zh", **options)  # type: ignore[arg-type]
    with pytest.raises(PermanentError):
        compose_reply("nonsense", PARAMS, lang="zh", **options)  # type: ignore[arg-type]


def test_the_link_comes_only_where_it_costs_nothing_and_never_with_a_code() -> None:
    options = {"signature": "示例市公告", "link": "shili.example/m", "sample": False, "to": "+8613800000001"}
    said = compose_reply("stopped", PARAMS, lang="zh", out_id="d1", **options)  # type: ignore[arg-type]
    assert said.text.endswith(" shili.example/m")
    assert said.template_id == "stopped-zh"
    code = compose_reply("code", PARAMS, lang="zh", out_id="d1", **options)  # type: ignore[arg-type]
    assert "shili.example" not in code.text
