"""Elementwise arithmetic. ``mul`` is the worked example of an op: formula, Function, public function."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import Scalar, operand, promote, shape_of, unbroadcast, wide
from minillm.ops.rows import at_least, at_most
from minillm.tensor import Tensor

__all__ = [
    "add",
    "addcdiv",
    "addcmul",
    "alias",
    "atan2",
    "clamp",
    "clip",
    "div",
    "divide",
    "floor_divide",
    "fmod",
    "lerp",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "neg",
    "negative",
    "pow",
    "remainder",
    "sub",
    "subtract",
    "true_divide",
    "where",
]


# --- mul: z = x * y
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
    return Mul.apply(*promote("mul", input, other, wrap=True))


# --- add: z = x + y -------------------------------------------------------------------------------------------------
class Add(Function):
    """``z = x + y``: both inputs get ``dz``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        ctx.shapes = shape_of(x), shape_of(y)
        return x + y

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        needs_x, needs_y = ctx.needs_input_grad
        dx = unbroadcast(dz, ctx.shapes[0]) if needs_x else None
        return dx, unbroadcast(dz, ctx.shapes[1]) if needs_y else None


def add(input: Tensor | Scalar, other: Tensor | Scalar, *, alpha: Scalar = 1) -> Tensor:
    r"""Add elementwise, with broadcasting: $z = x + \alpha y$.

    Args:
        input, other: tensors or numbers; at least one tensor.
        alpha: a factor for ``other``.
    """
    other = other if alpha == 1 else operand(other, "add") * alpha
    if _float32_and_less(input, other):  # the sum is a float32 without a copy of the other one
        return Add.apply(input, other)
    return Add.apply(*promote("add", input, other, wrap=True))


def _float32_and_less(x: Any, y: Any) -> bool:
    """Tell whether of two tensors of one shape one is of float32 and the other of 16 bits."""
    return (
        isinstance(x, Tensor)
        and isinstance(y, Tensor)
        and x.array.shape == y.array.shape
        and x.array.dtype != y.array.dtype
        and {wide(x.array.dtype), wide(y.array.dtype)} == {np.dtype(np.float32)}
    )


# --- sub: z = x - y -------------------------------------------------------------------------------------------------
class Sub(Function):
    """``z = x - y``: x gets ``dz``, y gets ``-dz``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        ctx.shapes = shape_of(x), shape_of(y)
        return x - y

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        needs_x, needs_y = ctx.needs_input_grad
        dx = unbroadcast(dz, ctx.shapes[0]) if needs_x else None
        return dx, unbroadcast(-dz, ctx.shapes[1]) if needs_y else None


def sub(input: Tensor | Scalar, other: Tensor | Scalar, *, alpha: Scalar = 1) -> Tensor:
    r"""Subtract elementwise, with broadcasting: $z = x - \alpha y$.

    Raises:
        RuntimeError: for bools, which have no difference: ``1 - mask`` is ``~mask``.
    """
    if any(map(_is_bool, (input, other))):
        raise RuntimeError("sub: bools have no difference; use ~ (logical_not) or ^ (logical_xor), or mask.long()")
    return Sub.apply(*promote("sub", input, other if alpha == 1 else operand(other, "sub") * alpha, wrap=True))


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype.kind == "b")


def _quotient(what: str, x: Any, y: Any) -> list[Any]:
    """Return two operands ready to be divided and rounded.

    Raises:
        RuntimeError: if both are bools.
    """
    if _is_bool(x) and _is_bool(y):
        raise RuntimeError(f"{what}: bools have no quotient; use mask.long()")
    return promote(what, x, y, wrap=True)


# --- div: z = x / y -------------------------------------------------------------------------------------------------
class Div(Function):
    """``z = x / y``: ``dx = dz / y``, ``dy = -dz x / y^2``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, y)
        ctx.shapes = shape_of(x), shape_of(y)
        return x / y

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        needs_x, needs_y = ctx.needs_input_grad
        dx = dz / y
        dy = unbroadcast(-dx * (x / y), ctx.shapes[1]) if needs_y else None
        return unbroadcast(dx, ctx.shapes[0]) if needs_x else None, dy


def div(input: Tensor | Scalar, other: Tensor | Scalar, *, rounding_mode: str | None = None) -> Tensor:
    """Divide elementwise, with broadcasting; integers give floats.

    Args:
        rounding_mode: "floor" or "trunc" round the quotient (and keep integers); no gradient flows then.
    """
    if rounding_mode is None:
        return Div.apply(*promote("div", input, other, to_float=True))
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(f"div: expected rounding_mode None, 'floor' or 'trunc', got {rounding_mode!r}")
    return FloorDivide.apply(*_quotient("div", input, other), trunc=rounding_mode == "trunc")


def _check_divisor(xp: Any, what: str, x: Any, y: Any) -> bool:
    """Tell whether both are integers; then the divisor must not be 0, for which integers have no answer."""
    whole = all(isinstance(a, int) or (hasattr(a, "dtype") and a.dtype.kind in "iu") for a in (x, y))
    if whole and bool((xp.asarray(y) == 0).any()):
        raise RuntimeError(f"{what}: division of integers by 0")
    return whole


class FloorDivide(Function):
    """``floor(x / y)`` or ``trunc(x / y)``: a staircase, whose gradient is 0."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, *, trunc: bool) -> Array:
        ctx.shapes = shape_of(x), shape_of(y)
        xp = ctx.xp
        whole = _check_divisor(xp, "floor_divide", x, y)
        if not trunc:
            return xp.floor_divide(x, y)
        return xp.sign(x) * xp.sign(y) * (abs(x) // abs(y)) if whole else xp.trunc(x / y)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array, Array]:
        return unbroadcast(dz * 0, ctx.shapes[0]), unbroadcast(dz * 0, ctx.shapes[1])


def floor_divide(input: Tensor | Scalar, other: Tensor | Scalar) -> Tensor:
    """Divide and round down."""
    return div(input, other, rounding_mode="floor")


class Remainder(Function):
    """``z = x - y floor(x / y)`` (or trunc): ``dx = dz``, ``dy = -dz floor(x / y)``."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, *, trunc: bool) -> Array:
        _check_divisor(ctx.xp, "fmod" if trunc else "remainder", x, y)
        ctx.save_for_backward(x, y)
        ctx.shapes, ctx.trunc = (shape_of(x), shape_of(y)), trunc
        return ctx.xp.fmod(x, y) if trunc else ctx.xp.remainder(x, y)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        needs_x, needs_y = ctx.needs_input_grad
        quotient = (ctx.xp.trunc if ctx.trunc else ctx.xp.floor)(x / y) if needs_y else None
        dy = unbroadcast(-dz * quotient, ctx.shapes[1]) if needs_y else None
        return unbroadcast(dz, ctx.shapes[0]) if needs_x else None, dy


def remainder(input: Tensor | Scalar, other: Tensor | Scalar) -> Tensor:
    """Remainder with the sign of the divisor, as Python's ``%``."""
    return Remainder.apply(*_quotient("remainder", input, other), trunc=False)


def fmod(input: Tensor | Scalar, other: Tensor | Scalar) -> Tensor:
    """Remainder with the sign of the dividend, as C's ``fmod``."""
    return Remainder.apply(*_quotient("fmod", input, other), trunc=True)


# --- neg, alias -----------------------------------------------------------------------------------------------------
class Neg(Function):
    """``y = -x``."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        return -x

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return -dy


def neg(input: Tensor) -> Tensor:
    """Change the sign.

    Raises:
        RuntimeError: for bool tensors.
    """
    if input.dtype.kind == "b":
        raise RuntimeError("neg: a bool tensor has no negative; use ~ (logical_not)")
    return Neg.apply(input)


class Alias(Function):
    """``y = x``."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        return x

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy


def alias(input: Tensor) -> Tensor:
    """Return the same numbers as a new tensor that shares their memory (``+x``)."""
    return Alias.apply(input)


# --- pow: z = x ** y ------------------------------------------------------------------------------------------------
def _power(x: Array, y: Array) -> Array:
    # NumPy has short ways for 2 and 1/2 only: a hundredth of the time. In 16 bits they would round more than once.
    if isinstance(y, (int, float)) and y in (3, 4, -0.5) and wide(x.dtype) == x.dtype:
        return x * x * x if y == 3 else (x * x) * (x * x) if y == 4 else 1 / x**0.5
    return x**y


class Pow(Function):
    """``z = x^y``: ``dx = dz y x^(y-1)``, ``dy = dz z ln x``, with 0 where the exponent is 0 or the base is 0."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        z = _power(x, y)
        ctx.save_for_backward(x, y, z if ctx.needs_input_grad[1] else None)
        ctx.shapes = shape_of(x), shape_of(y)
        return z

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y, z = ctx.saved_arrays
        xp, (needs_x, needs_y) = ctx.xp, ctx.needs_input_grad
        dx = dy = None
        if needs_x:
            # 0^0 is 1 whatever the base does: no gradient, where the formula would say 0 * inf.
            if isinstance(y, (int, float)):
                slope = y * _power(x, y - 1) if y else xp.zeros_like(x)
            else:
                slope = xp.where(y == 0, 0, y * x ** (y - 1))
            dx = unbroadcast((dz * slope).astype(dz.dtype, copy=False), ctx.shapes[0])
        if needs_y:
            slope = xp.where((x == 0) & (y >= 0), 0, z * xp.log(x))
            dy = unbroadcast((dz * slope).astype(dz.dtype, copy=False), ctx.shapes[1])
        return dx, dy


def pow(input: Tensor | Scalar, exponent: Tensor | Scalar) -> Tensor:
    r"""Raise to a power elementwise: $z = x^y$.

    $\partial z/\partial x = y x^{y-1}$ (0 where $y = 0$) and $\partial z/\partial y = z \ln x$ (0 where $x = 0 \le y$).

    Raises:
        RuntimeError: for integers with a negative integer power, whose result would not be an integer.
    """
    x, y = promote("pow", input, exponent)
    if isinstance(x, Tensor) and x.dtype.kind in "iu" and isinstance(y, int) and y < 0:
        raise RuntimeError(f"pow: integers with the negative power {y} give no integers; use .float() first")
    return Pow.apply(x, y)


# --- maximum, minimum, clamp ----------------------------------------------------------------------------------------
class Extremum(Function):
    """``max(x, y)`` or ``min(x, y)``: the chosen one gets ``dz``, both get half of it where they are equal."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, *, largest: bool) -> Array:
        ctx.save_for_backward(x, y)
        ctx.shapes, ctx.largest = (shape_of(x), shape_of(y)), largest
        return ctx.xp.maximum(x, y) if largest else ctx.xp.minimum(x, y)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        above, reached = (x > y, x >= y) if ctx.largest else (x < y, x <= y)
        share = (above.astype(dz.dtype) + reached) * 0.5
        needs_x, needs_y = ctx.needs_input_grad
        dx = unbroadcast(dz * share, ctx.shapes[0]) if needs_x else None
        return dx, unbroadcast(dz * (1 - share), ctx.shapes[1]) if needs_y else None


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, elementwise; NaN wins. Where both are equal, each gets half of the gradient."""
    return Extremum.apply(*promote("maximum", input, other), largest=True)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, elementwise; NaN wins. Where both are equal, each gets half of the gradient."""
    return Extremum.apply(*promote("minimum", input, other), largest=False)


class Clamp(Function):
    """``min(max(x, low), high)``: ``dx = dy`` inside and at the bounds, 0 outside."""

    @staticmethod
    def forward(ctx: Any, x: Array, low: Any, high: Any) -> Array:
        xp = ctx.xp
        y = x if low is None else at_least(xp, x, low)
        y = y if high is None else at_most(xp, y, high)
        ctx.shapes = x.shape, shape_of(low), shape_of(high)
        ctx.save_for_backward(x, low, high)
        return y.copy() if y is x else y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        x, low, high = ctx.saved_arrays
        below = False if low is None else x < low
        above = False if high is None else x > high
        xp, where, needs = ctx.xp, ctx.backend.where, ctx.needs_input_grad
        # NaN lies outside, as in PyTorch.
        inside = (True if low is None else x >= low) & (True if high is None else x <= high)
        dx = unbroadcast(where(inside, dy, 0), ctx.shapes[0]) if needs[0] else None
        at_low = False if high is None or low is None else low > high
        dlow = unbroadcast(where(below & ~xp.asarray(at_low), dy, 0), ctx.shapes[1]) if needs[1] else None
        return dx, dlow, unbroadcast(where(above | at_low, dy, 0), ctx.shapes[2]) if needs[2] else None


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Keep every element between ``min`` and ``max`` (numbers or tensors; ``None`` is no bound).

    Raises:
        RuntimeError: if both bounds are ``None``.
    """
    if min is None and max is None:
        raise RuntimeError("clamp: expected min or max or both, got neither")
    given = [b for b in (min, max) if b is not None]
    x, *bounds = promote("clamp", input, *given)
    low = bounds.pop(0) if min is not None else None
    return Clamp.apply(x, low, bounds[0] if bounds else None)


# --- where ----------------------------------------------------------------------------------------------------------
class Where(Function):
    """``z = x`` where the condition holds, ``y`` elsewhere; each gets ``dz`` where it was chosen."""

    @staticmethod
    def forward(ctx: Any, condition: Array, x: Array, y: Array) -> Array:
        ctx.save_for_backward(condition)
        ctx.shapes = shape_of(x), shape_of(y)
        dtype = next((a.dtype for a in (x, y) if hasattr(a, "dtype")), None)
        return ctx.backend.where(condition, x, y).astype(dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[None, Array | None, Array | None]:
        (condition,) = ctx.saved_arrays
        where, (_, needs_x, needs_y) = ctx.backend.where, ctx.needs_input_grad
        dx = unbroadcast(where(condition, dz, 0), ctx.shapes[0]) if needs_x else None
        return None, dx, unbroadcast(where(condition, 0, dz), ctx.shapes[1]) if needs_y else None


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Choose elementwise: ``input`` where the condition holds, ``other`` elsewhere.

    With the condition alone: the indices where it holds, as ``nonzero(as_tuple=True)``.

    # Trap: a NaN in the branch that is not chosen still reaches the gradient of what made it (0 * inf). Make the input
    # of
    that branch harmless first: ``where(x > 0, log(where(x > 0, x, 1)), 0)``.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    given = [operand(t, "where") for t in (input, other)]
    if any(isinstance(t, Tensor) for t in given):
        given = promote("where", *given)
    else:
        from minillm.ops.creation import full

        given = [full((), t, device=condition.device) for t in given]
        given = promote("where", *given)
    return Where.apply(condition if condition.dtype.kind == "b" else condition != 0, *given)


# --- composed of the above ------------------------------------------------------------------------------------------
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Go from ``input`` towards ``end``: ``input + weight (end - input)``."""
    return input + (end - input) * weight


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return add(input, div(tensor1, tensor2), alpha=value)


class Atan2(Function):
    """The angle of the point (y, x): ``dy = dz x / (x^2 + y^2)``, ``dx = -dz y / (x^2 + y^2)``."""

    @staticmethod
    def forward(ctx: Any, y: Array, x: Array) -> Array:
        ctx.save_for_backward(y, x)
        ctx.shapes = shape_of(y), shape_of(x)
        return ctx.xp.arctan2(y, x)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array, Array]:
        y, x = ctx.saved_arrays
        g = dz / (x * x + y * y)
        return unbroadcast(g * x, ctx.shapes[0]), unbroadcast(-g * y, ctx.shapes[1])


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle in radians of the point with height ``input`` and width ``other``."""
    return Atan2.apply(*promote("atan2", input, other, to_float=True))


clip, negative, subtract, multiply, divide, true_divide = clamp, neg, sub, mul, div, div
