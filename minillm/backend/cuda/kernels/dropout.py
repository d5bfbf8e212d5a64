"""Dropout; the formula and the kernel are in ``dropout.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, launch_flat, supported
from minillm.backend.random import default_generator


class Dropout:
    """``minillm.ops.embedding.Dropout``. ``ctx`` keeps a seed, drawn from the host's stream "dropout"."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float) -> Array:
        if p == 1 or not supported(x):
            return NotImplemented
        ctx.p, ctx.seed = p, np.uint64(default_generator.stream("dropout").integers(2**63))
        return Dropout.backward(ctx, x)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        dy = contiguous(dy)
        dx = ctx.xp.empty_like(dy)
        launch_flat(ctx, "dropout", "dropout", dy, dx, more=(ctx.seed, float(ctx.p), 1 / (1 - ctx.p)))
        return dx
