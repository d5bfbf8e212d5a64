"""First values of parameters, drawn from the stream "init" of the generator, so other draws do not change them."""

from __future__ import annotations

import math
from statistics import NormalDist
from types import NoneType
from typing import Any

import numpy as np

from minillm import ops
from minillm.autograd import no_grad
from minillm.backend.random import Generator, default_generator
from minillm.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers."""
    if not std >= 0:
        raise ValueError(f"normal_: expected a std of 0 or more, got {std}")
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers drawn evenly from [a, b)."""
    if not a <= b:
        raise ValueError(f"uniform_: expected a <= b, got {a} and {b}")
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with normal numbers; those outside [a, b] are drawn again.

    Raises:
        ValueError: if fewer than 1 in 1,000 would lie in [a, b]: drawing again would hardly end.
    """
    if not std > 0:
        raise ValueError(f"trunc_normal_: expected a std above 0, got {std}")
    bell = NormalDist(mean, std)
    if not bell.cdf(b) - bell.cdf(a) >= 1e-3:
        raise ValueError(f"trunc_normal_: [{a}, {b}] holds too little of the distribution around {mean} +- {std}")
    stream = (generator or default_generator).stream("init")
    drawn = mean + std * stream.standard_normal(tensor.shape)
    while (outside := (drawn < a) | (drawn > b)).any():
        drawn[outside] = mean + std * stream.standard_normal(int(outside.sum()))
    return _copy(tensor, drawn)


def _copy(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        return tensor.copy_(ops.tensor(np.asarray(values)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected 2 dimensions, got shape {tuple(tensor.shape)}")
    return _copy(tensor, np.eye(*tensor.shape))


_CONVOLUTIONS = [f"{kind}{axes}d" for kind in ("conv", "conv_transpose") for axes in (1, 2, 3)]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights grow so that a nonlinearity keeps the variance.

    Raises:
        ValueError: for an unknown name, or a parameter that is no number.
    """
    if isinstance(param, bool) or not isinstance(param, (int, float, NoneType)):
        raise ValueError(f"calculate_gain: expected a number as parameter, got {param!r}")
    if nonlinearity in ("linear", "sigmoid") or nonlinearity in _CONVOLUTIONS:
        return 1.0
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3 / 4
    raise ValueError(f"calculate_gain: unknown nonlinearity {nonlinearity!r}")


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"init: fan in and fan out need at least 2 dimensions, got shape {tuple(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    r"""Draw evenly from $\pm g \sqrt{6 / (\mathrm{in} + \mathrm{out})}$. Source: Glorot and Bengio, 2010."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    r"""Draw normally with deviation $g \sqrt{2 / (\mathrm{in} + \mathrm{out})}$. Source: Glorot and Bengio, 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw evenly from $\pm g \sqrt{3 / \mathrm{fan}}$. Source: He et al., 2015."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw normally with deviation $g / \sqrt{\mathrm{fan}}$. Source: He et al., 2015."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Make rows (or columns, if there are fewer) orthogonal and of length ``gain``. Source: Saxe et al., 2014."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: expected at least 2 dimensions, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = (generator or default_generator).stream("init").standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diag(r))  # makes the draw even over all orthogonal matrices
    return _copy(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))
