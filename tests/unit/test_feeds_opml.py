"""Lists of feeds as other programs write them, hostile ones, and our own read back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.opml import MAX_OUTLINES, Outline, read_opml, write_opml
from feeds.kernel.errors import BadInputError

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def opml(body: str, head: str = "<title>示例</title>", start: str = '<?xml version="1.0"?>') -> bytes:
    return f'{start}<opml version="2.0"><head>{head}</head><body>{body}</body></opml>'.encode()


def test_folders_become_categories() -> None:
    found = read_opml(opml(
        '<outline text="示例市"><outline text="教育/入学"><outline type="rss" text="教育局" xmlUrl="https://edu.sl.example/rss"'
        ' htmlUrl="https://edu.sl.example/" category="/招生,考试"/></outline></outline>'
        '<outline title="民政局" xmlURL="https://mz.sl.example/rss"/><outline xmlUrl="https://x.sl.example/rss"/>'
    ))  # fmt: skip
    assert found.title == "示例" and found.oddities == ()
    assert found.outlines == (
        Outline(
            "教育局",
            "https://edu.sl.example/rss",
            "https://edu.sl.example/",
            ("示例市/教育／入学", "招生", "考试"),
        ),
        Outline("民政局", "https://mz.sl.example/rss"),
        Outline("https://x.sl.example/rss", "https://x.sl.example/rss"),
    )


def test_what_comes_twice_is_joined_and_named() -> None:
    one = '<outline text="甲" xmlUrl="https://a.example/rss"/>'
    found = read_opml(opml(f'<outline text="一">{one}</outline><outline text="二">{one}</outline>'))
    assert found.outlines == (Outline("甲", "https://a.example/rss", "", ("一", "二")),)
    assert [(odd.line, odd.problem) for odd in found.oddities] == [(2, "duplicate")]


@pytest.mark.parametrize(
    "url", ["", "javascript:alert(1)", "file:///etc/passwd", "ftp://a.example/", "http://", "x"]
)
def test_what_is_no_web_address_is_left_out(url: str) -> None:
    found = read_opml(opml(f'<outline text="a" xmlUrl="{url}"/><outline xmlUrl="https://b.example/"/>'))
    assert [one.url for one in found.outlines] == ["https://b.example/"]
    assert [(odd.problem, odd.dropped) for odd in found.oddities] == [("bad-url", True)]


def test_bare_ampersands_and_control_characters_are_survived() -> None:
    found = read_opml(opml('<outline text="A & B\x0b" xmlUrl="https://a.example/?x=1&y=2"/>'))
    assert [one.url[:18] for one in found.outlines] == ["https://a.example/"]
    assert [odd.problem for odd in found.oddities] == ["broken-xml"]


def test_a_list_in_gb18030_is_read() -> None:
    body = opml(
        '<outline text="示例市教育局" xmlUrl="https://a.example/rss"/>',
        start='<?xml version="1.0" encoding="gb2312"?>',
    )
    assert read_opml(body.decode().encode("gb18030")).outlines[0].title == "示例市教育局"


LAUGHS = '<!DOCTYPE o [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(("body", "part"), [
    (opml("", start=LAUGHS), "document type"),
    (opml("", start="<!DOCTYPE o SYSTEM 'file:///etc/passwd'>"), "document type"),
    (opml("<outline text='a'>" * 25 + "</outline>" * 25), "levels"),
    (opml("<outline text='a'>" * 200_000), "levels|no OPML"),
    (opml("<outline xmlUrl='https://a.example/'/>" * (MAX_OUTLINES + 1)), "outlines"),
    (b"x" * 5_000_001, "at most"), (b"", "no OPML"), (b"<rss/>", "no OPML"), (b"<opml/>", "no OPML"),
    (b'{"a": 1}', "no OPML"),
    (opml("<outline xmlUrl='https://a.example/&#xD800;'/>"), "damaged"),
])  # fmt: skip
def test_what_is_refused(body: bytes, part: str) -> None:
    started = time.process_time()
    with pytest.raises(BadInputError, match=part) as caught:
        read_opml(body)
    assert str(caught.value).count(". ") == 0 and time.process_time() - started < 3


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: opml(text)))
def test_any_bytes_give_a_list_or_one_sentence(body: bytes) -> None:
    try:
        read_opml(body)
    except BadInputError as error:
        assert str(error).startswith("The ")


LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zs", "Zl", "Zp", "Cn", "Co", "Mn", "Mc",
    "Me"), max_codepoint=0x9FFF), min_size=1, max_size=12).filter(
    lambda text: "/" not in text and "," not in text
)  # fmt: skip


@given(
    st.lists(
        st.builds(
            lambda title, number, page, path, more: Outline(
                title, f"https://a.example/{number}", page,
                tuple(dict.fromkeys(["/".join(path), *more])) if path else ()
            ),
            LINE,
            st.integers(0, 10**6),
            st.sampled_from(["", "https://a.example/"]),
            st.lists(LINE, max_size=3),
            st.lists(LINE, max_size=2),
        ),
        max_size=8,
        unique_by=lambda one: one.url,
    )
)  # fmt: skip
def test_what_is_written_is_read_back(outlines: list[Outline]) -> None:
    import unicodedata

    composed = [
        Outline(
            unicodedata.normalize("NFC", one.title),
            one.url,
            one.html_url,
            tuple(dict.fromkeys(unicodedata.normalize("NFC", name) for name in one.categories)),
        )
        for one in outlines
    ]
    found = read_opml(write_opml("示例的源", composed, NOW))
    assert (found.title, list(found.outlines), found.oddities) == ("示例的源", composed, ())


def test_it_is_what_other_programs_read() -> None:
    written = write_opml(
        "示例", [Outline("甲", "https://a.example/?x=1&y=2", "", ("一/二", "三"))], NOW
    ).decode()
    assert written.startswith("<?xml version='1.0' encoding='utf-8'?>\n<opml version=\"2.0\">")
    assert "<dateCreated>Fri, 20 Nov 2026 08:00:00 +0000</dateCreated>" in written
    assert '<outline text="一">\n      <outline text="二">' in written and 'category="/三"' in written
