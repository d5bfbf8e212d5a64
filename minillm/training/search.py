"""Finding settings: try some at random or on a grid, and give more steps to the better half.

Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Jamieson and Talwalkar,
"Non-stochastic Best Arm Identification", 2016 (successive halving).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.datasets import stream
from minillm.training.trainer import NonFiniteLoss

__all__ = ["Trial", "grid", "halving", "random_settings"]


@dataclass(frozen=True)
class Trial:
    """One set of settings, how long it was trained, and what came of it (lower is better)."""

    settings: dict[str, Any]
    budget: int
    score: float


def grid(choices: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the choices.

    >>> grid({"lr": [1, 2], "width": [8]})
    [{'lr': 1, 'width': 8}, {'lr': 2, 'width': 8}]
    """
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def random_settings(ranges: dict[str, Any], n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Draw settings.

    Args:
        ranges: for each name a list to choose from, or a pair (low, high) of floats to draw from evenly on a
            logarithmic scale.
        n: how many to draw.

    Raises:
        ValueError: for a list without choices, or a pair that is not 0 < low <= high.
    """
    for name, what in ranges.items():
        if not len(what) or (isinstance(what, tuple) and not 0 < what[0] <= what[1] < math.inf):
            raise ValueError(f"{name}: expected a list of choices or a pair (low, high) with 0 < low, got {what!r}")
    draw = stream(seed, "search")
    found = []
    for _ in range(n):
        settings = {}
        for name, what in ranges.items():
            if isinstance(what, tuple):
                low, high = map(math.log, what)
                drawn = math.exp(low + (high - low) * draw.random())
                settings[name] = min(max(drawn, what[0]), what[1])  # exp(log(x)) may miss x by a rounding
            else:
                settings[name] = what[int(draw.integers(len(what)))]
        found.append(settings)
    return found


def halving(
    candidates: Sequence[dict[str, Any]],
    evaluate: Callable[[dict[str, Any], int], float],
    budget: int,
    keep: float = 0.5,
) -> list[Trial]:
    """Try all candidates for ``budget`` steps, keep the better half, double the steps, until one is left.

    Args:
        evaluate: trains with settings for so many steps and returns the validation loss. NaN counts as worst, and so
            does a training that ends in ``NonFiniteLoss``: its trial stays in the list with the score NaN.
        keep: share that goes on to the next round, above 0 and below 1.

    Returns:
        All trials, round by round, each round from the worst to the best; the last one is the winner's.

    Raises:
        ValueError: for a share that would never end or leave nothing, or a budget below 1.
    """
    if not (0 < keep < 1 and budget >= 1):
        raise ValueError(f"halving: expected keep above 0 and below 1 and budget >= 1, got {keep} and {budget}")
    trials: list[Trial] = []
    alive = list(candidates)
    while alive:
        round_ = [Trial(s, budget, _score(evaluate, s, budget)) for s in alive]
        round_.sort(key=lambda t: math.inf if math.isnan(t.score) else t.score, reverse=True)
        trials += round_
        if len(alive) == 1:
            break
        alive = [t.settings for t in round_[::-1][: max(1, int(len(alive) * keep))]]
        budget = int(budget / keep)
    return trials


def _score(evaluate: Callable[[dict[str, Any], int], float], settings: dict[str, Any], budget: int) -> float:
    try:
        return evaluate(settings, budget)
    except NonFiniteLoss:  # settings that blow up are a finding, not an end of the search
        return math.nan
