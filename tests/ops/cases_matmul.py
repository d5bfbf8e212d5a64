"""Rows of the op table for minillm/ops/matmul.py and einsum.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.op_cases import OpCase, Sample, sample

PAIRS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((1, 2, 3), (6, 3, 2)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((0, 2, 3), (3, 4)),
    ((2, 3, 0), (0, 4)),
]

EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("bqd,bkd->bqk", [(2, 3, 4), (2, 5, 4)]),
    ("bqd,bkd", [(2, 3, 4), (2, 5, 4)]),
    ("bhqk,bhkd->bqhd", [(2, 3, 4, 5), (2, 3, 5, 6)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("iij->j", [(3, 3, 2)]),
    ("ij,jj->i", [(2, 3), (3, 3)]),
    ("i,j->ij", [(2,), (3,)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("ij,kl->", [(2, 3), (2, 3)]),
    ("ijk,ikj->i", [(2, 3, 4), (2, 4, 3)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
    ("i...->...", [(2, 3, 4)]),
    (",ij->ij", [(), (2, 3)]),
]


def shaped(*shapes: tuple[int, ...], **kwargs: float) -> Callable[[np.random.Generator], Sample]:
    return lambda rng: sample(*(rng.standard_normal(s) for s in shapes), **kwargs)


def several(*makers: Callable[[np.random.Generator], Sample]) -> Callable[[np.random.Generator], Sequence[Sample]]:
    return lambda rng: [make(rng) for make in makers]


def einsum_samples(rng: np.random.Generator) -> list[Sample]:
    return [sample(equation, *(rng.standard_normal(s) for s in shapes)) for equation, shapes in EQUATIONS]


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | float = 0.0) -> np.ndarray:
    return np.einsum("...i,oi->...o", x, w) + b


def addmm(x: np.ndarray, a: np.ndarray, b: np.ndarray, beta: float = 1.0, alpha: float = 1.0) -> np.ndarray:
    return beta * x + alpha * (a @ b)


CASES = [
    OpCase("matmul", several(*(shaped(a, b) for a, b in PAIRS)), np.matmul, method=True),
    OpCase("mm", several(shaped((2, 3), (3, 4)), shaped((0, 3), (3, 1))), np.matmul, method=True),
    OpCase("bmm", several(shaped((5, 2, 3), (5, 3, 4))), np.matmul, method=True),
    OpCase("mv", several(shaped((2, 3), (3,))), np.matmul, method=True),
    OpCase("dot", several(shaped((3,), (3,)), shaped((0,), (0,))), np.dot, method=True),
    OpCase("outer", several(shaped((3,), (4,)), shaped((0,), (2,))), np.outer, method=True),
    OpCase(
        "addmm",
        several(shaped((3,), (2, 4), (4, 3)), shaped((2, 3), (2, 4), (4, 3), beta=0.5, alpha=2.0)),
        addmm,
        method=True,
    ),
    OpCase("baddbmm", several(shaped((2, 3), (5, 2, 4), (5, 4, 3), beta=0.5, alpha=2.0)), addmm, method=True),
    OpCase("einsum", einsum_samples, np.einsum),
    OpCase(
        "nn.functional.linear",
        several(
            shaped((2, 3, 4), (5, 4), (5,)),
            shaped((4,), (5, 4)),
            shaped((7, 4), (5, 4)),
            shaped((0, 4), (5, 4), (5,)),
            shaped((2, 0), (3, 0), (3,)),
        ),
        linear,
    ),
]
