"""Reads lists that are tables in a text file (CSV), however carelessly they were made.

A quote that is never closed costs its own line, not the rest of the file; a row that is too short or
too long is read as far as it goes. Pure. Called by ``feeds.intake.parsers.choice``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from feeds.intake.charset import decode
from feeds.intake.parsers.list_rows import MAX_SIZE, entries_of
from feeds.intake.parsers.refusals import what_page
from feeds.intake.recipe_fields import Find
from feeds.intake.recipes import Recipe
from feeds.intake.types import Oddity, Parsed
from feeds.kernel.errors import BadInputError

MAX_SPAN = 50  # lines of one row; a quote that is open for longer was never closed
MAX_RECORDS = 50_000  # rows, empty ones included
MAX_OPEN = 100  # such quotes; after them no quote is believed to reach over its line
_DELIMITERS = (",", ";", "\t", "|")
_STILL_OPEN = "unexpected end of data"  # csv's own words


def parse_csv_list(body: bytes, headers: Mapping[str, str], url: str, recipe: Recipe) -> Parsed:
    """Read the rows of a CSV.

    Args:
        body: As received, at most 20 MB.
        headers: Names in lower case.
        url: Where it came from; relative links are resolved against it.
        recipe: ``fields`` name columns, or ``#3`` for the third.

    Returns:
        Entries in the order of the file; their ``line`` is the line of the file on which the row begins.

    Raises:
        BadInputError: If it is too long, no table, has no column for the title (or none for the url where
            the recipe takes no title), or most rows have no title.
    """
    if len(body) > MAX_SIZE:
        raise BadInputError(f"{url} has {len(body)} bytes; a list of at most {MAX_SIZE} is read.")
    text, oddities = decode(body, headers.get("content-type", ""), hint=recipe.charset)
    text = text.removeprefix("\ufeff").replace("\0", "")
    if text.lstrip()[:1] == "<":
        raise BadInputError(f"{url} is {what_page(text)}, not a CSV; look at it in a browser.")
    if body.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF")):
        raise BadInputError(f"{url} is a spreadsheet or a PDF, not a CSV; ask its publisher for CSV.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    table = _Table(lines, recipe)
    if isinstance(recipe.header, int):
        _check_columns(table, recipe, url, oddities)
    entries, more = entries_of(recipe, table.finders(), url)
    if not table.rows:
        oddities.append(Oddity(0, "items", "no-items", "The table has no rows below its header."))
    return Parsed("", "", "", entries, (*oddities, *table.oddities(), *more), format="CSV list")


class _Table:
    """The rows of a text, with what was odd about their shape."""

    def __init__(self, lines: list[str], recipe: Recipe) -> None:
        self._lines, self._start = lines, 0
        self.names: list[str] = []
        self.rows = 0
        self._short = self._open = 0
        self._odd: list[Oddity] = []
        if isinstance(recipe.header, tuple):
            self.names = list(recipe.header)
            self._delimiter = recipe.delimiter or self._guess(recipe, lines[:1])
        elif recipe.header:
            first = _first_line(lines, recipe.header - 1)
            self._start = first + 1
            self._delimiter = recipe.delimiter or self._guess(recipe, lines[first : first + 1])
            self.names = [name.strip() for name in _cells(lines[first : first + 1], self._delimiter) or []]
        else:
            self._delimiter = recipe.delimiter or self._guess(recipe, lines[:1])

    def finders(self) -> Iterator[tuple[int, Find | str]]:
        """Yield the line and the finder of each row."""
        for line, cells in self._records():
            if not any(cell.strip() for cell in cells):
                continue
            self.rows += 1
            self._measure(line, cells)
            yield line, partial(self._texts, cells)

    def oddities(self) -> list[Oddity]:
        """Return what was odd about the rows that were read."""
        if self._short:
            message = f"{self._short} rows have fewer cells than the header; the missing ones are empty."
            return [*self._odd, Oddity(0, "", "short-rows", message)]
        return self._odd

    def _guess(self, recipe: Recipe, header: Sequence[str]) -> str:
        """The delimiter under which most of the recipe's columns are there; ties go to the comma."""
        wanted = {column for take in recipe.fields.values() for column in take.expressions()}

        def fitting(delimiter: str) -> tuple[int, int]:
            cells = [cell.strip() for cell in _cells(header, delimiter) or []]
            return len(wanted & set(cells)), len(cells)

        return max(_DELIMITERS, key=fitting)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        at = self._start
        for _ in range(MAX_RECORDS):
            if at >= len(self._lines):
                return
            cells, span = self._record(at)
            yield at + 1, cells
            at += span

    def _record(self, at: int) -> tuple[list[str], int]:
        """The cells of the row that begins at a line, and over how many lines it goes."""
        reach = MAX_SPAN if self._open < MAX_OPEN else 1
        for span in range(1, min(reach, len(self._lines) - at) + 1):
            if span > 1 and '"' not in self._lines[at + span - 1]:
                continue  # nothing there could close the quote
            cells = _cells(self._lines[at : at + span], self._delimiter)
            if cells is not None:
                return cells, span
        self._open += 1
        if self._open > MAX_OPEN:
            return [cell.strip('"') for cell in self._lines[at].split(self._delimiter)], 1
        message = f"Line {at + 1} opens a quote that is never closed; it was read as if there were no quote."
        self._odd.append(Oddity(at + 1, "", "open-quote", message))
        return [cell.strip('"') for cell in self._lines[at].split(self._delimiter)], 1

    def _measure(self, line: int, cells: Sequence[str]) -> None:
        width = len(self.names)
        if not width:
            return
        if any(cell.strip() for cell in cells[width:]):
            message = f"Line {line} has {len(cells)} cells for {width} columns; the last ones have no name."
            self._odd.append(Oddity(line, "", "extra-cells", message))
        self._short += len(cells) < width

    def _texts(self, cells: Sequence[str], column: str) -> list[str]:
        if column.startswith("#") and column[1:].isdecimal():
            place = int(column[1:4]) - 1
        elif column in self.names:
            place = self.names.index(column)
        else:
            return []
        return [cells[place].strip()] if 0 <= place < len(cells) and cells[place].strip() else []


def _first_line(lines: Sequence[str], wanted: int) -> int:
    """The header's line: the wanted one, or the first after it that is not empty."""
    return next((at for at in range(wanted, len(lines)) if lines[at].strip()), wanted)


def _cells(lines: Sequence[str], delimiter: str) -> list[str] | None:
    """The cells of one row; ``None`` where a quote is still open at its end."""
    text = "\n".join(lines)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if str(error) == _STILL_OPEN:
            return None
    if len(lines) > 1:  # what a later line closes must be right, or it would swallow other rows
        return None
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:  # a cell beyond csv's own limit
        return text.split(delimiter)


def _check_columns(table: _Table, recipe: Recipe, url: str, oddities: list[Oddity]) -> None:
    """Name the columns that are not there; without that of the title the table is something else."""
    missing = []
    for name, take in recipe.fields.items():
        columns = take.expressions()
        if columns and not any(column.startswith("#") or column in table.names for column in columns):
            missing.append(name)
            message = f"There is no column {' or '.join(columns)!r} for {name}; it stays empty."
            oddities.append(Oddity(0, name, "no-column", message))
    has = ", ".join(table.names)[:120] or "none"
    if all(name in missing for name in ("title", "url") if name in recipe.fields):
        raise BadInputError(f"{url} has no column for title or url (its columns: {has}); mend the recipe.")
    if "title" in missing:
        title = " | ".join(recipe.fields["title"].expressions())[:120]
        raise BadInputError(
            f"{url} has no column {title!r} for the title (its columns: {has}); its layout may have changed."
        )
