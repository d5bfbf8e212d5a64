"""Dropout; the formula and the kernel are in ``dropout.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, launch_flat, supported
from minillm.backend.random import default_generator


def new_seed() -> np.uint64:
    """Draw a seed from the host's stream "dropout"."""
    return np.uint64(default_generator.stream("dropout").integers(2**63))


def dropped(ctx: Any, x: Array, p: float, seed: np.uint64) -> Array:
    """Return ``x`` with the elements set to 0 that the seed chooses, and the others divided by 1 - p."""
    x = contiguous(x)
    y = ctx.xp.empty_like(x)
    launch_flat(ctx, "dropout", "dropout", x, y, more=(seed, float(p), 1 / (1 - p)))
    return y


class Dropout:
    """``minillm.ops.embedding.Dropout``. ``ctx`` keeps a seed."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float) -> Array:
        if p == 1 or not supported(x):
            return NotImplemented
        ctx.p, ctx.seed = p, new_seed()
        return dropped(ctx, x, p, ctx.seed)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dropped(ctx, dy, ctx.p, ctx.seed)
