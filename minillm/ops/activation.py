"""Activations: one number in, one number out.

Each forward pass, while it has the numbers in the cache, also computes the slope dy/dx if a gradient will be wanted;
the backward pass is then a single product, ``dx = dy * slope``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array, Backend
from minillm.backend.device import is_floating
from minillm.backend.special import TAIL_ENDS, normal_tail
from minillm.ops import inplace as in_place
from minillm.ops.arithmetic import mul
from minillm.ops.common import normalize_dim
from minillm.ops.elementary import sigmoid
from minillm.ops.joining import chunk
from minillm.ops.rows import at_least, at_most, in_tiles, multiply, working
from minillm.tensor import Tensor

__all__ = [
    "elu",
    "gelu",
    "glu",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
]


class Pointwise(Function):
    """An activation whose ``kernel(ctx, x, y, slope)`` fills ``y`` and, unless it is None, ``slope`` = dy/dx.

    The kernel sees flat tiles and may use ``y`` and ``slope`` as scratch.
    """

    kernel: Callable[..., None]

    @classmethod
    def forward(cls, ctx: Any, x: Array, **settings: Any) -> Array:
        y, slope = cls.evaluate(ctx, x, ctx.needs_input_grad[0], **settings)
        ctx.save_for_backward(slope)
        return y

    @classmethod
    def evaluate(cls, ctx: Any, x: Array, with_slope: bool, **settings: Any) -> tuple[Array, Array | None]:
        """Return y, and the slope in the type to compute in."""
        flat = working(x).reshape(-1)
        y = ctx.xp.empty_like(flat)
        slope = ctx.xp.empty_like(flat) if with_slope else None

        def tile(part: slice) -> None:
            cls.kernel(ctx, flat[part], y[part], None if slope is None else slope[part], **settings)

        in_tiles(ctx.backend, (flat.size, 1), tile)
        return y.reshape(x.shape).astype(x.dtype, copy=False), None if slope is None else slope.reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (slope,) = ctx.saved_arrays
        return multiply(ctx.backend, dy, slope, out=slope if ctx.final and slope.dtype == dy.dtype else None)


def activate(function: type[Function], input: Tensor, inplace: bool = False, **settings: Any) -> Tensor:
    """Apply an activation, in place if asked for (refused on tensors of a graph).

    Raises:
        RuntimeError: if the input is not a floating tensor.
    """
    if isinstance(input, Tensor) and not is_floating(input.dtype):
        name = function.__name__.lower()
        raise RuntimeError(f"{name}: expected a floating tensor, got {input.dtype}; use input.float()")
    if inplace:
        return in_place.apply(input, lambda x: function.apply(x, **settings))
    return function.apply(input, **settings)


# --- relu
def relu_formula(xp: Any, x: Any) -> Any:
    return xp.maximum(x, 0)


class ReLU(Function):
    """``y = max(x, 0)``; the slope is 1 where y > 0, and 0 at 0."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        y = at_least(ctx.xp, x, 0)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(y)  # the next op keeps y anyway, so this costs no memory
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (y,) = ctx.saved_arrays
        return dy * ~(y <= 0)  # also 1 at NaN; np.where takes ten times as long where signs alternate


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    r"""Rectified linear unit: $y = \max(x, 0)$.

    The gradient is $dy$ where $x > 0$ and 0 elsewhere, 0 itself included.

    Args:
        input: of any shape; integers are allowed.
        inplace: write the result into ``input``, which must not belong to a graph.

    Raises:
        RuntimeError: for bools.

    >>> import minillm
    >>> relu(minillm.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if input.dtype.kind == "b":
        raise RuntimeError("relu: bools have no sign; use input.float()")
    if inplace:
        return in_place.apply(input, ReLU.apply)
    return ReLU.apply(input)


# --- leaky_relu, elu, selu, hardtanh: straight or exponential below 0
class LeakyReLU(Pointwise):
    """``y = x`` above 0, ``negative_slope x`` elsewhere."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None, *, negative_slope: float) -> None:
        at_most(ctx.xp, x, 0, out=y)
        y *= negative_slope
        y += at_least(ctx.xp, x, 0)
        if slope is not None:
            slope[...] = x > 0
            slope *= 1 - negative_slope
            slope += negative_slope


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    r"""Leaky ReLU: $y = x$ for $x > 0$, $y = ax$ elsewhere, with $a$ = ``negative_slope``.

    Args:
        input: of any shape.
        negative_slope: the slope for $x \le 0$.
        inplace: write the result into ``input``, which must not belong to a graph.
    """
    return activate(LeakyReLU, input, inplace, negative_slope=float(negative_slope))


def elu_formula(xp: Any, x: Any, alpha: float = 1.0) -> Any:
    return xp.maximum(x, 0) + alpha * xp.expm1(xp.minimum(x, 0))


class ELU(Pointwise):
    """``y = scale x`` above 0, ``scale alpha (exp(x) - 1)`` elsewhere, where the slope is ``y + scale alpha``."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None, *, alpha: float, scale: float = 1.0) -> None:
        xp = ctx.xp
        below = at_most(xp, x, 0)
        xp.expm1(below, out=below)
        below *= alpha * scale
        at_least(xp, x, 0, out=y)
        y *= scale
        y += below
        if slope is not None:
            below += alpha * scale
            below *= x <= 0
            slope[...] = x > 0
            slope *= scale
            slope += below


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    r"""Exponential linear unit: $y = x$ for $x > 0$, $y = \alpha (e^x - 1)$ elsewhere.

    Args:
        input: of any shape.
        alpha: minus the limit at $-\infty$.
        inplace: write the result into ``input``, which must not belong to a graph.

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2015.
    """
    return activate(ELU, input, inplace, alpha=float(alpha))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    r"""Scaled ELU: $y = \lambda \, \mathrm{elu}_\alpha(x)$, $\lambda = 1.0507$, $\alpha = 1.6733$.

    With these constants layers keep mean 0 and variance 1.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017.
    """
    return activate(ELU, input, inplace, alpha=SELU_ALPHA, scale=SELU_SCALE)


class Hardtanh(Pointwise):
    """``y = min(max(x, low), high)``; the slope is 0 at and beyond the bounds, 1 elsewhere (at NaN, too)."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None, *, low: float, high: float) -> None:
        at_least(ctx.xp, x, low, out=y)
        at_most(ctx.xp, y, high, out=y)
        if slope is not None:
            slope[...] = ~((x <= low) | (x >= high))


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Clip to [``min_val``, ``max_val``]; the gradient is 0 at and beyond the bounds."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    return activate(Hardtanh, input, inplace, low=float(min_val), high=float(max_val))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Clip to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


# --- gelu: x times the probability that a normal variable is below x
GELU_CUBIC = 0.044715
GELU_TANH = math.sqrt(2 / math.pi)


def gelu_tanh_formula(xp: Any, x: Any) -> Any:
    return 0.5 * x * (1 + xp.tanh(GELU_TANH * (x + GELU_CUBIC * x * x * x)))


class GELUTanh(Pointwise):
    """``y = x h``, ``h = (1 + tanh(u)) / 2``, ``u = x (a + b x^2)``; the slope is ``h + 2 y (1 - h) (a + 3 b x^2)``."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None) -> None:
        xp, a, b = ctx.xp, GELU_TANH, GELU_TANH * GELU_CUBIC
        fast = ctx.backend.compiled("gelu_tanh", x)
        if fast is not None:
            fast(x, y, xp.empty_like(x) if slope is None else slope)
            return
        square = x * x
        h = square * b
        h += a
        h *= x
        xp.tanh(h, out=h)
        h *= 0.5
        h += 0.5
        xp.multiply(x, h, out=y)
        if slope is not None:
            square *= 6 * b
            square += 2 * a
            square *= y
            xp.subtract(1, h, out=slope)
            slope *= square
            slope += h


class GELU(Pointwise):
    """``y = x P(x)``, with P the normal distribution and p its density; the slope is ``P + x p``."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None) -> None:
        if x.dtype == np.float32:
            GELU.from_tail(ctx.backend, x, y, slope)
            return
        probability = ctx.backend.erf(x * math.sqrt(0.5))
        probability *= 0.5
        probability += 0.5
        ctx.xp.multiply(x, probability, out=y)
        if slope is not None:
            density = x * x
            density *= -0.5
            ctx.xp.exp(density, out=density)
            density *= 1 / math.sqrt(2 * math.pi)
            ctx.xp.multiply(x, density, out=slope)
            slope += probability

    @staticmethod
    def from_tail(backend: Backend, x: Array, y: Array, slope: Array | None) -> None:
        """The same from the tail ``Q = P(-|x|)``, in half the time: ``y = max(x, 0) - |x| Q``, ``P = Q`` below 0, else
        ``1 - Q``. Far to the left, where ``1 + erf`` cancels, it is right to seven digits too.
        """
        fast = backend.compiled("gelu", x)
        if fast is not None:
            fast(x, y, backend.xp.empty_like(x) if slope is None else slope)
            return
        xp = backend.xp
        near = x.clip(-TAIL_ENDS, TAIL_ENDS)  # beyond, Q is 0, and infinity times 0 would be NaN
        size = xp.abs(near)
        density = near * near
        density *= -0.5
        xp.exp(density, out=density)
        tail = normal_tail(size, density)
        at_least(xp, x, 0, out=y)
        size *= tail
        y -= size
        if slope is not None:
            slope[...] = x > 0
            sign = xp.multiply(slope, -2, out=size)
            sign += 1
            tail *= sign
            slope += tail
            density *= 1 / math.sqrt(2 * math.pi)
            density *= near
            slope += density


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    r"""Gaussian error linear unit: $y = x \Phi(x)$, with $\Phi$ the distribution function of a standard normal.

    "none": $\Phi(x) = \frac12 (1 + \mathrm{erf}(x / \sqrt 2))$. "tanh", as in GPT-2:
    $\Phi(x) \approx \frac12 \left(1 + \tanh\left(\sqrt{2/\pi} \, (x + 0.044715 \, x^3)\right)\right)$.

    Args:
        input: of any shape.
        approximate: "none" or "tanh".

    Raises:
        RuntimeError: for another name.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    >>> import minillm
    >>> gelu(minillm.tensor([0.0, 1.0]), approximate="tanh")
    tensor([0.0000, 0.8412])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return activate(GELUTanh if approximate == "tanh" else GELU, input)


# --- silu, softplus, logsigmoid: built on the logistic function s(x) = 1 / (1 + exp(-x))
def silu_formula(xp: Any, x: Any) -> Any:
    return x / (1 + xp.exp(-x))


class SiLU(Pointwise):
    """``y = x s(x)``; the slope is ``s + y (1 - s)``."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None) -> None:
        s = -x
        ctx.xp.exp(s, out=s)
        s += 1
        ctx.xp.reciprocal(s, out=s)
        ctx.xp.multiply(x, s, out=y)
        if slope is not None:
            ctx.xp.subtract(1, s, out=slope)
            slope *= y
            slope += s


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    r"""Sigmoid linear unit, also called swish: $y = x \sigma(x) = x / (1 + e^{-x})$.

    Args:
        input: of any shape.
        inplace: write the result into ``input``, which must not belong to a graph.

    Source: Elfwing et al., "Sigmoid-Weighted Linear Units", 2017.
    """
    return activate(SiLU, input, inplace)


def softplus_formula(xp: Any, x: Any) -> Any:
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


class Softplus(Pointwise):
    """``y = log(1 + exp(beta x)) / beta``, and ``y = x`` where beta x is above the threshold."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None, *, beta: float, threshold: float) -> None:
        xp = ctx.xp
        e = xp.exp(at_most(xp, x * beta, threshold))
        straight = x * beta > threshold
        y[...] = ctx.backend.where(straight, x, xp.log1p(e) / beta)
        if slope is not None:
            slope[...] = ctx.backend.where(straight, 1, e / (1 + e))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    r"""Smooth ReLU: $y = \log(1 + e^{\beta x}) / \beta$.

    Args:
        input: of any shape.
        beta: how sharp the bend is.
        threshold: above this $\beta x$ the function is taken as $y = x$.
    """
    return activate(Softplus, input, beta=float(beta), threshold=float(threshold))


class LogSigmoid(Pointwise):
    """``y = min(x, 0) - log(1 + exp(-|x|))``; the slope is s(-x)."""

    @staticmethod
    def kernel(ctx: Any, x: Array, y: Array, slope: Array | None) -> None:
        xp = ctx.xp
        e = xp.exp(-xp.abs(x))
        at_most(xp, x, 0, out=y)
        y -= xp.log1p(e)
        if slope is not None:
            xp.exp(x, out=slope)
            slope += 1
            xp.divide(1, slope, out=slope)


def logsigmoid(input: Tensor) -> Tensor:
    r"""Logarithm of the logistic function: $y = \log \sigma(x) = -\log(1 + e^{-x})$, without overflow."""
    return activate(LogSigmoid, input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    r"""Gated linear unit: the input is cut into halves $a, b$ along ``dim``; $y = a \, \sigma(b)$.

    Raises:
        RuntimeError: if the axis has an odd length.

    Source: Dauphin et al., "Language Modeling with Gated Convolutional Networks", 2016.
    """
    if not input.ndim or input.shape[normalize_dim(dim, input.ndim)] % 2:
        raise RuntimeError(f"glu: expected an even length along dim {dim}, got shape {tuple(input.shape)}")
    a, b = chunk(input, 2, dim)
    return mul(a, sigmoid(b))
