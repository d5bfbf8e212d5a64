"""Changes in place, for tensors that belong to no graph: parameters under no_grad, ``.data``, buffers.

A tensor in a graph may be needed, unchanged, by the backward pass; changing it is refused with the remedy instead of
being recorded. The operators ``+=``, ``-=``, ... on such a tensor give the name a new tensor, as they do for numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minillm.autograd import is_grad_enabled
from minillm.backend.random import Generator, default_generator
from minillm.ops.common import operand
from minillm.ops.indexing import stages
from minillm.tensor import Tensor

__all__: list[str] = []


def _carries_graph(*values: Any) -> bool:
    return is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in values)


def _check(x: Tensor, *operands: Any) -> None:
    """Refuse a change in place that the graph would have to know of.

    Raises:
        RuntimeError: saying why, and what to do.
    """
    if not is_grad_enabled():
        return
    if x.requires_grad and x.grad_fn is None:
        raise RuntimeError(
            "a leaf tensor that requires grad cannot be changed in place: do it under minillm.no_grad() or "
            "through .data"
        )
    if x.requires_grad:
        raise RuntimeError(
            "a tensor of a graph cannot be changed in place: use the form that returns a new tensor (x = x + y instead "
            "of x.add_(y)), or detach() it first"
        )
    if _carries_graph(*operands):
        raise RuntimeError(
            "a tensor cannot take up, in place, values that need a gradient: build it with cat, stack, where or scatter"
        )


def _changed(x: Tensor) -> None:
    """Let the graph and the backend know that x holds other numbers now."""
    x._version[0] += 1
    x.backend.changed(x.array)


def _write(x: Tensor, result: Any) -> Tensor:
    array = result.array if isinstance(result, Tensor) else result
    if (
        getattr(array, "shape", ()) != x.array.shape
        and np.broadcast_shapes(array.shape, x.array.shape) != x.array.shape
    ):
        raise RuntimeError(f"in place: the result has shape {array.shape}, the tensor {tuple(x.shape)}")
    if getattr(array, "dtype", x.dtype) != x.dtype and not _castable(array.dtype, x.dtype):
        raise RuntimeError(f"in place: the result is {array.dtype} and cannot be kept as {x.dtype}")
    x.array[...] = array
    _changed(x)
    return x


def _castable(source: np.dtype, target: np.dtype) -> bool:
    """Tell whether PyTorch lets a result of one type into a tensor of another: not downwards in bool < int < float."""
    from minillm.ops.common import _category

    return _category(source) <= _category(target)


def apply(x: Tensor, op: Callable[..., Tensor], *args: Any, **options: Any) -> Tensor:
    """Compute ``op(x, ...)`` and write it into x: ``x.add_(y)``, ``x.exp_()``, ...

    Raises:
        RuntimeError: if x belongs to a graph or an argument would bring one along, or shape or type do not fit.
    """
    _check(x, *args, *options.values())
    return _write(x, op(x.detach(), *args, **options))


def augmented(x: Tensor, op: Callable[..., Tensor], other: Any) -> Tensor:
    """``x += other`` and its kin: in place outside a graph; a new tensor for the name inside one.

    Raises:
        RuntimeError: for a leaf that requires grad, as in PyTorch.
    """
    if is_grad_enabled() and x.requires_grad and x.grad_fn is None:
        _check(x)
    if _carries_graph(x, other):
        return op(x, other)
    return _write(x, op(x.detach(), other))


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``.

    Raises:
        RuntimeError: if x belongs to a graph or the value would bring one along.
    """
    _check(x, value)
    if isinstance(value, Tensor):
        if value.device != x.device and value.ndim:
            raise RuntimeError(f"setitem: expected one device, got {x.device} and {value.device}")
        value = value.array if value.device == x.device else value.item()
    elif isinstance(value, (list, tuple, np.ndarray)):
        value = x.backend.from_host(np.asarray(value))
    *before, last = stages(x, index)
    target = x.array
    for part in before:
        target = target[part]  # integers and slices alone: a view
    if getattr(value, "size", 0) == 1:
        value = value.reshape(())  # one number goes wherever one number fits
    target[last] = value
    _changed(x)


def copy_(x: Tensor, src: Any) -> Tensor:
    """Copy the numbers of another tensor (or one number), broadcast and cast as needed, from any device."""
    _check(x, src)
    x.array[...] = src.to(x.device).array if isinstance(src, Tensor) else operand(src, "copy_")
    _changed(x)
    return x


def fill_(x: Tensor, value: Any) -> Tensor:
    """Write one number everywhere."""
    _check(x, value)
    x.array.fill(value.item() if isinstance(value, Tensor) else value)
    _changed(x)
    return x


def fill_diagonal_(x: Tensor, value: Any) -> Tensor:
    """Write one number on the diagonal of a matrix."""
    _check(x)
    rows = x.backend.xp.arange(min(x.shape))
    x.array[rows, rows] = value
    _changed(x)
    return x


def _fill_from_host(x: Tensor, drawn: np.ndarray) -> Tensor:
    _check(x)
    x.array[...] = x.backend.from_host(np.asarray(drawn).astype(x.dtype))
    _changed(x)
    return x


def _stream(generator: Generator | None) -> np.random.Generator:
    return (generator or default_generator).stream("init")


def _check_floating(what: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise NotImplementedError(
            f"{what}: expected a tensor of a floating type, got {x.dtype}; whole numbers come from randint()"
        )


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers."""
    _check_floating("normal_", x)
    if std < 0:
        raise RuntimeError(f"normal_: expected a std of 0 or more, got {std}")
    return _fill_from_host(x, mean + std * _stream(generator).standard_normal(x.array.shape))


def uniform_(x: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers drawn evenly from [a, b)."""
    _check_floating("uniform_", x)
    return _fill_from_host(x, a + (b - a) * _stream(generator).random(x.array.shape))


def bernoulli_(x: Tensor, p: float = 0.5, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability p, else 0."""
    return _fill_from_host(x, _stream(generator).random(x.array.shape) < p)


def reshape_(x: Tensor, op: Callable[..., Tensor], *args: Any) -> Tensor:
    """Change the shape in place: ``unsqueeze_``, ``t_``, ..."""
    _check(x)
    x.array = op(x.detach(), *args).array
    return x
