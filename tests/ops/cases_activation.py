"""Rows of the op table for minillm/ops/activation.py and softmax.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.op_cases import OpCase, Sample, sample, unary

erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + erf(x / np.sqrt(2)))


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(x))


def softplus(x: np.ndarray, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    return np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta)


def with_options(*options: dict) -> object:
    """Samples of every shape, one call for each set of options; and +-1e4, where nothing may overflow."""

    def samples(rng: np.random.Generator) -> Sequence[Sample]:
        shapes = [(), (0,), (5,), (2, 3), (2, 1, 4)]
        found = [sample(rng.uniform(-3, 3, shape), **kwargs) for shape in shapes for kwargs in options]
        return found + [sample(np.array([-1e4, -50.0, 50.0, 1e4]), **kwargs) for kwargs in options]

    return samples


def row(name: str, reference: object, *options: dict, **more: object) -> OpCase:
    return OpCase(f"nn.functional.{name}", with_options(*options or ({},)), reference, elementwise=True, **more)


def along_axes(rng: np.random.Generator) -> Sequence[Sample]:
    found = [
        sample(rng.standard_normal(shape) * 3, d) for shape in [(5,), (3, 4), (2, 1, 4)] for d in range(len(shape))
    ]
    found += [sample(rng.standard_normal((2, 3, 4)), -2), sample(np.asarray(2.0), -1)]
    found += [sample(np.zeros((0,)), 0), sample(np.zeros((3, 0)), 1), sample(np.zeros((0, 3)), 1)]
    return found + [sample(np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]), -1)]


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    if not x.size:
        return x.copy()
    e = np.exp(x - x.max(dim if x.ndim else None, keepdims=True))
    return e / e.sum(dim if x.ndim else None, keepdims=True)


def log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    if not x.size:
        return x.copy()
    axis = dim if x.ndim else None
    m = x.max(axis, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(axis, keepdims=True))


CASES = [
    OpCase("softmax", along_axes, softmax, method=True),
    OpCase("log_softmax", along_axes, log_softmax, method=True),
    unary("relu", lambda x: np.maximum(x, 0)),
    row(
        "leaky_relu", lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x), {}, {"negative_slope": 0.3}
    ),
    row("elu", elu, {}, {"alpha": 0.5}),
    row("selu", lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772)),
    row("silu", lambda x: x * np.exp(-np.logaddexp(0, -x))),
    row("gelu", gelu, {}, {"approximate": "tanh"}),
    row("softplus", softplus, {}, {"beta": 2.0, "threshold": 3.0}),
    row("logsigmoid", lambda x: -np.logaddexp(0, -x)),
    row(
        "hardtanh",
        lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
        {},
        {"min_val": 0.5, "max_val": 2.0},
    ),
    row("relu6", lambda x: np.clip(x, 0, 6)),
    OpCase(
        "nn.functional.glu",
        lambda rng: [sample(rng.standard_normal((3, 4))), sample(rng.standard_normal((4, 3)), 0)],
        lambda x, dim=-1: (lambda a, b: a / (1 + np.exp(-b)))(*np.split(x, 2, axis=dim)),
    ),
]
