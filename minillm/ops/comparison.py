"""Comparisons and logic: bool results, no gradient."""

from __future__ import annotations

import math
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import promote
from minillm.tensor import Tensor

__all__ = [
    "allclose",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "eq",
    "equal",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "isclose",
    "le",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_or_bitwise_not",
    "logical_xor",
    "lt",
    "ne",
    "not_equal",
]


class Compare(Function):
    """Any of NumPy's comparisons, by name."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, *, what: str) -> Array:
        return getattr(ctx.xp, what)(x, y)


def eq(input: Tensor, other: Any) -> Tensor:
    """``input == other``, elementwise; NaN equals nothing."""
    return Compare.apply(*promote("eq", input, other), what="equal")


def ne(input: Tensor, other: Any) -> Tensor:
    """``input != other``, elementwise."""
    return Compare.apply(*promote("ne", input, other), what="not_equal")


def lt(input: Tensor, other: Any) -> Tensor:
    """``input < other``, elementwise."""
    return Compare.apply(*promote("lt", input, other), what="less")


def le(input: Tensor, other: Any) -> Tensor:
    """``input <= other``, elementwise."""
    return Compare.apply(*promote("le", input, other), what="less_equal")


def gt(input: Tensor, other: Any) -> Tensor:
    """``input > other``, elementwise."""
    return Compare.apply(*promote("gt", input, other), what="greater")


def ge(input: Tensor, other: Any) -> Tensor:
    """``input >= other``, elementwise."""
    return Compare.apply(*promote("ge", input, other), what="greater_equal")


not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are not 0."""
    return Compare.apply(*promote("logical_and", input, other), what="logical_and")


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one or both are not 0."""
    return Compare.apply(*promote("logical_or", input, other), what="logical_or")


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one is not 0."""
    return Compare.apply(*promote("logical_xor", input, other), what="logical_xor")


class Not(Function):
    """``not x`` or, for the bits of integers, ``~x``."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, *, bits: bool) -> Array:
        return ctx.xp.invert(x) if bits else ctx.xp.logical_not(x)


def logical_not(input: Tensor) -> Tensor:
    """Whether it is 0."""
    return Not.apply(input, bits=False)


def bitwise_not(input: Tensor) -> Tensor:
    """Turn every bit of integers, or every bool (the operator ``~``).

    Raises:
        TypeError: for floats.
    """
    _whole("bitwise_not", input)
    return Not.apply(input, bits=True)


logical_or_bitwise_not = bitwise_not


def _whole(what: str, *inputs: Any) -> None:
    for x in inputs:
        if isinstance(x, float) or (isinstance(x, Tensor) and x.dtype.kind not in "iub"):
            raise TypeError(f"{what}: expected integers or bools, got {getattr(x, 'dtype', 'float')}")


def bitwise_and(input: Tensor, other: Any) -> Tensor:
    """Bits (or bools) that are set in both (the operator ``&``)."""
    _whole("bitwise_and", input, other)
    return Compare.apply(*promote("bitwise_and", input, other, wrap=True), what="bitwise_and")


def bitwise_or(input: Tensor, other: Any) -> Tensor:
    """Bits (or bools) that are set in one or both (the operator ``|``)."""
    _whole("bitwise_or", input, other)
    return Compare.apply(*promote("bitwise_or", input, other, wrap=True), what="bitwise_or")


def bitwise_xor(input: Tensor, other: Any) -> Tensor:
    """Bits (or bools) that are set in exactly one (the operator ``^``)."""
    _whole("bitwise_xor", input, other)
    return Compare.apply(*promote("bitwise_xor", input, other, wrap=True), what="bitwise_xor")


def equal(input: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors have the same shape and elements (NaN differs from itself)."""
    return input.shape == other.shape and bool(eq(input, other).all())


class IsClose(Function):
    """``|x - y| <= atol + rtol |y|``."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, *, rtol: float, atol: float, equal_nan: bool) -> Array:
        xp = ctx.xp
        near = xp.abs(x - y) <= atol + rtol * xp.abs(y)
        near = xp.where(xp.isinf(x) | xp.isinf(y), x == y, near)
        return near | (xp.isnan(x) & xp.isnan(y)) if equal_nan else near


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Tell elementwise whether ``|input - other| <= atol + rtol |other|``."""
    if math.isnan(rtol) or rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: expected rtol and atol of 0 or more, got {rtol} and {atol}")
    return IsClose.apply(*promote("isclose", input, other), rtol=rtol, atol=atol, equal_nan=equal_nan)


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Tell whether all elements are close; see ``isclose``."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())
