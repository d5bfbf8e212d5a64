"""Elementwise functions of one input: exponentials, roots, trigonometry, rounding, tests for NaN.

Each is a formula, its derivative, and the public function. The derivative is written with whichever of input ``x`` and
result ``y`` makes it cheapest, and only that array is kept for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.device import finfo, is_floating
from minillm.ops.common import operand, promote
from minillm.ops.rows import in_tiles
from minillm.tensor import Tensor

__all__ = [
    "abs",
    "absolute",
    "acos",
    "asin",
    "atan",
    "ceil",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "nan_to_num",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]


class Elementwise(Function):
    """An op of one input given by two lines: ``formula(xp, x)`` and ``slope(xp, x or y)``; ``dx = dy slope``."""

    formula: Callable[..., Array]
    slope: Callable[..., Array] | None = None
    from_result = False
    """Whether ``slope`` is written with the result y."""

    @classmethod
    def forward(cls, ctx: Any, x: Array) -> Array:
        y = cls.formula(ctx.xp, x)
        if ctx.needs_input_grad[0]:
            ctx.op = cls
            ctx.save_for_backward(y if cls.from_result else x)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (saved,) = ctx.saved_arrays
        return dy * ctx.op.slope(ctx.xp, saved)


def _floating(name: str, op: type[Function], input: Tensor) -> Tensor:
    return op.apply(*promote(name, input, to_float=True))


# --- exponentials and logarithms ------------------------------------------------------------------------------------
class Exp(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.exp(x))
    slope = staticmethod(lambda xp, y: y)


def exp(input: Tensor) -> Tensor:
    r"""$y = e^x$, $dy/dx = y$."""
    return _floating("exp", Exp, input)


class Exp2(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.exp2(x))
    slope = staticmethod(lambda xp, y: y * math.log(2))


def exp2(input: Tensor) -> Tensor:
    r"""$y = 2^x$, $dy/dx = y \ln 2$."""
    return _floating("exp2", Exp2, input)


class Expm1(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.expm1(x))
    slope = staticmethod(lambda xp, y: y + 1)


def expm1(input: Tensor) -> Tensor:
    r"""$y = e^x - 1$, exact near 0; $dy/dx = y + 1$."""
    return _floating("expm1", Expm1, input)


class Log(Elementwise):
    formula = staticmethod(lambda xp, x: xp.log(x))
    slope = staticmethod(lambda xp, x: 1 / x)


def log(input: Tensor) -> Tensor:
    r"""$y = \ln x$, $dy/dx = 1/x$; -inf at 0, NaN below."""
    return _floating("log", Log, input)


class Log1p(Elementwise):
    formula = staticmethod(lambda xp, x: xp.log1p(x))
    slope = staticmethod(lambda xp, x: 1 / (1 + x))


def log1p(input: Tensor) -> Tensor:
    r"""$y = \ln(1 + x)$, exact near 0; $dy/dx = 1/(1+x)$."""
    return _floating("log1p", Log1p, input)


class Log2(Elementwise):
    formula = staticmethod(lambda xp, x: xp.log2(x))
    slope = staticmethod(lambda xp, x: 1 / (x * math.log(2)))


def log2(input: Tensor) -> Tensor:
    r"""$y = \log_2 x$, $dy/dx = 1/(x \ln 2)$."""
    return _floating("log2", Log2, input)


class Log10(Elementwise):
    formula = staticmethod(lambda xp, x: xp.log10(x))
    slope = staticmethod(lambda xp, x: 1 / (x * math.log(10)))


def log10(input: Tensor) -> Tensor:
    r"""$y = \log_{10} x$, $dy/dx = 1/(x \ln 10)$."""
    return _floating("log10", Log10, input)


# --- powers and roots -----------------------------------------------------------------------------------------------
class Sqrt(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.sqrt(x))
    slope = staticmethod(lambda xp, y: 0.5 / y)


def sqrt(input: Tensor) -> Tensor:
    r"""$y = \sqrt x$, $dy/dx = 1/(2y)$; infinite slope at 0."""
    return _floating("sqrt", Sqrt, input)


class Rsqrt(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: 1 / xp.sqrt(x))
    slope = staticmethod(lambda xp, y: -0.5 * y * y * y)


def rsqrt(input: Tensor) -> Tensor:
    r"""$y = 1/\sqrt x$, $dy/dx = -y^3/2$."""
    return _floating("rsqrt", Rsqrt, input)


class Reciprocal(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: 1 / x)
    slope = staticmethod(lambda xp, y: -y * y)


def reciprocal(input: Tensor) -> Tensor:
    r"""$y = 1/x$, $dy/dx = -y^2$."""
    return _floating("reciprocal", Reciprocal, input)


class Square(Elementwise):
    formula = staticmethod(lambda xp, x: x * x)
    slope = staticmethod(lambda xp, x: 2 * x)


def square(input: Tensor) -> Tensor:
    r"""$y = x^2$, $dy/dx = 2x$."""
    return Square.apply(*promote("square", input)) if input.dtype.kind != "b" else square(input.long())


def _sign(xp: Any, x: Any) -> Any:
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)  # 0 of NaN, where NumPy's sign is NaN


class Abs(Elementwise):
    formula = staticmethod(lambda xp, x: xp.abs(x))
    slope = staticmethod(_sign)


def abs(input: Tensor) -> Tensor:
    r"""$y = |x|$, $dy/dx = \mathrm{sign}(x)$, which is 0 at 0."""
    return Abs.apply(input)


class Sign(Elementwise):
    formula = staticmethod(lambda xp, x: _sign(xp, x) if x.dtype.kind != "b" else x.copy())
    slope = staticmethod(lambda xp, x: 0)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 (0 of NaN); its gradient is 0."""
    return Sign.apply(input)


# --- trigonometry ---------------------------------------------------------------------------------------------------
class Sin(Elementwise):
    formula = staticmethod(lambda xp, x: xp.sin(x))
    slope = staticmethod(lambda xp, x: xp.cos(x))


def sin(input: Tensor) -> Tensor:
    r"""$y = \sin x$ of an angle in radians, $dy/dx = \cos x$."""
    return _floating("sin", Sin, input)


class Cos(Elementwise):
    formula = staticmethod(lambda xp, x: xp.cos(x))
    slope = staticmethod(lambda xp, x: -xp.sin(x))


def cos(input: Tensor) -> Tensor:
    r"""$y = \cos x$ of an angle in radians, $dy/dx = -\sin x$."""
    return _floating("cos", Cos, input)


class Tan(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.tan(x))
    slope = staticmethod(lambda xp, y: 1 + y * y)


def tan(input: Tensor) -> Tensor:
    r"""$y = \tan x$ of an angle in radians, $dy/dx = 1 + y^2$."""
    return _floating("tan", Tan, input)


class Sinh(Elementwise):
    formula = staticmethod(lambda xp, x: xp.sinh(x))
    slope = staticmethod(lambda xp, x: xp.cosh(x))


def sinh(input: Tensor) -> Tensor:
    r"""$y = \sinh x$, $dy/dx = \cosh x$."""
    return _floating("sinh", Sinh, input)


class Cosh(Elementwise):
    formula = staticmethod(lambda xp, x: xp.cosh(x))
    slope = staticmethod(lambda xp, x: xp.sinh(x))


def cosh(input: Tensor) -> Tensor:
    r"""$y = \cosh x$, $dy/dx = \sinh x$."""
    return _floating("cosh", Cosh, input)


class Asin(Elementwise):
    formula = staticmethod(lambda xp, x: xp.arcsin(x))
    slope = staticmethod(lambda xp, x: 1 / xp.sqrt(1 - x * x))


def asin(input: Tensor) -> Tensor:
    r"""$y = \arcsin x$ in radians, $dy/dx = 1/\sqrt{1 - x^2}$."""
    return _floating("asin", Asin, input)


class Acos(Elementwise):
    formula = staticmethod(lambda xp, x: xp.arccos(x))
    slope = staticmethod(lambda xp, x: -1 / xp.sqrt(1 - x * x))


def acos(input: Tensor) -> Tensor:
    r"""$y = \arccos x$ in radians, $dy/dx = -1/\sqrt{1 - x^2}$."""
    return _floating("acos", Acos, input)


class Atan(Elementwise):
    formula = staticmethod(lambda xp, x: xp.arctan(x))
    slope = staticmethod(lambda xp, x: 1 / (1 + x * x))


def atan(input: Tensor) -> Tensor:
    r"""$y = \arctan x$ in radians, $dy/dx = 1/(1 + x^2)$."""
    return _floating("atan", Atan, input)


# --- squashing functions --------------------------------------------------------------------------------------------
class Tanh(Elementwise):
    from_result = True
    formula = staticmethod(lambda xp, x: xp.tanh(x))
    slope = staticmethod(lambda xp, y: 1 - y * y)


def tanh(input: Tensor) -> Tensor:
    r"""$y = \tanh x$, $dy/dx = 1 - y^2$."""
    return _floating("tanh", Tanh, input)


def sigmoid_formula(xp: Any, x: Any) -> Any:
    """``1 / (1 + e^-x)``; where e^-x is too large, 0."""
    y = xp.exp(-x)
    y += 1
    return 1 / y


class Sigmoid(Elementwise):
    from_result = True
    # CuPy's `where` makes a float32 of bfloat16.
    formula = staticmethod(lambda xp, x: sigmoid_formula(xp, x).astype(x.dtype, copy=False))
    slope = staticmethod(lambda xp, y: y * (1 - y))


def sigmoid(input: Tensor) -> Tensor:
    r"""$y = 1/(1 + e^{-x})$, $dy/dx = y(1 - y)$."""
    return _floating("sigmoid", Sigmoid, input)


class Erf(Function):
    """The error function; ``dx = dy 2/sqrt(pi) exp(-x^2)``."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        ctx.save_for_backward(x)
        flat = x.reshape(-1)
        y = ctx.xp.empty_like(flat)

        def tile(part: slice) -> None:
            y[part] = ctx.backend.erf(flat[part])

        in_tiles(ctx.backend, (flat.size, 1), tile)
        return y.reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (x,) = ctx.saved_arrays
        return dy * ctx.xp.exp(-x * x) * (2 / math.sqrt(math.pi))


def erf(input: Tensor) -> Tensor:
    r"""$y = \frac{2}{\sqrt\pi}\int_0^x e^{-t^2}dt$, $dy/dx = \frac{2}{\sqrt\pi} e^{-x^2}$."""
    return _floating("erf", Erf, input)


# --- staircases: their gradient is 0 --------------------------------------------------------------------------------
class Floor(Elementwise):
    formula = staticmethod(lambda xp, x: xp.floor(x) if is_floating(x.dtype) else x.copy())
    slope = staticmethod(lambda xp, x: 0)


def floor(input: Tensor) -> Tensor:
    """Round down; the gradient is 0."""
    return Floor.apply(input)


class Ceil(Elementwise):
    formula = staticmethod(lambda xp, x: xp.ceil(x) if is_floating(x.dtype) else x.copy())
    slope = staticmethod(lambda xp, x: 0)


def ceil(input: Tensor) -> Tensor:
    """Round up; the gradient is 0."""
    return Ceil.apply(input)


class Trunc(Elementwise):
    formula = staticmethod(lambda xp, x: xp.trunc(x) if is_floating(x.dtype) else x.copy())
    slope = staticmethod(lambda xp, x: 0)


def trunc(input: Tensor) -> Tensor:
    """Round towards 0; the gradient is 0."""
    return Trunc.apply(input)


class Round(Function):
    """The nearest number with so many decimals; halves go to the even one."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, decimals: int) -> Array:
        # CuPy rounds bfloat16 as float32.
        return ctx.xp.round(x, decimals).astype(x.dtype, copy=False) if is_floating(x.dtype) else x.copy()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        return dy * 0


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round to the nearest, halves to even; the gradient is 0."""
    return Round.apply(input, decimals=decimals)


def frac(input: Tensor) -> Tensor:
    """What ``trunc`` cuts off; the gradient is 1."""
    return input - trunc(input)


# --- tests, which have no gradient ----------------------------------------------------------------------------------
class Test(Function):
    """A bool for every element."""

    differentiable = False

    @staticmethod
    def forward(ctx: Any, x: Array, *, what: str) -> Array:
        if x.dtype.kind in "iub":
            return ctx.xp.full(x.shape, what == "isfinite")
        return getattr(ctx.xp, what)(x)


def isnan(input: Tensor) -> Tensor:
    """Tell which elements are NaN."""
    return Test.apply(input, what="isnan")


def isinf(input: Tensor) -> Tensor:
    """Tell which elements are inf or -inf."""
    return Test.apply(input, what="isinf")


def isfinite(input: Tensor) -> Tensor:
    """Tell which elements are neither NaN nor infinite."""
    return Test.apply(input, what="isfinite")


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Replace NaN, inf and -inf by numbers (the largest and smallest there are, if not given); 0 gradient there."""
    if input.dtype.kind in "iub":
        return input.clone()
    limits = finfo(input.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    from minillm.ops.arithmetic import where

    y = where(isnan(input), operand(nan, "nan_to_num"), input)
    y = where(input == math.inf, high, y)
    return where(input == -math.inf, low, y)


absolute = abs
