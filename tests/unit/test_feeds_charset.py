"""In which encoding a document really is: what it says, what its bytes show, and what is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.charset import codec_of, decode

SIMPLE = "示例市人力资源和社会保障局关于做好城镇职工基本养老保险工作的通知"
TRADITIONAL = "範例市人力資源和社會保障局關於做好城鎮職工基本養老保險工作的通知"
JAPANESE = "示例市からのお知らせ：水道料金のお支払いについて"
KOREAN = "예시시에서 알려드립니다: 수도 요금 납부 안내"
FRENCH = "Exemple : l'été dernier, la mairie a rénové l'école à côté du café."
PROLOG = '<?xml version="1.0" encoding="{}"?><a>{}</a>'
META = '<html><head><meta charset="{}"></head><body>{}</body></html>'
HTTP_EQUIV = "<meta http-equiv='Content-Type' content='text/html; charset={}'><p>{}</p>"


def problems(body: bytes, content_type: str = "", hint: str = "") -> tuple[str, list[str]]:
    text, oddities = decode(body, content_type, hint=hint)
    return text, [one.problem for one in oddities]


@pytest.mark.parametrize("form", [PROLOG, META, HTTP_EQUIV])
@pytest.mark.parametrize(("said", "real", "text"), [
    ("utf-8", "utf-8", SIMPLE), ("UTF8", "utf-8", SIMPLE), ("gb2312", "gb18030", SIMPLE + "㑇𠮷"),
    ("GBK", "gb18030", SIMPLE),
    ("x-gbk", "gbk", SIMPLE), ("gb18030", "gb18030", TRADITIONAL), ("big5", "big5hkscs", TRADITIONAL + "碁"),
    ("Shift_JIS", "cp932", JAPANESE), ("euc-jp", "euc_jp", JAPANESE), ("ks_c_5601-1987", "cp949", KOREAN),
    ("iso-8859-1", "latin-1", FRENCH), ("windows-1252", "cp1252", FRENCH + " “…”"),
    ("iso-8859-15", "iso8859-15", FRENCH + "€"),
    ("iso-8859-1", "cp1252", "“示”".replace("示", "e")), ("us-ascii", "ascii", "plain"), ("hz", "hz", SIMPLE),
])  # fmt: skip
def test_what_is_said_and_true_is_believed(form: str, said: str, real: str, text: str) -> None:
    document = form.format(said, text)
    assert problems(document.encode(real)) == (document, [])
    assert problems(text.encode(real), f"text/html; charset={said}") == (text, [])
    assert problems(text.encode(real), f'text/html;charset="{said}"; x=y') == (text, [])
    assert problems(text.encode(real), hint=said) == (text, [])


@pytest.mark.parametrize(("said", "real", "text"), [
    ("utf-8", "gb18030", SIMPLE), ("gb2312", "utf-8", SIMPLE), ("gb18030", "utf-8", "通知"),
    ("utf-8", "gb18030", "联通"),
    ("utf-8", "big5hkscs", TRADITIONAL), ("gb2312", "big5hkscs", TRADITIONAL), ("big5", "gb18030", SIMPLE),
    ("big5", "utf-8", SIMPLE),
    ("iso-8859-1", "utf-8", SIMPLE), ("iso-8859-1", "gb18030", SIMPLE), ("us-ascii", "utf-8", SIMPLE),
    ("utf-8", "cp1252", FRENCH), ("x-nonsense", "utf-8", SIMPLE), ("utf-7", "utf-8", SIMPLE),
    ("punycode", "utf-8", SIMPLE),
    ("rot13", "gb18030", SIMPLE), ("zip", "utf-8", SIMPLE), ("unicode_escape", "utf-8", SIMPLE),
    ("utf-8", "euc_jp", JAPANESE),
])  # fmt: skip
def test_what_is_said_and_wrong_is_named(said: str, real: str, text: str) -> None:
    assert problems(text.encode(real), f"text/html; charset={said}") == (text, ["wrong-encoding"])
    document = PROLOG.format(said, text)
    assert problems(document.encode(real)) == (document, ["wrong-encoding"])


@pytest.mark.parametrize(("real", "text"), [
    ("utf-8", SIMPLE), ("gb18030", SIMPLE), ("big5hkscs", TRADITIONAL), ("cp932", JAPANESE),
    ("utf-8", FRENCH), ("cp1252", FRENCH),
    ("gb18030", "联通"), ("gb18030", "录陆录陆"), ("utf-8", "·"), ("utf-8", "café"), ("utf-8", "Привет"),
    ("ascii", "plain"), ("utf-8", ""),
])  # fmt: skip
def test_nothing_said(real: str, text: str) -> None:
    assert problems(text.encode(real)) == (text, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_marks_and_wide_encodings_go_before_what_is_said(encoding: str) -> None:
    document = PROLOG.format("gb2312", SIMPLE)
    assert problems(document.encode(encoding), "text/xml; charset=big5") == (document, [])


def test_of_several_claims_the_one_that_fits_is_right() -> None:
    document = PROLOG.format("gb2312", SIMPLE)
    assert problems(document.encode("gb18030"), "text/xml; charset=utf-8") == (document, [])
    assert problems(document.encode(), "text/xml; charset=utf-8") == (document, [])
    assert problems(document.encode("gb18030"), "text/xml; charset=iso-8859-1") == (document, [])
    assert problems(SIMPLE.encode("gb18030"), "text/html; charset=utf-8", hint="gbk") == (SIMPLE, [])


def test_a_claim_of_two_bytes_in_a_document_of_single_bytes_is_passed_over() -> None:
    document = PROLOG.format("utf-16", SIMPLE)
    assert problems(document.encode()) == (document, [])


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5hkscs"])
def test_damaged_bytes_cost_only_themselves(encoding: str) -> None:
    text = (TRADITIONAL if encoding == "big5hkscs" else SIMPLE) * 3
    body = text.encode(encoding)
    for broken in (body[:-1], b"\xff" + body, body[:30] + b"\xff\xff" + body[30:]):
        found, odd = problems(broken)
        assert odd == ["wrong-encoding"] and text[10:25] in found and found.count("\ufffd") <= 4


def test_utf8_with_a_broken_place_does_not_become_rare_characters() -> None:
    body = SIMPLE.encode()
    found, _ = problems(body[:31] + body[32:], "text/html; charset=gbk")
    assert found.count("\ufffd") <= 2 and SIMPLE[15:] in found


def test_a_mix_is_read_in_the_part_that_is_larger() -> None:
    found, odd = problems((SIMPLE * 5).encode() + "联通".encode("gb18030"))
    assert SIMPLE * 5 in found and odd == ["wrong-encoding"]


def test_the_sentence_says_both() -> None:
    oddity = decode(SIMPLE.encode("gb18030"), "text/html; charset=utf-8")[1][0]
    assert oddity.message == "It says its encoding is utf-8; it was read as gb18030."
    assert (oddity.line, oddity.dropped) == (0, False)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "utf-7",
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "base64",
        "hex",
        "x\x00y",
        "undefined",
    ],
)
def test_codecs_that_do_other_things_than_decode_are_not_used(name: str) -> None:
    assert codec_of(name) == ""


# -- properties --------------------------------------------------------------------------------------

COMMON = st.text(
    st.sampled_from([chr(n) for n in range(0x4E00, 0x9FA6)] + list("，。：（）12 ab")), max_size=60
)


@given(
    COMMON,
    st.sampled_from(["gb18030", "gbk", "gb2312", "utf-8"]),
    st.sampled_from(["hint", "header", "prolog"]),
)
def test_random_chinese_in_its_declared_encoding_comes_back(text: str, encoding: str, where: str) -> None:
    real = "utf-8" if encoding == "utf-8" else "gb18030"
    if where == "prolog":
        text = PROLOG.format(encoding, text)
    body = text.encode(real)
    found = decode(
        body,
        f"text/xml; charset={encoding}" if where == "header" else "",
        hint=encoding if where == "hint" else "",
    )[0]
    assert found == text or (real != "utf-8" and found == body.decode("utf-8", "replace"))  # both are true


@given(st.integers(0, 20), st.integers(4, 30), st.sampled_from(["utf-8", "gb18030", "big5hkscs"]))
def test_everyday_text_is_recognised_without_help(start: int, length: int, encoding: str) -> None:
    text = (TRADITIONAL if encoding == "big5hkscs" else SIMPLE)[start : start + length]
    assert decode(text.encode(encoding), "")[0] == text


@given(st.binary(max_size=400), st.text(max_size=40), st.text(max_size=20))
def test_any_bytes_give_a_text(body: bytes, content_type: str, hint: str) -> None:
    text, oddities = decode(body, content_type, hint=hint)
    assert isinstance(text, str) and len(oddities) <= 1


@given(
    st.binary(max_size=200),
    st.sampled_from(["utf-8", "gb2312", "big5", "iso-8859-1", "shift_jis", "hz", "utf-16"]),
)
def test_any_bytes_with_any_claim_give_a_text(body: bytes, said: str) -> None:
    assert isinstance(decode(PROLOG.format(said, "").encode() + body, "")[0], str)
