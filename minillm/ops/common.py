"""What several op families share: type promotion, undoing a broadcast, axes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.autograd import Function, modes
from minillm.backend import Array, backend_of
from minillm.backend.device import get_default_dtype, is_floating
from minillm.ops.rows import column_sum
from minillm.tensor import Tensor

Scalar = bool | int | float


class Cast(Function):
    """``y = x`` in another element type; the gradient goes back in the type of ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, dtype: np.dtype) -> Array:
        return x.astype(dtype)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy  # the engine gives every gradient the dtype of its input


def cast(input: Tensor, dtype: Any) -> Tensor:
    """Return ``input`` in another element type; the same tensor if it has that type already."""
    dtype = np.dtype(dtype)
    if input.array.dtype == dtype:
        return input
    return Cast.apply(input, dtype=dtype)


def one_dtype(*tensors: Tensor) -> bool:
    """Tell whether tensors have one element type, or will have one when autocast has seen them."""
    first = tensors[0].array.dtype
    if all(t.array.dtype == first for t in tensors):
        return True
    return modes.autocast is not None and all(modes.autocast.covers(t.array) for t in tensors)


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which its input was broadcast.

    If ``x`` of ``shape`` was used k times to make ``y``, its gradient is the sum of the k gradients.
    """
    if dy.shape == shape:
        return dy
    extra = dy.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and dy.shape[extra + i] != 1)
    return total(dy, axes).reshape(shape) if axes else dy.reshape(shape)


def wide(dtype: np.dtype) -> np.dtype:
    """Return the type in which a sum is made: float32 for the 16-bit floats, so that it is rounded only once.

    By itself a float16 stays at 2048, and a bfloat16 at 256, when ones are added to it.
    """
    return np.dtype("float32") if is_floating(dtype) and dtype.itemsize == 2 else dtype


def total(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Return the sum along axes in the wide type.

    NumPy adds up the first axis row by row. As a product (``column_sum``) that is faster, 15 times for a million rows
    of eight, and off by 2e-7 instead of 2e-5.
    """
    n, kept = len(axes), x.shape[len(axes) :]
    first = type(x) is np.ndarray and 0 < n < x.ndim and sorted(axes) == list(range(n))
    if first and x.dtype in (np.float32, np.float64) and x.size and x.flags.c_contiguous:
        y = column_sum(backend_of(x), x.reshape(-1, math.prod(kept)))
        return y.reshape((*(1,) * n, *kept) if keepdims else kept)
    return x.sum(axis=axes, keepdims=keepdims, dtype=wide(x.dtype))


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an array; a Python number has ``()``."""
    return x.shape if hasattr(x, "shape") else ()


def _category(dtype: np.dtype) -> int:
    return 2 if is_floating(dtype) else 0 if dtype.kind == "b" else 1


def promote_types(a: Any, b: Any) -> np.dtype:
    """Return the type that holds both: the larger within a category; floats win over integers, integers over bool.

    # Trap: NumPy makes int64 + float32 a float64; here, as in PyTorch, it is float32.
    """
    a, b = np.dtype(a), np.dtype(b)
    if a == b or _category(a) > _category(b):
        return a
    if _category(b) > _category(a):
        return b
    if {a.name, b.name} == {"bfloat16", "float16"}:
        return np.dtype("float32")
    return np.promote_types(a, b)


def result_type(*operands: Any) -> np.dtype:
    """Return the element type of a result (PyTorch's rule).

    Tensors with axes decide; a 0-d tensor, and after it a Python number, counts only if its category
    (bool < integer < float) is higher.
    """
    groups: list[np.dtype | None] = [None, None, None]  # tensors with axes, 0-d tensors, numbers
    for x in operands:
        if isinstance(x, Tensor):
            rank, dtype = (0 if x.array.ndim else 1), x.array.dtype
        else:
            rank = 2
            dtype = np.dtype(bool if isinstance(x, bool) else np.int64 if isinstance(x, int) else get_default_dtype())
        before = groups[rank]
        groups[rank] = dtype if before is None else promote_types(before, dtype)
    found: np.dtype | None = None
    for dtype_ in groups:
        if dtype_ is not None and (found is None or _category(dtype_) > _category(found)):
            found = dtype_
    assert found is not None
    return found


def comparable(x: Any) -> bool:
    """Tell whether ``==`` compares elements with ``x``; from None, a text or a list a tensor differs as a whole.

    An array is to be refused by ``operand``, which says what to do: a mere False would hide the mistake.
    """
    return isinstance(x, (Tensor, numbers.Number, np.generic, np.ndarray))


def operand(x: Any, what: str) -> Tensor | Scalar:
    """Return ``x`` if an op can take it: a Tensor or a number (NumPy's scalars become Python's, which are weak).

    Raises:
        TypeError: for anything else, NumPy arrays included.
    """
    if isinstance(x, (Tensor, bool, int, float)) and not isinstance(x, np.generic):
        return x
    if isinstance(x, (np.generic, numbers.Number)):
        return x.item() if isinstance(x, np.generic) else float(x)  # type: ignore[arg-type]
    raise TypeError(f"{what}: expected a Tensor or a number, got {type(x).__name__} (wrap it in minillm.tensor(...))")


def wrapped(x: Scalar, dtype: np.dtype) -> Scalar:
    """Return a whole number as an integer type would hold it (-1 is 255 in uint8), anything else as it is."""
    if type(x) is not int or dtype.kind not in "iu" or np.iinfo(dtype).min <= x <= np.iinfo(dtype).max:
        return x
    return int(np.array(x, dtype=np.int64).astype(dtype))


def promote(what: str, *operands: Any, to_float: bool = False, wrap: bool = False) -> list[Any]:
    """Return the operands ready for an elementwise op: tensors cast to one type, numbers left weak.

    Args:
        what: the name of the op, for errors.
        to_float: let integers become the default floating type (division, exp, ...).
        wrap: let a number that an integer type cannot hold wrap around, as the results of the type do.

    Raises:
        TypeError: if no operand is a tensor or one is neither tensor nor number.
    """
    first = operands[0]
    # The usual case, decided without building anything: tensors of one type, or a float tensor and numbers.
    if isinstance(first, Tensor):
        dtype = first.array.dtype
        if dtype.kind == "f":
            for x in operands[1:]:
                if not (type(x) is float or type(x) is int or (isinstance(x, Tensor) and x.array.dtype is dtype)):
                    break
            else:
                return list(operands)
    found = [operand(x, what) for x in operands]
    if not any(isinstance(x, Tensor) for x in found):
        raise TypeError(f"{what}: expected at least one Tensor, got {[type(x).__name__ for x in found]}")
    common = result_type(*found)
    if to_float and not is_floating(common):
        common = get_default_dtype()
    if common.name == "bfloat16":
        # Trap: to NumPy a Python number is not weak beside ml_dtypes' bfloat16; it would make the result a float32.
        # Not asarray: a number would be copied to a card from main memory.
        xp = backend_of(next(x for x in found if isinstance(x, Tensor)).array).xp
        return [cast(x, common) if isinstance(x, Tensor) else xp.full((), x, dtype=common) for x in found]
    return [cast(x, common) if isinstance(x, Tensor) else wrapped(x, common) if wrap else x for x in found]


def normalize_dim(dim: int, ndim: int) -> int:
    """Return an axis counted from the front.

    Raises:
        IndexError: if the tensor has no such axis. A 0-d tensor has axis 0 and -1, as in PyTorch.
    """
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"dim {dim} is out of range: expected {-n} .. {n - 1} for a tensor with {ndim} dimensions")
    return dim % n


def normalize_dims(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front; ``None`` and ``()`` mean all of them.

    Raises:
        IndexError: if an axis does not exist.
        RuntimeError: if one is named twice.
    """
    if dim is None or (not isinstance(dim, numbers.Integral) and len(dim) == 0):  # type: ignore[arg-type]
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, numbers.Integral) else tuple(dim)  # type: ignore[arg-type]
    found = tuple(normalize_dim(int(d), ndim) for d in dims)
    if len(set(found)) != len(found):
        raise RuntimeError(f"dim {dims} names an axis twice")
    return found if ndim else ()


def to_array(x: Any, like: Tensor, dtype: Any = None) -> Array:
    """Return a tensor's array, or a list, number or host array moved to the device of ``like``."""
    if isinstance(x, Tensor):
        return x.array
    return backend_of(like.array).from_host(np.asarray(x, dtype=dtype))


def flat_ints(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Return sizes given as ``(2, 3)`` or ``((2, 3),)`` as a tuple of Python integers."""
    if len(sizes) == 1 and not isinstance(sizes[0], (numbers.Integral, Tensor)):
        sizes = sizes[0]
    return tuple(int(n) for n in sizes)


def size_or(sizes: Sequence[Any], size: Any) -> tuple[int, ...]:
    """Return sizes as ``flat_ints`` does, or those that were given by the name ``size``."""
    if size is None:
        return flat_ints(sizes)
    if sizes:
        raise TypeError(f"got two sizes: {tuple(sizes)} and size={size}")
    return flat_ints((size,))
