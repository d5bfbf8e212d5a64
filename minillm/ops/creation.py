"""Making tensors from numbers, lists and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array, Backend, get_backend
from minillm.backend.device import get_default_dtype, is_floating
from minillm.ops.common import flat_ints, size_or
from minillm.tensor import Tensor

__all__ = [
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
]


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

    Raises:
        RuntimeError: for a number that the given integer type cannot hold.

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
        # Trap: with a dtype, the numbers must not pass through the default type: 0.1 in float32 is not 0.1 in float64.
        if dtype is None and (array.dtype == np.float64 or array.size == 0):
            dtype = get_default_dtype()
        if array.dtype.kind not in "biufV":
            raise TypeError(f"tensor: expected numbers, got {type(data).__name__} with elements of type {array.dtype}")
        if dtype is not None and np.dtype(dtype).kind in "iu":
            _check_range(array, np.iinfo(dtype))
    with backend.errstate():  # what is too large for the type becomes inf
        made = Tensor._wrap(backend.from_host(np.array(array, dtype=dtype, copy=True)))
    return made.requires_grad_() if requires_grad else made


def _check_range(array: np.ndarray, limits: np.iinfo) -> None:
    """Refuse what would become another number; unsigned types take negative numbers, which wrap around."""
    held = (array >= (limits.min or -limits.max)) & (array <= limits.max)  # NaN is nowhere
    if not held.all():
        raise RuntimeError(f"tensor: {array[~held].flat[0]} does not fit into {limits.dtype}")


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


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ``data`` as a tensor, without copying where that is possible."""
    if isinstance(data, Tensor):
        return data.to(device, dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype):
        return from_numpy(data).to(device)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """Return a tensor that shares memory with a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(ndarray).__name__}")
    return Tensor._wrap(ndarray)


# --- constants --------------------------------------------------------------------------------------------------------
def _finish(array: Array, requires_grad: bool) -> Tensor:
    made = Tensor._wrap(array)
    return made.requires_grad_() if requires_grad else made


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of one number, whose type it takes if none is given (float: the default type, int: int64)."""
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    if dtype is None:
        dtype = (
            bool if isinstance(fill_value, bool) else np.int64 if isinstance(fill_value, int) else get_default_dtype()
        )
    xp = get_backend(device).xp
    with np.errstate(over="ignore"):  # what is too large for the type becomes inf
        made = xp.full(flat_ints((size,)), fill_value, dtype=dtype)
    return _finish(made, requires_grad)


def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros: ``zeros(2, 3)``, ``zeros((2, 3))`` or ``zeros(size=(2, 3))``.

    >>> zeros(2, 2)
    tensor([[0., 0.],
            [0., 0.]])
    """
    xp = get_backend(device).xp
    return _finish(xp.zeros(size_or(sizes, size), dtype=dtype or get_default_dtype()), requires_grad)


def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones: ``ones(2, 3)``, ``ones((2, 3))`` or ``ones(size=(2, 3))``."""
    xp = get_backend(device).xp
    return _finish(xp.ones(size_or(sizes, size), dtype=dtype or get_default_dtype()), requires_grad)


def empty(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of which nobody says what is in it; here zeros, so that two runs are equal."""
    return zeros(*sizes, size=size, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a matrix with ones on its diagonal."""
    xp = get_backend(device).xp
    return _finish(xp.eye(n, m, dtype=dtype or get_default_dtype()), requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros with the shape, type and device of ``input``."""
    return zeros(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones with the shape, type and device of ``input``."""
    return ones(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def empty_like(input: Tensor, **options: Any) -> Tensor:
    """Return ``empty`` with the shape, type and device of ``input``."""
    return zeros_like(input, **options)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of one number with the shape, type and device of ``input``."""
    return full(
        input.shape, fill_value, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def new_like(self: Tensor, maker: Callable, *args: Any, **options: Any) -> Tensor:
    """Return what ``maker`` makes, with the type and device of ``self`` unless said otherwise."""
    return maker(*args, **{"dtype": self.dtype, "device": self.device, **options})


# --- ranges -----------------------------------------------------------------------------------------------------------
def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return start, start + step, ... below end; integers if all three are, the default floating type otherwise.

    Args:
        start: the first number, 0 if it is left out; one number alone is the end.

    Raises:
        TypeError: if there is no end.
        RuntimeError: if the step is 0 or leads away from the end.
    """
    start, end, step = (v.item() if isinstance(v, (Tensor, np.generic)) else v for v in (start, end, step))
    if start is None or end is None:
        start, end = 0, start if end is None else end
    if end is None:
        raise TypeError("arange: expected an end")
    if dtype is None:
        dtype = np.int64 if all(isinstance(v, int) for v in (start, end, step)) else get_default_dtype()
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        start, end, step = int(start), int(end), int(step)  # integers are counted, not 2.7 of them
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: a step of {step} does not lead from {start} to {end}")
    made = np.arange(start, end, step, dtype=np.float64 if is_floating(dtype) else dtype)
    # Made on the host and moved: so a backend knows which numbers these are, if they are used as ids.
    return _finish(get_backend(device).from_host(made.astype(dtype, copy=False)), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return ``steps`` numbers at equal distances from ``start`` to ``end``, both included."""
    xp = get_backend(device).xp
    made = xp.linspace(float(start), float(end), steps, dtype=np.float64).astype(dtype or get_default_dtype())
    return _finish(made, requires_grad)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Return for each of several 1-d tensors its values spread over the grid of all of them."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: expected indexing 'ij' or 'xy', got {indexing!r}")
    swap = indexing == "xy" and len(given) > 1
    order = [given[1], given[0], *given[2:]] if swap else list(given)
    shape = [t.numel() for t in order]
    found = [t.reshape([-1 if j == i else 1 for j in range(len(order))]).expand(shape) for i, t in enumerate(order)]
    if swap:
        found[:2] = found[1], found[0]
    return tuple(found)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return rows and columns of the lower triangle of a matrix, (2, number of them)."""
    return tensor(np.stack(np.tril_indices(row, offset, col)), dtype=dtype or np.int64, device=device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return rows and columns of the upper triangle of a matrix, (2, number of them)."""
    return tensor(np.stack(np.triu_indices(row, offset, col)), dtype=dtype or np.int64, device=device)
