"""Making tensors from numbers, lists and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array, Backend, get_backend
from minillm.backend.device import get_default_dtype
from minillm.tensor import Tensor

__all__ = ["tensor"]


def plain_data(data: Any) -> Any:
    """Return nested lists with the tensors in them as Python numbers or lists."""
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [plain_data(x) for x in data]
    return data


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a new leaf tensor with a copy of ``data``.

    Python floats become the default floating type, integers int64, booleans bool; an array keeps its element type.

    Args:
        data: a number, a nested list, a NumPy array or a tensor.

    >>> tensor([[1, 2], [3, 4]]).shape
    minillm.Size([2, 2])
    """
    backend = get_backend(device)
    if isinstance(data, Tensor):
        array = data.backend.to_host(data.array)
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        array = np.asarray(plain_data(data))
        if array.dtype == np.float64 or array.size == 0:
            array = array.astype(get_default_dtype())
        if array.dtype.kind not in "biufV":
            raise TypeError(f"tensor: expected numbers, got {type(data).__name__} with elements of type {array.dtype}")
    made = Tensor._wrap(backend.from_host(np.array(array, dtype=dtype, copy=True)))
    return made.requires_grad_() if requires_grad else made


class ToDevice(Function):
    """Move to another device; the gradient moves back."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, target: Backend) -> Array:
        ctx.target = target
        return target.from_host(ctx.backend.to_host(x))

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return ctx.backend.from_host(ctx.target.to_host(dy))


def to_device(input: Tensor, target: Backend) -> Tensor:
    """Return the tensor on the device of ``target``; itself if it is there already."""
    return input if input.backend is target else ToDevice.apply(input, target=target)
