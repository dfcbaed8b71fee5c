"""Notice files: good rows land, bad ones are named with their line, memory stays small."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from feeds.intake.parsers.notice_file import read_notice_file
from feeds.intake.types import Oddity, RawEntry
from feeds.kernel.errors import BadInputError

ROW = {"id": "a", "title": "通知", "tags": ["x", "y"]}


def lines(*rows: Any) -> bytes:
    return "".join(
        (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows
    ).encode()


def read(data: bytes, name: str = "f.jsonl", **options: Any) -> tuple[list[RawEntry], list[Oddity]]:
    stream = io.BytesIO(data)
    stream.name = name
    found = list(read_notice_file(stream, **options))
    return [x for x in found if isinstance(x, RawEntry)], [x for x in found if isinstance(x, Oddity)]


def test_json_lines() -> None:
    rows, odd = read(lines(ROW, "", {"title": "b", "id": 7}, {"url": "https://a.cn"}))
    assert [(row.guid, row.line) for row in rows] == [("a", 1), ("7", 3), ("", 4)]
    assert rows[0].fields == ROW and odd == []


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + lines(ROW), lines(ROW).replace(b"\n", b"\r\n"), lines(ROW).rstrip(b"\n")]
)
def test_boms_and_line_ends(data: bytes) -> None:
    rows, odd = read(data)
    assert rows[0].fields == ROW and odd == []


def test_a_broken_line_in_the_middle() -> None:
    rows, odd = read(
        lines(ROW, '{"title": "b", }', "[1]", "5", ROW, '{"a": ' + "[" * 200_000, '{"n": ' + "9" * 5000 + "}")
    )
    assert [row.line for row in rows] == [1, 5]
    assert [(item.line, item.problem, item.dropped) for item in odd] == [
        (2, "not-json", True),
        (3, "not-an-object", True),
        (4, "not-an-object", True),
        (6, "not-json", True),
        (7, "not-json", True),
    ]
    assert "column 16" in odd[0].message or "column 15" in odd[0].message


def test_a_line_that_is_not_utf8_between_lines_that_are() -> None:
    rows, odd = read(lines(ROW) + '{"title": "关于公积金"}\n'.encode("gb18030") + lines(ROW))
    assert [row.line for row in rows] == [1, 3]
    assert [(item.line, item.problem) for item in odd] == [(2, "not-utf8")]


def test_gb18030_files() -> None:
    rows, odd = read(lines(ROW, {"title": "关于公积金的通知"}).decode().encode("gb18030"))
    assert [row.fields["title"] for row in rows] == ["通知", "关于公积金的通知"] and odd == []
    rows, odd = read("标题,正文,发布日期\n通知,内容,2026-10-01\n".encode("gb18030"), "f.csv")
    assert dict(rows[0].fields) == {"title": "通知", "body": "内容", "published": "2026-10-01"} and odd == []


def test_a_file_that_is_no_text_at_all() -> None:
    rows, odd = read(b'{"title": "\xff\xff\x80"}\n\xfe\xfd\n')
    assert rows == [] and [item.problem for item in odd] == ["not-utf8", "not-utf8"]


@pytest.mark.parametrize(("data", "name"), [
    (json.dumps([ROW, 5, ROW]).encode(), "f.json"), (json.dumps([ROW, 5, ROW], indent=2).encode(), "f.jsonl"),
    (b"\xef\xbb\xbf  " + json.dumps([ROW, 5, ROW]).encode(), "f"),
])  # fmt: skip
def test_a_small_array_is_read(data: bytes, name: str) -> None:
    rows, odd = read(data, name)
    assert [row.line for row in rows] == [1, 3] and [item.line for item in odd] == [2]


def test_one_object_over_several_lines_is_one_row() -> None:
    rows, _ = read(json.dumps(ROW, indent=2).encode())
    assert [row.fields for row in rows] == [ROW]


def test_a_broken_array_and_a_broken_first_line() -> None:
    with pytest.raises(BadInputError, match="one notice a line"):
        read(b'[\n{"title": "a"},\n')
    rows, odd = read(b'{"title": \n' + lines(ROW))
    assert [row.line for row in rows] == [2] and [item.line for item in odd] == [1]


def test_a_large_array_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.intake.parsers.notice_file.MAX_WHOLE", 100)
    with pytest.raises(BadInputError, match="jq -c"):
        read(json.dumps([ROW] * 20, indent=1).encode())


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n\n", "is empty"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"PK\x03\x04....", "save the sheet as CSV"),
        ("标题".encode("utf-16"), "UTF-16"),
        (b"%PDF-1.7", "PDF"),
        (b"a,b,c\n1,2,3\n", "no column title"),
    ],
)
def test_files_of_another_kind(data: bytes, part: str) -> None:
    with pytest.raises(BadInputError, match=part):
        read(data, "f.csv")


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "f.ndjson").write_bytes(lines(ROW))
    assert len(list(read_notice_file(tmp_path / "f.ndjson"))) == 1
    with pytest.raises(BadInputError, match="is a folder"):
        list(read_notice_file(tmp_path))
    with pytest.raises(BadInputError, match="There is no file"):
        list(read_notice_file(tmp_path / "none.csv"))


def test_a_stream_that_cannot_seek() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_args: int) -> int:
            raise OSError("a pipe")

    assert len(list(read_notice_file(cast(BinaryIO, Pipe(lines(ROW, ROW)))))) == 2


def test_csv() -> None:
    head = '\ufeffid,Title,tags,body,unknown\r\n1,"a, ""b""",x|y,"two\nlines",z\r\n'
    rows, odd = read((head + "\r\n,,,,\r\n2,c\r\n3,d,,,,e\r\n").encode(), "f.csv")
    assert [(row.guid, row.line) for row in rows] == [("1", 2), ("2", 6), ("3", 7)]
    assert rows[0].fields == {
        "id": "1",
        "title": 'a, "b"',
        "tags": "x|y",
        "body": "two\nlines",
        "unknown": "z",
    }
    assert [(item.line, item.problem, item.dropped) for item in odd] == [(7, "extra-cells", False)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_are_found(delimiter: str) -> None:
    rows, _ = read(f"标题{delimiter}链接\n通知{delimiter}https://a.cn\n".encode(), "table")
    assert rows[0].fields == {"title": "通知", "url": "https://a.cn"}


def test_the_first_character_beats_a_wrong_ending() -> None:
    rows, _ = read(lines(ROW), "f.csv")
    assert rows[0].fields == ROW


def test_long_lines_are_passed_over_in_small_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(lines(ROW))
        file.write(b'{"title": "')
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + lines(ROW))
    tracemalloc.start()
    found = list(read_notice_file(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.line for item in found] == [1, 2, 3]
    odd = found[1]
    assert isinstance(odd, Oddity) and (odd.problem, odd.dropped) == ("too-long", True)
    assert peak < 12_000_000  # the line itself has 50 MB


def test_a_long_cell_and_an_open_quote() -> None:
    data = b"title\na\n" + b'"' + (b"b" * 99 + b"\n") * 30_000 + b'"\nc\n'
    rows, odd = read(data, "f.csv")
    assert rows[0].fields == {"title": "a"}
    assert odd[0].problem == "not-csv" and odd[0].line == 3
