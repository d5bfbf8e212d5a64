"""Softmax and its logarithm: numbers along an axis become probabilities."""

from __future__ import annotations

import math
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.device import is_floating
from minillm.ops.common import cast, normalize_dim
from minillm.ops.rows import ROWS, as_rows, exp_rows, in_tiles, row_dot, row_max, row_sum, working
from minillm.tensor import Tensor

__all__ = ["log_softmax", "softmax"]


def softmax_formula(xp: Any, x: Any, axis: int) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def log_softmax_formula(xp: Any, x: Any, axis: int) -> Any:
    x = x - xp.max(x, axis=axis, keepdims=True)
    return x - xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=True))


WIDE = 64
"""Elements behind an axis from which whole rows are added up as they lie, instead of moving the axis."""


class _AlongRows(Function):
    """Both ops work on rows: the axis goes last, tiles of rows are computed, and the axis goes back.

    That is two copies. Where many numbers lie behind the axis it stays where it is: (4096, 256) along the first one
    takes 1.3 ms instead of 6.9.
    """

    @staticmethod
    def stays(x: Array, axis: int) -> bool:
        return math.prod(x.shape[axis + 1 :]) >= WIDE and 0 < x.shape[axis] <= ROWS

    @staticmethod
    def rows(ctx: Any, x: Array) -> Array:
        if not x.ndim:
            return working(x).reshape(1, 1)
        return as_rows(working(ctx.xp.moveaxis(x, ctx.axis, -1)), x.shape[ctx.axis])

    @staticmethod
    def shaped(ctx: Any, rows: Array, like: Array) -> Array:
        if like.ndim and ctx.axis != like.ndim - 1:
            moved = ctx.xp.moveaxis(like, ctx.axis, -1).shape
            rows = ctx.xp.ascontiguousarray(ctx.xp.moveaxis(rows.reshape(moved), -1, ctx.axis))
        return rows.reshape(like.shape).astype(like.dtype, copy=False)


class Softmax(_AlongRows):
    """``y = exp(x) / sum(exp(x))``, the largest x subtracted first; ``dx = y (dy - sum(dy y))``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, axis: int) -> Array:
        ctx.axis = axis
        if Softmax.stays(x, axis):
            result = softmax_formula(ctx.xp, working(x), axis).astype(x.dtype, copy=False)
            ctx.save_for_backward(result)
            return result
        x_rows = Softmax.rows(ctx, x)
        y = ctx.xp.empty_like(x_rows)
        m, z = ctx.xp.empty((2, len(y), 1), dtype=y.dtype)

        def tile(part: slice) -> None:
            exp_rows(ctx.backend, x_rows[part], y[part], m[part], z[part])
            y[part] /= z[part]

        if y.size:
            in_tiles(ctx.backend, y.shape, tile)
        result = Softmax.shaped(ctx, y, x)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (y,) = ctx.saved_arrays
        if Softmax.stays(y, ctx.axis):
            y, dy = working(y), working(dy)
            return y * (dy - (dy * y).sum(axis=ctx.axis, keepdims=True))
        y_rows, dy_rows = Softmax.rows(ctx, y), Softmax.rows(ctx, dy)
        dx = ctx.xp.empty_like(y_rows)

        def tile(part: slice) -> None:
            d = dx[part]
            ctx.xp.subtract(dy_rows[part], row_dot(ctx.backend, dy_rows[part], y_rows[part]), out=d)
            d *= y_rows[part]

        in_tiles(ctx.backend, dx.shape, tile)
        return Softmax.shaped(ctx, dx, dy)


class LogSoftmax(_AlongRows):
    """``y = x - log(sum(exp(x)))``; ``dx = dy - exp(y) sum(dy)``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, axis: int) -> Array:
        ctx.axis = axis
        if LogSoftmax.stays(x, axis):
            result = log_softmax_formula(ctx.xp, working(x), axis).astype(x.dtype, copy=False)
            ctx.save_for_backward(result)
            return result
        x_rows = LogSoftmax.rows(ctx, x)
        y = ctx.xp.empty_like(x_rows)

        def tile(part: slice) -> None:
            shifted = y[part]
            ctx.xp.subtract(x_rows[part], row_max(ctx.backend, x_rows[part]), out=shifted)
            shifted -= ctx.xp.log(row_sum(ctx.backend, ctx.xp.exp(shifted)))

        if y.size:
            in_tiles(ctx.backend, y.shape, tile)
        result = LogSoftmax.shaped(ctx, y, x)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (y,) = ctx.saved_arrays
        if LogSoftmax.stays(y, ctx.axis):
            y, dy = working(y), working(dy)
            return dy - ctx.xp.exp(y) * dy.sum(axis=ctx.axis, keepdims=True)
        y_rows, dy_rows = LogSoftmax.rows(ctx, y), LogSoftmax.rows(ctx, dy)
        dx = ctx.xp.empty_like(y_rows)

        def tile(part: slice) -> None:
            d = dx[part]
            ctx.xp.exp(y_rows[part], out=d)
            d *= -row_sum(ctx.backend, dy_rows[part])
            d += dy_rows[part]

        in_tiles(ctx.backend, dx.shape, tile)
        return LogSoftmax.shaped(ctx, dx, dy)


def _apply(op: type[Function], what: str, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dim is None:
        raise ValueError(f"{what}: say along which dim, usually dim=-1 (PyTorch would guess one and warn)")
    if dtype is not None:
        input = cast(input, dtype)
    if not is_floating(input.dtype):
        raise RuntimeError(f"{what}: expected a floating tensor, got {input.dtype}; use input.float()")
    return op.apply(input, axis=normalize_dim(dim, input.ndim))


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    r"""Turn numbers into probabilities along an axis: $y_i = e^{x_i} / \sum_j e^{x_j}$.

    $dx_i = y_i \, (dy_i - \sum_j dy_j y_j)$. The largest $x$ of a row is subtracted first, so that nothing overflows.
    A row of $-\infty$ alone gives NaN.

    Args:
        input: of any shape.
        dim: the axis whose probabilities add up to 1.
        dtype: a type to cast to first.

    Raises:
        ValueError: without ``dim``.

    >>> import minillm
    >>> softmax(minillm.tensor([0.0, 0.0, 1e4]), dim=-1)
    tensor([0., 0., 1.])
    """
    return _apply(Softmax, "softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    r"""Logarithm of the softmax: $y_i = x_i - \log \sum_j e^{x_j}$, without overflow.

    $dx_i = dy_i - e^{y_i} \sum_j dy_j$.

    Args:
        input: of any shape.
        dim: the axis along which the probabilities add up to 1.
        dtype: a type to cast to first.

    Raises:
        ValueError: without ``dim``.
    """
    return _apply(LogSoftmax, "log_softmax", input, dim, dtype)
