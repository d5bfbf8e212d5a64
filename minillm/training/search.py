"""Finding settings: try some at random or on a grid, and give more steps to the better half.

Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Jamieson and Talwalkar,
"Non-stochastic Best Arm Identification", 2016 (successive halving).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.datasets import stream

__all__ = ["Trial", "grid", "halving", "random_settings"]


@dataclass(frozen=True)
class Trial:
    """One set of settings, how long it was trained, and what came of it (lower is better)."""

    settings: dict[str, Any]
    budget: int
    score: float


def grid(choices: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
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
    """
    draw = stream(seed, "search")
    found = []
    for _ in range(n):
        settings = {}
        for name, what in ranges.items():
            if isinstance(what, tuple):
                low, high = map(math.log, what)
                settings[name] = math.exp(low + (high - low) * draw.random())
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
        evaluate: trains with settings for so many steps and returns the validation loss; NaN counts as worst.
        keep: share that goes on to the next round.

    Returns:
        All trials in the order in which they were made; the last one is the winner's.
    """
    trials: list[Trial] = []
    alive = list(candidates)
    while alive:
        round_ = [Trial(s, budget, evaluate(s, budget)) for s in alive]
        round_.sort(key=lambda t: math.inf if math.isnan(t.score) else t.score, reverse=True)
        trials += round_
        if len(alive) == 1:
            break
        alive = [t.settings for t in round_[::-1][: max(1, int(len(alive) * keep))]]
        budget = int(budget / keep)
    return trials
