"""Early stopping against a model that looks at the whole history again."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.training import EarlyStopping

levels = st.sampled_from([3.0, 2.0, 1.9, 1.5, 1.0, math.nan, math.inf, -math.inf])
losses = st.lists(levels | st.floats(0, 5, width=16), max_size=20)


def best_of(history: list[float], min_delta: float) -> tuple[float, int | None]:
    """The best loss and its place: each must be lower than the last best one by more than ``min_delta``."""
    best, place = math.inf, None
    for i, loss in enumerate(history):
        if loss < best - min_delta:
            best, place = loss, i
    return best, place


@given(losses, st.none() | st.integers(1, 4), st.sampled_from([0.0, 0.2, 1.0]))
def test_it_stops_exactly_when_patience_runs_out(history: list[float], patience: int | None, min_delta: float) -> None:
    stopper = EarlyStopping(patience, min_delta)
    for i, loss in enumerate(history):
        improved = stopper.update(i, loss)
        best, place = best_of(history[: i + 1], min_delta)
        assert improved == (place == i)
        assert (stopper.best, stopper.best_step) == (best, place)
        waited = i - place if place is not None else i + 1
        assert stopper.should_stop == (patience is not None and waited >= patience)
        assert not math.isnan(stopper.best)


@given(losses, losses, st.integers(1, 4))
def test_a_restored_one_goes_on_as_if_nothing_had_been(before: list[float], after: list[float], patience: int) -> None:
    finite = [x for x in before if not math.isinf(x)]  # a loss of -inf is no loss; JSON could not hold it
    one, two = EarlyStopping(patience, 0.1), EarlyStopping(patience, 0.1)
    for i, loss in enumerate(finite):
        one.update(i, loss)
    two.load_state_dict(json.loads(json.dumps(one.state_dict(), allow_nan=False)))
    for i, loss in enumerate(after, start=len(finite)):
        assert one.update(i, loss) == two.update(i, loss)
        assert one.should_stop == two.should_stop and one.best == two.best


@given(st.lists(st.floats(0, 5, width=16), min_size=1, max_size=20))
def test_without_patience_it_only_remembers(history: list[float]) -> None:
    stopper = EarlyStopping(patience=None)
    for i, loss in enumerate(history):
        stopper.update(10 * i, loss)
        assert not stopper.should_stop
    assert stopper.best == min(history)
    assert stopper.best_step == 10 * history.index(min(history))  # of equals, the first


@given(st.integers(1, 5), st.integers(0, 3))
def test_nothing_but_nan_is_never_best(patience: int, more: int) -> None:
    stopper = EarlyStopping(patience)
    fired = []
    for i in range(patience + more):
        assert not stopper.update(i, math.nan)
        fired.append(stopper.should_stop)
    assert fired == [False] * (patience - 1) + [True] * (more + 1)
    assert stopper.best == math.inf and stopper.best_step is None
    assert stopper.update(99, 1e9) and not stopper.should_stop  # any number is better than none


@pytest.mark.parametrize(("loss", "better"), [(0.5, False), (0.5 - 2**-40, True), (1.0, False)])
def test_better_by_exactly_min_delta_is_not_better(loss: float, better: bool) -> None:
    stopper = EarlyStopping(patience=1, min_delta=0.5)
    stopper.update(0, 1.0)
    assert stopper.update(1, loss) == better and stopper.should_stop == (not better)
