"""Features, training, the model file, what learning adds: repeatable, additive, never trusted blindly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from feeds.kernel.errors import MycityError
from profiles.feedback import FeedbackRow
from profiles.types import FollowedPlace
from recommender.candidates import from_notice
from recommender.features import item_matrix, item_space, title_words, user_features, user_matrix, user_space
from recommender.model_file import Model, ModelShelf
from recommender.simulate import Simulation, simulate
from recommender.train import train
from recommender.types import FeatureSpace, RulesOnlyError
from tests.unit.recommender_world import (
    DAY,
    NOW,
    candidate,
    city,
    ids,
    library,
    notice,
    person,
    picks,
    ready,
    scored,
)

ABOVE = {code: city().ancestors(code) for code in city().places}


@cache
def simulation() -> Simulation:
    return simulate(library(), city(), residents=60, seed=3, now=NOW)


@cache
def model() -> Model:
    return train(simulation().rows, simulation().profiles, library(), city(), seed=3, now=NOW)


# Features


def test_title_words_are_cut_folded_and_cleaned() -> None:
    assert title_words("關於增值稅申報的通知") == title_words("关于增值税申报的通知")
    assert "申报" in title_words("关于增值税申报的通知")
    assert title_words("The Tax Relief of 2026 for SMEs, a tax act") == ("tax", "relief", "smes", "act")
    assert title_words("") == title_words("的 2026 !!") == ()


def test_items_are_tags_and_words_and_rows_have_length_one() -> None:
    made = [
        from_notice(notice(n, "theme:0402", title=title))
        for n, title in enumerate(("养老补贴", "养老补贴", "独有词语"))
    ]
    space = item_space(made)
    assert "theme:0402" in space.columns and "w:补贴" in space.columns and "w:独有" not in space.columns
    rows = item_matrix([*made, candidate(9, "theme:9999")], space)
    assert rows.dtype == np.float32 and rows.shape == (4, len(space))
    lengths = np.sqrt(rows.multiply(rows).sum(axis=1)).A1
    assert lengths == pytest.approx([1, 1, 1, 0], abs=1e-6)
    assert not any(name.startswith(("id:", "notice:")) for name in space.columns)


def test_residents_are_what_they_declared_and_themselves_only_if_known_well() -> None:
    one = person(7, roles=("citizen",), places=(FollowedPlace("sl0101"),), interests=("theme:0402",))
    names = {"role:citizen", "place:sl0101", "place:sl01", "place:sl", "place:cn", "interest:theme:0402"}
    assert user_features(one, ABOVE) == names
    assert user_features(replace(one, interests=("word:独有词语",)), ABOVE) == names - {"interest:theme:0402"}
    five = [replace(one, id=n) for n in range(7, 12)]
    assert not len(user_space(five[1:], ABOVE, city().is_sensitive))  # four might be found out
    space = user_space(five, ABOVE, city().is_sensitive, [7])
    assert set(space.columns) == names | {"id:7"}
    assert user_matrix([one, person(8)], ABOVE, space).getnnz(axis=1).tolist() == [7, 0]


def test_a_vocabulary_is_its_names_in_order() -> None:
    assert FeatureSpace.of(["a", "b", "a"]) == FeatureSpace.of(["a", "b"])
    assert FeatureSpace.of(["a", "b"]).hash != FeatureSpace.of(["b", "a"]).hash


# Training


def test_training_is_repeatable_bit_for_bit() -> None:
    again = train(
        simulation().rows[::-1], simulation().profiles[::-1], library()[::-1], city(), seed=3, now=NOW
    )
    for name in ("user_vectors", "user_biases", "item_vectors", "item_biases"):
        assert getattr(again, name).tobytes() == getattr(model(), name).tobytes()
    other = train(simulation().rows, simulation().profiles, library(), city(), seed=4, now=NOW)
    assert other.item_vectors.tobytes() != model().item_vectors.tobytes()


def test_simulated_residents_are_no_features_and_are_counted() -> None:
    assert model().info.simulated_share == 1.0
    assert not [name for name in model().users.names if name.startswith("id:")]
    assert all(one.id < 0 for one in simulation().profiles)


def test_a_resident_with_five_events_is_a_feature_and_can_be_forgotten(tmp_path: Path) -> None:
    rows = [
        FeedbackRow(user, n, "open", NOW) for user, count in ((7, 5), (8, 4)) for n in range(1, count + 1)
    ]
    people = [*simulation().profiles, person(7), person(8)]
    made = train([*simulation().rows, *rows], people, library(), city(), seed=1, now=NOW)
    assert [name for name in made.users.names if name.startswith("id:")] == ["id:7"]
    assert 0 < made.info.simulated_share < 1
    shelf = ModelShelf(tmp_path)
    shelf.save(made)
    assert shelf.forget(["id:7"]) == 1 and shelf.forget(["id:7"]) == 0
    loaded = shelf.load_current()
    assert loaded is not None and "id:7" not in loaded.users.columns
    assert loaded.user_vectors.shape == (len(loaded.users), loaded.info.dim)
    assert b"id:7" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_too_little_feedback_says_rules_only() -> None:
    few = [FeedbackRow(user, number, "click", NOW) for user in (1, 2, 3, 4) for number in range(1, 40)]
    people = [person(n) for n in range(1, 5)]
    for rows, profiles in (([], people), (few, people), (few[:1], people[:1]), (few, [])):
        with pytest.raises(RulesOnlyError, match=r"^Rules only: .* train again"):
            train(rows, profiles, library(), city(), seed=1, now=NOW)
    assert issubclass(RulesOnlyError, MycityError)


def test_who_switched_off_teaches_nothing_and_a_hide_takes_back() -> None:
    off = [replace(one, personalised=False) for one in simulation().profiles]
    with pytest.raises(RulesOnlyError):
        train(simulation().rows, off, library(), city(), seed=1, now=NOW)
    hidden = [replace(row, kind="hide", at=NOW) for row in simulation().rows if row.kind == "click"]
    with pytest.raises(RulesOnlyError, match="0 opened"):
        train([*simulation().rows, *hidden], simulation().profiles, library(), city(), seed=1, now=NOW)


def test_the_simulated_share_can_be_bounded() -> None:
    real = [FeedbackRow(user, n, "click", NOW) for user in range(1, 7) for n in range(user, user + 10)]
    people = [*simulation().profiles, *(person(n) for n in range(1, 7))]
    made = train(
        [*simulation().rows, *real], people, library(), city(), seed=1, now=NOW, simulated_share=0.25
    )
    assert made.info.rows == 80 and made.info.simulated_share == 0.25


# The model (its file: test_recommender_model_file.py)


def test_contributions_of_features_sum_to_the_score() -> None:
    users = user_matrix(simulation().profiles[:20], ABOVE, model().users)
    items = item_matrix([from_notice(one) for one in library(30)], model().items)
    scores = model().scores(users, items)
    assert scores.shape == (20, 30) and scores.dtype == np.float32
    for row in range(20):
        for column in range(0, 30, 7):
            columns, each, bias = model().contributions(users[row], items[column])
            assert len(columns) == items[column].nnz
            assert each.sum() + bias == pytest.approx(scores[row, column], abs=1e-4)


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path / "models")
    assert shelf.load_current() is None and "mycity train" in shelf.problem
    version = shelf.save(model())
    loaded = shelf.load_current()
    assert loaded is not None and shelf.problem == ""
    assert loaded.info == replace(model().info, version=version)
    assert (loaded.users, loaded.items) == (model().users, model().items)
    assert loaded.item_vectors.tobytes() == model().item_vectors.tobytes()


# What learning adds


def test_learned_scores_are_standard_deviations_among_ones_own_candidates() -> None:
    found = [from_notice(one) for one in library()]
    people = [person(n, roles=("citizen",), interests=("theme:1001",)) for n in (1, 2)]
    scores = scored(people, ready(found, model()))
    learned = scores.parts["learned"]
    assert abs(learned[0].mean()) < 0.05 and 0.9 < learned[0].std() <= 1.01 and np.abs(learned).max() <= 3
    off = scored([replace(people[0], personalised=False), person(3)], ready(found, model()))
    assert not off.parts["learned"].any()  # switched off, or nothing known of them


def test_what_was_learned_is_a_reason_and_names_what_they_declared() -> None:
    found = [from_notice(one) for one in library()]
    profile = person(roles=("enterprise",), interests=("theme:0601",))
    made = picks(profile, found, model=model())
    learned = [reason for one in made for reason in one.reasons if reason.code == "learned"]
    allowed = {(tag,) for tag in ("role:enterprise", "theme:0601")}
    assert learned and {reason.params for reason in learned} <= allowed
    assert all(reason.contribution >= 1.0 for reason in learned)
    for one in made:  # declared facts stand before what was inferred
        codes = [reason.code for reason in one.reasons]
        assert codes == sorted(codes, key=lambda code: code in ("learned", "popular"))


def test_one_candidate_or_broken_arrays_do_not_break_the_score() -> None:
    one = [from_notice(library(1)[0])]
    profile = person(interests=("theme:0402",))
    assert ids(picks(profile, one, model=model())) == [1]
    broken = replace(model(), item_vectors=np.full_like(model().item_vectors, np.nan))
    (made,) = picks(profile, one, model=broken)
    assert np.isfinite(made.score)


# Simulation


def test_a_simulation_is_repeatable_and_marked() -> None:
    again = simulate(library(), city(), residents=60, seed=3, now=NOW)
    assert again == simulation() and again != simulate(library(), city(), residents=60, seed=4, now=NOW)
    assert all(row.simulated and row.profile_id < 0 and NOW - 31 * DAY < row.at < NOW for row in again.rows)
    assert {row.kind for row in again.rows} >= {"impression", "click"}


def test_simulated_residents_open_what_fits_and_look_at_the_top() -> None:
    made = simulate(library(), city(), residents=300, seed=5, now=NOW)
    wanted = {one.id: set(one.interests) for one in made.profiles}
    themes = {one.id: {f"theme:{tag.code}" for tag in one.tags if tag.kind == "theme"} for one in library()}
    seen = [
        (row.kind, bool(wanted[row.profile_id] & themes[row.notice_id]), row.position) for row in made.rows
    ]

    def rate(fits: bool, top: bool) -> float:
        shown = [kind for kind, fit, place in seen if fit == fits and (place <= 10) == top]
        return shown.count("click") / shown.count("impression")

    assert rate(True, True) > 3 * rate(False, True)
    assert rate(True, True) > rate(True, False)


def test_a_simulation_of_nothing_is_empty() -> None:
    assert simulate(library(), city(), residents=0, seed=1, now=NOW) == Simulation((), ())
    made = simulate([], city(), residents=3, seed=1, now=NOW)
    assert len(made.profiles) == 3 and made.rows == ()


def test_serving_loads_no_training_library() -> None:
    code = (
        "import sys, recommender.select, recommender.model_file, recommender.explain, recommender.simulate, "
        "recommender.train, profiles.match, profiles.reasons; "
        "print([name for name in ('lightfm', 'sklearn') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
