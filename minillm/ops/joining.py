"""Joining tensors, splitting them, padding them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import cast, flat_ints, normalize_dim, result_type
from minillm.ops.shape import reshape, unsqueeze
from minillm.tensor import Tensor

__all__ = [
    "cat",
    "chunk",
    "concat",
    "concatenate",
    "hstack",
    "pad",
    "split",
    "stack",
    "tensor_split",
    "unbind",
    "vstack",
]


def _along(ndim: int, dim: int, part: Any) -> tuple:
    return (slice(None),) * dim + (part,)


# --- cat, stack -----------------------------------------------------------------------------------------------------
class Cat(Function):
    """Tensors one after another along an axis; each gets its stretch of the gradient."""

    @staticmethod
    def forward(ctx: Any, *xs: Array, dim: int) -> Array:
        ctx.dim, ctx.lengths = dim, [x.shape[dim] for x in xs]
        return ctx.xp.concatenate(xs, axis=dim)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, ...]:
        found, start = [], 0
        for n in ctx.lengths:
            found.append(dy[_along(dy.ndim, ctx.dim, slice(start, start + n))])
            start += n
        return tuple(found)


def _one_type(tensors: Any, what: str) -> list[Tensor]:
    given = list(tensors)
    if not given:
        raise RuntimeError(f"{what}: expected at least one tensor, got none")
    for x in given:
        if not isinstance(x, Tensor):
            raise TypeError(f"{what}: expected Tensors, got {type(x).__name__}")
    common = result_type(*given)
    return [cast(x, common) for x in given]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an axis; all other lengths must agree.

    Raises:
        RuntimeError: if they do not, or there is no tensor.
    """
    given = _one_type(tensors, "cat")
    # Trap: PyTorch lets an empty 1-d tensor join anything; programs start with torch.tensor([]) and rely on it.
    given = [x for x in given if x.shape != (0,)] or given[:1]
    if not given[0].ndim:
        raise RuntimeError("cat: 0-d tensors cannot be joined; use stack()")
    dim = normalize_dim(dim, given[0].ndim)
    shapes = {tuple(n for i, n in enumerate(x.shape) if i != dim) for x in given}
    if len(shapes) > 1 or len({x.ndim for x in given}) > 1:
        raise RuntimeError(f"cat: lengths beside dim {dim} differ: {[tuple(x.shape) for x in given]}")
    return Cat.apply(*given, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Put tensors of one shape side by side along a new axis.

    Raises:
        RuntimeError: if the shapes differ, or there is no tensor.
    """
    given = _one_type(tensors, "stack")
    if len({x.shape for x in given}) > 1:
        raise RuntimeError(f"stack: expected tensors of one shape, got {[tuple(x.shape) for x in given]}")
    dim = normalize_dim(dim, given[0].ndim + 1)
    return Cat.apply(*(unsqueeze(x, dim) for x in given), dim=dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join along axis 1 (vectors along axis 0)."""
    given = [reshape(x, (1,)) if not x.ndim else x for x in tensors]
    return cat(given, 0 if given[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join along axis 0; vectors are rows."""
    return cat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in tensors], 0)


concat = concatenate = cat


# --- split, chunk, unbind -------------------------------------------------------------------------------------------
class Split(Function):
    """Stretches of an axis, as views; the gradient joins theirs."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, lengths: tuple[int, ...], dim: int) -> tuple[Array, ...]:
        ctx.dim, start, found = dim, 0, []
        for n in lengths:
            found.append(x[_along(x.ndim, dim, slice(start, start + n))])
            start += n
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *dys: Array) -> Array:
        return ctx.xp.concatenate(dys, axis=ctx.dim)


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis into stretches of one length (the last may be shorter) or of the given lengths; they share memory.

    Raises:
        RuntimeError: if the lengths do not sum to that of the axis.
    """
    dim = normalize_dim(dim, tensor.ndim)
    n = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split: expected a positive length, got {size}")
        lengths = tuple(min(size, n - i) for i in range(0, n, size)) if n else (0,)
    else:
        lengths = tuple(int(k) for k in split_size_or_sections)
    if sum(lengths) != n or min(lengths, default=0) < 0:
        raise RuntimeError(f"split: {lengths} do not sum to the length {n} of dim {dim}")
    return Split.apply(tensor, lengths=lengths, dim=dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis into at most so many stretches of one length (the last may be shorter); they share memory."""
    if chunks < 1:
        raise RuntimeError(f"chunk: expected 1 or more chunks, got {chunks}")
    n = input.shape[normalize_dim(dim, input.ndim)]
    return split(input, max(1, -(-n // chunks)), dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis at places that count as in slices, or into so many parts whose lengths differ by at most 1."""
    dim = normalize_dim(dim, input.ndim)
    n = input.shape[dim]
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        return split(input, [n // k + (i < n % k) for i in range(k)], dim)
    edges = [0, *map(int, indices_or_sections), n]
    return tuple(input[_along(input.ndim, dim, slice(a, b))] for a, b in zip(edges[:-1], edges[1:], strict=True))


class Unbind(Function):
    """The entries of an axis, as views without it; the gradient puts theirs side by side."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dim: int) -> tuple[Array, ...]:
        ctx.dim = dim
        return tuple(x[_along(x.ndim, dim, i)] for i in range(x.shape[dim]))

    @staticmethod
    def backward(ctx: Any, *dys: Array) -> Array:
        return ctx.backend.stack(dys, ctx.dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the entries along an axis, each without it; they share memory."""
    if not input.ndim:
        raise RuntimeError("unbind: a 0-d tensor has no axis")
    dim = normalize_dim(dim, input.ndim)
    return Unbind.apply(input, dim=dim) if input.shape[dim] else ()


# --- pad ------------------------------------------------------------------------------------------------------------
class Pad(Function):
    """Numbers put around a tensor (negative widths cut off); the gradient is that of the middle."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, widths: list[tuple[int, int]], value: float) -> Array:
        ctx.shape, ctx.widths = x.shape, widths
        inner = x[tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, widths, strict=True))]
        return ctx.xp.pad(inner, [(max(0, a), max(0, b)) for a, b in widths], constant_values=value)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        inner = dy[tuple(slice(max(0, a), n - max(0, b)) for n, (a, b) in zip(dy.shape, ctx.widths, strict=True))]
        return ctx.xp.pad(inner, [(max(0, -a), max(0, -b)) for a, b in ctx.widths])


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Put numbers around a tensor.

    Args:
        pad: widths before and after, the *last* axis first: (left, right, top, bottom, ...); negative widths cut off.
        mode: "constant", "reflect", "replicate" or "circular".
        value: the number, for "constant"; 0 if not given.
    """
    widths = flat_ints((pad,))
    if len(widths) % 2 or len(widths) // 2 > input.ndim:
        raise RuntimeError(f"pad: {widths} does not fit a tensor with {input.ndim} dimensions")
    pairs = [(0, 0)] * (input.ndim - len(widths) // 2) + [
        (widths[i], widths[i + 1]) for i in range(len(widths) - 2, -1, -2)
    ]
    if mode == "constant":
        return Pad.apply(input, widths=pairs, value=0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"pad: mode {mode!r} is not one of constant, reflect, replicate, circular")
    import numpy as np

    from minillm.ops.creation import tensor

    spelled = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    for dim, (a, b) in enumerate(pairs):
        if a or b:
            if mode != "replicate" and max(a, b) >= input.shape[dim] + (mode == "circular"):
                raise RuntimeError(f"pad: width {max(a, b)} is too large for an axis of {input.shape[dim]} ({mode})")
            places = np.arange(input.shape[dim])
            if mode == "circular":  # what is cut off does not come in at the other end
                places = _cut(places, a, b)
            places = np.pad(places, (max(0, a), max(0, b)), mode=spelled)  # type: ignore[call-overload]
            places = places if mode == "circular" else _cut(places, a, b)
            input = input.index_select(dim, tensor(places, device=input.device))
    return input


def _cut(places: Any, a: int, b: int) -> Any:
    """Return what negative widths leave of an axis."""
    return places[max(0, -a) : len(places) - max(0, -b)]
