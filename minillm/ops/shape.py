"""Ops that move elements and compute nothing: reshaping, transposing, joining, splitting, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import flat_ints, normalize_dim, normalize_dims, unbroadcast, wide
from minillm.tensor import Tensor

__all__ = [
    "T",
    "broadcast_tensors",
    "broadcast_to",
    "clone",
    "contiguous",
    "diag",
    "diagonal",
    "expand",
    "flatten",
    "flip",
    "movedim",
    "narrow",
    "permute",
    "repeat",
    "repeat_interleave",
    "reshape",
    "roll",
    "select",
    "squeeze",
    "swapaxes",
    "t",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unflatten",
    "unfold",
    "unsqueeze",
    "view",
]


# --- one shape for another ------------------------------------------------------------------------------------------
class Reshape(Function):
    """The same elements in another shape; the gradient takes the shape back."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, shape: tuple[int, ...]) -> Array:
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy.reshape(ctx.shape)


def _full_shape(what: str, input: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its -1 worked out."""
    n, known = input.array.size, 1
    for length in shape:
        if length != -1:
            known *= length
    unknown = list(shape).count(-1)
    if unknown == 1 and known and n % known == 0:
        return tuple(n // known if length == -1 else length for length in shape)
    if unknown or known != n or any(length < -1 for length in shape):
        raise RuntimeError(f"{what}: shape {tuple(shape)} does not fit {n} elements of shape {tuple(input.shape)}")
    return tuple(shape)


def reshape(input: Tensor, shape: Any) -> Tensor:
    """Return the elements in another shape, in row order; -1 stands for the length that fits. Copies if it must.

    >>> import minillm
    >>> minillm.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return Reshape.apply(input, shape=_full_shape("reshape", input, flat_ints((shape,))))


def view(input: Tensor, *shape: Any) -> Tensor:
    """As ``reshape``, but never a copy; with a dtype, the bits read as another type.

    Raises:
        RuntimeError: if the elements do not lie in memory in the order that the shape needs.
    """
    if len(shape) == 1 and isinstance(shape[0], np.dtype):
        return Tensor._wrap(input.array.view(shape[0]))
    wanted = _full_shape("view", input, flat_ints(shape))
    made = Reshape.apply(input, shape=wanted)
    if input.array.size and not input.backend.xp.may_share_memory(made.array, input.array):
        raise RuntimeError("view: the elements do not lie in memory in this order; use reshape() (or contiguous())")
    return made


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join neighbouring axes into one; all of them by default."""
    if not input.ndim:
        return reshape(input, (1,))
    first, last = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if first > last:
        raise RuntimeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = input.shape
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """Split one axis into several."""
    dim = normalize_dim(dim, input.ndim)
    shape = list(flat_ints((sizes,)))
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = input.shape[dim] // max(1, -math.prod(shape))
    if math.prod(shape) != input.shape[dim]:
        raise RuntimeError(f"unflatten: {tuple(sizes)} does not make {input.shape[dim]}")
    return reshape(input, (*input.shape[:dim], *shape, *input.shape[dim + 1 :]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Take away axes of length 1: all, or the given ones that are."""
    dims = normalize_dims(dim, input.ndim)
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in dims))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Put in an axis of length 1 at ``dim``."""
    dim = normalize_dim(dim, input.ndim + 1)
    return reshape(input, (*input.shape[:dim], 1, *input.shape[dim:]))


# --- the axes in another order --------------------------------------------------------------------------------------
class Permute(Function):
    """The axes in another order; the gradient puts them back."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...]) -> Array:
        ctx.dims = dims
        return x.transpose(dims)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy.transpose([ctx.dims.index(i) for i in range(len(ctx.dims))])


def permute(input: Tensor, dims: Any) -> Tensor:
    """Put the axes in the given order; shares memory."""
    order = normalize_dims(flat_ints((dims,)), input.ndim) if input.ndim else ()
    if len(order) != input.ndim:
        raise RuntimeError(f"permute: {tuple(dims)} names {len(order)} axes, the tensor has {input.ndim}")
    return Permute.apply(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two axes; shares memory."""
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return Permute.apply(input, dims=tuple(order))


def t(input: Tensor) -> Tensor:
    """Transpose a matrix; vectors and numbers stay as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t: expected at most 2 dimensions, got shape {tuple(input.shape)}; use transpose(-2, -1)")
    return transpose(input, 0, 1) if input.ndim == 2 else Permute.apply(input, dims=tuple(range(input.ndim)))


def T(input: Tensor) -> Tensor:
    """Turn the order of all axes around (the attribute ``.T``)."""
    return Permute.apply(input, dims=tuple(range(input.ndim))[::-1])


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Move axes to other places; the rest keep their order."""
    sources, places = normalize_dims(source, input.ndim), normalize_dims(destination, input.ndim)
    if len(sources) != len(places):
        raise RuntimeError(f"movedim: {len(sources)} sources and {len(places)} destinations")
    order = [i for i in range(input.ndim) if i not in sources]
    for place, dim in sorted(zip(places, sources, strict=True)):
        order.insert(place, dim)
    return Permute.apply(input, dims=tuple(order))


# --- repeating ------------------------------------------------------------------------------------------------------
class Expand(Function):
    """Axes of length 1 repeated without a copy; the gradient sums over the repetitions."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, shape: tuple[int, ...]) -> Array:
        ctx.shape = x.shape
        return ctx.xp.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return unbroadcast(dy, ctx.shape)


def expand(input: Tensor, sizes: Any) -> Tensor:
    """Repeat axes of length 1 (-1 leaves an axis as it is) and put new ones in front, without copying."""
    wanted = flat_ints((sizes,))
    new = len(wanted) - input.ndim
    shape = tuple(input.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(wanted))
    if new < 0 or any(
        i >= new and n not in (input.shape[i - new],) and input.shape[i - new] != 1 for i, n in enumerate(shape)
    ):
        raise RuntimeError(f"expand: shape {tuple(input.shape)} cannot become {tuple(wanted)}")
    return Expand.apply(input, shape=shape)


def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """The same as ``expand``."""
    return expand(input, shape)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors expanded to their common shape."""
    shape = np.broadcast_shapes(*(t.shape for t in tensors))
    return tuple(expand(t, shape) for t in tensors)


def repeat(input: Tensor, sizes: Any) -> Tensor:
    """Repeat the tensor so many times along each axis (new axes in front)."""
    times = flat_ints((sizes,))
    if len(times) < input.ndim:
        raise RuntimeError(f"repeat: expected at least {input.ndim} numbers, got {len(times)}")
    shape = (1,) * (len(times) - input.ndim) + tuple(input.shape)
    # (n1, n2) -> (1, n1, 1, n2) -> (k1, n1, k2, n2) -> (k1 n1, k2 n2)
    paired = reshape(input, [m for n in shape for m in (1, n)])
    spread = expand(paired, [m for k, n in zip(times, shape, strict=True) for m in (k, n)])
    # The copy is made here: with factors of 1 alone, reshape would return a view.
    return reshape(clone(spread), [k * n for k, n in zip(times, shape, strict=True)])


def tile(input: Tensor, dims: Any) -> Tensor:
    """As ``repeat``; missing numbers in front are 1."""
    times = flat_ints((dims,))
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Repeat every entry along an axis (of the flattened tensor, if none is given) so many times in a row."""
    x = reshape(input, (-1,)) if dim is None else input
    dim = 0 if dim is None else normalize_dim(dim, x.ndim)
    n = x.shape[dim]
    counts = repeats.backend.to_host(repeats.array) if isinstance(repeats, Tensor) else repeats
    index = np.repeat(np.arange(n), counts)
    from minillm.ops.creation import tensor

    return x.index_select(dim, tensor(index, device=x.device))


# --- parts of a tensor ----------------------------------------------------------------------------------------------
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return ``length`` entries from ``start`` along an axis; shares memory."""
    dim = normalize_dim(dim, input.ndim)
    start = start + input.shape[dim] if start < 0 else start
    if not 0 <= start <= start + length <= input.shape[dim]:
        raise RuntimeError(f"narrow: {start} + {length} is outside an axis of {input.shape[dim]}")
    return input[(slice(None),) * dim + (slice(start, start + length),)]


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Return one entry along an axis, which is gone from the result; shares memory."""
    return input[(slice(None),) * normalize_dim(dim, input.ndim) + (int(index),)]


class Flip(Function):
    """Axes read backwards; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dims: tuple[int, ...]) -> Array:
        ctx.dims = dims
        return ctx.xp.flip(x, dims).copy()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return ctx.xp.flip(dy, ctx.dims)


def flip(input: Tensor, dims: Any) -> Tensor:
    """Read axes backwards."""
    wanted = flat_ints((dims,))
    return Flip.apply(input, dims=normalize_dims(wanted, input.ndim) if wanted else ())


class Roll(Function):
    """Entries moved along axes, those that fall out come in at the other end; the gradient moves back."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, shifts: tuple[int, ...], dims: tuple[int, ...] | None) -> Array:
        ctx.shifts, ctx.dims = shifts, dims
        return ctx.xp.roll(x, shifts if dims is not None else shifts[0], dims)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        back = tuple(-s for s in ctx.shifts)
        return ctx.xp.roll(dy, back if ctx.dims is not None else back[0], ctx.dims)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Move entries along axes (of the flattened tensor, if none is given); what falls out comes in at the other end."""
    by = flat_ints((shifts,)) if not isinstance(shifts, int) else (shifts,)
    axes = None if dims is None else normalize_dims(dims, input.ndim)
    if len(by) != (1 if axes is None else len(axes)):
        raise RuntimeError(f"roll: expected one shift an axis, got shifts {by} for dims {dims}")
    return Roll.apply(input, shifts=by, dims=axes)


class Triangle(Function):
    """The lower or upper triangle of the last two axes, 0 elsewhere; the gradient likewise."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, diagonal: int, lower: bool) -> Array:
        ctx.diagonal, ctx.lower = diagonal, lower
        # Of bfloat16 CuPy makes a float32.
        return (ctx.xp.tril if lower else ctx.xp.triu)(x, diagonal).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return (ctx.xp.tril if ctx.lower else ctx.xp.triu)(dy, ctx.diagonal)


def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    if input.ndim < 2:
        raise RuntimeError(f"tril/triu: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    return Triangle.apply(input, diagonal=diagonal, lower=lower)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keep what is on and below a diagonal of the last two axes."""
    return _triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keep what is on and above a diagonal of the last two axes."""
    return _triangle(input, diagonal, False)


class Diagonal(Function):
    """A diagonal of two axes, as the last axis; the gradient goes back onto it."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, offset: int, dim1: int, dim2: int) -> Array:
        ctx.shape, ctx.place = x.shape, (offset, dim1, dim2)
        return ctx.xp.diagonal(x, offset, dim1, dim2)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        xp, (offset, dim1, dim2) = ctx.xp, ctx.place
        dx = xp.zeros(ctx.shape, dtype=dy.dtype)
        plane = xp.moveaxis(dx, (dim1, dim2), (-2, -1))  # a view: writing to it writes to dx
        rows = xp.arange(dy.shape[-1])
        plane[..., rows + max(0, -offset), rows + max(0, offset)] = dy
        return dx


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a diagonal of two axes as the last axis."""
    a, b = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    return Diagonal.apply(input, offset=offset, dim1=a, dim2=b)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or a matrix with a vector on its diagonal."""
    if input.ndim == 2:
        return clone(Diagonal.apply(input, offset=diagonal, dim1=0, dim2=1))
    if input.ndim != 1:
        raise RuntimeError(f"diag: expected 1 or 2 dimensions, got shape {tuple(input.shape)}")
    from minillm.ops.creation import eye
    from minillm.ops.indexing import masked_fill
    from minillm.ops.joining import pad

    n = input.shape[0]
    square = masked_fill(expand(input, (n, n)), ~eye(n, dtype=np.bool_, device=input.device), 0)
    left, below = max(0, diagonal), max(0, -diagonal)
    return pad(square, (left, below, below, left))


class Unfold(Function):
    """Windows along an axis, as a new last axis; overlaps add up in the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dim: int, size: int, step: int) -> Array:
        ctx.shape, ctx.dim, ctx.size, ctx.step = x.shape, dim, size, step
        shape = (*x.shape[:dim], (x.shape[dim] - size) // step + 1, *x.shape[dim + 1 :], size)
        strides = (*x.strides[:dim], step * x.strides[dim], *x.strides[dim + 1 :], x.strides[dim])
        return ctx.xp.lib.stride_tricks.as_strided(x, shape, strides).copy()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        dx = ctx.xp.zeros(ctx.shape, dtype=wide(dy.dtype))
        moved, dy = ctx.xp.moveaxis(dx, ctx.dim, -1), ctx.xp.moveaxis(dy, ctx.dim, -2)
        (windows, size), step = dy.shape[-2:], ctx.step
        if windows <= size:
            for i in range(windows):
                moved[..., i * step : i * step + size] += dy[..., i, :]
        else:
            for i in range(size):  # one place of all windows at once
                moved[..., i : i + (windows - 1) * step + 1 : step] += dy[..., i]
        return dx


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Return all windows of ``size`` entries along an axis, ``step`` apart, as a new last axis (a copy)."""
    dim = normalize_dim(dimension, input.ndim)
    if size > input.shape[dim] or step < 1:
        raise RuntimeError(f"unfold: size {size} and step {step} do not fit an axis of {input.shape[dim]}")
    return Unfold.apply(input, dim=dim, size=size, step=step)


# --- copies ---------------------------------------------------------------------------------------------------------
class Clone(Function):
    """A copy; the gradient goes through."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        return x.copy()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy


def clone(input: Tensor) -> Tensor:
    """Return a copy that is still part of the graph."""
    return Clone.apply(input)


def contiguous(input: Tensor) -> Tensor:
    """Return the tensor with its elements in memory in order: itself if they are, a copy otherwise."""
    return input if input.is_contiguous() else clone(input)


swapaxes = transpose
