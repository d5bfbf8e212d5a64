"""Dropout; the formula and the kernel are in ``dropout.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.graph import draw_seed
from minillm.backend.cuda.launcher import contiguous, launch_flat, supported

Seed = tuple[np.uint64, Array | None]
"""A number, or where it lies on the card."""


def new_seed(backend: Any) -> Seed:
    """Draw a seed; while a recording is made, return where it will lie when that is repeated."""
    return (draw_seed(), None) if backend.recording is None else (np.uint64(0), backend.recording.seed())


def dropped(ctx: Any, x: Array, p: float, seed: Seed) -> Array:
    """Return ``x`` with the elements set to 0 that the seed chooses, and the others divided by 1 - p."""
    x = contiguous(x)
    y = ctx.xp.empty_like(x)
    launch_flat(ctx, "dropout", "dropout", x, y, more=(*seed, float(p), 1 / (1 - p)))
    return y


class Dropout:
    """``minillm.ops.embedding.Dropout``. ``ctx`` keeps a seed."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float) -> Array:
        if p == 1 or not supported(x):
            return NotImplemented
        ctx.p, ctx.seed = p, new_seed(ctx.backend)
        return dropped(ctx, x, p, ctx.seed)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dropped(ctx, dy, ctx.p, ctx.seed)
