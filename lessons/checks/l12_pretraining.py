"""Checks of the answers to lesson 12."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.testing.properties import check, st

seeds, pieces = st.integers(0, 99), st.integers(0, 50)


class SmallTrainer:
    """Momentum on a linear model with dropout: all that a training has to remember, in a few lines."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights = {"w": self.rng.standard_normal(3), "b": self.rng.standard_normal(1)}
        self.velocity = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self.step = 0

    def run(self, steps: int) -> SmallTrainer:
        """Make so many steps; the batch and the step size depend on the number of the step alone."""
        for _ in range(steps):
            x = np.sin(np.arange(12.0).reshape(4, 3) * (self.step + 1))  # (4, 3)
            kept = x * (self.rng.random(x.shape) > 0.2)
            wrong = kept @ self.weights["w"] + self.weights["b"] - x.sum(axis=1)
            for name, slope in (("w", kept.T @ wrong), ("b", wrong.sum(keepdims=True))):
                self.velocity[name] *= 0.9
                self.velocity[name] += slope
                self.weights[name] -= 0.02 / (self.step + 2) * self.velocity[name]
            self.step += 1
        return self

    def numbers(self) -> dict[str, Any]:
        """Weights as lists, to compare and to show."""
        return {name: w.tolist() for name, w in self.weights.items()}


@check("learning_rate: it rises to the peak, falls to 0, and is never larger than the peak",
       "after the warm-up: 1 - (step - warmup) / (total - warmup), not below 0",
       warmup=st.integers(0, 20), fall=st.integers(1, 50), peak=st.floats(1e-4, 1))  # fmt: skip
def rises_and_falls(answer: Any, warmup: int, fall: int, peak: float) -> None:
    """The corners, and straight lines between them."""
    total = warmup + fall
    found = [answer.learning_rate(t, total, warmup, peak) for t in range(total + 3)]
    assert math.isclose(found[warmup], peak), f"at the end of the warm-up: expected {peak}, got {found[warmup]}"
    assert found[total:] == [0, 0, 0], f"from step {total} on: expected 0, got {found[total:]}"
    assert warmup == 0 or math.isclose(found[0], peak / warmup), f"the first step: got {found[0]}"
    for name, line in (("rise", found[:warmup]), ("fall", found[warmup : total + 1])):
        bends = np.abs(np.diff(line, 2))
        assert not (bends > 1e-12).any(), f"the {name} is no straight line: {line}"


def half_and_half(answer: Any, seed: int, first: int, second: int) -> tuple[SmallTrainer, SmallTrainer]:
    """A training in one go, and the same with a stop after which a new process goes on."""
    whole = SmallTrainer(seed).run(first + second)
    saved = answer.save(SmallTrainer(seed).run(first))
    assert isinstance(saved, dict), f"save: expected a dictionary, got {type(saved).__name__}"
    other = SmallTrainer(seed + 1).run(3)  # whatever it holds must go
    answer.load(other, saved)
    return whole, other.run(second)


@check("load: 50 + 50 steps are 100 steps, bit for bit", "what else does a step depend on: memory, step, chance",
       seed=seeds)  # fmt: skip
def fifty_and_fifty(answer: Any, seed: int) -> None:
    """Not nearly: exactly."""
    whole, resumed = half_and_half(answer, seed, 50, 50)
    assert resumed.numbers() == whole.numbers(), f"expected {whole.numbers()}, got {resumed.numbers()}"
    assert resumed.step == 100, f"expected step 100, got {resumed.step}"


@check("save: a training may be stopped anywhere", "also before the first step, and right at the end",
       seed=seeds, first=pieces, second=pieces)  # fmt: skip
def anywhere(answer: Any, seed: int, first: int, second: int) -> None:
    """Any two pieces."""
    whole, resumed = half_and_half(answer, seed, first, second)
    assert resumed.numbers() == whole.numbers(), f"expected {whole.numbers()}, got {resumed.numbers()}"


@check("save: what was saved stays while the training goes on", "copy arrays in save, and again in load",
       seed=seeds, steps=st.integers(1, 20))  # fmt: skip
def saved_stays(answer: Any, seed: int, steps: int) -> None:
    """The same state, used twice, with training in between."""
    trainer = SmallTrainer(seed).run(5)
    saved = answer.save(trainer)
    wanted = trainer.run(steps).numbers()
    for attempt in ("first", "second"):
        other = SmallTrainer(seed + 1)
        answer.load(other, saved)
        found = other.run(steps).numbers()
        assert found == wanted, f"the {attempt} time it was loaded: expected {wanted}, got {found}"
