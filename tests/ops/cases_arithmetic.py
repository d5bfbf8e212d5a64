"""Rows of the op table for minillm/ops/arithmetic.py and comparison.py."""

from __future__ import annotations

import numpy as np

from tests.op_cases import OpCase, binary, rough, sample, unary


def pairs(low, high, *more):
    def make(rng):
        shapes = [((), ()), ((5,), (5,)), ((2, 3), (3,)), ((3, 1), (1, 4)), ((0,), (0,))]
        found = [sample(rng.uniform(low, high, a), rng.uniform(low, high, b)) for a, b in shapes]
        return [*found, *(sample(rng.uniform(low, high, (4,)), m) for m in more)]

    return make


ties = sample(np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 0.0]))
ints = sample(np.array([7, -7, 3]), np.array([2, 2, -2]))
compare = lambda name, f: OpCase(
    name, lambda rng: [ties, ints, sample(rng.standard_normal((2, 3)), 0.1)], f, method=True, differentiable=False
)
logic = lambda name, f: OpCase(
    name,
    lambda rng: [sample(np.array([True, True, False]), np.array([True, False, False])), sample(*ints.args)],
    f,
    method=True,
    differentiable=False,
)

CASES = [
    binary("add", np.add),
    OpCase("sub", pairs(-3, 3, 2.5, 2), np.subtract, method=True, elementwise=True),
    binary("mul", np.multiply),
    OpCase(
        "div",
        lambda rng: [
            *pairs(0.5, 3, 2.0)(rng),
            sample(np.array([7, -7]), np.array([2, 2])),
            sample(np.array([7.5, -7.5]), 2.0, rounding_mode="floor"),
            sample(np.array([7.5, -7.5]), 2.0, rounding_mode="trunc"),
            sample(np.array([7, -7]), 2, rounding_mode="trunc"),
        ],
        None,
        method=True,
    ),
    # Floats: see div with a rounding mode; PyTorch gives floor_divide itself no gradient, here it is 0.
    OpCase("floor_divide", lambda rng: [ints], np.floor_divide, method=True),
    OpCase(
        "remainder",
        lambda rng: [sample(np.array([7.5, -7.5, 3.2]), np.array([2.0, 2.0, -2.0])), ints],
        np.remainder,
        method=True,
    ),
    OpCase(
        "fmod", lambda rng: [sample(np.array([7.5, -7.5, 3.2]), np.array([2.0, 2.0, -2.0])), ints], np.fmod, method=True
    ),
    unary("neg", np.negative),
    OpCase(
        "pow",
        lambda rng: [
            *pairs(0.5, 2, 2, 3.0, -1.5, 0)(rng),
            rough(np.array([0.0, 1.0, -2.0]), 2),
            rough(np.array([0.0, 2.0]), 0),
            rough(np.array([0.0, 0.0]), np.array([0.0, 2.0])),
            sample(np.array([2, 3]), 2),
        ],
        None,
        method=True,
    ),
    OpCase("maximum", lambda rng: [*pairs(-3, 3)(rng)[:4]], np.maximum, method=True, elementwise=True),
    OpCase("minimum", lambda rng: [*pairs(-3, 3)(rng)[:4]], np.minimum, method=True, elementwise=True),
    OpCase(
        "clamp",
        lambda rng: [
            sample(rng.uniform(-3, 3, (7,)), -1.0, 1.5),
            sample(rng.uniform(-3, 3, (2, 3)), min=0.1),
            sample(rng.uniform(-3, 3, ()), max=0.1),
            sample(rng.uniform(-3, 3, (3, 4)), rng.uniform(-2, -1, (4,)), rng.uniform(1, 2, (3, 1))),
        ],
        None,
        method=True,
    ),
    OpCase(
        "where",
        lambda rng: [
            sample(rng.random((2, 3)) < 0.5, rng.standard_normal((3,)), rng.standard_normal((2, 1))),
            sample(rng.random((4,)) < 0.5, rng.standard_normal(4), 0.0),
        ],
        np.where,
    ),
    OpCase("lerp", lambda rng: [sample(rng.standard_normal(3), rng.standard_normal(3), 0.3)], None, method=True),
    OpCase("addcmul", lambda rng: [sample(*rng.standard_normal((3, 4)), value=0.5)], None, method=True),
    OpCase("addcdiv", lambda rng: [sample(*rng.uniform(0.5, 2, (3, 4)), value=0.5)], None, method=True),
    OpCase("atan2", lambda rng: [sample(*rng.standard_normal((2, 5)))], np.arctan2, method=True),
    compare("eq", np.equal),
    compare("ne", np.not_equal),
    compare("lt", np.less),
    compare("le", np.less_equal),
    compare("gt", np.greater),
    compare("ge", np.greater_equal),
    logic("logical_and", np.logical_and),
    logic("logical_or", np.logical_or),
    logic("logical_xor", np.logical_xor),
    logic("bitwise_and", np.bitwise_and),
    logic("bitwise_or", np.bitwise_or),
    logic("bitwise_xor", np.bitwise_xor),
    OpCase(
        "logical_not",
        lambda rng: [sample(np.array([True, False])), sample(np.array([0.0, 2.0]))],
        np.logical_not,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "bitwise_not",
        lambda rng: [sample(np.array([True, False])), sample(np.array([0, 5]))],
        np.invert,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "isclose",
        lambda rng: [sample(np.array([1.0, 1.0, np.inf]), np.array([1.0 + 1e-7, 1.1, np.inf]))],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "equal",
        lambda rng: [sample(np.ones(3), np.ones(3)), sample(np.ones(3), np.zeros(3))],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "allclose",
        lambda rng: [sample(np.ones(3), np.ones(3) + 1e-7), sample(np.ones(3), np.zeros(3))],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase("cast", lambda rng: [sample(rng.standard_normal(3), np.dtype("float64"))], None, torch_name=""),
]
