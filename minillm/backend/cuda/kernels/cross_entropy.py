"""Cross-entropy with class numbers; the formula and the kernels are in ``cross_entropy.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import accumulator, contiguous, pack, supported, threads

FAMILY = "cross_entropy"


class CrossEntropy:
    """``minillm.ops.cross_entropy.CrossEntropy``, without class weights and label smoothing.

    ``ctx`` keeps the logits themselves: they belong to another op, so the gradient gets an array of its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Array,
        target: Array,
        weight: Array | None,
        *,
        ignore_index: int,
        reduction: str,
        smoothing: float,
        dtype: np.dtype,
    ) -> Array:
        if weight is not None or smoothing or not supported(x) or target.dtype != np.int64:
            return NotImplemented
        xp, (rows, classes), A = ctx.xp, x.shape, accumulator(x.dtype)
        x, target = contiguous(x), contiguous(target)
        losses, ms, ss = (xp.empty(rows, dtype=A) for _ in range(3))
        V = pack(classes, x)
        arguments = (x, target, losses, ms, ss, classes, ignore_index)
        ctx.backend.launch(
            FAMILY, "cross_entropy_forward", rows, threads(classes, V), *arguments, T=x.dtype, W=dtype, V=V
        )
        count = None
        if reduction == "none":
            loss = losses.astype(dtype, copy=False)
        else:
            loss, count = xp.empty((), dtype=dtype), xp.empty((), dtype=A)
            arguments = (losses, target, loss, count, rows, ignore_index, int(reduction == "mean"))
            ctx.backend.launch(FAMILY, "cross_entropy_total", 1, 1024, *arguments, T=x.dtype, W=dtype)
        ctx.ignore_index, ctx.dy_step = ignore_index, int(reduction == "none")
        ctx.save_for_backward(x, target, ms, ss, count if reduction == "mean" else None)
        return loss

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None, None]:
        x, target, ms, ss, count = ctx.saved_arrays
        (rows, classes), dx = x.shape, ctx.xp.empty_like(x)
        V = pack(classes, x, dx)
        dy = contiguous(dy)
        arguments = (dy, x, target, ms, ss, count, dx, classes, ctx.ignore_index, ctx.dy_step)
        types = {"T": x.dtype, "W": dy.dtype, "V": V}
        ctx.backend.launch(FAMILY, "cross_entropy_backward", rows, threads(classes, V), *arguments, **types)
        return dx, None, None
