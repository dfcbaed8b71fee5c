"""Reads the dates that governments write: ISO, 2026年3月5日, RFC 822, ROC years, Chinese numerals.

Pure; the time zone is an argument, the machine's zone and clock are never asked. A date without a
zone belongs to the source's zone. It never guesses: what could be two dates is none, and a document
number (沪府规〔2024〕3号) is none either. Called by :mod:`feeds.intake.fields` and the parsers.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import Precision

MAX_TEXT = 100  # characters of a date; a longer text is none
MAX_SEARCHED = 5_000  # characters in which a date is looked for

# Years that begin elsewhere (ROC 1 is 1912); their first year is 元年.
_ERAS = {"民國": 1911, "民国": 1911, "令和": 2018, "平成": 1988, "昭和": 1925}
_ERA = r"(?:(?:中[華华])?(?P<era>民[國国]|令和|平成|昭和)\s*)"
_HALF = r"上午|早上|早晨|凌晨|午前|中午|下午|午後|傍晚|晚上|AM|PM"
_CLOCK = (
    rf"(?:(?:[T,\s]*|-(?=\d\d:\d\d:))(?P<half>{_HALF})?\s*(?<!\d)(?P<hour>\d{{1,2}})(?P<mark>[:时時點点])"
    r"(?:(?P<minute>\d{1,2})(?:[:分](?:(?P<second>\d{1,2})秒?(?:[.,](?P<part>\d+))?)?)?)?"
    r"(?:\s*(?P<half2>[AP]M))?)"
)
_ZONE = r"(?:\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)(?:\s+[A-Z]{2,5})?)"
_DAY_ZONE = (
    r"(?:\s*(?P<day_zone>Z|[+-](?:0\d|1[0-4]):\d{2}))"  # of an XML date; "-10" alone would be anything
)
_REST = rf"(?:{_CLOCK}{_ZONE}?|{_DAY_ZONE})?"
_HAN = re.compile(
    rf"{_ERA}?(?P<year>\d{{1,4}}|元)\s*年\s*(?P<month>\d{{1,2}})\s*月(?:\s*(?P<day>\d{{1,2}})\s*[日号號]?{_REST})?",
    re.ASCII | re.IGNORECASE,
)
_BARS = re.compile(
    rf"{_ERA}?(?P<year>\d{{2,4}})\s*(?P<bar>[-./])\s*(?P<month>\d{{1,2}})"
    rf"(?:\s*(?P=bar)\s*(?P<day>\d{{1,2}}){_REST})?",
    re.ASCII | re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:T?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?P<zone>Z|[+-]\d{4})?)?",
    re.ASCII,
)
_TAIL = re.compile(
    rf"(?P<one>\d{{1,2}})(?P<bar>[-./])(?P<two>\d{{1,2}})(?P=bar)(?P<year>\d{{4}}){_REST}", re.ASCII
)
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = (
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_NAME = rf"(?P<name>{_MONTHS})\.?"
_ENGLISH = re.compile(
    rf"(?:[a-z]{{3,9}}\.?,?\s+)?(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+{_NAME},?\s+(?P<year>\d{{4}})"
    rf"|{_NAME.replace('name', 'name2')}\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year2>\d{{4}}))",
    re.ASCII | re.IGNORECASE,
)
# As feeds write it: all of it there, in figures that the mail standard reads in one way only.
_MAIL = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{1,2})"
    r" (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([12]\d{3})"
    r" (\d\d):(\d\d):(\d\d) (?:GMT|UTC|([+-])([01]\d)([0-5]\d))",
    re.ASCII,
)
_JAVA = re.compile(r"([A-Za-z]{3}) ([A-Za-z]{3}) (\d{1,2}) ([\d:]+) (\S+) (\d{4})", re.ASCII)
_EPOCH = re.compile(r"(?P<seconds>1\d{9}|[2-4]\d{9})(?P<milli>\d{3})?(?:\.(?P<part>\d{1,9}))?", re.ASCII)
_EPOCH_END = 4_102_444_800  # 2100-01-01
_HOURLY = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-4])", re.ASCII)
_WEEKDAY = re.compile(r"\(?(?:(?:星期|周|週|礼拜|禮拜)[一二三四五六日天]|[月火水木金土日]曜日?)\)?")
_DIGITS = str.maketrans("〇○零一二三四五六七八九", "000123456789")
_NUMERALS = re.compile(r"[〇○零一二三四五六七八九十百廿卅]+")
_DAY_END = time(23, 59, 59, 999_999)

# Where a date is looked for inside a longer text: with its day, or a month that nothing else can be.
_INSIDE = re.compile(
    r"(?<!\d)(?<!\d[-./])(?:"
    r"(?:(?:中[華华])?(?:民[國国]|令和|平成|昭和)\s*)?(?:\d{1,4}|元)\s*年"
    r"\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*[日号號]|(?!\s*\d))"
    r"|(?:民[國国]\s*\d{2,3}|\d{4})\s*([-./])\s*\d{1,2}\s*\1\s*\d{1,2}(?!\d|\1\d)"
    r"|\d{1,2}([/.])\d{1,2}\2\d{4}(?!\d)"
    r"|\d{4}-(?:0[1-9]|1[0-2])(?![\d-])"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTHS}),? \d{{4}}(?!\d)|\b(?:{_MONTHS}) \d{{1,2}}, \d{{4}}(?!\d)"
    r")(?!\s*号)"
    rf"(?:[T\s]*(?:{_HALF})?\s*(?<!\d)\d{{1,2}}(?::\d{{2}}(?::\d{{2}}(?:\.\d+)?)?|[时時](?:\d{{1,2}}分)?)"
    r"(?:Z|\s?[+-]\d{2}:?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)

# Who writes the month first, who the day; elsewhere 03/04/2026 could be either and is none.
_MONTH_FIRST = re.compile(
    r"US/.+|Pacific/(?:Honolulu|Guam)|America/(?:New_York|Chicago|Denver|Los_Angeles|Phoenix|Detroit|Boise"
    r"|Anchorage|Juneau|Puerto_Rico|Indiana/.+|Kentucky/.+|North_Dakota/.+)"
)
_DAY_FIRST = re.compile(
    r"(?:Europe|Australia)/.+|GB|Eire|Pacific/Auckland|Asia/(?:Hong_Kong|Maca[uo]|Singapore|Kolkata)"
)


@dataclass(frozen=True, slots=True)
class When:
    """A date as far as it was given: ``start`` and ``end`` are its first and last microsecond, in UTC."""

    start: datetime
    end: datetime
    precision: Precision


def parse_when(text: str, zone: ZoneInfo) -> When | None:
    """Read a date or an instant in any of the forms named above; the whole text must be one.

    Args:
        text: As upstream wrote it; full-width digits are fine, "24:00" is the end of that day, a wrong
            weekday is passed over. Ten digits or more are seconds (milliseconds) since 1970, unless
            they could as well be year, month, day and hour. 上午12时 says no clear hour: only the day counts.
        zone: Where a date without a zone belongs. 105年4月8日 is an ROC year only in Taipei. 03/04/2026
            is the month first in the United States, the day first in Europe, Australia, Hong Kong,
            Macau, Singapore and India, and elsewhere no date (25/03/2026 is clear everywhere).

    Returns:
        ``None`` if it is no date, or one that the calendar does not have (0000-00-00, 31 February).
    """
    plain = unicodedata.normalize("NFKC", text[: MAX_TEXT + 1]).strip()
    if not plain or len(plain) > MAX_TEXT:
        return None
    try:
        if found := _MAIL.fullmatch(plain):
            return _mail(found)
        return _ours(plain, zone) or _rfc822(plain, zone)
    except (ValueError, OverflowError):
        return None


def date_text(text: str, zones: tuple[ZoneInfo, ...]) -> str:
    """Reduce a text ("发布日期：2026-03-05", "[2026-03-05]") to the first clear date in it, as written.

    Strict: it needs year, month and day (a month alone only as 2026年3月 or 2026-03), and never takes a
    document number, a part of a longer number, or a date that could be read in two ways.

    Args:
        text: Returned as it is where the whole of it is a date.
        zones: Tried one after the other, since some forms are dates only somewhere.

    Returns:
        ``""`` if it holds no date.
    """
    for zone in zones:
        if parse_when(text, zone) is not None:
            return text.strip()
    for part in _candidates(text):
        if any(parse_when(part, zone) is not None for zone in zones):
            return part
    return ""


def _candidates(text: str) -> Iterator[str]:
    plain = _WEEKDAY.sub(" ", unicodedata.normalize("NFKC", text[:MAX_SEARCHED]))
    plain = " ".join(plain.split())  # long runs of spaces would cost time
    if "年" in plain:
        plain = _NUMERALS.sub(lambda found: _number(found[0]), plain)
    return (found[0].strip() for found in _INSIDE.finditer(plain))


def _ours(text: str, zone: ZoneInfo) -> When | None:
    if found := _EPOCH.fullmatch(text):
        return _epoch(found, text)
    plain = _WEEKDAY.sub(" ", text).strip()
    if "年" in plain:
        plain = _NUMERALS.sub(lambda found: _number(found[0]), plain)
    match = _HAN.fullmatch(plain) or _BARS.fullmatch(plain) or _COMPACT.fullmatch(plain)
    if match is not None:
        given = match.groupdict()
        year = _year(given, plain, zone)
        return None if year is None else _dated(year, int(given["month"]), given["day"], given, zone)
    if tail := _TAIL.fullmatch(plain):
        return _tail(tail.groupdict(), zone)
    if english := _ENGLISH.fullmatch(plain):
        given = english.groupdict()
        month = _NAMES.index((given["name"] or given["name2"])[:3].lower()) + 1
        day = given["day"] or given["day2"]
        return _dated(int(given["year"] or given["year2"]), month, day, {}, zone)
    return None


def _year(given: dict[str, str | None], text: str, zone: ZoneInfo) -> int | None:
    """The year of our era; ``None`` where it is too short to be one here."""
    written, era = given["year"] or "", given.get("era")
    if era:
        return _ERAS[era] + (1 if written == "元" else int(written))
    if written == "元":
        return None
    if len(written) == 4:
        return int(written) if int(written) >= 1000 else None
    roc = zone.key == "Asia/Taipei" and ("年" in text or len(written) == 3)
    return int(written) + _ERAS["民國"] if roc else None


def _dated(year: int, month: int, day: str | None, given: dict[str, str | None], zone: tzinfo) -> When:
    if day is None:
        first = datetime(year, month, 1, tzinfo=zone)
        return _span(first, first.replace(day=monthrange(year, month)[1]), "month")
    if offset := given.get("day_zone"):
        zone = _offset(offset)
    start = datetime(year, month, int(day), tzinfo=zone)
    if given.get("hour") is None:
        return _span(start, start, "day")
    return _instant(start, given)


def _span(first: datetime, last: datetime, precision: Precision) -> When:
    """From the first moment of one day to the last of another; an hour that comes twice counts wholly."""
    start = first.astimezone(UTC)
    end = datetime.combine(last, _DAY_END, tzinfo=last.tzinfo).replace(fold=1).astimezone(UTC)
    return When(start, max(start, end), precision)  # a zone may leave out a whole day


def _instant(day: datetime, given: dict[str, str | None]) -> When:
    hour, minute, second = (int(given.get(name) or 0) for name in ("hour", "minute", "second"))
    if given.get("mark") == ":" and not given["minute"]:
        raise ValueError("a colon without minutes")
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise ValueError("no such time of day")
    halved = _of_half(hour, given.get("half") or given.get("half2") or "")
    if halved is None:
        return _span(day, day, "day")
    part = int(((given.get("part") or "") + "000000")[:6])
    local = day + timedelta(hours=halved, minutes=minute, seconds=second, microseconds=part)
    if zone := given.get("zone"):
        local = local.replace(tzinfo=_offset(zone))
    instant = local.astimezone(UTC)
    return When(instant, instant, "instant")


def _of_half(hour: int, half: str) -> int | None:
    """The hour of 24 that "下午3" and "3 PM" mean; ``None`` where the words contradict each other."""
    half = half.upper()
    if not half:
        return hour
    if half in ("AM", "PM"):
        return hour % 12 + (12 if half == "PM" else 0) if 1 <= hour <= 12 else None
    if half in ("下午", "午後", "傍晚", "晚上"):
        if half == "晚上" and hour == 12:
            return 24
        return hour + 12 if hour < 12 else hour
    if half == "中午":
        return hour + 12 if hour < 3 else hour if 11 <= hour < 15 else None
    if half == "凌晨":
        return hour % 12 if hour <= 12 else None
    return hour if hour < 12 else None


def _tail(given: dict[str, str | None], zone: ZoneInfo) -> When | None:
    """Read ``d/m/Y`` or ``m/d/Y``, where it is clear which."""
    one, two = int(given["one"] or 0), int(given["two"] or 0)
    year = int(given["year"] or 0)
    if year < 1000:
        return None
    if one > 12 or one == two or (two <= 12 and _DAY_FIRST.fullmatch(zone.key)):
        return _dated(year, two, str(one), given, zone)
    if two > 12 or _MONTH_FIRST.fullmatch(zone.key):
        return _dated(year, one, str(two), given, zone)
    return None


def _epoch(found: re.Match[str], text: str) -> When | None:
    seconds = int(found["seconds"])
    if seconds >= _EPOCH_END or (len(text) == 10 and _HOURLY.fullmatch(text)):
        return None
    micro = int(((found["milli"] or "") + (found["part"] or "") + "000000")[:6])
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=micro)
    return When(instant, instant, "instant")


def _offset(text: str) -> tzinfo:
    """The zone of ``Z``, ``+08`` or ``+08:00``."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    shown = f"{text[:3]}:{text[-2:] if len(text) > 3 else '00'}"
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{shown}").tzinfo  # checks the range too
    return zone if zone is not None else UTC


def _mail(found: re.Match[str]) -> When:
    """Read what :func:`_rfc822` would read the same, without the library that expects anything."""
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    number = _NAMES.index(month.lower()) + 1
    instant = datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    if sign:
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        instant = instant - ahead if sign == "+" else instant + ahead
    return When(instant, instant, "instant")


def _rfc822(text: str, zone: ZoneInfo) -> When | None:
    if not re.search(r"[A-Za-z]{3}", text):
        return None
    if java := _JAVA.fullmatch(text):
        text = f"{java[1]}, {java[3]} {java[2]} {java[6]} {java[4]} {java[5]}"
    # "CST" is Chicago for the mail standard, but China for a Chinese source.
    chinese = text.endswith("CST") and zone.key.startswith("Asia/")
    try:
        instant = parsedate_to_datetime(text.removesuffix("CST") if chinese else text)
    except (TypeError, IndexError, AttributeError):  # what the library makes of some nonsense
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC if text.endswith("-0000") else zone)
    if instant.year < 1000:
        return None
    utc = instant.astimezone(UTC)
    return When(utc, utc, "instant")


def _number(numeral: str) -> str:
    """二〇二六 → 2026, 十二 → 12, 二十 → 20, 廿一 → 21, 一百零五 → 105."""
    numeral = numeral.replace("廿", "二十").replace("卅", "三十")
    if "百" not in numeral and "十" not in numeral:
        return numeral.translate(_DIGITS)
    hundreds, found, rest = numeral.rpartition("百")
    tens, ten, ones = rest.rpartition("十")
    value = (hundreds.translate(_DIGITS) or "1" if found else "0") + "00"
    value_tens = (tens.strip("零〇○").translate(_DIGITS) or "1" if ten else "0") + "0"
    value_ones = ones.strip("零〇○").translate(_DIGITS) or "0"
    if not all(part.isdecimal() for part in (value, value_tens, value_ones)):
        return numeral
    return str(int(value) + int(value_tens) + int(value_ones))
