"""Search: what is tried, in which order, and that the best wins."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.training import NonFiniteLoss, Trial, grid, halving, random_settings


def test_a_grid_is_every_combination() -> None:
    assert grid({}) == [{}]
    found = grid({"a": [1, 2, 3], "b": "xy"})
    assert len(found) == 6 and {(s["a"], s["b"]) for s in found} == {(a, b) for a in (1, 2, 3) for b in "xy"}


@given(st.integers(0, 20), st.integers(0, 2**32))
def test_random_settings_stay_in_their_ranges_and_follow_the_seed(n: int, seed: int) -> None:
    ranges = {"lr": (1e-4, 1e-1), "width": [8, 16, 32]}
    found = random_settings(ranges, n, seed)
    assert len(found) == n
    assert all(1e-4 <= s["lr"] <= 1e-1 and s["width"] in (8, 16, 32) for s in found)
    assert found == random_settings(ranges, n, seed)
    assert random_settings(ranges, n + 1, seed)[:n] == found  # asking for more keeps the first
    assert n < 3 or found != random_settings(ranges, n, seed + 1)


def test_random_settings_are_even_on_a_logarithmic_scale() -> None:
    drawn = [math.log10(s["lr"]) for s in random_settings({"lr": (1e-4, 1e-1)}, 3000)]
    thirds = [sum(low <= x < low + 1 for x in drawn) for low in (-4, -3, -2)]
    assert all(abs(n - 1000) < 5 * math.sqrt(1000 * 2 / 3) for n in thirds)  # five standard deviations
    chosen = [s["width"] for s in random_settings({"width": [8, 16, 32]}, 3000)]
    assert all(abs(chosen.count(w) - 1000) < 5 * math.sqrt(1000 * 2 / 3) for w in (8, 16, 32))


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=12, unique=True), st.integers(0, 3), st.sampled_from([0.25, 0.5])
)
def test_the_best_wins_and_gets_most_steps(scores: list[float], failures: int, keep: float) -> None:
    candidates = [{"score": s} for s in scores] + [{"score": math.nan}] * failures
    asked = []

    def evaluate(settings: dict[str, float], budget: int) -> float:
        asked.append(budget)
        return settings["score"]

    trials = halving(candidates, evaluate, 10, keep)
    assert trials[-1].settings == {"score": min(scores)} and trials[-1].score == min(scores)
    assert asked == sorted(asked) and asked[: len(candidates)] == [10] * len(candidates)
    assert [t.budget for t in trials] == asked
    assert trials[-1].budget == max(asked)
    by_round: dict[int, list[float]] = {}
    for t in trials:
        by_round.setdefault(t.budget, []).append(math.inf if math.isnan(t.score) else t.score)
    assert all(found == sorted(found, reverse=True) for found in by_round.values())  # from the worst to the best
    sizes = [len(found) for found in by_round.values()]
    assert sizes[0] == len(candidates) and sizes[-1] == 1
    assert all(b == max(1, int(a * keep)) for a, b in itertools.pairwise(sizes))
    budgets = list(by_round)
    assert all(b == int(a / keep) for a, b in itertools.pairwise(budgets))
    assert halving(candidates, lambda settings, _: settings["score"], 10, keep)[-1] == trials[-1]  # no chance in it


def test_a_training_that_blows_up_is_reported_and_loses_nothing() -> None:
    def evaluate(settings: dict[str, float], budget: int) -> float:
        if settings["lr"] > 1:
            raise NonFiniteLoss("step 3: loss nan")
        return settings["lr"]

    trials = halving([{"lr": x} for x in (9.0, 0.5, 3.0, 0.2)], evaluate, 5)
    assert trials[-1] == Trial({"lr": 0.2}, 20, 0.2)
    failed = [t for t in trials if math.isnan(t.score)]
    assert sorted(t.settings["lr"] for t in failed) == [3.0, 9.0] and {t.budget for t in failed} == {5}
    with pytest.raises(ZeroDivisionError):  # a mistake in the code is no score
        halving([{"lr": 1.0}], lambda s, n: 1 / 0, 5)


def test_when_all_fail_the_last_one_says_so() -> None:
    trials = halving([{"a": 1}, {"a": 2}], lambda s, n: math.nan, 1)
    assert len(trials) == 3 and all(math.isnan(t.score) for t in trials)


@pytest.mark.parametrize(("keep", "budget"), [(1.0, 5), (0.0, 5), (-1.0, 5), (math.nan, 5), (2.0, 5), (0.5, 0)])
def test_a_search_without_end_is_refused(keep: float, budget: int) -> None:
    with pytest.raises(ValueError, match="keep above 0 and below 1"):
        halving([{}, {}], lambda s, n: 0.0, budget, keep)


@pytest.mark.parametrize("range_", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0), []], ids=str)
def test_ranges_that_cannot_be_drawn_from(range_: Any) -> None:
    with pytest.raises(ValueError, match="lr: expected a list of choices or a pair"):
        random_settings({"lr": range_}, 1)


@given(st.floats(1e-300, 1e300), st.floats(1, 1e5), st.integers(0, 99))
def test_draws_never_leave_a_range_by_a_rounding(low: float, factor: float, seed: int) -> None:
    for ends in ((low, low), (low, min(low * factor, 1e300))):
        assert all(ends[0] <= s["x"] <= ends[1] for s in random_settings({"x": ends}, 3, seed))


def test_no_candidates_are_no_trials() -> None:
    assert halving([], lambda s, n: 0.0, 1) == []
