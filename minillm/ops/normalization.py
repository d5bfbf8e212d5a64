"""Normalisation: layer norm, RMS norm, unit vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import cast
from minillm.ops.reduction import norm, wide
from minillm.tensor import Tensor

__all__ = ["layer_norm", "normalize", "rms_norm"]


# --- layer_norm -----------------------------------------------------------------------------------------------------
def layer_norm_formula(xp: Any, x: Any, w: Any = None, b: Any = None, *, axes: tuple[int, ...], eps: float) -> Any:
    """``(x - mean) / sqrt(var + eps) * w + b``, mean and variance over ``axes``."""
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    y = centred / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + eps)
    y = y if w is None else y * w
    return y if b is None else y + b


class LayerNorm(Function):
    """``h = (x - mean) r``, ``r = 1 / sqrt(var + eps)``, ``y = h w + b``.

    With ``g = dy w``: ``dx = r (g - mean(g) - h mean(g h))``, ``dw = sum of dy h``, ``db = sum of dy``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, b: Array | None, *, n: int, eps: float) -> Array:
        xp, dtype = ctx.xp, x.dtype
        rows = x.reshape(-1, n).astype(wide(dtype), copy=False)
        # Two passes: the mean of squares minus the squared mean would lose everything for 1e6 .. 1e6 + 3 in float32.
        h = rows - rows.mean(axis=1, keepdims=True)
        r = 1 / xp.sqrt(_row_dot(h, h) / n + eps)  # (rows, 1)
        h *= r
        y = h.copy() if w is None else h * w.reshape(-1)
        if b is not None:
            y += b.reshape(-1)
        ctx.save_for_backward(h, r, w)
        ctx.b_shape = None if b is None else b.shape
        return y.astype(dtype, copy=False).reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        h, r, w = ctx.saved_arrays
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        shape, n = dy.shape, h.shape[1]
        dy = dy.reshape(-1, n)
        dx = dw = db = None
        if needs_w:
            dw = (dy * h).sum(axis=0).reshape(w.shape)
        if needs_b:
            db = dy.sum(axis=0).reshape(ctx.b_shape)
        if needs_x:
            g = dy.astype(h.dtype) if w is None else dy * w.reshape(-1)
            along = _row_dot(g, h) / n
            g -= g.mean(axis=1, keepdims=True)
            g -= h * along
            g *= r
            dx = g.reshape(shape)
        return dx, dw, db


def _row_dot(a: Array, b: Array) -> Array:
    """Return the dot product of each pair of rows, (N, 1): a product of a row and a column for each."""
    if isinstance(a, np.ndarray):
        return np.einsum("ij,ij->i", a, b)[:, None]  # one pass without a temporary
    return (a * b).sum(axis=1, keepdims=True)


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int] | int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Give the last axes mean 0 and variance 1, then scale and shift: $y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} w + b$.

    Args:
        normalized_shape: the lengths of the axes that are normalised together.
        weight, bias: of that shape, or ``None``.
        eps: keeps the division finite.

    Raises:
        RuntimeError: if the last axes do not have that shape.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    n = _check_shape("layer_norm", input, normalized_shape, weight, bias)
    return LayerNorm.apply(input, weight, bias, n=n, eps=eps)


def _check_shape(what: str, input: Tensor, normalized_shape: Any, *parameters: Tensor | None) -> int:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(f"{what}: the last axes of {tuple(input.shape)} are not normalized_shape {shape}")
    for p in parameters:
        if p is not None and tuple(p.shape) != shape:
            raise RuntimeError(f"{what}: a parameter has shape {tuple(p.shape)}, expected {shape}")
    return math.prod(shape)


# --- rms_norm -------------------------------------------------------------------------------------------------------
def rms_norm_formula(xp: Any, x: Any, w: Any = None, *, axes: tuple[int, ...], eps: float) -> Any:
    """``x / sqrt(mean(x^2) + eps) * w``."""
    y = x / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + eps)
    return y if w is None else y * w


class RMSNorm(Function):
    """``h = x r``, ``r = 1 / sqrt(mean(x^2) + eps)``, ``y = h w``; ``dx = r (g - h mean(g h))`` with ``g = dy w``."""

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, *, n: int, eps: float) -> Array:
        rows = x.reshape(-1, n).astype(wide(x.dtype), copy=False)
        r = 1 / ctx.xp.sqrt(_row_dot(rows, rows) / n + eps)
        h = rows * r
        ctx.save_for_backward(h, r, w)
        y = h if w is None else h * w.reshape(-1)
        return y.astype(x.dtype).reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None]:
        h, r, w = ctx.saved_arrays
        needs_x, needs_w = ctx.needs_input_grad
        shape, n = dy.shape, h.shape[1]
        dy = dy.reshape(-1, n)
        dx = None
        if needs_x:
            g = dy.astype(h.dtype) if w is None else dy * w.reshape(-1)
            g -= h * (_row_dot(g, h) / n)
            g *= r
            dx = g.reshape(shape)
        return dx, (dy * h).sum(axis=0).reshape(w.shape) if needs_w else None


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int] | int, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    r"""Give the last axes mean square 1, then scale: $y = \frac{x}{\sqrt{\mathrm{mean}(x^2) + \epsilon}} w$.

    Args:
        normalized_shape: the lengths of the axes that are normalised together.
        weight: of that shape, or ``None``.
        eps: keeps the division finite; the smallest step of the type if not given.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    n = _check_shape("rms_norm", input, normalized_shape, weight)
    return RMSNorm.apply(input, weight, n=n, eps=float(np.finfo(input.dtype).eps) if eps is None else eps)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    r"""Divide by the norm along an axis: $x / \max(\|x\|_p, \epsilon)$."""
    return cast(input / norm(input, p, dim, keepdim=True).clamp(min=eps), input.dtype)
