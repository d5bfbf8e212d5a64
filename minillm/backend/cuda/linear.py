"""Linear layers whose bias and GELU are computed inside the product, so that the result is written once.

The gradient of a bias is a product with ones. cuBLASLt could add it up beside the gradient of the weight (BGRADA); but
it made training of a large model slower than two products (NVIDIA's CUDALibrarySamples, issue 90).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.cublaslt import Finish
from minillm.backend.cuda.cublaslt_library import NotOffered
from minillm.backend.cuda.kernels import GELUTanh


def fits(ctx: Any, x: Array, *parameters: Array | None) -> bool:
    """Tell whether a layer's products are for cuBLASLt: with arrays of one type, not float64, to which it adds none."""
    given = [p for p in parameters if p is not None]
    return (
        ctx.backend.gemm is not None
        and x.dtype != np.float64
        and ctx.backend.gemm.takes(x, given[0])
        and all(p.dtype == x.dtype for p in given)
    )


def as_rows(x: Array) -> Array:
    """Return (..., C) as (N, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def gradient_of_weight(ctx: Any, i: int, dy: Array, x: Array) -> Array:
    """Return ``dy^T x``; added to the gradient that input i, the weight, has already, if it has one."""
    total = ctx.total(i)
    if total is not None and total.dtype == dy.dtype:
        try:
            return ctx.backend.gemm(dy.T, x, total, accumulate=True)
        except NotOffered:
            pass
    return ctx.backend.matmul(dy.T, x)


def gradient_of_bias(ctx: Any, dy: Array) -> Array:
    """Return the sums over rows of dy."""
    return ctx.backend.matmul(ctx.xp.ones(len(dy), dtype=dy.dtype), dy)


class Linear:
    """``y = x w^T + b``; ``dx = dy w``, ``dw = dy^T x``, ``db = 1^T dy``: each of them one product.

    Where the weight has a gradient already, of another micro-batch or another use, the product is added to it.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array, b: Array | None) -> Array:
        if not fits(ctx, x, w, b):
            return NotImplemented
        needs_x, needs_w, _ = ctx.needs_input_grad
        rows = as_rows(x)  # (N, in)
        try:
            y = ctx.backend.gemm(rows, w.T, finish=Finish(b))
        except NotOffered:
            return NotImplemented
        ctx.save_for_backward(rows if needs_w else None, w if needs_x else None)
        ctx.x_shape = x.shape
        return y.reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = ctx.saved_arrays
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        dy = as_rows(dy)  # (N, out)
        dx = ctx.backend.matmul(dy, w).reshape(ctx.x_shape) if needs_x else None
        dw = gradient_of_weight(ctx, 1, dy, x) if needs_w else None
        return dx, dw, gradient_of_bias(ctx, dy) if needs_b else None


class MLP:
    """``y = h w2^T + b2``, ``h = gelu(u)``, ``u = x w1^T + b1``; ``du = (dy w2) gelu'(u)``.

    The first product writes both u and h, that of du reads u. Where cuBLASLt does not offer it, GELU is a kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w1: Array, b1: Array | None, w2: Array, b2: Array | None) -> Array:
        if 0 in (x.size, w1.size, w2.size) or not fits(ctx, x, w1, b1, w2, b2):
            return NotImplemented
        gemm, xp = ctx.backend.gemm, ctx.xp
        needs_x, needs_w1, needs_b1, needs_w2, _ = ctx.needs_input_grad
        inside = needs_x or needs_w1 or needs_b1
        rows = as_rows(x)  # (N, in)
        u = xp.empty((len(rows), len(w1)), dtype=x.dtype) if inside else None
        try:
            h = gemm(rows, w1.T, finish=Finish(b1, gelu=True, before=u))
        except NotOffered:
            try:
                u = gemm(rows, w1.T, finish=Finish(b1))
            except NotOffered:
                return NotImplemented
            h = GELUTanh.value(ctx, u)
        try:
            y = gemm(h, w2.T, finish=Finish(b2))
        except NotOffered:
            return NotImplemented
        ctx.save_for_backward(
            rows if needs_w1 else None,
            h if needs_w2 else None,
            u if inside else None,
            w1 if needs_x else None,
            w2 if inside else None,
        )
        ctx.x_shape = x.shape
        return y.reshape(*x.shape[:-1], len(w2))

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        x, h, u, w1, w2 = ctx.saved_arrays
        needs_x, needs_w1, needs_b1, needs_w2, needs_b2 = ctx.needs_input_grad
        dy = as_rows(dy)  # (N, out)
        dw2 = gradient_of_weight(ctx, 3, dy, h) if needs_w2 else None
        db2 = gradient_of_bias(ctx, dy) if needs_b2 else None
        if u is None:
            return None, None, None, dw2, db2
        try:
            du = ctx.backend.gemm(dy, w2, finish=Finish(slope=True, before=u))
        except NotOffered:
            du = GELUTanh.gradient(ctx, ctx.backend.matmul(dy, w2), u)
        dw1 = gradient_of_weight(ctx, 1, du, x) if needs_w1 else None
        db1 = gradient_of_bias(ctx, du) if needs_b1 else None
        return ctx.backend.matmul(du, w1).reshape(ctx.x_shape) if needs_x else None, dw1, db1, dw2, db2
