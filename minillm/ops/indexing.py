"""Reading by index: brackets, gather and scatter, masks, one-hot vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array, is_array
from minillm.ops.common import cast, normalize_dim, one_dtype, operand
from minillm.tensor import Tensor

__all__ = [
    "argwhere",
    "gather",
    "getitem",
    "index_add",
    "index_select",
    "masked_fill",
    "masked_select",
    "nonzero",
    "one_hot",
    "scatter",
    "scatter_add",
    "take_along_dim",
]


# --- x[index] -------------------------------------------------------------------------------------------------------
def plain_index(index: Any, like: Tensor) -> Any:
    """Return what stands in brackets with tensors as arrays, and what indexes like an array as one.

    Raises:
        TypeError: for floats.
        ValueError: for slices that step backwards, which PyTorch does not have either.
    """
    if isinstance(index, tuple):
        return tuple(plain_index(i, like) for i in index)
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iub":
            raise TypeError(f"index: expected integers or bools, got {index.dtype}")
        if index.backend is like.backend:
            return index.array
        if index.device.type != "cpu":
            raise RuntimeError(
                f"index: expected it on {like.device} as the tensor, or on cpu, got {index.device}. "
                f"Move it with .to({str(like.device)!r})"
            )
        return like.backend.from_host(index.array)
    if isinstance(index, slice):
        step = None if index.step is None else int(index.step)
        if step is not None and step < 1:
            raise ValueError(f"index: a slice steps forward, got {step}; use flip() to read backwards")
        start = None if index.start is None else int(index.start)
        return slice(start, None if index.stop is None else int(index.stop), step)
    if isinstance(index, (list, range)):
        array = np.asarray([i.item() if isinstance(i, Tensor) else i for i in index])
        return like.backend.from_host(array.astype(np.int64) if not array.size else array)
    if isinstance(index, np.ndarray):
        return like.backend.from_host(index)
    if index is None or index is Ellipsis or isinstance(index, (bool, np.bool_)):
        return index
    if isinstance(index, (int, np.integer)):
        return int(index)
    raise TypeError(f"index: expected integers, slices, None, ..., tensors or lists, got {type(index).__name__}")


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, slice) or type(i) is int for i in parts)


def own_places(ctx: Any, places: Any) -> Any:
    """Return an index for ``backward``, with arrays of its own: the caller's may hold others by then."""
    if not any(ctx.needs_input_grad) or _is_basic(places):
        return places
    parts = places if isinstance(places, tuple) else (places,)
    return tuple(p.copy() if isinstance(p, ctx.backend.array_type) else p for p in parts)


class Masked(Function):
    """``y = x[mask]``, given the places in the flattened x where the mask is true; the gradient is put back there."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, places: Array) -> Array:
        ctx.shape, ctx.places = x.shape, places
        return x.reshape(-1).take(places)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        dx = ctx.xp.zeros(ctx.shape, dtype=dy.dtype)
        dx.reshape(-1)[ctx.places] = dy  # no place is there twice
        return dx


class GetItem(Function):
    """``y = x[index]``; the gradient is added at the places that were read, again for places read again."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, index: Any) -> Array:
        ctx.shape, ctx.index = x.shape, own_places(ctx, index)
        y = x[index]
        if not isinstance(y, ctx.backend.array_type) and _is_basic(index):
            # Trap: with an integer for every axis NumPy returns a number, which is a copy; with "..." it is a view.
            y = x[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        dx = ctx.xp.zeros(ctx.shape, dtype=dy.dtype)
        if _is_basic(ctx.index):
            dx[ctx.index] = dy
        else:
            ctx.backend.scatter_add(dx, ctx.index, dy)
        return dx


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]`` as in PyTorch: integers, slices, ``None``, ``...``, integer and bool tensors, lists.

    Integers and slices share memory with ``input``; tensors and lists copy.

    Raises:
        IndexError: if an index is out of range.
    """
    for part in stages(input, index):
        if is_array(part) and part.dtype.kind == "b" and part.ndim and part.shape == input.array.shape:
            # By number: half a million of a million places 0.9 ms, by the mask itself 4.8, and as much on the way back.
            input = Masked.apply(input, places=input.backend.xp.flatnonzero(part))
        else:
            input = GetItem.apply(input, index=part)
    return input


def stages(input: Tensor, index: Any) -> list[Any]:
    """Return what stands in brackets as one plain index, or as two that are to be used one after the other.

    Raises:
        IndexError: if an index is out of range.
    """
    found = plain_index(index, input)
    parts = found if isinstance(found, tuple) else (found,)
    free, open_ended = input.ndim, any(p is Ellipsis for p in parts)
    for part in parts:
        if type(part) is int:
            place = input.ndim - free
            if free and not open_ended and not -input.shape[place] <= part < input.shape[place]:
                raise IndexError(f"index {part} is out of range for dim {place} with length {input.shape[place]}")
        free -= part is not None and part is not Ellipsis and not isinstance(part, bool)
    _check_places(input, parts)
    if not input.array.ndim and _is_basic(found) and any(type(p) is int for p in parts):
        raise IndexError("a 0-d tensor has no entries to index; use .item()")
    if not any(type(p) is int for p in parts) or _is_basic(found):
        return [found]
    # Trap: NumPy counts an integer beside an array as an array, which moves axes: x[0, :, [1, 2]] is (2, 4) there
    # and (4, 2) here. So integers and slices are taken first, arrays after them.
    first, second = [], []
    for part in parts:
        if _is_basic(part):
            first.append(part)
            second += [] if type(part) is int else [part if part is Ellipsis else slice(None)]
        else:
            masks = getattr(part, "dtype", None) is not None and part.dtype.kind == "b"
            first += [slice(None)] * (part.ndim if masks else 1)
            second.append(part)
    return [tuple(first), tuple(second)]


def _check_places(input: Tensor, parts: tuple) -> None:
    """Refuse arrays of places out of range, where the array library would not."""
    if _is_basic(parts):
        return
    kinds = [p.dtype.kind if is_array(p) else "" for p in parts]
    taken = [
        p.ndim if kind == "b" else int(p is not None and p is not Ellipsis and not isinstance(p, (bool, np.bool_)))
        for p, kind in zip(parts, kinds, strict=True)
    ]
    if sum(taken) > input.ndim:
        return  # too many, which every library refuses
    dim = 0
    for part, kind, n in zip(parts, kinds, taken, strict=True):
        if kind in ("i", "u"):
            input.backend.check_places(part, input.shape[dim], "index")
        dim += n if part is not Ellipsis else input.ndim - sum(taken)


# --- along one axis -------------------------------------------------------------------------------------------------
def _places(index: Array, dim: int, shape: tuple[int, ...], xp: Any) -> Array:
    """Return where in a flat array of this shape to find ``index`` along ``dim`` and the own position on other axes.

    One number a place instead of one an axis: NumPy has short ways for that.
    """
    places = index.astype(np.int64) * math.prod(shape[dim + 1 :])
    for d, n in enumerate(index.shape):
        if d != dim:
            own = xp.arange(n) * math.prod(shape[d + 1 :])
            places += own.reshape([-1 if i == d else 1 for i in range(index.ndim)])
    return places


def _check_place(what: str, input: Tensor, index: Tensor) -> None:
    if index.backend is not input.backend:
        raise RuntimeError(
            f"{what}: expected the index on {input.device} as the tensor, got {index.device}. "
            f"Move it with .to({str(input.device)!r})"
        )


def _check_index(what: str, input: Tensor, dim: int, index: Tensor) -> None:
    _check_place(what, input, index)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{what}: expected an index of integers, got {index.dtype}")
    if input.ndim != index.ndim and input.ndim and index.ndim:
        raise RuntimeError(f"{what}: index has {index.ndim} dimensions, the tensor {input.ndim}")
    index.backend.check_ids(index.array, input.shape[dim] if input.ndim else 1, what)


class Gather(Function):
    """``y[i, j] = x[index[i, j], j]``; the gradient is added where it was read."""

    @staticmethod
    def forward(ctx: Any, x: Array, index: Array, *, dim: int) -> Array:
        ctx.shape = x.shape
        places = _places(index, dim, x.shape, ctx.xp)
        ctx.save_for_backward(places)
        return x.reshape(-1).take(places)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None]:
        (places,) = ctx.saved_arrays
        dx = ctx.xp.zeros(ctx.shape, dtype=dy.dtype)
        ctx.backend.scatter_add(dx.reshape(-1), places.reshape(-1), dy.reshape(-1))
        return dx, None


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Read along an axis: ``y[i][j] = input[index[i][j]][j]`` for dim 0, and so on.

    Raises:
        IndexError: if an index is out of range.
    """
    dim = normalize_dim(dim, input.ndim)
    _check_index("gather", input, dim, index)
    if not input.ndim or not index.ndim:
        return Gather.apply(input.reshape((-1,)), index.reshape((-1,)), dim=0).reshape(index.shape)
    if any(m > n for i, (m, n) in enumerate(zip(index.shape, input.shape, strict=True)) if i != dim):
        raise RuntimeError(f"gather: index {tuple(index.shape)} is larger than {tuple(input.shape)} beside dim {dim}")
    return Gather.apply(input, index, dim=dim)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As ``gather``, with axes of length 1 broadcast; of the flattened tensor if no axis is given."""
    if dim is None:
        return gather(input.reshape((-1,)), 0, indices.reshape((-1,)))
    dim = normalize_dim(dim, input.ndim)
    shape = np.broadcast_shapes(*(tuple(1 if i == dim else n for i, n in enumerate(t.shape)) for t in (input, indices)))

    def spread(t: Tensor) -> Tensor:
        return t.expand([t.shape[dim] if i == dim else n for i, n in enumerate(shape)])

    return gather(spread(input), dim, spread(indices))


class IndexSelect(Function):
    """Whole entries along an axis; the gradient is added to the entries that were read."""

    @staticmethod
    def forward(ctx: Any, x: Array, index: Array, *, dim: int) -> Array:
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save_for_backward(index)
        return x.take(index, axis=dim)  # a quarter of the time of x[:, index]

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None]:
        (index,) = ctx.saved_arrays
        dx = ctx.xp.zeros(ctx.shape, dtype=dy.dtype)
        ctx.backend.scatter_add(dx, (slice(None),) * ctx.dim + (index,), dy)
        return dx, None


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the entries of an axis that a 1-d tensor of integers names.

    Raises:
        IndexError: if an index is out of range.
    """
    dim = normalize_dim(dim, input.ndim)
    if index.ndim > 1 or index.dtype.kind not in "iu":
        raise RuntimeError(f"index_select: expected a 1-d index of integers, got {index.dtype} {tuple(index.shape)}")
    index.backend.check_ids(index.array, input.shape[dim] if input.ndim else 1, "index_select")
    if not input.ndim:
        return input.clone()
    return IndexSelect.apply(input, index.reshape((-1,)), dim=dim)


# --- writing into a copy --------------------------------------------------------------------------------------------
def _check_source(what: str, input: Tensor, source: Tensor, shape: tuple[int, ...], exact: bool) -> None:
    """Refuse a source of another type, or of another shape than ``shape`` (or, if not ``exact``, smaller than that)."""
    if not one_dtype(input, source):
        raise RuntimeError(f"{what}: expected a source of {input.dtype} as the tensor, got {source.dtype}; cast it")
    given = tuple(source.shape)
    if len(given) != len(shape) or any(m != n if exact else m < n for m, n in zip(given, shape)):
        raise RuntimeError(f"{what}: expected a source of shape {shape}{'' if exact else ' or more'}, got {given}")


class ScatterAdd(Function):
    """A copy of x with ``values`` added at places; x gets ``dy``, the values what stands at their places."""

    @staticmethod
    def forward(ctx: Any, x: Array, values: Array, *, places: Any) -> Array:
        ctx.places = places
        y = x.copy()
        ctx.backend.scatter_add(y, places, values)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, Array]:
        return dy, dy[ctx.places]


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Add along an axis: ``y[index[i][j]][j] += src[i][j]`` for dim 0, and so on; repeated places add up."""
    dim = normalize_dim(dim, input.ndim)
    _check_index("scatter_add", input, dim, index)
    if not input.ndim:
        return scatter_add(input.reshape((1,)), 0, index.reshape((-1,)), src.reshape((-1,))).reshape(())
    _check_source("scatter_add", input, src, tuple(index.shape), exact=False)
    part = src[tuple(slice(0, n) for n in index.shape)]
    places = _places(index.array, dim, input.shape, input.backend.xp).reshape(-1)
    return ScatterAdd.apply(input.reshape((-1,)), part.reshape((-1,)), places=places).reshape(input.shape)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Add entries along an axis: ``y[index[i]] += alpha * source[i]`` for dim 0; repeated places add up."""
    dim = normalize_dim(dim, input.ndim)
    _check_place("index_add", input, index)
    wanted = (*input.shape[:dim], index.numel(), *input.shape[dim + 1 :])
    _check_source("index_add", input, source, wanted, exact=True)
    index.backend.check_ids(index.array, input.shape[dim], "index_add")
    values = source if alpha == 1 else source * alpha
    return ScatterAdd.apply(input, values, places=(slice(None),) * dim + (index.array.reshape(-1).copy(),))


class Scatter(Function):
    """A copy of x with ``values`` written at places; x gets ``dy`` where nothing was written."""

    @staticmethod
    def forward(ctx: Any, x: Array, values: Any, *, places: Any) -> Array:
        ctx.places = places
        y = x.copy()
        y[places] = values
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, Array | None]:
        dx = dy.copy()
        dx[ctx.places] = 0
        return dx, dy[ctx.places] if ctx.needs_input_grad[1] else None


def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None) -> Tensor:
    """Write along an axis: ``y[index[i][j]][j] = src[i][j]`` for dim 0, and so on; src is a tensor or a number.

    If a place is written twice, one of the values stays.
    """
    dim, src = normalize_dim(dim, input.ndim), value if src is None else src
    _check_index("scatter", input, dim, index)
    if not input.ndim:
        flat = src.reshape((-1,)) if isinstance(src, Tensor) else src
        return scatter(input.reshape((1,)), 0, index.reshape((-1,)), flat).reshape(())
    if isinstance(src, Tensor):
        _check_source("scatter", input, src, tuple(index.shape), exact=False)
    part = src[tuple(slice(0, n) for n in index.shape)] if isinstance(src, Tensor) else operand(src, "scatter")
    part = part.reshape((-1,)) if isinstance(part, Tensor) else part
    places = _places(index.array, dim, input.shape, input.backend.xp).reshape(-1)
    return Scatter.apply(input.reshape((-1,)), part, places=places).reshape(input.shape)


# --- masks ----------------------------------------------------------------------------------------------------------
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Write a number where the mask is true.

    Raises:
        RuntimeError: if the mask is not bool.
    """
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_fill: expected a bool mask, got {mask.dtype}; compare first (mask == 0)")
    from minillm.ops.arithmetic import where

    number = value.item() if isinstance(value, Tensor) and not value.requires_grad else value
    return cast(where(mask, number, input), input.dtype)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where the mask is true, as a 1-d tensor.

    Raises:
        RuntimeError: if the mask is not bool.
    """
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected a bool mask, got {mask.dtype}; compare first (mask == 0)")
    from minillm.ops.shape import broadcast_tensors

    x, m = broadcast_tensors(input, mask)
    return getitem(x, m)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return where elements are not 0: (N, ndim) positions, or one 1-d tensor an axis.

    The result's size depends on the numbers, so on a GPU this waits for it.
    """
    xp = input.backend.xp
    found = [f.astype(np.int64) for f in xp.nonzero(input.array if input.ndim else input.array.reshape(1))]
    if as_tuple:
        return tuple(map(Tensor._wrap, found))
    if not input.ndim:
        return Tensor._wrap(xp.zeros((len(found[0]), 0), dtype=np.int64))
    return Tensor._wrap(xp.stack(found, axis=1))


def argwhere(input: Tensor) -> Tensor:
    """Return the positions (N, ndim) of elements that are not 0."""
    return nonzero(input)


# --- one-hot --------------------------------------------------------------------------------------------------------
class OneHot(Function):
    """1 at the class, 0 elsewhere, along a new last axis."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, *, n: int) -> Array:
        return (x[..., None] == ctx.xp.arange(n)).astype(np.int64)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return for each class a row with a 1 at its place, int64; (...) to (..., num_classes).

    Args:
        num_classes: the length of the rows; -1 takes the largest class plus one.
    """
    if tensor.dtype.kind not in "iu":
        raise RuntimeError(f"one_hot: expected integers, got {tensor.dtype}")
    n = num_classes
    if n == -1:
        if not tensor.numel():
            raise RuntimeError("one_hot: num_classes cannot be found from no elements")
        n = int(tensor.max()) + 1
    tensor.backend.check_ids(tensor.array, n, "one_hot")
    return OneHot.apply(tensor, n=n)
