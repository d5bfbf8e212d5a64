"""Normalisation: layer norm, RMS norm, and vectors of length 1."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.device import is_floating
from minillm.ops.arithmetic import clamp, div
from minillm.ops.reduction import norm
from minillm.ops.rows import as_rows, column_sum, in_order, in_tiles, row_dot, row_sum, working
from minillm.tensor import Tensor

__all__ = ["layer_norm", "normalize", "rms_norm"]


# --- layer_norm: y = h w + b, h = (x - mean) / sqrt(var + eps)
def layer_norm_formula(xp: Any, x: Any, w: Any = None, b: Any = None, eps: float = 1e-5, axis: Any = -1) -> Any:
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    y = centred / xp.sqrt(xp.mean(centred * centred, axis=axis, keepdims=True) + eps)
    y = y if w is None else y * w
    return y if b is None else y + b


class LayerNorm(Function):
    """``y = h w + b`` with ``h = (x - mean) r`` and ``r = 1 / sqrt(var + eps)``, for every row.

    With ``g = dy w``: ``dx = r (g - mean(g) - h mean(g h))``, ``dw = sum(dy h)``, ``db = sum(dy)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, b: Array | None, *, width: int, eps: float) -> Array:
        xp, backend = ctx.xp, ctx.backend
        rows = as_rows(working(x), width)
        h, y = xp.empty_like(rows), xp.empty_like(rows)
        r = xp.empty((len(rows), 1), dtype=rows.dtype)
        fast = None if w is None or b is None else backend.compiled("layer_norm", rows, w, b)

        def tile(part: slice) -> None:
            if fast is not None:
                fast(rows[part], w.reshape(-1), b.reshape(-1), rows.dtype.type(eps), h[part], r[part, 0], y[part])
                return
            # Two passes: E[x^2] - E[x]^2 would lose everything for rows such as 1e6 .. 1e6 + 3 in float32.
            xp.subtract(rows[part], row_sum(backend, rows[part]) / width, out=h[part])
            r[part] = 1 / xp.sqrt(row_dot(backend, h[part], h[part]) / width + eps)
            h[part] *= r[part]
            if w is None:
                y[part] = h[part]
            else:
                xp.multiply(h[part], w.reshape(-1), out=y[part])
            if b is not None:
                y[part] += b.reshape(-1)

        in_tiles(backend, rows.shape, tile)
        ctx.save_for_backward(h, r, w)
        ctx.shape = None if w is None and b is None else (w if w is not None else b).shape
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        h, r, w = ctx.saved_arrays
        xp, backend, shape = ctx.xp, ctx.backend, dy.shape
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        width = h.shape[1]
        dy = as_rows(working(dy), width)
        scale = xp.ones(width, dtype=h.dtype) if w is None else working(w).reshape(-1)
        dx = (h if ctx.final else xp.empty_like(h)) if needs_x else None
        sums: dict[int, Array] = {}  # of dy h in each tile
        fast = backend.compiled("layer_norm_grad", dy, h, scale) if needs_x and needs_w else None

        def tile(part: slice) -> None:
            if fast is not None:
                sums[part.start] = xp.zeros(width, dtype=h.dtype)
                fast(dy[part], h[part], r[part, 0], scale, dx[part], sums[part.start])
                return
            product = dy[part] * h[part]
            if needs_w:
                sums[part.start] = column_sum(backend, product)
            if needs_x:
                # mean(g) and mean(g h) as products with w: g = dy w is needed only once, below.
                mean_g = backend.matmul(dy[part], scale)[:, None] / width
                mean_gh = backend.matmul(product, scale)[:, None] / width
                xp.multiply(dy[part], scale, out=product)
                product -= mean_g
                d = xp.multiply(h[part], mean_gh, out=dx[part])
                xp.subtract(product, d, out=d)
                d *= r[part]

        in_tiles(backend, h.shape, tile)
        return (
            dx.reshape(shape) if needs_x else None,
            in_order(sums, scale).reshape(ctx.shape) if needs_w else None,
            column_sum(backend, dy).reshape(ctx.shape) if needs_b else None,
        )


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Give the last axes mean 0 and variance 1, then scale and shift: $y = h w + b$, $h = (x - \mu) / \sqrt{\sigma^2
    + \epsilon}$.

    With $g = dy \, w$: $dx = (g - \overline{g} - h \, \overline{g h}) / \sqrt{\sigma^2 + \epsilon}$, where a line
    means the mean over the normalised axes.

    Args:
        input: ``(..., *normalized_shape)``.
        normalized_shape: the lengths of the last axes, which are normalised together.
        weight, bias: of that shape, or ``None``.
        eps: added to the variance, so that a constant row gives 0.

    Raises:
        RuntimeError: if the shapes do not fit.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.

    >>> import minillm
    >>> layer_norm(minillm.tensor([1.0, 2.0, 3.0]), 3)
    tensor([-1.2247,  0.0000,  1.2247])
    """
    width = _width("layer_norm", input, normalized_shape, weight, bias)
    return LayerNorm.apply(input, weight, bias, width=width, eps=float(eps))


def _width(what: str, input: Tensor, normalized_shape: Any, *parameters: Tensor | None) -> int:
    """Return how many elements are normalised together.

    Raises:
        RuntimeError: if the input or a parameter has another shape.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, numbers.Integral) else tuple(normalized_shape)
    if not is_floating(input.dtype):
        raise RuntimeError(f"{what}: expected a floating tensor, got {input.dtype}; use input.float()")
    if not shape or input.array.shape[-len(shape) :] != shape:
        raise RuntimeError(f"{what}: expected an input of shape (..., {shape}), got {tuple(input.shape)}")
    for p in parameters:
        if p is not None and p.array.shape != shape:
            raise RuntimeError(f"{what}: expected a parameter of shape {shape}, got {tuple(p.shape)}")
    return math.prod(shape)


# --- rms_norm: y = h w, h = x / sqrt(mean(x^2) + eps)
def rms_norm_formula(xp: Any, x: Any, w: Any = None, eps: float = 1e-5, axis: Any = -1) -> Any:
    y = x / xp.sqrt(xp.mean(x * x, axis=axis, keepdims=True) + eps)
    return y if w is None else y * w


class RMSNorm(Function):
    """``y = h w`` with ``h = x r`` and ``r = 1 / sqrt(mean(x^2) + eps)``, for every row.

    With ``g = dy w``: ``dx = r (g - h mean(g h))``, ``dw = sum(dy h)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, *, width: int, eps: float) -> Array:
        xp, backend = ctx.xp, ctx.backend
        rows = as_rows(working(x), width)
        h = xp.empty_like(rows)
        y = h if w is None else xp.empty_like(rows)
        r = xp.empty((len(rows), 1), dtype=rows.dtype)

        def tile(part: slice) -> None:
            r[part] = 1 / xp.sqrt(row_dot(backend, rows[part], rows[part]) / width + eps)
            xp.multiply(rows[part], r[part], out=h[part])
            if w is not None:
                xp.multiply(h[part], w.reshape(-1), out=y[part])

        in_tiles(backend, rows.shape, tile)
        ctx.save_for_backward(h, r, w)
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None]:
        h, r, w = ctx.saved_arrays
        xp, backend, shape = ctx.xp, ctx.backend, dy.shape
        needs_x, needs_w = ctx.needs_input_grad
        width = h.shape[1]
        dy = as_rows(working(dy), width)
        scale = xp.ones(width, dtype=h.dtype) if w is None else working(w).reshape(-1)
        # Trap: without w the result was h itself, which others may hold.
        dx = (h if ctx.final and w is not None else xp.empty_like(h)) if needs_x else None
        sums: dict[int, Array] = {}  # of dy h in each tile

        def tile(part: slice) -> None:
            product = dy[part] * h[part]
            if needs_w:
                sums[part.start] = column_sum(backend, product)
            if needs_x:
                mean_gh = backend.matmul(product, scale)[:, None] / width
                xp.multiply(dy[part], scale, out=product)
                d = xp.multiply(h[part], mean_gh, out=dx[part])
                xp.subtract(product, d, out=d)
                d *= r[part]

        in_tiles(backend, h.shape, tile)
        return dx.reshape(shape) if needs_x else None, in_order(sums, scale).reshape(w.shape) if needs_w else None


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int] | int, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    r"""Give the last axes a mean square of 1, then scale: $y = w \, x / \sqrt{\overline{x^2} + \epsilon}$.

    Args:
        input: ``(..., *normalized_shape)``.
        normalized_shape: the lengths of the last axes, which are normalised together.
        weight: of that shape, or ``None``.
        eps: added to the mean square; by default the distance from 1 to the next number of the type.

    Raises:
        RuntimeError: if the shapes do not fit.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    width = _width("rms_norm", input, normalized_shape, weight)
    # bfloat16 is unknown to finfo; PyTorch takes the type in which it computes.
    smallest = np.finfo(input.dtype if input.dtype.itemsize > 2 else np.float32).eps
    return RMSNorm.apply(input, weight, width=width, eps=float(smallest if eps is None else eps))


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    r"""Divide vectors by their length: $y = x / \max(\|x\|_p, \epsilon)$.

    Args:
        input: of any shape.
        p: which norm; 2 is the usual length.
        dim: the axis of the vectors.
        eps: the smallest length; a vector of zeros stays.
    """
    return div(input, clamp(norm(input, p, dim, True), min=eps))
