"""Reads a city's files and checks every line of them; docs/cities.md is the format.

Never guesses: a defect stops the load with one sentence naming file, line and field. Never reads
settings or a clock. Called by the wiring once at start, and by the doctor.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from feeds.catalogue.alert_files import (
    ISSUER_COLUMNS,
    SHAPE_COLUMNS,
    issuers_of,
    shapes_of,
    templates_of,
)
from feeds.catalogue.alert_templates import AlertTemplate
from feeds.catalogue.vocabulary import (
    PLACE_KINDS,
    Agency,
    City,
    CityError,
    Label,
    LifeEvent,
    NoticeType,
    Place,
    Role,
    Rule,
    Theme,
)
from feeds.catalogue.words import one_form
from feeds.kernel.workdays import WorkingCalendar

#: Endings that people leave out: "普陀" for 普陀区, "曲阳路" for 曲阳路街道.
_ENDINGS = ("街道", "新区", "区", "市", "县", "镇", "乡")
_RULE_LISTS = ("title", "text", "also", "unless", "upstream", "doc_type", "agency")
_RULE_TRIGGERS = ("title", "text", "upstream", "doc_type", "agency")


def load_city(name_or_folder: str | Path) -> City:
    """Read and check a city.

    Args:
        name_or_folder: A shipped city ("shanghai", "shili") or the path of a folder with a ``city.toml``.

    Returns:
        The city, with the files of its ``base`` read first and its own rows added, or put in their place.

    Raises:
        CityError: One sentence with file, line and field for the first defect found.

    Source: docs/cities.md.
    """
    return _Loader(_find(name_or_folder)).city()


def _find(name_or_folder: str | Path) -> Traversable:
    text = str(name_or_folder)
    if re.fullmatch(r"[a-z0-9_]+", text) and isinstance(name_or_folder, str):
        shipped = importlib.resources.files("feeds.cities").joinpath(text)
        if shipped.joinpath("city.toml").is_file():
            return shipped
    folder = Path(name_or_folder)
    if folder.joinpath("city.toml").is_file():
        return folder
    raise CityError(f"no city {text!r}: it is neither a shipped city nor a folder with a city.toml")


def _find_base(name: str, where: str) -> Traversable:
    shipped = importlib.resources.files("feeds.cities").joinpath(name)
    if re.fullmatch(r"[a-z0-9_]+", name) and shipped.is_dir():
        return shipped
    raise CityError(f'{where}, base: there is no "{name}" to build on')


_Coded = TypeVar("_Coded", Role, LifeEvent, NoticeType)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a CSV file, with the place to name in an error."""

    where: str
    cells: Mapping[str, str]

    def need(self, column: str) -> str:
        value = self.get(column)
        if not value:
            raise self.error(column, "is empty")
        return value

    def get(self, column: str) -> str:
        return (self.cells.get(column) or "").strip()

    def many(self, column: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.get(column).split("|") if part.strip())

    def flag(self, column: str) -> bool:
        value = self.get(column)
        if value not in ("", "0", "1"):
            raise self.error(column, f"{value!r} must be 0 or 1")
        return value == "1"

    def label(self) -> Label:
        return Label(self.need("zh"), self.need("en"))

    def error(self, column: str, problem: str) -> CityError:
        return CityError(f"{self.where}, {column}: {problem}")


class _Loader:
    """Reads one city folder on top of its base; each method reads one kind of file."""

    def __init__(self, folder: Traversable) -> None:
        self.where = f"{_name(folder)}/city.toml"
        self.head = _toml(folder.joinpath("city.toml"), self.where)
        base = self._text("base", "")
        self.folders = [_find_base(base, self.where), folder] if base else [folder]

    def city(self) -> City:
        """Build the city; the order matters, because rules are checked against everything before them."""
        name = self.head.get("name")
        if not isinstance(name, dict) or not {"zh", "en"} <= set(name):
            raise CityError(f"{self.where}, [name]: needs zh and en")
        places = self._places()
        city = City(
            slug=self._text("slug"), name=Label(str(name["zh"]), str(name["en"])), place=self._text("place"),
            timezone=self._text("timezone"), authority=self._text("authority"),
            sample_mark=self._text("sample_mark", ""), sms_signature=self._text("sms_signature", ""),
            themes=self._themes(),
            roles=self._codes("roles.csv", lambda r: Role(r.need("code"), r.label(), r.flag("sensitive"))),
            life_events=self._codes(
                "life_events.csv", lambda r: LifeEvent(r.need("code"), r.label(), r.flag("sensitive"))
            ),
            notice_types=self._codes("notice_types.csv", lambda r: NoticeType(r.need("code"), r.label())),
            places=places, agencies=self._agencies(places), rules=(), decoys=self._lines("decoys.txt"),
            checks=tuple(map(one_form, self._lines("checks.txt"))), calendar=self._calendar(),
            issuers=issuers_of(self._rows("issuers.csv", ISSUER_COLUMNS, optional=True)),
            alert_templates=self._alert_templates(),
            shapes=MappingProxyType(
                shapes_of(self._rows("shapes.csv", SHAPE_COLUMNS, optional=True), places)
            ),
            _names=_place_names(places),
        )  # fmt: skip
        if city.place not in places:
            raise CityError(f"{self.where}, place: {city.place!r} is not in places.csv")
        # The rules can only be read once everything they may point to is known.
        return replace(city, rules=self._rules(city))

    def _text(self, key: str, default: str | None = None) -> str:
        value = self.head.get(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise CityError(f"{self.where}, {key}: must be given as text")
        return value

    def _rows(self, file: str, columns: tuple[str, ...], *, optional: bool = False) -> Iterator[_Row]:
        found = optional
        for folder in self.folders:
            path = folder.joinpath(file)
            if path.is_file():
                found = True
                yield from _csv_rows(path, f"{_name(folder)}/{file}", columns)
        if not found:
            raise CityError(f"{_name(self.folders[-1])}/{file}: the file is missing")

    def _codes(self, file: str, make: Callable[[_Row], _Coded]) -> Mapping[str, _Coded]:
        columns = ("code", "zh", "en") if file == "notice_types.csv" else ("code", "zh", "en", "sensitive")
        return MappingProxyType({item.code: item for item in map(make, self._rows(file, columns))})

    def _themes(self) -> Mapping[str, Theme]:
        themes: dict[str, Theme] = {}
        for row in self._rows("themes.csv", ("code", "parent", "zh", "en")):
            parent = row.get("parent")
            if parent and (parent not in themes or themes[parent].parent):
                raise row.error("parent", f"{parent!r} is not a level-1 theme named above this line")
            code = row.need("code")
            themes[code] = Theme(code, parent, row.label(), row.flag("sensitive"))
        return MappingProxyType(themes)

    def _places(self) -> Mapping[str, Place]:
        columns = ("code", "kind", "parent", "zh", "en", "aliases", "former")
        rows = {row.need("code"): row for row in self._rows("places.csv", columns)}
        places = {code: _place(row) for code, row in rows.items()}
        for code, place in places.items():
            if place.parent and place.parent not in places:
                raise rows[code].error("parent", f"{place.parent!r} is not a place")
            if place.kind not in ("country", "elsewhere") and not place.parent:
                raise rows[code].error("parent", f"a {place.kind} needs one")
            if code in _chain(places, code):
                raise rows[code].error("parent", f"{code!r} would contain itself")
        return MappingProxyType(places)

    def _agencies(self, places: Mapping[str, Place]) -> Mapping[str, Agency]:
        agencies: dict[str, Agency] = {}
        for row in self._rows("agencies.csv", ("slug", "zh", "en", "place", "aliases")):
            place = row.need("place")
            if place not in places:
                raise row.error("place", f"{place!r} is not a place")
            slug = row.need("slug")
            agencies[slug] = Agency(slug, row.label(), place, row.many("aliases"))
        return MappingProxyType(agencies)

    def _lines(self, file: str) -> tuple[str, ...]:
        """The lines of a plain list, base first, each once; ``#`` begins a comment."""
        found: dict[str, None] = {}
        for folder in self.folders:
            path = folder.joinpath(file)
            lines = _read(path, f"{_name(folder)}/{file}").splitlines() if path.is_file() else []
            found.update(dict.fromkeys(line.partition("#")[0].strip() for line in lines))
        return tuple(line for line in found if line)

    def _alert_templates(self) -> Mapping[str, AlertTemplate]:
        found: dict[str, AlertTemplate] = {}
        for folder in self.folders:
            path, where = folder.joinpath("alert_templates.toml"), f"{_name(folder)}/alert_templates.toml"
            if path.is_file():
                entries = _toml(path, where).get("template", [])
                found.update((one.code, one) for one in templates_of(entries, where))
        return MappingProxyType(found)

    def _calendar(self) -> WorkingCalendar:
        wanted = self.head.get("calendar", [])
        names = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(names, list):
            raise CityError(f"{self.where}, calendar: must be a name or a list of names")
        off: set[date] = set()
        worked: set[date] = set()
        years: set[int] = set()
        for name in names:
            for year, dates_off, dates_worked in self._calendar_years(str(name)):
                years.add(year)
                off |= dates_off
                worked |= dates_worked
        return WorkingCalendar(frozenset(off), frozenset(worked), frozenset(years))

    def _calendar_years(self, name: str) -> Iterator[tuple[int, set[date], set[date]]]:
        """The years of ``cn`` (all of calendars/cn.toml) or ``cn2026`` (that year of it)."""
        only = re.fullmatch(r"(\D+)(\d{4})", name)
        for folder in reversed(self.folders):
            for file, year in ((name, None), (only[1], int(only[2])) if only else (name, None)):
                path = folder.joinpath(f"calendars/{file}.toml")
                if path.is_file():
                    where = f"{_name(folder)}/calendars/{file}.toml"
                    yield from _calendar_years(_toml(path, where), where, year)
                    return
        raise CityError(f"{self.where}, calendar: there is no calendars/{name}.toml")

    def _rules(self, city: City) -> tuple[Rule, ...]:
        rules: dict[str, Rule] = {}
        for folder in self.folders:
            here = folder.joinpath("rules")
            files = sorted(here.iterdir(), key=lambda f: f.name) if here.is_dir() else []
            seen: dict[str, str] = {}
            for file in (f for f in files if f.name.endswith(".toml")):
                where = f"{_name(folder)}/rules/{file.name}"
                for rule in _rules_of(file, where, city):
                    if rule.id in seen:
                        raise CityError(f"{where}, rule {rule.id!r}, id: already used in {seen[rule.id]}")
                    seen[rule.id] = where
                    rules[rule.id] = rule
        return tuple(rules.values())


def _place(row: _Row) -> Place:
    kind = row.need("kind")
    kind = "street" if kind == "town" else kind  # 街道, 镇 and 乡 are one level
    if kind not in PLACE_KINDS:
        raise row.error("kind", f"{kind!r} is not one of {', '.join(PLACE_KINDS)}")
    aliases = row.many("aliases")
    return Place(
        row.need("code"), kind, row.get("parent"), row.label(),
        aliases=tuple(a for a in aliases if not a.endswith("?")), former=row.many("former"),
        careful=tuple(a.removesuffix("?") for a in aliases if a.endswith("?")),
    )  # fmt: skip


def _chain(places: Mapping[str, Place], code: str) -> list[str]:
    chain: list[str] = []
    while (code := places[code].parent) and code in places and code not in chain:
        chain.append(code)
    return chain


def _place_names(places: Mapping[str, Place]) -> dict[str, str]:
    """Folded name → code. Full names beat aliases, those beat old names, those beat names without ending."""
    names: dict[str, str] = {}
    ranks: tuple[Callable[[Place], Iterable[str]], ...] = (
        lambda p: (p.label.zh, p.label.en),
        lambda p: (*p.aliases, *p.careful),
        lambda p: p.former,
        _without_ending,
    )
    for rank in ranks:
        found: dict[str, set[str]] = {}
        for place in places.values():
            for name in map(one_form, rank(place)):
                found.setdefault(name, set()).add(place.code)
        for name, codes in found.items():
            best = sorted(codes, key=lambda c: PLACE_KINDS.index(places[c].kind))
            alone = len(best) == 1 or places[best[0]].kind != places[best[1]].kind
            names.setdefault(name, best[0] if alone else "")
    return {name: code for name, code in names.items() if code}


def _without_ending(place: Place) -> Iterator[str]:
    for name in (place.label.zh, *place.former):
        for ending in _ENDINGS:
            stem = name.removesuffix(ending)
            if stem != name and len(stem) >= 2:
                yield stem
    yield re.sub(r"\s+(subdistrict|town|district|new area|township|city)$", "", place.label.en.lower())


def _rules_of(file: Traversable, where: str, city: City) -> Iterator[Rule]:
    data = _toml(file, where)
    entries = data.get("rule", [])
    if set(data) - {"rule"} or not isinstance(entries, list):
        raise CityError(f"{where}: only [[rule]] tables may stand here")
    lines = [n for n, line in enumerate(_read(file, where).splitlines(), 1) if line.strip() == "[[rule]]"]
    lines += [0] * len(entries)
    for line, entry in zip(lines, entries, strict=False):
        yield _rule(entry, f"{where} line {line}" if line else where, city)


def _rule(entry: Mapping[str, Any], where: str, city: City) -> Rule:
    for key in ("id", "tag"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise CityError(f"{where}, {key}: every rule needs one")
    where = f"{where}, rule {entry['id']!r}"
    for key in set(entry) - {"id", "tag", *_RULE_LISTS}:
        raise CityError(f"{where}, {key}: unknown field")
    if not city.known(entry["tag"]):
        near = " or ".join(city.suggest(entry["tag"]))
        hint = f", did you mean {near}?" if near else ""
        raise CityError(f"{where}, tag: {entry['tag']!r} is unknown{hint}")
    if not any(entry.get(key) for key in _RULE_TRIGGERS):
        raise CityError(f"{where}: needs at least one of {', '.join(_RULE_TRIGGERS)}")
    return Rule(entry["id"], entry["tag"], **{key: _words(entry, key, where) for key in _RULE_LISTS})


def _words(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    words = entry.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) and one_form(word) for word in words):
        raise CityError(f"{where}, {key}: must be a list of words")
    for word in words:
        if len(one_form(word)) < 2:
            raise CityError(f"{where}, {key}: {word!r} is too short to mean one thing")
    return tuple(words)


def _calendar_years(
    data: Mapping[str, Any], where: str, only: int | None
) -> Iterator[tuple[int, set[date], set[date]]]:
    for entry in data.get("year", []):
        year = entry.get("year")
        if not isinstance(year, int):
            raise CityError(f"{where}, year: each [[year]] needs a number")
        if only in (None, year):
            yield year, _dates(entry, "off", where, year), _dates(entry, "worked", where, year)


def _dates(entry: Mapping[str, Any], key: str, where: str, year: int) -> set[date]:
    """Dates of a list of "2026-01-04" and "2026-01-01..2026-01-03"."""
    days: set[date] = set()
    for text in entry.get(key, []):
        first, _, last = str(text).partition("..")
        try:
            start, end = date.fromisoformat(first), date.fromisoformat(last or first)
        except ValueError:
            raise CityError(f"{where}, year {year}, {key}: {text!r} is not a date or range") from None
        if end < start or {start.year, end.year} != {year}:
            raise CityError(f"{where}, year {year}, {key}: {text!r} is not within that year")
        days.update(start + timedelta(days=n) for n in range((end - start).days + 1))
    return days


def _csv_rows(path: Traversable, where: str, columns: Sequence[str]) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(_read(path, where)), strict=True)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise CityError(f"{where} line 1, {missing[0]}: the column is missing")
        seen: dict[str, int] = {}
        for cells in reader:
            line = f"{where} line {reader.line_num}"
            if None in cells or None in cells.values():
                raise CityError(f"{line}: has not as many cells as line 1 has columns")
            code = (cells[columns[0]] or "").strip()
            if code in seen:
                raise CityError(f"{line}, {columns[0]}: {code!r} already stands in line {seen[code]}")
            seen[code] = reader.line_num
            yield _Row(line, cells)
    except csv.Error as error:
        raise CityError(f"{where} line {reader.line_num}: {error}") from None


def _toml(path: Traversable, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path, where))
    except tomllib.TOMLDecodeError as error:
        raise CityError(f"{where}: not valid TOML: {error}") from None


def _read(path: Traversable, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CityError(f"{where}: the file is missing") from None
    except UnicodeDecodeError as error:
        raise CityError(f"{where}: is not UTF-8 (byte {error.start})") from None


def _name(folder: Traversable) -> str:
    return folder.name
