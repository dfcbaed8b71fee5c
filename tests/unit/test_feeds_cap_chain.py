"""Chains of warnings: whatever the order in which messages come, the one sent last speaks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.intake.cap_chain import KnownMessage, Resolved, known_message, message_id, message_ids, resolve
from feeds.intake.parsers.cap import parse_cap
from feeds.intake.types import Deletion, RawEntry

OWN = Path(__file__).resolve().parent.parent / "data" / "cap"
START = datetime(2026, 9, 26, 13, 50, tzinfo=UTC)
SENDER = "cap@shili.example"


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def mid(minute: int, name: str = "") -> str:
    return message_id(SENDER, name or f"m{minute}", at(minute))


def message(
    minute: int, *references: int, langs: tuple[str, ...] = ("zh-cn",), name: str = ""
) -> list[RawEntry]:
    """The entries that a message sent ``minute`` minutes after the first becomes."""
    id_ = mid(minute, name)
    entries = []
    for number, lang in enumerate(langs):
        fields: dict[str, Any] = {
            "title": f"{lang} {id_}",
            "cap": {"id": id_, "sent": id_.rpartition(",")[2], "language": lang,
                    "references": [mid(one) for one in references]},
        }  # fmt: skip
        if number:
            fields["lang_of"] = id_
        entries.append(RawEntry(f"{id_}#{lang}" if number else id_, 1, fields))
    return entries


def cancel(minute: int, *references: int) -> list[Deletion]:
    return [Deletion(mid(one), "解除", at(minute)) for one in references]


def titles(done: Resolved) -> dict[str, str]:
    return {entry.guid: entry.fields["title"] for entry in done.entries}


@dataclass
class Store:
    """What a catalogue remembers: notices by guid, message ids by key, as the real one does."""

    notices: dict[str, tuple[str, str, str, str, datetime | None]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)

    def known(self, ids: frozenset[str]) -> dict[str, KnownMessage]:
        found = {}
        for one in ids & self.keys.keys():
            rows = []
            for guid in self.keys[one]:
                if guid == "0":
                    rows.append(KnownMessage("", state="cancelled"))
                    continue
                sent, message_, lang, state, ended = self.notices[guid]
                rows.append(KnownMessage(guid, sent, state, message_, lang, {}, ended))
            found[one] = known_message(rows)
        return found

    def take(
        self, entries: list[RawEntry], deletions: list[Deletion], now: datetime | None = None
    ) -> Resolved:
        done = resolve(entries, deletions, self.known(message_ids(entries, deletions)))
        for entry in done.entries:
            cap = entry.fields["cap"]
            self.notices[entry.guid] = (cap["sent"], cap["id"], cap["language"], "released", None)
        for deletion in done.deletions:
            kept = self.notices[deletion.guid]
            self.notices[deletion.guid] = (*kept[:3], "withdrawn", now or deletion.at)
        for guid in done.outdated:
            self.notices[guid] = (*self.notices[guid][:3], "superseded", None)
        for guid, ids in done.keys.items():
            for one in ids:
                self.keys.setdefault(one, set()).add(guid)
        for one in done.cancelled:
            self.keys.setdefault(one, set()).add("0")
        return done

    def standing(self) -> list[str]:
        """The messages that speak, by notice that is still released."""
        return sorted(sent for sent, _, _, state, _ in self.notices.values() if state == "released")


def test_names_of_messages_are_fit_to_be_guids() -> None:
    assert message_id("a@b", "m", at(0)) == "a@b,m,2026-09-26T13:50:00Z"
    long = message_id("a@b", "长" * 300, at(0))
    assert len(long.encode()) < 100
    assert long == message_id("a@b", "长" * 300, at(0)) != message_id("a@b", "长" * 301, at(0))
    assert message_id("a@b", "e\u0301", at(0)) == message_id("a@b", "\u00e9", at(0))


# -- one answer --------------------------------------------------------------------------------------


def test_a_first_alert_is_named_by_itself() -> None:
    done = resolve(message(0), [], {})
    assert titles(done) == {mid(0): f"zh-cn {mid(0)}"}
    assert done.entries[0].fields["cap"]["messages"] == [mid(0)]
    assert done.keys == {mid(0): (mid(0),)}


def test_of_a_chain_in_one_answer_the_last_speaks_under_the_first_name() -> None:
    done = resolve([*message(80, 0), *message(0)], [], {})
    assert titles(done) == {mid(0): f"zh-cn {mid(80)}"}
    assert [(item.entry.guid, item.why) for item in done.stale] == [(mid(0), "older")]
    assert done.keys == {mid(0): (mid(0), mid(80))}


def test_an_update_of_nothing_known_is_named_by_its_earliest_reference() -> None:
    done = resolve(message(80, 20, 0), [], {})
    assert titles(done) == {mid(0): f"zh-cn {mid(80)}"}
    assert done.keys[mid(0)] == tuple(sorted((mid(0), mid(20), mid(80))))


def test_a_cancel_in_the_same_answer_leaves_nothing_but_is_remembered() -> None:
    done = resolve([*message(0), *message(80, 0)], cancel(90, 0, 80), {})
    assert (done.entries, done.deletions) == ((), ())
    assert {item.why for item in done.stale} == {"cancelled"}
    assert set(done.cancelled) == {mid(0), mid(80)}


def test_a_message_after_the_cancel_is_a_new_warning() -> None:
    done = resolve([*message(0), *message(100, 0)], cancel(90, 0), {})
    assert titles(done) == {mid(100): f"zh-cn {mid(100)}"}


def test_unrelated_warnings_do_not_meet() -> None:
    done = resolve([*message(0), *message(5)], cancel(9, 5), {})
    assert titles(done) == {mid(0): f"zh-cn {mid(0)}"}


def test_two_of_the_same_second_have_one_winner() -> None:
    first, second = message(80, 0, name="a"), message(80, 0, name="b")
    assert titles(resolve([*first, *second], [], {})) == titles(resolve([*second, *first], [], {}))
    assert titles(resolve([*first, *second], [], {})) == {mid(0): f"zh-cn {mid(80, 'b')}"}


def test_index_entries_are_left_to_be_fetched() -> None:
    entry = RawEntry("g", 1, {"title": "t", "cap_url": "https://shili.example/1.cap"})
    assert resolve([entry], [], {}) == Resolved((), ())


# -- across answers ----------------------------------------------------------------------------------


def test_the_same_again_is_the_same_and_an_update_replaces() -> None:
    store = Store()
    first = store.take(message(0), [])
    again = store.take(message(0), [])
    assert titles(first) == titles(again)
    assert titles(store.take(message(80, 0), [])) == {mid(0): f"zh-cn {mid(80)}"}
    late = store.take(message(0), [])
    assert (late.entries, [item.why for item in late.stale]) == ((), ["older"])


def test_a_cancel_withdraws_the_notice_of_the_chain_once() -> None:
    store = Store()
    store.take(message(0), [])
    store.take(message(80, 0), [])
    done = store.take([], cancel(90, 80))
    assert [(item.guid, item.reason, item.at) for item in done.deletions] == [(mid(0), "解除", at(90))]
    assert store.take([], cancel(90, 80)).deletions == ()
    assert store.take(message(80, 0), []).entries == ()
    assert store.take(message(85, 80), []).entries == ()  # late, sent before the cancel
    assert list(titles(store.take(message(99, 80), []))) == [mid(99)]  # a new warning
    assert titles(store.take(message(101, 99), [])) == {mid(99): f"zh-cn {mid(101)}"}


def test_a_cancel_before_its_alert_is_remembered() -> None:
    store = Store()
    assert store.take([], cancel(90, 0)).cancelled == (mid(0),)
    done = store.take(message(0), [])
    assert (done.entries, [item.why for item in done.stale]) == ((), ["cancelled"])
    assert store.take(message(80, 0), []).entries == ()


def test_a_cancel_older_than_what_stands_changes_nothing() -> None:
    store = Store()
    store.take(message(80, 0), [])
    assert store.take([], cancel(70, 0)).deletions == ()
    assert store.standing() == [mid(80).rpartition(",")[2]]
    assert titles(store.take(message(99, 80), [])) == {mid(0): f"zh-cn {mid(99)}"}


def test_two_stored_chains_that_turn_out_to_be_one() -> None:
    store = Store()
    store.take(message(80, 20), [])
    store.take(message(0), [])
    done = store.take(message(20, 0), [])  # the missing link comes last
    assert (done.entries, done.outdated) == ((), (mid(0),))
    assert store.standing() == [mid(80).rpartition(",")[2]]
    assert titles(store.take(message(99, 80, 20, 0), [])) == {mid(20): f"zh-cn {mid(99)}"}


# -- languages ---------------------------------------------------------------------------------------


def test_each_language_keeps_its_notice_whatever_comes_first() -> None:
    store = Store()
    store.take(message(0, langs=("zh-cn", "en")), [])
    done = store.take(message(80, 0, langs=("en", "zh-cn")), [])
    assert titles(done) == {mid(0): f"zh-cn {mid(80)}", f"{mid(0)}#en": f"en {mid(80)}"}
    by_guid = {entry.guid: entry for entry in done.entries}
    assert by_guid[f"{mid(0)}#en"].fields["lang_of"] == mid(0)
    assert "lang_of" not in by_guid[mid(0)].fields


def test_a_language_that_is_no_longer_spoken_is_outdated_not_withdrawn() -> None:
    store = Store()
    store.take(message(0, langs=("zh-cn", "en")), [])
    done = store.take(message(80, 0), [])
    assert (done.outdated, done.deletions) == ((f"{mid(0)}#en",), ())


def test_a_cancel_takes_back_every_language() -> None:
    store = Store()
    store.take(message(0, langs=("zh-cn", "en", "fr")), [])
    assert [item.guid for item in store.take([], cancel(90, 0)).deletions] == [
        mid(0), f"{mid(0)}#en", f"{mid(0)}#fr",
    ]  # fmt: skip


def test_a_store_that_only_names_one_notice_is_enough() -> None:
    sent = mid(0).rpartition(",")[2]
    base = {mid(0): KnownMessage(mid(0), sent)}
    both = ("zh-cn", "en")
    expected = {mid(0): f"zh-cn {mid(80)}", f"{mid(0)}#en": f"en {mid(80)}"}
    assert titles(resolve(message(80, 0, langs=both), [], base)) == expected
    version = {mid(0): KnownMessage(f"{mid(0)}#en", sent)}
    assert titles(resolve(message(80, 0, langs=both), [], version)) == expected


# -- any order ---------------------------------------------------------------------------------------

PLAIN = [message(0), message(20, 0), message(40, 20), message(60, 0, 40)]
FORKED = [message(0), message(10), message(20, 0), message(30, 10), message(50, 20, 30)]
SPOKEN = [message(0, langs=("zh-cn", "en")), message(20, 0, langs=("en", "zh-cn")), message(40, 20)]
CHAINS = st.sampled_from([PLAIN, FORKED, SPOKEN])


@given(chain=CHAINS, data=st.data(), ends=st.sampled_from([None, 15, 45, 70]))
@settings(max_examples=200, deadline=None)
def test_in_one_answer_the_order_never_matters(
    chain: list[list[RawEntry]], data: st.DataObject, ends: int | None
) -> None:
    deletions = cancel(ends, 0, 20) if ends is not None else []
    entries = [entry for one in chain for entry in one]
    shuffled = data.draw(st.permutations(entries))
    other = data.draw(st.permutations(deletions))
    assert resolve(shuffled, other, {}) == resolve(entries, deletions, {})
    twice = resolve([*shuffled, *entries], [*other, *deletions], {})
    assert twice == resolve(entries, deletions, {})


@given(chain=CHAINS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_message_by_message_any_order_ends_with_the_newest_alone(
    chain: list[list[RawEntry]], data: st.DataObject
) -> None:
    store = Store()
    for one in data.draw(st.permutations(chain)):
        store.take(one, [])
    newest = max(entry.fields["cap"]["sent"] for one in chain for entry in one)
    assert set(store.standing()) == {newest}
    before = dict(store.notices)
    for one in data.draw(st.permutations(chain)):  # everything again: nothing changes
        store.take(one, [])
    assert store.notices == before


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_cancel_at_any_moment_ends_the_chain(data: st.DataObject) -> None:
    steps: list[tuple[list[RawEntry], list[Deletion]]] = [(one, []) for one in PLAIN]
    steps.append(([], cancel(70, 0, 20, 40, 60)))
    store = Store()
    for entries, deletions in data.draw(st.permutations(steps)):
        store.take(entries, deletions, now=at(75))
    assert store.standing() == []


@given(data=st.data(), cut=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_in_any_two_answers(data: st.DataObject, cut: int) -> None:
    store = Store()
    mixed = data.draw(st.permutations(PLAIN))
    for part in (mixed[:cut], mixed[cut:]):
        store.take([entry for one in part for entry in one], [])
    assert store.standing() == [mid(60).rpartition(",")[2]]


# -- with real messages ------------------------------------------------------------------------------


def test_the_typhoon_of_the_sample_city() -> None:
    store = Store()
    answers = [
        parse_cap((OWN / name).read_bytes(), {}, "https://cap.shili.example/")
        for name in ("typhoon-1-orange.cap", "typhoon-2-red.cap", "typhoon-3-cancel.cap")
    ]
    first = store.take(list(answers[0].entries), list(answers[0].deleted))
    guid = first.entries[0].guid
    assert [entry.guid for entry in first.entries] == [guid, f"{guid}#en"]
    assert store.take(list(answers[0].entries), []).entries == first.entries
    red = store.take(list(answers[1].entries), list(answers[1].deleted))
    assert [entry.guid for entry in red.entries] == [guid, f"{guid}#en"]
    assert red.entries[0].fields["title"].endswith("红色预警")
    over = store.take(list(answers[2].entries), list(answers[2].deleted))
    assert [item.guid for item in over.deletions] == [guid, f"{guid}#en"]
    assert store.standing() == []


def test_real_chains(real_data: Path) -> None:
    body = (real_data / "cap" / "canada.cap").read_bytes()
    entries = parse_cap(body, {}, "https://cap.example/").entries
    done = resolve(entries, [], {})
    assert [entry.guid for entry in done.entries] == [
        "cap@ec.gc.ca,2.49.0.1.124.a3f342a4.2012,2012-05-02T21:45:05Z",
        "cap@ec.gc.ca,2.49.0.1.124.a3f342a4.2012,2012-05-02T21:45:05Z#fr-ca",
    ]
    assert len(done.keys[done.entries[0].guid]) == 3


@pytest.mark.parametrize("state", ["withdrawn", "purged"])
def test_what_was_taken_back_here_stays_so(state: str) -> None:
    known = {mid(0): KnownMessage(mid(0), mid(0).rpartition(",")[2], state)}
    assert resolve(message(80, 0), [], known).entries == ()
    later = {mid(0): replace(known[mid(0)], ended=at(70))}
    assert list(titles(resolve(message(80, 0), [], later))) == [mid(80)]
