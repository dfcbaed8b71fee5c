"""Reads the dates that governments write: ISO, 2026年3月5日, RFC 822, ROC years, Chinese numerals.

Pure; the time zone is an argument, the machine's zone and clock are never asked. A date without a
zone belongs to the source's zone. Called by :mod:`feeds.intake.normalise` and the feed parser.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import Precision

_TIME = (
    r"(?:[T\s]*(?P<hour>\d{1,2})[:时點点](?P<minute>\d{1,2})?"
    r"(?:[:分](?P<second>\d{1,2})(?:[.,](?P<part>\d+))?)?[分秒]?)?"
)
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
_DATE = re.compile(
    r"(?P<year>\d{4})\s*[-./年]\s*(?P<month>\d{1,2})\s*(?:[-./月]\s*(?:(?P<day>\d{1,2})\s*[日号]?)?)?"
    + _TIME
    + _ZONE,
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})")
_ROC = re.compile(r"(?:中華)?民國\s*(?P<year>\d{1,3})\s*年\s*(?P<month>\d{1,2})\s*月\s*(?P<day>\d{1,2})\s*日")
_DIGITS = str.maketrans("〇○零一二三四五六七八九", "000123456789")
_NUMERALS = re.compile(r"[〇○零一二三四五六七八九十]+")
_DAY_END = timedelta(days=1) - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class When:
    """A date as far as it was given: ``start`` and ``end`` are its first and last microsecond, in UTC."""

    start: datetime
    end: datetime
    precision: Precision


def parse_when(text: str, zone: ZoneInfo) -> When | None:
    """Read a date or an instant in any of the forms named above.

    Args:
        text: As upstream wrote it; full-width digits are fine, "24:00" is the end of that day.
        zone: Where a date without a zone belongs.

    Returns:
        ``None`` if it is no date, or one that the calendar does not have (0000-00-00, 31 February).
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    try:
        return _ours(plain, zone) or _rfc822(plain, zone)
    except (ValueError, OverflowError):
        return None


def _ours(text: str, zone: ZoneInfo) -> When | None:
    if "民國" in text:
        match, offset = _ROC.fullmatch(text), 1911
    else:
        text = _NUMERALS.sub(lambda found: _number(found[0]), text) if "年" in text else text
        match, offset = _DATE.fullmatch(text) or _COMPACT.fullmatch(text), 0
    if match is None:
        return None
    given = match.groupdict()
    year, month = int(given["year"]) + offset, int(given["month"])
    if given["day"] is None:
        return _month(year, month, zone) if given.get("hour") is None else None
    start = datetime(year, month, int(given["day"]), tzinfo=zone)
    if given.get("hour") is None:
        return When(start.astimezone(UTC), (start + _DAY_END).astimezone(UTC), "day")
    return _instant(start, given)


def _month(year: int, month: int, zone: ZoneInfo) -> When:
    start = datetime(year, month, 1, tzinfo=zone)
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    return When(start.astimezone(UTC), (following - timedelta(microseconds=1)).astimezone(UTC), "month")


def _instant(day: datetime, given: dict[str, str | None]) -> When:
    hour, minute, second = (int(given[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and minute):
        raise ValueError("no such time of day")
    part = int(((given["part"] or "") + "000000")[:6])
    local = day + timedelta(hours=hour, minutes=minute, seconds=second, microseconds=part)
    if given["zone"]:
        local = local.replace(tzinfo=_offset(given["zone"]))
    instant = local.astimezone(UTC)
    return When(instant, instant, "instant")


def _offset(text: str) -> tzinfo:
    """The zone of ``Z`` or ``+08:00``."""
    shown = "+00:00" if text.upper() in ("Z", "UTC", "GMT") else f"{text[:3]}:{text[-2:]}"
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{shown}").tzinfo  # checks the range too
    return zone if zone is not None else UTC


def _rfc822(text: str, zone: ZoneInfo) -> When | None:
    if not re.search(r"[A-Za-z]{3}", text):
        return None
    # "CST" is Chicago for the mail standard, but China for a Chinese source.
    chinese = text.endswith("CST") and zone.key.startswith("Asia/")
    instant = parsedate_to_datetime(text.removesuffix("CST") if chinese else text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC if text.endswith("-0000") else zone)
    if instant.year < 1000:
        return None
    utc = instant.astimezone(UTC)
    return When(utc, utc, "instant")


def _number(numeral: str) -> str:
    """二〇二六 → 2026, 十二 → 12, 二十 → 20, 三十一 → 31."""
    if "十" not in numeral:
        return numeral.translate(_DIGITS)
    tens, _, ones = numeral.partition("十")
    return f"{tens.translate(_DIGITS) or '1'}{ones.translate(_DIGITS) or '0'}"
