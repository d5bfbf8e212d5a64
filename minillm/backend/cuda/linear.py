"""The linear layer with its bias added inside the product, so that the result is written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.cublaslt import NotOffered


class Linear:
    """``y = x w^T + b``; ``dx = dy w``, ``dw = dy^T x``, ``db = 1^T dy``: each of them one product.

    Where the weight has a gradient already, of another micro-batch or another use, the product is added to it.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array, b: Array | None) -> Array:
        gemm = ctx.backend.gemm
        # cuBLASLt adds no bias in float64.
        if gemm is None or x.dtype == np.float64 or not gemm.takes(x, w) or (b is not None and b.dtype != x.dtype):
            return NotImplemented
        needs_x, needs_w, _ = ctx.needs_input_grad
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # (N, in)
        try:
            y = gemm(rows, w.T, bias=b)
        except NotOffered:
            return NotImplemented
        ctx.save_for_backward(rows if needs_w else None, w if needs_x else None)
        ctx.x_shape = x.shape
        return y.reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = ctx.saved_arrays
        xp, matmul = ctx.xp, ctx.backend.matmul
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        dy = dy.reshape(math.prod(dy.shape[:-1]), dy.shape[-1])  # (N, out)
        dx = matmul(dy, w).reshape(ctx.x_shape) if needs_x else None
        dw = Linear._gradient_of_weight(ctx, dy, x) if needs_w else None
        db = matmul(xp.ones(len(dy), dtype=dy.dtype), dy) if needs_b else None
        return dx, dw, db

    @staticmethod
    def _gradient_of_weight(ctx: Any, dy: Array, x: Array) -> Array:
        total = ctx.total(1)
        if total is not None and total.dtype == dy.dtype:
            try:
                return ctx.backend.gemm(dy.T, x, total, accumulate=True)
            except NotOffered:
                pass
        return ctx.backend.matmul(dy.T, x)
