"""Every date that a government writes is read in every form; what could be two dates is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.dates import date_text, parse_when

SHANGHAI, TAIPEI, LONDON = ZoneInfo("Asia/Shanghai"), ZoneInfo("Asia/Taipei"), ZoneInfo("Europe/London")
NEW_YORK, UTC_ZONE = ZoneInfo("America/New_York"), ZoneInfo("UTC")
ZONES = [
    SHANGHAI,
    TAIPEI,
    LONDON,
    NEW_YORK,
    ZoneInfo("America/Sao_Paulo"),
    ZoneInfo("Pacific/Apia"),
    UTC_ZONE,
]
NUMERALS = "〇一二三四五六七八九"


def at(*parts: int, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime(*parts, tzinfo=zone).astimezone(UTC)  # type: ignore[misc,arg-type]


def start(text: str, zone: ZoneInfo = SHANGHAI) -> datetime | None:
    when = parse_when(text, zone)
    return when.start if when else None


def numeral(number: int) -> str:
    tens, ones = divmod(number, 10)
    return (
        ("" if tens < 2 else NUMERALS[tens])
        + ("十" if tens else "")
        + (NUMERALS[ones] if ones or not tens else "")
    )


FORMS: dict[str, Callable[[date], str]] = {
    "iso": lambda day: day.isoformat(),
    "short": lambda day: f"{day.year}-{day.month}-{day.day}",
    "slash": lambda day: f"{day.year}/{day.month:02}/{day.day:02}",
    "dot": lambda day: f"{day.year}.{day.month}.{day.day}",
    "compact": lambda day: f"{day:%Y%m%d}",
    "han": lambda day: f"{day.year}年{day.month}月{day.day}日",
    "spaced": lambda day: f" {day.year} 年 {day.month} 月 {day.day} 号 ",
    "wide": lambda day: day.isoformat().translate({48 + n: 0xFF10 + n for n in range(10)}),
    "weekday": lambda day: f"{day.year}年{day.month}月{day.day}日（星期{'一二三四五六日'[day.weekday()]}）",
    "numerals": lambda day: (
        "".join(NUMERALS[int(n)] for n in f"{day.year}") + f"年{numeral(day.month)}月{numeral(day.day)}日"
    ),
    "roc": lambda day: f"中華民國{day.year - 1911}年{day.month}月{day.day}日",
    "roc dot": lambda day: f"民國{day.year - 1911}.{day.month}.{day.day}",
    "english": lambda day: f"{day.day} {day:%B} {day.year}",
    "american": lambda day: f"{day:%A}, {day:%b} {day.day}, {day.year}",
}
moments = st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1))  # noqa: DTZ001 - local, the zone comes later
days = st.dates(date(1930, 1, 1), date(2100, 12, 31))


@pytest.mark.parametrize("form", FORMS)
@given(day=days, zone=st.sampled_from(ZONES))
def test_every_day_is_read_in_every_form(form: str, day: date, zone: ZoneInfo) -> None:
    when = parse_when(FORMS[form](day), zone)
    assert when is not None
    assert when.precision == "day"
    assert when.start == datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    assert when.start <= when.end


@given(moments, st.sampled_from(ZONES))
def test_every_instant_is_read_in_every_form(local: datetime, zone: ZoneInfo) -> None:
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    assert start(instant.isoformat(), zone) == instant
    assert start(f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z", zone) == instant
    minute = local.replace(second=0, microsecond=0)
    local_minute = minute.replace(tzinfo=zone).astimezone(UTC)
    for text in (
        f"{minute:%Y-%m-%d %H:%M}",
        f"{minute:%Y/%m/%d %H:%M:%S}",
        f"{minute.year}年{minute.month}月{minute.day}日{minute.hour}时{minute.minute}分",
        f"{minute.year}年{minute.month}月{minute.day}日 {minute:%H:%M}",
        f"{minute:%Y-%m-%d} {minute:%I:%M %p}",
        f"{minute:%Y%m%d%H%M%S}",
        f"{minute:%Y-%m-%d-%H:%M:%S}",
    ):
        assert start(text, zone) == local_minute, text
    second = instant.replace(microsecond=0)
    assert start(format_datetime(second), zone) == second
    if second.timestamp() >= 1e9:
        assert start(str(int(second.timestamp()) * 1000), zone) == second


@given(st.integers(1_000_000_000, 1_899_999_999), st.sampled_from(ZONES))
def test_seconds_since_1970(seconds: int, zone: ZoneInfo) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert start(str(seconds), zone) == start(f"{seconds}000", zone) == expected
    assert start(f"{seconds}.5", zone) == expected + timedelta(microseconds=500_000)


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_an_offset_counts(local: datetime, minutes: int) -> None:
    zoned = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert start(zoned.isoformat(), TAIPEI) == zoned.astimezone(UTC)


@given(st.text(max_size=120), st.sampled_from(ZONES))
def test_no_text_breaks_it(text: str, zone: ZoneInfo) -> None:
    when = parse_when(text, zone)
    assert when is None or (when.start <= when.end and when.start.utcoffset() == timedelta(0))
    found = date_text(text, (zone,))
    assert not found or parse_when(found, zone) is not None


@given(
    st.text(
        st.sampled_from("0123456789年月日时分:-/.+ TZ〔〕号上午下民國元〇一十廿百AMP,(星期)JanMon"),
        max_size=30,
    ),
    st.sampled_from(ZONES),
)
def test_nothing_like_a_date_breaks_it(text: str, zone: ZoneInfo) -> None:
    when = parse_when(text, zone)
    assert when is None or when.start <= when.end
    if when is not None:
        again = parse_when(when.start.isoformat(), zone)
        assert again is not None
        assert again.start == when.start
    kept = date_text(text, (zone,))
    assert kept == "" or date_text(kept, (zone,)) == kept


@pytest.mark.parametrize(("text", "expected"), [
    ("2026-3-5 8:00", at(2026, 3, 5, 8)),
    ("2026年3月5日下午3时30分", at(2026, 3, 5, 15, 30)),
    ("2026年3月5日（星期四）上午9:00", at(2026, 3, 5, 9)),
    ("2026年3月5日凌晨12时", at(2026, 3, 5, 0)),
    ("2026年3月5日中午12:30", at(2026, 3, 5, 12, 30)),
    ("2026年3月5日中午1点", at(2026, 3, 5, 13)),
    ("2026年3月5日晚上8点", at(2026, 3, 5, 20)),
    ("2026年3月5日下午15:00", at(2026, 3, 5, 15)),
    ("二〇二六年三月五日下午三时", at(2026, 3, 5, 15)),
    ("二〇二六年三月廿一日", at(2026, 3, 21)),
    ("2026/3/5 12:05:09 AM", at(2026, 3, 5, 0, 5, 9)),
    ("2026/3/5, 3:05:09 PM", at(2026, 3, 5, 15, 5, 9)),
    ("2026-03-05 10:00:00.0", at(2026, 3, 5, 10)),
    ("2026-03-05 10:00:00 +0800 CST", at(2026, 3, 5, 10)),
    ("2026-03-05T08:00:00.123456789Z", datetime(2026, 3, 5, 8, 0, 0, 123456, tzinfo=UTC)),
    ("2026-03-05T08:00:00-0000", datetime(2026, 3, 5, 8, tzinfo=UTC)),
    ("2026-03-05T08+08", None),
    ("2026-03-05+08:00", at(2026, 3, 5)),
    ("2026-02-11-17:02:33", at(2026, 2, 11, 17, 2, 33)),
    ("Fri, 05 Mar 2026 10:00:00 +0800", at(2026, 3, 5, 10)),  # it was a Thursday
    ("Thu, 05 Mar 2026 10:00:00 -0000", datetime(2026, 3, 5, 10, tzinfo=UTC)),
    ("Thu Mar 05 10:00:00 CST 2026", at(2026, 3, 5, 10)),
    ("中華民國一百零五年四月八日", at(2016, 4, 8)),
    ("民國元年1月1日", at(1912, 1, 1)),
    ("令和6年3月5日", at(2024, 3, 5)),
    ("25/03/2026", at(2026, 3, 25)),
    ("03/25/2026", at(2026, 3, 25)),
    ("05/05/2026", at(2026, 5, 5)),
    ("9999-12-31", at(9999, 12, 31)),
])  # fmt: skip
def test_forms(text: str, expected: datetime | None) -> None:
    assert start(text) == expected


@pytest.mark.parametrize("text", [
    "〔2026〕12号", "[2026]12号", "沪府规〔2024〕3号", "(2026)第3号", "2026年第3号", "2026年3号",
    "2026年", "20026年3月5日", "202年3月5日", "105年4月8日", "105-04-08", "03/04/2026", "3.4.2026",
    "2026-03.05", "2026年3", "2026-03-0508:00", "2026-03-05-10", "2026030508", "176722560", "4102444800",
    "17672256000000000", "2026-03-05 10:", "2026-03-05 8点61分", "2026年13月1日", "2026年2月29日",
    "2026年三月初五", "元年1月1日", "民國0.0.0", "2026-03-05 24:00:01", "星期四", "0000年1月1日",
    "0999-01-01", "March 2026", "5 Foo 2026", "Marvellous 5, 2026", "2026-03-05T08:00:00+99:00",
    "2026--03", "13/13/2026",
    "二〇二六年", "a" * 5000,
])  # fmt: skip
def test_no_dates(text: str) -> None:
    assert parse_when(text, SHANGHAI) is None


def test_what_only_the_zone_can_say() -> None:
    assert (
        start("105年4月8日", TAIPEI)
        == start("105-04-08", TAIPEI)
        == start("105/4/8", TAIPEI)
        == at(2016, 4, 8)
    )
    assert start("99年1月1日", TAIPEI) == at(2010, 1, 1)
    assert start("99-1-1", TAIPEI) is None
    assert start("03/04/2026", LONDON) == at(2026, 4, 3, zone=LONDON)
    assert start("03.04.2026 08:00", LONDON) == at(2026, 4, 3, 8, zone=LONDON)
    assert start("03/04/2026", ZoneInfo("Asia/Hong_Kong")) == at(2026, 4, 3)
    assert start("03/04/2026", NEW_YORK) == at(2026, 3, 4, zone=NEW_YORK)
    assert start("Thu, 05 Mar 2026 10:00:00 CST", NEW_YORK) == datetime(2026, 3, 5, 16, tzinfo=UTC)


def test_months_and_unclear_hours() -> None:
    for text in ("2026-03", "2026-3", "2026/03", "2026.03", "2026年3月", "二〇二六年三月"):
        when = parse_when(text, SHANGHAI)
        assert when is not None
        assert (when.start, when.precision) == (at(2026, 3, 1), "month")
        assert when.end == at(2026, 4, 1) - timedelta(microseconds=1)
    last = parse_when("9999年12月", SHANGHAI)
    assert last is not None
    for text in ("2026年3月5日上午12:30", "2026年3月5日上午13:00", "2026-03-05 13:00 PM"):
        unclear = parse_when(text, SHANGHAI)
        assert unclear is not None
        assert (unclear.start, unclear.precision) == (at(2026, 3, 5), "day"), text


def test_days_on_which_the_clocks_change() -> None:
    spring, autumn = parse_when("2026-03-29", LONDON), parse_when("2026-10-25", LONDON)
    assert spring is not None
    assert autumn is not None
    assert spring.end - spring.start == timedelta(hours=23) - timedelta(microseconds=1)
    assert autumn.end - autumn.start == timedelta(hours=25) - timedelta(microseconds=1)
    assert start("2026-10-25 01:30", LONDON) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the first of two
    assert start("2026-03-29 01:30", LONDON) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # leaps ahead
    missing = parse_when("2011-12-30", ZoneInfo("Pacific/Apia"))  # Samoa had no such day
    assert missing is not None
    assert missing.start == missing.end


@pytest.mark.parametrize(("text", "found"), [
    ("发布日期：2026-03-05", "2026-03-05"),
    ("[2026-03-05]", "2026-03-05"),
    ("（2026年3月5日 星期四 10:30 发布）", "2026年3月5日 10:30"),
    ("来源：市府 时间：2026/3/5 8:00:00 点击 12", "2026/3/5 8:00:00"),
    ("〔2026〕12号 2026-03-05", "2026-03-05"),
    ("2026-03-05至2026-04-05", "2026-03-05"),
    ("二〇二六年三月五日印发", "2026年3月5日"),
    ("于2026年3月公布", "2026年3月"),
    ("更新于 2026-03 ", "2026-03"),
    ("中華民國105年4月8日院令", "中華民國105年4月8日"),
    ("Published 25/03/2026", "25/03/2026"),
    ("Published 5 March 2026, updated later", "5 March 2026"),
    ("on March 5, 2026 at noon", "March 5, 2026"),
    ("2026-02-31 2026-03-01", "2026-03-01"),
    ("沪府规〔2024〕3号", ""), ("[2026]12号", ""), ("12026-03-05", ""), ("2026-03-051", ""),
    ("021-2026-03-05", ""),
    ("2026—2030年规划", ""), ("编号2026-03-05-001", ""), ("03-05", ""), ("第2026-03号", ""),
    ("1.2.3.2026", ""),
    ("20026年3月5日", ""), ("Published 03/04/2026", ""), ("version 2026.3", ""), ("昨天", ""), ("", ""),
])  # fmt: skip
def test_a_date_inside_a_text(text: str, found: str) -> None:
    assert date_text(text, (SHANGHAI,)) == found
    assert not found or parse_when(found, SHANGHAI) is not None


def test_a_long_text_is_searched_quickly_and_only_so_far() -> None:
    assert date_text("-" * 6_000 + "2026-03-05", (SHANGHAI,)) == ""
    for text in (
        "2026年" * 3_000,
        "1" * 6_000,
        " " * 6_000,
        "2026年3月0" + " " * 5_000,
        "2026-" * 2_000,
        "十" * 6_000 + "年",
    ):
        assert date_text(text, (SHANGHAI,)) == ""
