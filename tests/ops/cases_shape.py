"""Rows of the op table for minillm/ops/shape.py, joining.py, indexing.py and creation.py."""

from __future__ import annotations

import numpy as np

from tests.op_cases import OpCase, sample


def of(*calls, shape=(2, 3, 4), extra=()):
    """Return a maker of samples: one array, and one call for each tuple of further arguments."""
    return lambda rng: [*(sample(rng.standard_normal(shape), *c) for c in calls), *extra]


def row(name, *calls, shape=(2, 3, 4), extra=(), **options):
    return OpCase(name, of(*calls, shape=shape, extra=extra), None, method=options.pop("method", True), **options)


scalar = np.array(1.5)
empty = np.zeros((0, 3))
index = np.array([[0, 2, 1], [1, 1, 0]])


def lists(*shapes):
    return lambda rng: [rng.standard_normal(s) for s in shapes]


CASES = [
    row("reshape", ((6, 4),), ((-1,),), ((2, 1, 12),), extra=[sample(scalar, (1, 1)), sample(empty, (3, 0))]),
    row("flatten", (), (1,), (0, 1), extra=[sample(scalar)]),
    row("unflatten", (2, (2, 2)), (-1, (-1, 2))),
    row("squeeze", (), (1,), ((0, 1),), shape=(1, 3, 1)),
    row("unsqueeze", (0,), (-1,), (1,), extra=[sample(scalar, 0)]),
    row("transpose", (0, 1), (-1, 0), extra=[sample(scalar, 0, -1)]),
    row("t", (), shape=(2, 3), extra=[sample(np.arange(3.0)), sample(scalar)]),
    row("permute", ((2, 0, 1),), ((0, -1, 1),)),
    row("movedim", (0, 2), ((0, 1), (2, 0))),
    row("expand", ((2, 3, 4),), ((5, -1, 3, -1),), shape=(2, 1, 4), method=False, torch_name="Tensor.expand"),
    row("broadcast_to", ((5, 2, 3),), shape=(2, 1)),
    OpCase("broadcast_tensors", lambda rng: [sample(rng.standard_normal((2, 1)), rng.standard_normal(3))]),
    row("repeat", ((2, 1, 3),), ((2, 1, 1, 2),), torch_name="Tensor.repeat"),
    row("tile", ((2,),), ((2, 1, 1, 2),)),
    row("repeat_interleave", (2,), (3, 1), shape=(2, 3)),
    row("narrow", (1, 0, 2), (-1, 1, 3)),
    row("select", (1, 2), (0, -1)),
    row("flip", ((0,),), ((0, 2),)),
    row("roll", (1, 0), ((1, -2), (0, 1)), (5,)),
    row("tril", (), (1,), (-1,)),
    row("triu", (), (1,), (-1,)),
    row("diagonal", (), (1, 0, 2), (-1, 1, 2)),
    row(
        "diag",
        (),
        (1,),
        (-1,),
        shape=(3, 3),
        extra=[sample(np.arange(3.0)), sample(np.arange(3.0), 1), sample(np.arange(3.0), -2)],
    ),
    row("unfold", (1, 2, 1), (2, 3, 2), torch_name="Tensor.unfold"),
    row("view", ((6, 4),), ((-1,),), torch_name="Tensor.view"),
    row("clone", (), extra=[sample(scalar), sample(empty)]),
    row("contiguous", (), torch_name="Tensor.contiguous"),
    OpCase(
        "cat",
        lambda rng: [
            sample(lists((2, 3), (1, 3))(rng)),
            sample(lists((2, 3), (2, 1))(rng), 1),
            sample(lists((0,), (2, 3))(rng), -1),
            sample([np.array([1, 2]), np.array([1.5])]),
        ],
    ),
    OpCase(
        "stack",
        lambda rng: [
            sample(lists((2, 3), (2, 3))(rng)),
            sample(lists((2, 3), (2, 3))(rng), -1),
            sample(lists((), ())(rng)),
        ],
    ),
    OpCase("hstack", lambda rng: [sample(lists((2, 3), (2, 1))(rng)), sample(lists((2,), (1,))(rng))]),
    OpCase("vstack", lambda rng: [sample(lists((2, 3), (1, 3))(rng)), sample(lists((3,), (3,))(rng))]),
    row("split", (2, 1), ([1, 2], 1), (3, 2)),
    row("chunk", (2,), (3, 2), (5, 1)),
    row("tensor_split", (2, 1), ([1, 2], 2), method=False),
    row("unbind", (), (1,)),
    OpCase(
        "nn.functional.pad",
        lambda rng: [
            sample(rng.standard_normal((2, 3, 4)), (1, 2)),
            sample(rng.standard_normal((2, 3, 4)), (1, 0, 0, 2), value=0.5),
            sample(rng.standard_normal((2, 3, 4)), (-1, 1)),
            sample(rng.standard_normal((2, 3, 4)), (2, 1), mode="reflect"),
            sample(rng.standard_normal((2, 3, 4)), (2, 1), mode="replicate"),
            sample(rng.standard_normal((2, 3, 4)), (2, 1), mode="circular"),
        ],
    ),
    row("gather", (1, index), (-1, index), shape=(2, 3)),
    row("take_along_dim", (index, 1), shape=(2, 3)),
    row("index_select", (1, np.array([0, 2, 2])), (0, np.array([1])), shape=(2, 3)),
    OpCase(
        "scatter_add",
        lambda rng: [sample(rng.standard_normal((2, 3)), 1, index, rng.standard_normal((2, 3)))],
        None,
        method=True,
    ),
    OpCase(
        "index_add",
        lambda rng: [
            sample(rng.standard_normal((3, 2)), 0, np.array([0, 0, 2]), rng.standard_normal((3, 2))),
            sample(rng.standard_normal((3, 2)), 0, np.array([1]), rng.standard_normal((1, 2)), alpha=0.5),
        ],
        None,
        method=True,
    ),
    OpCase(
        "scatter",
        lambda rng: [
            sample(rng.standard_normal((2, 3)), 1, np.array([[0, 2], [1, 0]]), rng.standard_normal((2, 2))),
            sample(rng.standard_normal((2, 3)), 1, np.array([[0, 2], [1, 0]]), 0.5),
        ],
        None,
        method=True,
    ),
    row(
        "masked_fill",
        (np.array([[True, False, True], [False, False, True]]), 2.5),
        (np.array([True, False, True]), -5.0),
        shape=(2, 3),
    ),
    row("masked_select", (np.array([[True, False, True], [False, False, True]]),), shape=(2, 3)),
    OpCase(
        "nonzero",
        lambda rng: [sample(np.array([[0, 1], [2, 0]])), sample(np.array([0.0, 1.0]), as_tuple=True)],
        None,
        method=True,
        differentiable=False,
    ),
    OpCase("argwhere", lambda rng: [sample(np.array([[0, 1], [2, 0]]))], None, differentiable=False),
    OpCase(
        "nn.functional.one_hot", lambda rng: [sample(np.array([0, 2, 1])), sample(index, 4)], None, differentiable=False
    ),
    OpCase(
        "getitem",
        lambda rng: (
            [
                sample(rng.standard_normal((3, 4, 5)), i)
                for i in (
                    0,
                    -1,
                    slice(1, 3),
                    (slice(None), 1),
                    (..., 2),
                    (None, 0),
                    (slice(None, None, 2), slice(1, None)),
                    [0, 0, 1],
                    (slice(None), [1, 1]),
                    (0, slice(None), [2, 2]),
                )
            ]
            + [
                sample(rng.standard_normal((3, 2)), np.array([0, 0, 2])),
                sample(rng.standard_normal((3, 2)), np.array([[True, False], [False, True], [True, True]])),
            ]
        ),
        None,
        torch_name="Tensor.__getitem__",
    ),
    OpCase("zeros", lambda rng: [sample(2, 3), sample((2, 0)), sample(2, dtype=None)], None, differentiable=False),
    OpCase("ones", lambda rng: [sample(2, 3), sample(())], None, differentiable=False),
    OpCase("full", lambda rng: [sample((2, 3), 1.5), sample((2,), 3), sample((), True)], None, differentiable=False),
    OpCase("eye", lambda rng: [sample(3), sample(2, 4)], None, differentiable=False),
    OpCase(
        "arange",
        lambda rng: [sample(5), sample(2, 8, 3), sample(0.0, 1.0, 0.25), sample(5, 0, -2), sample(0)],
        None,
        differentiable=False,
    ),
    OpCase("linspace", lambda rng: [sample(0, 1, 5), sample(-2.0, 2.0, 1)], None, differentiable=False),
    OpCase("zeros_like", lambda rng: [sample(rng.standard_normal((2, 3))), sample(index)], None, differentiable=False),
    OpCase("ones_like", lambda rng: [sample(rng.standard_normal((2, 3))), sample(index)], None, differentiable=False),
    OpCase("full_like", lambda rng: [sample(rng.standard_normal((2, 3)), 2.5)], None, differentiable=False),
    OpCase("tril_indices", lambda rng: [sample(3, 3), sample(3, 4, 1)], None, differentiable=False),
    OpCase("triu_indices", lambda rng: [sample(3, 3), sample(3, 4, 1)], None, differentiable=False),
    OpCase(
        "meshgrid",
        lambda rng: [
            sample(np.arange(3.0), np.arange(2.0), indexing="ij"),
            sample(np.arange(3.0), np.arange(2.0), indexing="xy"),
        ],
        None,
    ),
]
