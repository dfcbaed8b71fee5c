"""Reads notice files (JSON Lines or CSV) row by row in constant memory; docs/notice-file.md is the format.

It never judges a row's content and never stops at a bad one: what cannot be read becomes an Oddity
with its line, and the rows around it still come. Called by :mod:`feeds.intake.ingest`.
"""

from __future__ import annotations

import codecs
import csv
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from feeds.intake.types import Oddity, RawEntry
from feeds.kernel.errors import BadInputError

Format = Literal["jsonl", "csv"]
MAX_LINE = 2_000_000  # bytes; a longer line is passed over without being held
MAX_WHOLE = 20_000_000  # bytes; a file that is one JSON value is read at once up to here
_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_NAMES = ("title", "body", "url", "id", "published", "agency", "source", "tags", "doc_no", "lang")
# Headers that Chinese offices use in their own tables.
_CHINESE = {
    "标题": "title",
    "名称": "title",
    "正文": "body",
    "内容": "body",
    "链接": "url",
    "官方链接": "url",
    "网址": "url",
    "发布日期": "published",
    "发布时间": "published",
    "成文日期": "formed",
    "截止日期": "deadline",
    "发布单位": "agency",
    "发文机关": "agency",
    "文号": "doc_no",
    "发文字号": "doc_no",
    "索引号": "index_no",
    "类型": "doc_type",
    "分类": "tags",
    "标签": "tags",
    "关键词": "tags",
    "层级": "region",
    "地区": "region",
    "状态": "status",
    "来源": "source",
    "编号": "id",
    "语言": "lang",
    "电话": "phone",
    "咨询电话": "phone",
}
_SIGNATURES = {
    b"\x1f\x8b": "is packed with gzip; unpack it first (gunzip)",
    b"PK\x03\x04": "is a ZIP or Excel file; save the sheet as CSV (UTF-8) first",
    b"\xd0\xcf\x11\xe0": "is an old Excel file; save the sheet as CSV (UTF-8) first",
    b"\xff\xfe": "is UTF-16; save it as UTF-8 first",
    b"\xfe\xff": "is UTF-16; save it as UTF-8 first",
    b"%PDF": "is a PDF; a notice file is JSON Lines or CSV",
    b"SQLite format": "is a database; a notice file is JSON Lines or CSV",
}


def read_notice_file(
    file: str | Path | BinaryIO, *, format: Format | None = None
) -> Iterator[RawEntry | Oddity]:
    """Yield the rows of a notice file in order, and an oddity for each that cannot be read.

    Args:
        file: A path, or a binary stream (one that cannot seek is copied to a temporary file first).
        format: ``jsonl`` or ``csv``; else the file's ending decides, else its first character.

    Raises:
        BadInputError: If the whole file is not what it claims to be: missing, a folder, empty, packed,
            no known column. The sentence says what to do.
    """
    with _opened(file) as (stream, name, ending):
        kind = format or _FORMATS.get(ending)
        head = _check(stream, name)
        if kind is None or head[:1] in b"{[":
            kind = "jsonl" if head[:1] in b"{[" and format != "csv" else kind or "csv"
        encoding = _encoding(stream)
        rows = _csv_rows(stream, encoding, name) if kind == "csv" else _json_rows(stream, encoding, name)
        yield from rows


@contextmanager
def open_notice_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a notice file for reading.

    Raises:
        BadInputError: If it is missing, a folder or not readable.
    """
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed by the block below
    except IsADirectoryError:
        raise BadInputError(f"{path} is a folder; give the notice file itself.") from None
    except FileNotFoundError:
        raise BadInputError(f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); check its rights.") from error
    with stream:
        yield stream


@contextmanager
def _opened(file: str | Path | BinaryIO) -> Iterator[tuple[BinaryIO, str, str]]:
    if not isinstance(file, (str, Path)):
        name = str(getattr(file, "name", "the input"))
        if file.seekable():
            yield file, name, Path(name).suffix.lower()
            return
        with tempfile.TemporaryFile() as copy:
            while chunk := file.read(1 << 20):
                copy.write(chunk)
            yield cast(BinaryIO, copy), name, ""
        return
    with open_notice_file(file) as opened:
        yield opened, str(file), Path(file).suffix.lower()


def _check(stream: BinaryIO, name: str) -> bytes:
    """Refuse what is no text at all; return the first characters after any BOM and white space."""
    stream.seek(0)
    head = stream.read(4096)
    for signature, advice in _SIGNATURES.items():
        if head.startswith(signature):
            raise BadInputError(f"{name} {advice}.")
    plain = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not plain and not stream.read(1):
        raise BadInputError(f"{name} is empty; a notice file has one notice a line.")
    return plain


def _encoding(stream: BinaryIO) -> str:
    """``utf-8``, or ``gb18030`` where no line with Chinese is UTF-8 and the whole file decodes so."""
    decoder = codecs.getincrementaldecoder("gb18030")()
    chinese_gb = False
    for line in _raw_lines(stream):
        if line is None or line.isascii():
            continue
        try:
            if max(line.decode("utf-8")) > "\u07ff":
                return "utf-8"
        except UnicodeDecodeError:
            chinese_gb = True
        try:
            decoder.decode(line)
        except UnicodeDecodeError:
            return "utf-8"
    return "gb18030" if chinese_gb else "utf-8"


def _raw_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield every line; ``None`` for one that is longer than MAX_LINE, of which only a piece is ever held."""
    stream.seek(0)
    if stream.read(3) != codecs.BOM_UTF8:
        stream.seek(0)
    while line := stream.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (piece := stream.readline(1 << 16)) and not piece.endswith(b"\n"):
            pass
        yield None


def _lines(stream: BinaryIO, encoding: str) -> Iterator[tuple[int, str | Oddity]]:
    for number, raw in enumerate(_raw_lines(stream), start=1):
        if raw is None:
            yield number, _dropped(number, "too-long", f"Line {number} is longer than {MAX_LINE} bytes")
            continue
        try:
            yield number, raw.decode(encoding)
        except UnicodeDecodeError as error:
            yield number, _dropped(number, "not-utf8", f"Line {number} is not UTF-8 (byte {error.start + 1})")


def _dropped(line: int, problem: str, what: str) -> Oddity:
    return Oddity(
        line, "", problem, f"{what}; it was left out, correct it and import the file again.", dropped=True
    )


def _json_rows(stream: BinaryIO, encoding: str, name: str) -> Iterator[RawEntry | Oddity]:
    for number, text in _lines(stream, encoding):
        if isinstance(text, Oddity):
            yield text
            continue
        if not text.strip():
            continue
        row = _json_row(number, text)
        if number == 1 and isinstance(row, Oddity) and text.lstrip()[0] in "[{":
            # The first line is no notice: perhaps the whole file is one JSON value.
            rest = _whole(stream, encoding, name, text)
            if rest is not None:
                yield from rest
                return
        yield row


def _json_row(number: int, text: str) -> RawEntry | Oddity:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return _dropped(
            number, "not-json", f"Line {number} is not JSON ({error.msg} at column {error.colno})"
        )
    except (ValueError, RecursionError) as error:
        return _dropped(number, "not-json", f"Line {number} is not usable JSON ({str(error)[:80]})")
    return _entry(number, value)


def _entry(number: int, value: Any) -> RawEntry | Oddity:
    if not isinstance(value, dict):
        return _dropped(
            number, "not-an-object", f"Row {number} is not a JSON object with the fields of a notice"
        )
    return RawEntry(_guid(value.get("id")), number, value)


def _guid(given: Any) -> str:
    return str(given).strip() if isinstance(given, (str, int)) and not isinstance(given, bool) else ""


def _whole(stream: BinaryIO, encoding: str, name: str, first: str) -> Iterator[RawEntry | Oddity] | None:
    """Read a file that is one JSON array (or one object over several lines); ``None`` if it is neither."""
    after_first = stream.tell()
    if stream.seek(0, 2) > MAX_WHOLE:
        if first.strip() != "[" and not first.lstrip().startswith("[{"):
            stream.seek(after_first)
            return None
        raise BadInputError(
            f"{name} is one large JSON array; write one notice a line: jq -c '.[]' old.json > new.jsonl"
        )
    stream.seek(0)
    try:
        value = json.loads(stream.read().decode("utf-8-sig" if encoding == "utf-8" else encoding))
    except (ValueError, RecursionError):
        if first.strip() in ("[", "{"):
            raise BadInputError(
                f"{name} is JSON over several lines and broken; write one notice a line."
            ) from None
        stream.seek(after_first)
        return None
    rows = value if isinstance(value, list) else [value]
    return (_entry(number, row) for number, row in enumerate(rows, start=1))


def _csv_rows(stream: BinaryIO, encoding: str, name: str) -> Iterator[RawEntry | Oddity]:
    odd: list[Oddity] = []
    csv.field_size_limit(MAX_LINE)
    lines = _good_lines(stream, encoding, odd)
    header_line = next(lines, "")
    columns, delimiter = _header(header_line, name)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        number = reader.line_num + 2
        try:
            cells = next(reader, None)
        except csv.Error as error:
            odd.append(_dropped(number, "not-csv", f"Line {number} is not CSV ({error})"))
            continue
        yield from _drain(odd)
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield from _csv_row(number, columns, cells)


def _drain(odd: list[Oddity]) -> Iterator[Oddity]:
    yield from odd
    odd.clear()


def _good_lines(stream: BinaryIO, encoding: str, odd: list[Oddity]) -> Iterator[str]:
    for _, text in _lines(stream, encoding):
        if isinstance(text, Oddity):
            odd.append(text)
            yield "\n"  # keeps the count of lines right
        else:
            yield text.replace("\0", "")


def _header(line: str, name: str) -> tuple[list[str], str]:
    """Find the delimiter under which most columns are known."""
    best: tuple[list[str], str] = ([], ",")
    for delimiter in (",", ";", "\t"):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        columns = [_CHINESE.get(cell.strip(), cell.strip().lower()) for cell in cells]
        if _known(columns) > _known(best[0]):
            best = columns, delimiter
    if not set(best[0]) & {"title", "body", "url"}:
        found = ", ".join(line.split(","))[:120].strip()
        raise BadInputError(
            f"{name} has no column title, body or url in its first line (found: {found}); add a header row."
        )
    return best


def _known(columns: list[str]) -> int:
    return sum(column in _NAMES for column in columns)


def _csv_row(number: int, columns: list[str], cells: list[str]) -> Iterator[RawEntry | Oddity]:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        message = (
            f"Line {number} has {len(cells)} cells for {len(columns)} columns; the last ones were left out."
        )
        yield Oddity(number, "", "extra-cells", message)
    fields: dict[str, Any] = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
    yield RawEntry(_guid(fields.get("id")), number, fields)
