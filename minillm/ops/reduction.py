"""Reductions: sums, means, extremes, and what is built of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.device import is_floating
from minillm.ops.common import cast, normalize_dim, normalize_dims, total, wide
from minillm.tensor import Tensor

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "logsumexp",
    "max",
    "mean",
    "median",
    "min",
    "norm",
    "std",
    "sum",
    "var",
    "var_mean",
]

Dim = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """The result of a search along one axis."""

    values: Tensor
    indices: Tensor


def kept_shape(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape with length 1 on the reduced axes."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


# --- sum, mean ------------------------------------------------------------------------------------------------------
class Sum(Function):
    """``y = sum of x``: every element gets the ``dy`` of its sum."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Array:
        ctx.shape, ctx.dims = x.shape, dims
        return total(x, dims, keepdim).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return ctx.xp.broadcast_to(dy.reshape(kept_shape(ctx.shape, ctx.dims)), ctx.shape)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, axis: Dim = None) -> Tensor:
    """Add up elements, all or along axes. Integers and bools add up as int64; the sum of nothing is 0.

    Args:
        dim: axis or axes (also spelled ``axis``); all if ``None``.
        keepdim: keep the reduced axes with length 1.
        dtype: cast to this type first.
    """
    x = cast(input, dtype) if dtype is not None else input.long() if input.dtype.kind in "iub" else input
    return Sum.apply(x, dims=normalize_dims(axis if dim is None else dim, x.ndim), keepdim=keepdim)


class Mean(Function):
    """``y = sum of x / n``: every element gets ``dy / n``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Array:
        ctx.shape, ctx.dims = x.shape, dims
        ctx.n = math.prod(x.shape[d] for d in dims)
        y = total(x, dims, keepdim)
        return (
            (y * (1 / ctx.n if ctx.n else math.nan)).astype(x.dtype, copy=False)
            if x.dtype.itemsize == 2
            else (y / ctx.n if ctx.n else y * math.nan)
        )

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return ctx.xp.broadcast_to((dy / ctx.n if ctx.n else dy).reshape(kept_shape(ctx.shape, ctx.dims)), ctx.shape)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, axis: Dim = None) -> Tensor:
    """Average elements, all or along axes; the mean of nothing is NaN.

    Raises:
        RuntimeError: for integers and bools, whose mean would not be one; cast first.
    """
    x = input if dtype is None else cast(input, dtype)
    if not is_floating(x.dtype):
        raise RuntimeError(f"mean: expected a floating tensor, got {x.dtype}; use .float() first")
    return Mean.apply(x, dims=normalize_dims(axis if dim is None else dim, x.ndim), keepdim=keepdim)


# --- var, std -------------------------------------------------------------------------------------------------------
class Var(Function):
    """``y = sum of (x - mean)^2 / (n - correction)``: ``dx = dy 2 (x - mean) / (n - correction)``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...], keepdim: bool, correction: float) -> Array:
        n = math.prod(x.shape[d] for d in dims)
        ctx.shape, ctx.dims = x.shape, dims
        wider = x.astype(wide(x.dtype), copy=False)
        # Two passes: the mean of squares minus the square of the mean loses everything for 1e6 .. 1e6 + 3 in float32.
        centred = wider - (total(wider, dims, True) / n if n else math.nan)
        ctx.n = n - correction if n > correction else 0.0
        ctx.save_for_backward(centred)
        y = total(centred * centred, dims, keepdim)
        y = y / ctx.n if ctx.n else y * math.nan if n <= 1 else y * math.inf
        return y.astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (centred,) = ctx.saved_arrays
        return dy.reshape(kept_shape(ctx.shape, ctx.dims)) * centred * (2 / ctx.n if ctx.n else math.nan)


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    r"""Variance: $\frac{1}{n - c} \sum (x - \bar x)^2$; c is 1 (unbiased) unless said otherwise.

    The variance of one element is NaN with c = 1 and 0 with c = 0.

    Args:
        dim: axis or axes; all if ``None``. ``var(False)`` is PyTorch's short form of ``unbiased=False``.
        unbiased: c = 1, or 0 if false.
        correction: c itself.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    c = float(unbiased) if correction is None else correction
    if not is_floating(input.dtype):
        raise RuntimeError(f"var: expected a floating tensor, got {input.dtype}; use .float() first")
    return Var.apply(input, dims=normalize_dims(dim, input.ndim), keepdim=keepdim, correction=c)


class StdOfVar(Function):
    """``y = sqrt(x)`` whose gradient is 0 where the variance is 0, as PyTorch's std has it."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        y = ctx.xp.sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (y,) = ctx.saved_arrays
        return ctx.xp.where(y == 0, 0, dy / (2 * y))


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Standard deviation: the root of ``var``."""
    return StdOfVar.apply(var(input, dim, unbiased, keepdim, correction=correction))


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``var`` and ``mean``."""
    axes = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, axes, keepdim)


# --- extremes -------------------------------------------------------------------------------------------------------
class Amax(Function):
    """The largest (or smallest) element; ties share the gradient evenly."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...], keepdim: bool, largest: bool) -> Array:
        ctx.dims = dims
        y = (x.max if largest else x.min)(axis=dims, keepdims=keepdim)
        ctx.save_for_backward(x, ctx.xp.asarray(y))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        x, y = ctx.saved_arrays
        shape = kept_shape(x.shape, ctx.dims)
        tied = x == y.reshape(shape)
        return tied * (dy.reshape(shape) / tied.sum(axis=ctx.dims, keepdims=True)).astype(dy.dtype)


def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the largest element, of all or along axes; ties share the gradient evenly.

    Raises:
        IndexError: if there is no element to choose from.
    """
    return _extreme(input, dim, keepdim, True)


def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the smallest element; see ``amax``."""
    return _extreme(input, dim, keepdim, False)


def _extreme(input: Tensor, dim: Dim, keepdim: bool, largest: bool) -> Tensor:
    dims = normalize_dims(dim, input.ndim)
    if any_empty(input.shape, dims):
        name = "amax" if largest else "amin"
        raise IndexError(f"{name}: there is no element to choose from in shape {tuple(input.shape)} along {dims}")
    return Amax.apply(input, dims=dims, keepdim=keepdim, largest=largest)


def any_empty(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Tell whether one of the axes has length 0."""
    return 0 in [shape[d] for d in dims]


class TakeExtreme(Function):
    """The first largest (or smallest) element along one axis, and where it is; it alone gets the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dim: int, keepdim: bool, largest: bool) -> tuple[Array, Array]:
        xp = ctx.xp
        if not x.ndim:
            ctx.shape = ()
            return x.copy(), xp.zeros((), dtype=np.int64)
        index = xp.expand_dims((x.argmax if largest else x.argmin)(axis=dim), dim).astype(np.int64)
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save_for_backward(index)
        values = xp.take_along_axis(x, index, axis=dim)
        return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))

    @staticmethod
    def backward(ctx: Any, dy: Array, _: Array) -> Array:
        if not ctx.shape:
            return dy
        (index,) = ctx.saved_arrays
        dx = ctx.xp.zeros(ctx.shape, dtype=dy.dtype)
        ctx.xp.put_along_axis(dx, index, dy.reshape(index.shape), axis=ctx.dim)
        return dx


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest of all elements; with an axis, (values, indices) along it; with a tensor, ``maximum``.

    Of all elements, ties share the gradient evenly; along an axis the first one has it all.
    """
    return _max_or_min(input, dim, keepdim, True)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest of all elements; with an axis, (values, indices) along it; with a tensor, ``minimum``."""
    return _max_or_min(input, dim, keepdim, False)


def _max_or_min(input: Tensor, dim: Any, keepdim: bool, largest: bool) -> Any:
    if isinstance(dim, Tensor):
        from minillm.ops.arithmetic import maximum, minimum

        return (maximum if largest else minimum)(input, dim)
    if dim is None:
        return _extreme(input, None, False, largest)
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and not input.shape[dim]:
        raise IndexError(f"{'max' if largest else 'min'}: there is no element to choose from along dim {dim}")
    return ValuesIndices(*TakeExtreme.apply(input, dim=dim, keepdim=keepdim, largest=largest))


class Reduce(Function):
    """A reduction without a gradient, by NumPy's name."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, *, what: str, axis: Any, keepdim: bool) -> Array:
        if not x.ndim and axis is not None:
            axis = None
        if what == "count_nonzero":
            return ctx.xp.count_nonzero(x, axis=axis)
        y = getattr(ctx.xp, what)(x, axis=axis, keepdims=keepdim)
        return y.astype(np.int64) if what.startswith("arg") else y


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the (first) largest element is: in the flattened tensor, or along an axis."""
    return _arg(input, dim, keepdim, "argmax")


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the (first) smallest element is: in the flattened tensor, or along an axis."""
    return _arg(input, dim, keepdim, "argmin")


def _arg(input: Tensor, dim: int | None, keepdim: bool, what: str) -> Tensor:
    dim = None if dim is None else normalize_dim(dim, input.ndim)
    if (input.numel() == 0 and dim is None) or (dim is not None and input.ndim and not input.shape[dim]):
        raise IndexError(f"{what}: there is no element to choose from in shape {tuple(input.shape)}")
    return Reduce.apply(input, what=what, axis=dim, keepdim=keepdim)


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Tell whether no element is 0; true of nothing."""
    return Reduce.apply(input, what="all", axis=normalize_dims(dim, input.ndim), keepdim=keepdim)


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Tell whether some element is not 0; false of nothing."""
    return Reduce.apply(input, what="any", axis=normalize_dims(dim, input.ndim), keepdim=keepdim)


def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """Count the elements that are not 0."""
    return Reduce.apply(input, what="count_nonzero", axis=normalize_dims(dim, input.ndim), keepdim=False)


# --- logsumexp, norm, median ----------------------------------------------------------------------------------------
def logsumexp_formula(xp: Any, x: Any, axis: Any, keepdims: bool = False) -> Any:
    """``log of the sum of e^x``, with the largest x taken out so that nothing overflows."""
    m = xp.max(x, axis=axis, keepdims=True)
    m = xp.where(xp.isfinite(m), m, 0)  # all -inf: the sum is 0 and its logarithm -inf
    y = xp.log(xp.sum(xp.exp(x - m), axis=axis, keepdims=True)) + m
    return y if keepdims else xp.squeeze(y, axis)


class LogSumExp(Function):
    """``dx = dy e^(x - y)``, the softmax; 0 where every x is -inf (PyTorch gives NaN there)."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Array:
        wider = x.astype(wide(x.dtype), copy=False)
        if any_empty(x.shape, dims):
            y = ctx.xp.full(kept_shape(x.shape, dims), -math.inf, dtype=x.dtype)
        else:
            y = logsumexp_formula(ctx.xp, wider, dims, True).astype(x.dtype, copy=False) if x.ndim else x.copy()
        ctx.save_for_backward(x, y)
        return y if keepdim else y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in dims))

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        x, y = ctx.saved_arrays
        return dy.reshape(y.shape) * ctx.xp.exp(x - ctx.xp.where(y == -math.inf, 0, y))


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    r"""$\ln \sum e^{x}$ along axes, finite for any finite x; -inf of nothing.

    $\partial y/\partial x = e^{x - y}$. Where every x is -inf the gradient is 0.
    """
    from minillm.ops.common import promote

    (x,) = promote("logsumexp", input, to_float=True)
    return LogSumExp.apply(x, dims=normalize_dims(dim, x.ndim), keepdim=keepdim)


class Norm(Function):
    """The p-norm; its gradient is ``dy x |x|^(p-2) / y^(p-1)``, 0 where the norm is 0."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float, dims: tuple[int, ...], keepdim: bool) -> Array:
        xp, ctx.p, ctx.dims = ctx.xp, p, dims
        size = xp.abs(x).astype(wide(x.dtype), copy=False)
        if p == math.inf:
            y = size.max(axis=dims, keepdims=True)
        elif p == -math.inf:
            y = size.min(axis=dims, keepdims=True)
        elif p == 0:
            y = (size != 0).sum(axis=dims, keepdims=True).astype(size.dtype)
        elif p == 1:
            y = size.sum(axis=dims, keepdims=True)
        elif p == 2:
            y = xp.sqrt((size * size).sum(axis=dims, keepdims=True))
        else:
            y = (size**p).sum(axis=dims, keepdims=True) ** (1 / p)
        y = y.astype(x.dtype, copy=False)
        ctx.save_for_backward(x, y)
        return y if keepdim else y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in dims))

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        x, y = ctx.saved_arrays
        xp, p, dy = ctx.xp, ctx.p, dy.reshape(y.shape)
        if p == 0:
            return xp.zeros_like(x)
        if p == 1:
            return dy * xp.sign(x)
        if p in (math.inf, -math.inf):
            tied = xp.abs(x) == y
            return tied * xp.sign(x) * (dy / tied.sum(axis=ctx.dims, keepdims=True)).astype(dy.dtype)
        slope = x / y if p == 2 else xp.sign(x) * (xp.abs(x) / y) ** (p - 1)
        return dy * xp.where(y == 0, 0, slope)


def norm(input: Tensor, p: Any = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
    r"""$\left(\sum |x|^p\right)^{1/p}$, of all elements or along axes; the gradient at 0 is 0.

    Args:
        p: the order: 2 (or "fro"), 1, 0 (counts what is not 0), inf, -inf, or another number.

    Raises:
        RuntimeError: for integers.
    """
    if not is_floating(input.dtype):
        raise RuntimeError(f"norm: expected a floating tensor, got {input.dtype}; use .float() first")
    if p == "fro":
        p = 2
    if not isinstance(p, (int, float)):
        raise NotImplementedError(f"norm: order {p!r} is not offered by minillm; use a number or 'fro'")
    return Norm.apply(input, p=float(p), dims=normalize_dims(dim, input.ndim), keepdim=keepdim)


class Ties(Function):
    """``value``, one of the elements of x; all that equal it share its gradient evenly."""

    @staticmethod
    def forward(ctx: Any, x: Array, value: Array) -> Array:
        ctx.save_for_backward((x == value) | ((x != x) & (value != value)))
        return value.copy()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None]:
        (tied,) = ctx.saved_arrays
        return tied * (dy / tied.sum()).astype(dy.dtype), None


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the middle element, the lower of two, or NaN if there is one; with an axis, (values, indices) along it.

    Of all elements, ties share the gradient evenly; along an axis the one that was found has it all.
    """
    if dim is None:
        flat = input.detach().reshape((-1,))
        return Ties.apply(input, median(flat, 0).values)
    axis = normalize_dim(dim, input.ndim)
    x = input if input.ndim else input.reshape((1,))
    n = x.shape[axis]
    if not n:
        raise IndexError("median: there is no element to choose from")
    xp, keys = x.backend.xp, x.array.astype(wide(x.dtype), copy=False)
    middle = xp.take(xp.partition(keys, (n - 1) // 2, axis=axis), xp.asarray([(n - 1) // 2]), axis=axis)
    unknown = keys != keys  # NaN
    chosen = xp.where(unknown.any(axis=axis, keepdims=True), unknown, keys == middle)
    indices = Tensor._wrap(chosen.argmax(axis=axis, keepdims=True))
    values = x.gather(axis, indices)
    if not input.ndim or not keepdim:
        values, indices = values.squeeze(axis), indices.squeeze(axis)
    return ValuesIndices(values, indices)
