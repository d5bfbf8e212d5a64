"""Elementwise arithmetic. ``mul`` is the worked example of an op: formula, Function, public function."""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import Scalar, promote, shape_of, unbroadcast
from minillm.tensor import Tensor

__all__ = ["add", "mul"]


# --- mul: z = x * y
# -------------------------------------------------------------------------------------------------------
class Mul(Function):
    """``z = x * y``: each factor's gradient is the other factor times ``dz``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        needs_x, needs_y = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_y else None, y if needs_x else None)  # only what backward will read
        ctx.shapes = shape_of(x), shape_of(y)
        return x * y

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        needs_x, needs_y = ctx.needs_input_grad
        dx = unbroadcast(dz * y, ctx.shapes[0]) if needs_x else None
        dy = unbroadcast(dz * x, ctx.shapes[1]) if needs_y else None
        return dx, dy


def mul(input: Tensor | Scalar, other: Tensor | Scalar) -> Tensor:
    r"""Multiply elementwise, with broadcasting.

    $z = x y$, with $\partial L/\partial x = y \, \partial L/\partial z$ and the same for $y$; a factor that was
    broadcast sums its gradient over the places where it was used.

    Args:
        input, other: tensors or numbers; at least one tensor.

    Shape:
        any two that broadcast; the result has the broadcast shape.

    >>> import minillm
    >>> x = minillm.tensor([1.0, 2.0], requires_grad=True)
    >>> minillm.mul(x, 3).sum().backward(); x.grad
    tensor([3., 3.])
    """
    return Mul.apply(*promote("mul", input, other))


# --- add: z = x + y
# -------------------------------------------------------------------------------------------------------
class Add(Function):
    """``z = x + y``: both inputs get ``dz``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        ctx.shapes = shape_of(x), shape_of(y)
        return x + y

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        needs_x, needs_y = ctx.needs_input_grad
        return (
            unbroadcast(dz, ctx.shapes[0]) if needs_x else None,
            unbroadcast(dz, ctx.shapes[1]) if needs_y else None,
        )


def add(input: Tensor | Scalar, other: Tensor | Scalar, *, alpha: Scalar = 1) -> Tensor:
    r"""Add elementwise, with broadcasting: $z = x + \alpha y$.

    Args:
        input, other: tensors or numbers; at least one tensor.
        alpha: a factor for ``other``.
    """
    if alpha != 1:
        other = other * alpha
    return Add.apply(*promote("add", input, other))
