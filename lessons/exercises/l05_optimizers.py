"""Exercises of lesson 05: Adam and what goes with it. ``minillm check 05`` says how far you are.

Each function has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are
stuck. No function changes the arrays that it is given.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def adam_step(
    w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    """Return the weights and the two means after step number t of Adam; the first step is t = 1, with m = v = 0.

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²,
    w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
    """
    # Hint 1: first both means, then the corrected means, then the step; the corrected ones are not kept.
    # Hint 2: eps stands outside the root.
    # Hint 3: m *= beta1 would change the caller's array; m = beta1 * m + ... makes a new one.
    raise NotImplementedError("adam_step")


def adamw_step(
    w: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float, decay: float
) -> tuple[Array, Array, Array]:
    """Return the same after a step of AdamW: the weights shrink by the factor 1 - lr decay, then Adam makes its step.

    The gradient, and so the two means, know nothing of the decay.
    """
    # Hint 1: there is a function above that does nearly everything.
    # Hint 2: give it other weights; its step does not depend on them.
    raise NotImplementedError("adamw_step")


def clip(gradients: list[Array], longest: float) -> list[Array]:
    """Return the gradients, made shorter by one common factor if they are longer than ``longest`` all together.

    The length is the root of the sum of all squares, over all arrays. Gradients that are short enough, or all 0, stay
    as they are.
    """
    # Hint 1: one length for all arrays together; a length for each array would turn the direction.
    # Hint 2: the factor is longest / length, but never more than 1.
    # Hint 3: min(1, longest / length) divides by 0 when all gradients are 0.
    raise NotImplementedError("clip")


def step_size(t: int, lr: float, warmup: int, total: int) -> float:
    """Return the step size of step t = 0, 1, ..., total: a straight rise, then half a cosine down to 0.

    While t < warmup it is lr (t + 1) / warmup; then lr (1 + cos(pi s)) / 2, where s goes from 0 at t = warmup to 1 at
    t = total. ``warmup`` is less than ``total`` and may be 0.
    """
    # Hint 1: two cases. With warmup = 0 the first one never comes, so nothing is divided by 0.
    # Hint 2: s is the share of the steps after the warm-up that are done: (t - warmup) / (total - warmup).
    raise NotImplementedError("step_size")
