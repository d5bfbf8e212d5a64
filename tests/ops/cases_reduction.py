"""Rows of the op table for minillm/ops/reduction.py, cumulative.py and sorting.py."""

from __future__ import annotations

import numpy as np

from tests.op_cases import OpCase, rough, sample


def axes(*more, low=-3.0, high=3.0, empty=True, scalar=True, **always):
    """Return samples over axes and shapes."""

    def make(rng):
        x = rng.uniform(low, high, (2, 3, 4))
        found = [
            sample(x, **always),
            sample(x, 1, **always),
            sample(x, -1, True, **always),
            sample(x[0, 0], 0, **always),
        ]
        found += [sample(np.array(0.7), **always)] if scalar else []
        found += [sample(x[:0], 0, **always), sample(x[:, :0], 2, **always)] if empty else []
        return [*found, *(sample(x, *m, **always) for m in more)]

    return make


ints = np.array([[3, 1, 2], [0, 5, 5]])
bools = np.array([[True, False], [True, True]])
ties = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
zeros = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 4.0], [1.0, 2.0, 3.0]])


def several(*more):
    return axes(((0, 2),), ([0, 1], True), *more)


CASES = [
    OpCase(
        "sum",
        lambda rng: [*several()(rng), sample(ints), sample(bools, 0), sample(rng.standard_normal((2, 0)))],
        None,
        method=True,
    ),
    OpCase("mean", lambda rng: [*several()(rng), rough(np.zeros((0,)))], None, method=True),
    OpCase(
        "var",
        lambda rng: [
            *axes(((0, 2),), empty=False, scalar=False)(rng),
            sample(rng.standard_normal(5), 0, False),
            rough(np.array([2.0])),
            sample(np.array([2.0]), correction=0),
            sample(1e6 + np.arange(4.0), 0),
        ],
        None,
        method=True,
    ),
    OpCase(
        "std",
        lambda rng: [
            *axes(((0, 2),), empty=False, scalar=False)(rng),
            sample(rng.standard_normal(5), unbiased=False),
            rough(np.ones(3)),
        ],
        None,
        method=True,
    ),
    OpCase("var_mean", lambda rng: [sample(rng.standard_normal((3, 4)), 1)], None),
    OpCase(
        "prod",
        lambda rng: [
            sample(rng.standard_normal((2, 3))),
            sample(rng.standard_normal((2, 3)), 1),
            sample(rng.standard_normal((2, 3)), -2, True),
            sample(zeros, 1),
            sample(zeros),
            sample(ints),
            sample(np.array(2.0)),
            sample(np.zeros((0,))),
        ],
        None,
        method=True,
    ),
    OpCase(
        "cumsum",
        lambda rng: [
            sample(rng.standard_normal((2, 3)), 1),
            sample(rng.standard_normal((5, 2, 3)), 0),
            sample(rng.standard_normal((2, 5, 3)), 1),
            sample(rng.standard_normal((2, 3)), -2),
            sample(ints, 0),
            sample(np.array(2.0), 0),
            sample(np.zeros((0, 2)), 0),
        ],
        None,
        method=True,
    ),
    OpCase(
        "cumprod",
        lambda rng: [
            sample(rng.standard_normal((2, 3)), 1),
            sample(rng.standard_normal((5, 2, 3)), 0),
            sample(zeros, 1),
            sample(zeros, 0),
            sample(ints, 0),
        ],
        None,
        method=True,
    ),
    OpCase("amax", lambda rng: [*axes(((0, 2),), empty=False)(rng), rough(ties), rough(ties, 1)], None, method=True),
    OpCase("amin", lambda rng: [*axes(((0, 2),), empty=False)(rng), rough(ties), rough(ties, 1)], None, method=True),
    OpCase(
        "max",
        lambda rng: [
            sample(rng.standard_normal((3, 4))),
            sample(rng.standard_normal((3, 4)), 1),
            sample(rng.standard_normal((3, 4)), 0, True),
            rough(ties),
            rough(ties, 1),
            sample(ints),
            sample(np.array(3.0), 0),
            sample(rng.standard_normal(3), rng.standard_normal(3)),
        ],
        None,
        method=True,
    ),
    OpCase(
        "min",
        lambda rng: [
            sample(rng.standard_normal((3, 4))),
            sample(rng.standard_normal((3, 4)), 1),
            rough(ties),
            rough(ties, 1),
            sample(ints, 1),
        ],
        None,
        method=True,
    ),
    OpCase(
        "median",
        lambda rng: [
            sample(rng.standard_normal((3, 4))),
            sample(rng.standard_normal((3, 5)), 1),
            sample(rng.standard_normal((3, 4)), 0, True),
        ],
        None,
        method=True,
    ),
    OpCase(
        "argmax",
        lambda rng: [
            sample(rng.standard_normal((3, 4))),
            sample(rng.standard_normal((3, 4)), 1),
            sample(rng.standard_normal((3, 4)), 0, True),
            sample(ints),
        ],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "argmin",
        lambda rng: [sample(rng.standard_normal((3, 4))), sample(rng.standard_normal((3, 4)), -1)],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "all",
        lambda rng: [sample(bools), sample(bools, 0), sample(bools, 1, True), sample(np.zeros((0,)))],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "any",
        lambda rng: [sample(bools), sample(bools, 0), sample(bools, 1, True), sample(np.zeros((0,)))],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase("count_nonzero", lambda rng: [sample(ints), sample(ints, 1)], None, method=True, differentiable=False),
    OpCase(
        "logsumexp",
        lambda rng: [
            sample(rng.standard_normal((2, 3, 4)), 1),
            sample(rng.standard_normal((2, 3)), (0, 1)),
            sample(rng.standard_normal((2, 3)), -1, True),
            sample(np.array([1e4, -1e4, 1e4]), 0),
            sample(np.array(2.0), 0),
            sample(np.array([-np.inf, 1.0]), 0),
        ],
        None,
        method=True,
    ),
    OpCase(
        "norm",
        lambda rng: [
            sample(rng.standard_normal((2, 3))),
            sample(rng.standard_normal((2, 3)), 1, 1),
            sample(rng.standard_normal((2, 3)), 2, -1, True),
            sample(rng.standard_normal((2, 3)), 3.0),
            sample(rng.standard_normal((2, 3)), float("inf"), 1),
            rough(np.zeros(3)),
            sample(rng.standard_normal(3), float("-inf")),
        ],
        None,
        method=True,
    ),
    OpCase(
        "sort",
        lambda rng: [
            sample(rng.standard_normal((3, 4))),
            sample(rng.standard_normal((3, 4)), 0, True),
            sample(ints, -1),
        ],
        None,
        method=True,
    ),
    OpCase(
        "argsort",
        lambda rng: [sample(rng.standard_normal((3, 4))), sample(rng.standard_normal((3, 4)), 0, True)],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "topk",
        lambda rng: [
            sample(rng.standard_normal((3, 5)), 2),
            sample(rng.standard_normal((3, 5)), 2, 0),
            sample(rng.standard_normal(5), 3, -1, False),
        ],
        None,
        method=True,
    ),
    OpCase(
        "unique",
        lambda rng: [sample(ints), sample(ints, return_inverse=True, return_counts=True)],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "bincount",
        lambda rng: [sample(np.array([1, 1, 4])), sample(np.array([1, 1]), minlength=5)],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase(
        "searchsorted",
        lambda rng: [
            sample(np.array([1.0, 2.0, 2.0, 3.0]), np.array([2.0, 0.0, 9.0])),
            sample(np.array([1.0, 2.0, 2.0, 3.0]), np.array([2.0]), right=True),
        ],
        None,
        differentiable=False,
    ),
]
