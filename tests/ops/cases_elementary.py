"""Rows of the op table for minillm/ops/elementary.py."""

from __future__ import annotations

import math

import numpy as np

from tests.op_cases import OpCase, rough, sample, unary

big = np.array([-1e4, -30.0, -1.0, 0.5, 30.0, 1e4])


def with_big(case: OpCase) -> OpCase:
    """Add a sample of large numbers."""
    from dataclasses import replace

    return replace(case, samples=lambda rng: [*case.samples(rng), sample(big.copy())])


def staircase(name, reference):
    return OpCase(
        name,
        lambda rng: [sample(np.asarray(rng.uniform(-3, 3, s) + 0.05)) for s in [(), (0,), (5,), (2, 3)]],
        reference,
        method=True,
        elementwise=True,
    )


specials = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])
CASES = [
    with_big(unary("exp", np.exp)),
    unary("exp2", np.exp2),
    unary("expm1", np.expm1),
    unary("log", np.log, 0.1, 5),
    unary("log1p", np.log1p, -0.5, 5),
    unary("log2", np.log2, 0.1, 5),
    unary("log10", np.log10, 0.1, 5),
    unary("sqrt", np.sqrt, 0.1, 5),
    unary("rsqrt", lambda x: x**-0.5, 0.1, 5),
    unary("reciprocal", lambda x: 1 / x, 0.3, 5),
    unary("square", np.square),
    unary("abs", np.abs, 0.1, 3),
    unary("sign", np.sign, 0.1, 3),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("tan", np.tan, -1.2, 1.2),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("asin", np.arcsin, -0.9, 0.9),
    unary("acos", np.arccos, -0.9, 0.9),
    unary("atan", np.arctan),
    with_big(unary("tanh", np.tanh)),
    with_big(unary("sigmoid", lambda x: 0.5 * (1 + np.tanh(x / 2)))),
    with_big(unary("erf", np.vectorize(math.erf, otypes=[float]))),
    staircase("floor", np.floor),
    staircase("ceil", np.ceil),
    staircase("trunc", np.trunc),
    staircase("round", np.round),
    staircase("frac", lambda x: x - np.trunc(x)),
    OpCase("isnan", lambda rng: [sample(specials), sample(np.array(3))], np.isnan, method=True, differentiable=False),
    OpCase("isinf", lambda rng: [sample(specials), sample(np.array(3))], np.isinf, method=True, differentiable=False),
    OpCase(
        "isfinite", lambda rng: [sample(specials), sample(np.array(3))], np.isfinite, method=True, differentiable=False
    ),
    OpCase(
        "nan_to_num", lambda rng: [rough(specials), rough(specials, nan=1.0, posinf=2.0, neginf=3.0)], None, method=True
    ),
]
