"""Rows of the op table for minillm/ops/normalization.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.op_cases import OpCase, Sample, sample

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 4), (4,)),
    ((2, 3, 4), (3, 4)),
    ((4,), (4,)),
    ((0, 4), (4,)),
    ((2, 5, 33), (33,)),
]


def axes(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def layer_norm(x: Any, shape: Any, w: Any = None, b: Any = None, eps: float = 1e-5) -> Any:
    y = (x - x.mean(axes(shape), keepdims=True)) / np.sqrt(x.var(axes(shape), keepdims=True) + eps)
    return y * (1 if w is None else w) + (0 if b is None else b)


def rms_norm(x: Any, shape: Any, w: Any = None, eps: float = 2.0**-52) -> Any:
    return x / np.sqrt((x * x).mean(axes(shape), keepdims=True) + eps) * (1 if w is None else w)


def layer_norm_samples(rng: np.random.Generator) -> list[Sample]:
    normal = rng.standard_normal
    found = [sample(normal(s) * 2 + 1, n, normal(n), normal(n)) for s, n in SHAPES]
    return found + [sample(normal((3, 4)), (4,)), sample(normal((3, 4)), (4,), normal(4), None, 0.1)]


def rms_norm_samples(rng: np.random.Generator) -> list[Sample]:
    found = [sample(rng.standard_normal(s) * 2 + 1, n, rng.standard_normal(n), eps=1e-5) for s, n in SHAPES]
    return [*found, sample(rng.standard_normal((3, 4)), (4,), None, eps=0.1)]


def normalize_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [sample(x), sample(x, dim=0), sample(x, p=1.0, dim=-1), sample(rng.standard_normal((2, 3, 4)), dim=2)]


CASES = [
    OpCase(
        "nn.functional.layer_norm",
        layer_norm_samples,
        layer_norm,
    ),
    OpCase(
        "nn.functional.rms_norm",
        rms_norm_samples,
        rms_norm,
    ),
    OpCase(
        "nn.functional.normalize",
        normalize_samples,
        lambda x, p=2.0, dim=1: x / (np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p),
    ),
]
