"""Solutions of lesson 05."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def adam_step(
    w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    """The formula, line by line."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    direction = m / (1 - beta1**t)
    size = np.sqrt(v / (1 - beta2**t))
    return w - lr * direction / (size + eps), m, v


def adamw_step(
    w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float, decay: float
) -> tuple[Array, Array, Array]:
    """Adam from weights that have shrunk."""
    return adam_step((1 - lr * decay) * w, g, m, v, t, lr, beta1, beta2, eps)


def clip(gradients: list[Array], longest: float) -> list[Array]:
    """One length, one factor."""
    length = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    factor = longest / length if length > longest else 1.0
    return [factor * g for g in gradients]


def step_size(t: int, lr: float, warmup: int, total: int) -> float:
    """Up a straight line, down half a cosine."""
    if t < warmup:
        return lr * (t + 1) / warmup
    share = (t - warmup) / (total - warmup)
    return lr * (1 + math.cos(math.pi * share)) / 2
