"""Products of matrices: ``matmul`` with all of PyTorch's shape rules, and the linear layer in one op."""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.arithmetic import add, mul
from minillm.ops.common import cast, one_dtype, unbroadcast
from minillm.ops.rows import add_row, as_rows, column_sum, working
from minillm.ops.shape import unsqueeze
from minillm.tensor import Tensor

__all__ = ["addmm", "baddbmm", "bmm", "dot", "linear", "matmul", "mm", "mv", "outer"]


# --- matmul: z = x @ y
class MatMul(Function):
    """``z = x y``; ``dx = dz y^T``, ``dy = x^T dz``, each summed over the batch axes along which it was broadcast."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        needs_x, needs_y = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_y else None, y if needs_x else None)
        ctx.shapes = x.shape, y.shape
        if x.ndim > 2 and y.ndim == 2 and x.flags.c_contiguous:
            # One matrix for the whole batch: the rows of all batches in one product.
            return ctx.backend.matmul(as_rows(x, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[-1])
        return ctx.backend.matmul(x, y)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        needs_x, needs_y = ctx.needs_input_grad
        x_shape, y_shape = ctx.shapes
        # A vector is a matrix with one row (left) or one column (right); the result lacks that axis.
        if len(y_shape) == 1:
            dz, y_shape = dz[..., None], (*y_shape, 1)
            y = y[:, None] if needs_x else None
        if len(x_shape) == 1:
            dz, x_shape = dz[..., None, :], (1, *x_shape)
            x = x[None] if needs_y else None
        dx = dy = None
        if needs_x:
            # A column times a row needs no BLAS, whose way takes four times as long.
            outer = dz * y.T if len(ctx.shapes[1]) == 1 else ctx.backend.matmul(dz, y.swapaxes(-1, -2))
            dx = unbroadcast(outer, x_shape).reshape(ctx.shapes[0])
        if needs_y:
            if len(x_shape) > 2 and len(y_shape) == 2:
                # The sum over the batch is part of one long product.
                x, dz = as_rows(x, x_shape[-1]), as_rows(dz, dz.shape[-1])
            dy = unbroadcast(ctx.backend.matmul(x.swapaxes(-1, -2), dz), y_shape).reshape(ctx.shapes[1])
        return dx, dy


def matmul(input: Tensor, other: Tensor) -> Tensor:
    r"""Matrix product $z = x y$ of the last two axes; the axes before them broadcast.

    $dx = dz \, y^T$ and $dy = x^T dz$. A vector counts as a row on the left and as a column on the right; its axis is
    missing from the result.

    Args:
        input, other: tensors of one dtype with at least one axis.

    Shape:
        (..., N, K) and (..., K, M) to (..., N, M).

    Raises:
        RuntimeError: if the inner lengths or the dtypes differ, or a tensor has no axis.
        TypeError: if one of them is no tensor.

    >>> import minillm
    >>> matmul(minillm.tensor([[1.0, 2.0]]), minillm.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    _check_types("matmul", input, other)
    x, y = input.array.shape, other.array.shape
    if not x or not y:
        raise RuntimeError(f"matmul: expected tensors with at least one axis, got {x} and {y}; use * for a number")
    if x[-1] != y[-2 if len(y) > 1 else 0]:
        raise RuntimeError(
            f"matmul: inner lengths differ: {x} @ {y}, {x[-1]} against {y[-2 if len(y) > 1 else 0]} (transpose one?)"
        )
    if any(a != b and 1 not in (a, b) for a, b in zip(x[-3::-1], y[-3::-1])):
        raise RuntimeError(f"matmul: the batch axes of {x} and {y} do not broadcast")
    return MatMul.apply(input, other)


def _check_types(what: str, *tensors: Any) -> None:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{what}: expected Tensors, got {type(t).__name__}")
    if not one_dtype(*tensors):
        found = " and ".join(str(t.dtype) for t in tensors)
        raise RuntimeError(f"{what}: expected one dtype, got {found}; convert one with .to(dtype)")


def _check_axes(what: str, *wanted: tuple[Tensor, int]) -> None:
    _check_types(what, *(t for t, _ in wanted))
    for t, ndim in wanted:
        if t.ndim != ndim:
            raise RuntimeError(f"{what}: expected a tensor with {ndim} dimensions, got shape {tuple(t.shape)}")


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices, (N, K) and (K, M) to (N, M); see ``matmul``."""
    _check_axes("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices, (B, N, K) and (B, K, M) to (B, N, M); see ``matmul``."""
    _check_axes("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: expected batches of one size, got {input.shape[0]} and {mat2.shape[0]}")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix and a vector, (N, K) and (K,) to (N,); see ``matmul``."""
    _check_axes("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Product of two vectors, (K,) and (K,) to (); see ``matmul``."""
    _check_axes("dot", (input, 1), (tensor, 1))
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every element of one vector times every element of another, (N,) and (M,) to (N, M)."""
    for t in (input, vec2):
        if t.ndim != 1:
            raise RuntimeError(f"outer: expected a tensor with 1 dimension, got shape {tuple(t.shape)}")
    return mul(unsqueeze(input, 1), vec2)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``; with ``beta=0`` the input is ignored, NaN included."""
    return _add_product(mm(mat1, mat2), input, beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)``; with ``beta=0`` the input is ignored, NaN included."""
    return _add_product(bmm(batch1, batch2), input, beta, alpha)


def _add_product(z: Tensor, input: Tensor, beta: Any, alpha: Any) -> Tensor:
    if one_dtype(input, z):  # autocast has made the product one of 16 bits; the sum is one, too
        input = cast(input, z.dtype)
    z = z if alpha == 1 else mul(z, alpha)
    if beta == 0:
        return z
    return add(input if beta == 1 else mul(input, beta), z)


# --- linear: y = x w^T + b
def linear_formula(xp: Any, x: Any, w: Any, b: Any = None) -> Any:
    y = xp.matmul(x, xp.swapaxes(w, -1, -2))
    return y if b is None else y + b


class Linear(Function):
    """``y = x w^T + b`` as one product over all rows; ``dx = dy w``, ``dw = dy^T x``, ``db`` = column sums of dy."""

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array, b: Array | None) -> Array:
        needs_x, needs_w, _ = ctx.needs_input_grad
        rows = as_rows(x, x.shape[-1])  # (N, in)
        ctx.save_for_backward(rows if needs_w else None, w if needs_x else None)
        ctx.x_shape = x.shape
        y = ctx.backend.matmul(rows, w.T)  # BLAS reads w backwards: nothing is copied
        if b is not None:
            add_row(ctx.backend, y, b)
        return y.reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = ctx.saved_arrays
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        dy = as_rows(dy, dy.shape[-1])  # (N, out)
        dx = ctx.backend.matmul(dy, w).reshape(ctx.x_shape) if needs_x else None
        dw = ctx.backend.matmul(dy.T, x, out=ctx.place(1)) if needs_w else None
        return dx, dw, column_sum(ctx.backend, working(dy)) if needs_b else None


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Apply a linear layer to the last axis: $y = x W^T + b$.

    $dx = dy \, W$, $dW = dy^T x$, and $db$ is the sum of $dy$ over all rows.

    Args:
        input: (..., in).
        weight: (out, in), or (in,) for one output without an axis.
        bias: (out,), or () with a weight of one axis.

    Returns:
        (..., out).

    Raises:
        RuntimeError: if lengths or dtypes do not fit.

    >>> import minillm
    >>> linear(minillm.ones(2), minillm.tensor([[1.0, 2.0]]), minillm.tensor([0.5]))
    tensor([3.5000])
    """
    _check_types("linear", input, weight, *([] if bias is None else [bias]))
    x, w = input.array.shape, weight.array.shape
    if not x or len(w) not in (1, 2):
        raise RuntimeError(f"linear: expected input (..., in) and weight (out, in), got {x} and {w}")
    if x[-1] != w[-1]:
        raise RuntimeError(f"linear: input has last dim {x[-1]}, weight expects {w[-1]} (did you transpose?)")
    if len(w) == 1:
        y = matmul(input, weight)
        return y if bias is None else add(y, bias)
    if bias is not None and bias.array.shape not in ((), (1,), (w[0],)):
        raise RuntimeError(f"linear: bias has shape {tuple(bias.shape)}, expected ({w[0]},)")
    if bias is not None and bias.array.shape != (w[0],):
        return add(Linear.apply(input, weight, None), bias)
    return Linear.apply(input, weight, bias)
