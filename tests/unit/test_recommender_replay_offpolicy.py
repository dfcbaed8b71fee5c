"""Off-policy estimates on simulated logs whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.replay.offpolicy import Estimate, estimate, even, examination

ARMS = 6
RATES = np.array([0.05, 0.1, 0.2, 0.3, 0.15, 0.5])


def logged(seed: int, rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reward, propensity and arm under a policy that changes from row to row."""
    draw = np.random.default_rng(seed)
    policy = draw.dirichlet(np.ones(ARMS) * 2, rows) * 0.9 + 0.1 / ARMS
    arm = np.array([draw.choice(ARMS, p=chances) for chances in policy])
    reward = (draw.random(rows) < RATES[arm]).astype(float)
    return reward, policy[np.arange(rows), arm], arm


@pytest.fixture(scope="module")
def runs() -> list[tuple[Estimate, float]]:
    """Forty logs, each with the estimate of a policy that prefers good arms, and its true value."""
    target = np.array([0.02, 0.03, 0.1, 0.25, 0.1, 0.5])
    truth = float(target @ RATES)
    return [(estimate(r, p, target[a]), truth) for r, p, a in (logged(seed) for seed in range(40))]


def test_estimates_are_right_on_average_and_their_errors_say_how_far_off(
    runs: list[tuple[Estimate, float]],
) -> None:
    for name in ("ips", "snips"):
        values = np.array([getattr(one, name) for one, _ in runs])
        errors = np.array([getattr(one, f"{name}_se") for one, _ in runs])
        truth = runs[0][1]
        assert abs(values.mean() - truth) < 3 * values.std(ddof=1) / np.sqrt(len(values))
        assert 0.6 < values.std(ddof=1) / errors.mean() < 1.5
        assert (np.abs(values - truth) < 2 * errors).mean() > 0.85
    assert np.mean([one.snips_se for one, _ in runs]) < np.mean([one.ips_se for one, _ in runs])


def test_the_logging_policy_estimates_itself() -> None:
    reward, chance, _ = logged(1)
    same = estimate(reward, chance, chance)
    assert same.ips == same.snips == same.logged == reward.mean()
    assert same.ips_se == pytest.approx(same.logged_se)
    assert same.effective == pytest.approx(len(reward))
    assert same.clipped == same.left_out == 0


def test_positions_are_corrected_for() -> None:
    draw = np.random.default_rng(5)
    rows = 40_000
    arm, position = draw.integers(ARMS, size=rows), draw.integers(1, 11, size=rows)
    seen = examination(position)
    reward = (draw.random(rows) < RATES[arm] * seen).astype(float)
    # What if arm 5 always stood first?
    found = estimate(
        reward,
        np.full(rows, 1 / ARMS),
        (arm == 5).astype(float),
        seen=seen,
        target_seen=np.ones(rows),
        clip=1e9,
    )
    assert abs((found.ips or 0) - RATES[5]) < 3 * (found.ips_se or 0)
    blind = estimate(reward, np.full(rows, 1 / ARMS), (arm == 5).astype(float))
    assert (blind.ips or 0) < RATES[5] / 2


def test_filling_evenly_weighs_what_was_rare_more() -> None:
    draw = np.random.default_rng(6)
    policy = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    arm = draw.choice(ARMS, size=60_000, p=policy)
    reward = (draw.random(len(arm)) < RATES[arm]).astype(float)
    found = estimate(reward, policy[arm], even(policy[arm]))
    assert abs((found.snips or 0) - RATES.mean()) < 3 * (found.snips_se or 0)
    assert abs((found.logged or 0) - policy @ RATES) < 3 * (found.logged_se or 0)


def test_clipping_bounds_the_weights_and_is_reported() -> None:
    reward, chance = np.ones(100), np.full(100, 0.001)
    found = estimate(reward, chance, np.ones(100), clip=10)
    assert found.ips == 10
    assert found.clipped == 1.0
    assert found.snips == 1.0


@settings(max_examples=80)
@given(st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 3), max_size=20))
def test_nonsense_is_left_out_and_counted(rows: list[tuple[float, float, float]]) -> None:
    columns = [np.array([row[n] for row in rows]) for n in range(3)]
    with np.errstate(all="ignore"):
        found = estimate(*columns)
    assert found.rows + found.left_out == len(rows)
    if not found.rows:
        assert found.ips is None
        assert found.snips is None
        assert found.effective == 0
    assert found.clipped <= 1
    assert 0 <= found.effective <= found.rows + 1e-6


def test_nothing_to_estimate_from() -> None:
    empty = estimate([], [], [])
    assert empty.rows == 0
    assert {empty.ips, empty.ips_se, empty.snips, empty.snips_se, empty.logged} == {None}
    json.dumps(empty.json(), allow_nan=False)
    none_fits = estimate([1.0, 0.0], [0.5, 0.5], [0.0, 0.0])
    assert none_fits.ips == 0
    assert none_fits.snips is None
    one = estimate([1.0], [0.5], [1.0])
    assert (one.ips, one.ips_se, one.snips) == (2.0, None, 1.0)


def test_columns_have_to_fit() -> None:
    with pytest.raises(ValueError, match="length"):
        estimate([1.0], [0.5, 0.5], [1.0])
    with pytest.raises(ValueError, match="clip"):
        estimate([1.0], [0.5], [1.0], clip=0)
    with pytest.raises(ValueError, match="both"):
        estimate([1.0], [0.5], [1.0], seen=np.ones(1))


def test_examination_falls_with_the_position() -> None:
    assert examination([0, 1, 2, 4]).tolist() == [1, 1, 0.5, 0.25]
    assert (np.diff(examination(np.arange(1, 30))) < 0).all()
