"""Reading evaluation folders of all kinds: forms of time, tags, titles; what is missing; what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.kernel.errors import UsageError
from recommender.log import DAY
from recommender.replay.files import read_folder, title_tokens
from recommender.replay.times import guessed, seconds
from tests.unit.replay_world import SPLIT, START, WEEK, rows, write

AT = 1_700_000_000


def folder(path: Path, users: str, items: str, interactions: str, split: str | None = None) -> Path:
    for name, text in (("users", users), ("items", items), ("interactions", interactions)):
        (path / f"{name}.csv").write_text(text, encoding="utf-8")
    if split is not None:
        (path / "split.json").write_text(split, encoding="utf-8")
    return path


USERS = "user,role\nann,a\nbob,\n"
EVENTS = "user,item,ts\nann,i1,2024-01-02\nbob,i2,2024-02-02\nann,i3,2024-03-02\nbob,i4,2024-04-02\n"
ITEMS = (
    "item,ts,author,author_role,title,tags\n"
    "i1,2024-01-01,bob,x,New Roads ab1,c:roads|c:roads/new\n"
    "i2,2024-02-01,,,,\ni3,2024-03-01,zed,y,Water,c:water\ni4,2024-04-01,zed,y,Water,c:water\n"
)


@pytest.mark.parametrize(
    "text",
    [
        str(AT), f"{AT}.0", str(AT * 1000), str(AT * 10**6), str(AT * 10**9), "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20", "2023-11-14 22:13:20", "2023-11-15T06:13:20+08:00", " 2023/11/14 22:13:20 ",
    ],
)  # fmt: skip
def test_one_moment_in_many_forms(text: str) -> None:
    assert seconds(text) == AT


def test_dates_and_nonsense() -> None:
    assert seconds("20231114") == seconds("2023-11-14") == 1_699_920_000
    for text in ("", None, "soon", "nan", "inf", "-inf", "1e300", "2023-13-01"):
        assert seconds(text) is None


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_seconds_and_milliseconds_agree(moment: datetime) -> None:
    exact = int(moment.replace(tzinfo=UTC).timestamp())
    assert seconds(str(exact)) == exact == seconds(moment.replace(microsecond=0).isoformat())
    assert seconds(str(exact * 1000 + 7)) == exact


def test_a_folder_becomes_a_log(tmp_path: Path) -> None:
    log, split = read_folder(folder(tmp_path, USERS, ITEMS, EVENTS))
    assert log.users == ("ann", "bob")
    assert log.user_tokens == (("role:a",), ())
    assert log.items == ("i1", "i2", "i3", "i4")
    assert log.item_tokens[0] == ("t:c:roads", "t:c:roads/new", "w:new", "w:roads", "w:ab1")
    assert log.item_tokens[1] == ()
    assert log.item_author.tolist() == [0, -1, 1, 1]
    assert log.author_user.tolist() == [1, -1]
    assert log.kinds[log.item_kind[0]] == "x"
    assert log.kinds[log.user_kind[0]] == "a"
    assert log.user_kind[1] == -1
    assert not split.given
    assert log.events_before(split.test) < len(log.event_user)


def test_columns_that_can_be_done_without(tmp_path: Path) -> None:
    items = "item,ts\n" + "".join(f"i{n},2024-0{n}-01\n" for n in range(1, 5))
    log, _ = read_folder(folder(tmp_path, "user\nann\nbob\n", items, EVENTS.replace(",ts", ",when")))
    assert log.item_author.tolist() == [-1] * 4
    assert log.item_tokens == ((),) * 4
    assert log.event_time.tolist() == log.item_time.tolist()
    assert "4 interactions have no readable time and count at their item's." in log.remarks


def test_events_keep_their_own_time_and_never_precede_their_item(tmp_path: Path) -> None:
    events = "user,item,ts\nann,i1,2024-03-20\nbob,i3,2023-01-01\nann,i2,2024-02-03\nbob,i4,2024-04-05\n"
    log, _ = read_folder(folder(tmp_path, USERS, ITEMS, events))
    assert [log.items[i] for i in log.event_item] == ["i2", "i3", "i1", "i4"]
    assert log.event_time[1] == log.item_time[2]
    assert "1 interactions are older than their item and count at its time." in log.remarks


def test_what_names_nobody_is_left_out_and_counted(tmp_path: Path) -> None:
    events = EVENTS + "eve,i1,2024-01-02\nann,i9,2024-01-02\n,,\n"
    items = ITEMS + "i1,2024-05-01,,,again,\ni7,whenever,,,,\n"
    log, _ = read_folder(folder(tmp_path, USERS, items, events))
    assert len(log.event_user) == 4
    assert log.items == ("i1", "i2", "i3", "i4")
    assert any(remark.startswith("3 interactions name") for remark in log.remarks)
    assert any(remark.startswith("1 items have no readable time") for remark in log.remarks)


@pytest.mark.parametrize("tags", ["c:a;c:b", "c:a,c:b", '["c:a", "c:b"]', "c:a | c:b", "['c:a', 'c:b']"])
def test_tags_in_other_forms(tmp_path: Path, tags: str) -> None:
    made = rows(weeks=4, users=6, per_week=4)
    for row in made[1]:
        row["tags"] = tags
    log, _ = read_folder(write(tmp_path, made))
    assert all(tokens[:2] == ("t:c:a", "t:c:b") for tokens in log.item_tokens)


def test_a_comma_inside_a_tag_stays_where_tags_are_separated_by_bars(tmp_path: Path) -> None:
    made = rows(weeks=4, users=6, per_week=4)
    for row in made[1]:
        row["tags"] = "Work, pay|Health"
    log, _ = read_folder(write(tmp_path, made))
    assert log.item_tokens[0][:2] == ("t:Work, pay", "t:Health")


def test_chinese_titles_are_cut_into_words() -> None:
    tokens = title_tokens("关于2024年小微企业税收优惠 VAT 的通知")
    assert {"w:企业", "w:税收", "w:vat"} <= set(tokens)
    assert not {"w:的", "w:关于2024年小微企业税收优惠"} & set(tokens)
    assert title_tokens("Fix the 2nd_queue in mlx5_core, ab") == [
        "w:fix",
        "w:the",
        "w:nd_queue",
        "w:mlx5_core",
    ]
    assert title_tokens("Straße élan") == ["w:straße", "w:élan"]


def test_chinese_logs_are_read(tmp_path: Path) -> None:
    log, _ = read_folder(write(tmp_path, rows(weeks=4, users=6, per_week=4, chinese=True)))
    words = {token for tokens in log.item_tokens for token in tokens}
    assert {"w:税收", "w:公园"} <= words


def test_the_split_of_the_folder_counts(tmp_path: Path) -> None:
    _, split = read_folder(write(tmp_path, rows(weeks=40, users=6, per_week=4), SPLIT))
    assert split.given
    assert (split.frozen, split.test, split.window) == (START + 20 * WEEK, START + 28 * WEEK, WEEK)


def test_a_split_may_say_only_where_the_test_begins(tmp_path: Path) -> None:
    made = rows(weeks=40, users=6, per_week=4)
    _, split = read_folder(write(tmp_path, made, {"test_from": "2021-03-01T00:00:00Z"}))
    assert split.start < split.frozen < split.test == 1_614_556_800 < split.end
    assert split.window == WEEK


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", "[" * 100_000, '{"test_from": "soon"}', '{"test_from": "2034-02-15"}',
     *(f'{{"test_from": "2024-02-15", "window_days": {days}}}'
       for days in (0, -7, '"NaN"', "1e400", "null"))],
)  # fmt: skip
def test_a_split_that_says_nothing_sensible_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"split\.json"):
        read_folder(folder(tmp_path, USERS, ITEMS, EVENTS, text))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("users.csv", "", r"users\.csv is empty; its first line must name the columns \(user\)"),
        (
            "items.csv",
            "item;ts;title\ni1;1;a\n",
            "lacks the column 'item'; .* by semicolons.*commas",
        ),
        ("items.csv", "item\tts\ni1\t1\n", "separated by tabs"),
        ("users.csv", "name;role\nann;a\n", "separated by semicolons"),
        ("users.csv", "user,role\n", "holds no row"),
        ("users.csv", "name\nann\n", "lacks the column 'user'; it has name"),
        ("items.csv", "item\ni1\n", "lacks the column 'ts'"),
        ("items.csv", "item,ts\ni1,\n", "no item with a time"),
        ("interactions.csv", "user,item\n", "holds no row"),
        ("interactions.csv", "user,item\nann,i9\n", "names no item"),
        ("interactions.csv", "user,item\neve,i1\n", "one moment"),
        ("interactions.csv", "user,item\nann,i1\nann,i1\n", "one moment"),
    ],
)
def test_files_that_cannot_be_judged_on_say_why(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    folder(tmp_path, USERS, ITEMS, EVENTS)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=sentence):
        read_folder(tmp_path)


def test_missing_and_unreadable_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"users\.csv is missing"):
        read_folder(tmp_path / "nowhere")
    folder(tmp_path, USERS, ITEMS, EVENTS)
    (tmp_path / "items.csv").write_bytes(b"item,ts\n\xff\xfe,1\n")
    with pytest.raises(UsageError, match=r"not in UTF-8.*save it again as CSV UTF-8"):
        read_folder(tmp_path)
    for code in ("gbk", "utf-16"):
        (tmp_path / "items.csv").write_bytes("item,ts,title\ni1,1,税务公告\n".encode(code))
        with pytest.raises(UsageError, match=r"items\.csv is not in UTF-8 .*GBK") as refused:
            read_folder(tmp_path)
        assert "codec" not in str(refused.value)
    (tmp_path / "items.csv").unlink()
    (tmp_path / "items.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_folder(tmp_path)
    (tmp_path / "items.csv").rmdir()
    (tmp_path / "items.csv").write_text(f'item,ts\n"{"x" * 200_000}",1\n', encoding="utf-8")
    with pytest.raises(UsageError, match="not a CSV file"):
        read_folder(tmp_path)


def test_without_a_split_weeks_become_longer_where_people_act_late(tmp_path: Path) -> None:
    _, quick = read_folder(write(tmp_path / "quick", rows(weeks=90, users=20, per_week=40)))
    _, slow = read_folder(write(tmp_path / "slow", rows(weeks=90, users=20, per_week=40, late=40)))
    assert quick.window == WEEK
    assert slow.window == 91 * DAY


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30),
)
def test_a_guessed_split_is_in_order_or_refused(items: list[int], events: list[int]) -> None:
    published = np.sort(np.array(items))
    acted = np.maximum(np.array(events), published[0])
    try:
        split = guessed(published, acted, acted - published[0])
    except UsageError:
        assert np.ptp(acted) < 10 or len(np.unique(acted)) < 4
        return
    assert split.start <= split.frozen < split.test < split.end == acted.max() + 1
    assert split.window >= 6 * 3600


def test_the_files_may_have_a_byte_order_mark_and_more_columns(tmp_path: Path) -> None:
    folder(tmp_path, USERS, ITEMS, EVENTS)
    (tmp_path / "users.csv").write_text("\ufeffuser,role,age\nann,a,3\nbob,b,4,5\n", encoding="utf-8")
    log, _ = read_folder(tmp_path)
    assert log.user_tokens == (("role:a",), ("role:b",))


def test_csv_written_by_a_spreadsheet(tmp_path: Path) -> None:
    folder(tmp_path, USERS, ITEMS, EVENTS)
    (tmp_path / "users.csv").write_text('"user","role"\r\n"ann","a b"\r\n"bob",""\r\n', encoding="utf-8")
    assert read_folder(tmp_path)[0].user_tokens == (("role:a b",), ())
