"""Solutions of lesson 12."""

from __future__ import annotations

from typing import Any


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the step size: a rise, then a line to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.0, 1 - (step - warmup) / (total - warmup))


def save(trainer: Any) -> dict[str, Any]:
    """Return copies of weights, velocity, step and the generator's state."""
    return {
        "weights": {name: w.copy() for name, w in trainer.weights.items()},
        "velocity": {name: v.copy() for name, v in trainer.velocity.items()},
        "step": trainer.step,
        "rng": dict(trainer.rng.bit_generator.state),
    }


def load(trainer: Any, saved: dict[str, Any]) -> None:
    """Put copies of what was saved into a trainer."""
    trainer.weights = {name: w.copy() for name, w in saved["weights"].items()}
    trainer.velocity = {name: v.copy() for name, v in saved["velocity"].items()}
    trainer.step = saved["step"]
    trainer.rng.bit_generator.state = saved["rng"]
