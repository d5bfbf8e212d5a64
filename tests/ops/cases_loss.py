"""Rows of the op table for minillm/ops/loss.py and cross_entropy.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.op_cases import OpCase, Sample, sample

REDUCTIONS = ("mean", "sum", "none")


def reduced(loss: Any, reduction: str, count: Any = None) -> Any:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return np.sum(loss)
    return np.sum(loss) / (np.size(loss) if count is None else count)


def with_reduction(loss: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, reduction="mean", **kwargs: reduced(loss(*args, **kwargs), reduction)


def pairs(rng: np.random.Generator, low: float, high: float, *options: dict[str, Any]) -> list[Sample]:
    shapes: list[tuple[int, ...]] = [(), (5,), (2, 3)]
    return [
        sample(*(np.asarray(rng.uniform(low, high, s)) for _ in range(2)), reduction=r, **kwargs)
        for s in shapes
        for r in REDUCTIONS
        for kwargs in options or ({},)
    ]


def distance(name: str, loss: Callable[..., Any], *options: dict[str, Any], low: float = -2, high: float = 2) -> OpCase:
    return OpCase(f"nn.functional.{name}", lambda rng: pairs(rng, low, high, *options), with_reduction(loss))


def smooth_l1(x: Any, t: Any, beta: float = 1.0) -> Any:
    d = np.abs(x - t)
    return np.where(d < beta, d * d / (2 * beta or 1), d - beta / 2)


def huber(x: Any, t: Any, delta: float = 1.0) -> Any:
    d = np.abs(x - t)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


# --- classes
LOGITS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((4, 5), (4,)),
    ((5,), ()),
    ((3, 5, 2), (3, 2)),
    ((1, 5), (1,)),
]


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def nll(
    x: np.ndarray, t: np.ndarray, weight: np.ndarray | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    x = np.moveaxis(x, 1 if x.ndim > 1 else 0, -1)
    w = np.ones(x.shape[-1]) if weight is None else weight
    loss, count = np.zeros(t.shape), 0.0
    for i in np.ndindex(t.shape):
        if t[i] != ignore_index:
            loss[i] = -w[t[i]] * x[i][t[i]]
            count += w[t[i]]
    return reduced(loss, reduction, count)


def cross_entropy(
    x: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """With probabilities as targets, or class numbers turned into them."""
    axis = 1 if x.ndim > 1 else 0
    log_p, classes = np.moveaxis(log_softmax(x, axis), axis, -1), x.shape[axis]
    w = np.ones(classes) if weight is None else weight
    if t.dtype.kind == "f":
        q, counted, count = np.moveaxis(t, axis, -1), np.ones(log_p.shape[:-1]), np.size(log_p) / classes
    else:
        counted = t != ignore_index
        q = np.eye(classes)[np.where(counted, t, 0)]
        count = (w[np.where(counted, t, 0)] * counted).sum()
    q = (q * (1 - label_smoothing) + label_smoothing / classes) * w
    return reduced(-(q * log_p).sum(-1) * counted, reduction, count)


def class_samples(rng: np.random.Generator, *options: dict[str, Any]) -> list[Sample]:
    found = []
    for shape, target_shape in LOGITS:
        t = np.asarray(rng.integers(0, 5, target_shape))
        for reduction in REDUCTIONS:
            for kwargs in options:
                x, w = rng.standard_normal(shape), rng.uniform(0.5, 2, 5)
                found.append(sample(x, t, reduction=reduction, **kwargs))
                found.append(sample(x, t, weight=w, reduction=reduction, **kwargs))
    t = np.array([0, 2, 2, 4])
    return found + [sample(rng.standard_normal((4, 5)), t, ignore_index=2, reduction=r) for r in REDUCTIONS]


def cross_entropy_samples(rng: np.random.Generator) -> list[Sample]:
    found = class_samples(rng, {}, {"label_smoothing": 0.1})
    for shape, target_shape in LOGITS:
        q = np.asarray(rng.dirichlet(np.ones(5), target_shape))
        q = np.ascontiguousarray(np.moveaxis(q, -1, 1)) if len(shape) > 1 else q
        for reduction in REDUCTIONS:
            x, w = rng.standard_normal(shape), rng.uniform(0.5, 2, 5)
            found += [
                sample(x, q, reduction=reduction),
                sample(x, q, weight=w, reduction=reduction, label_smoothing=0.2),
            ]
    return [*found, sample(np.array([[1e4, -1e4], [1e4, -1e4]]), np.array([0, 1]))]


def multi_margin(x: Any, t: Any, p: int = 1, margin: float = 1.0, weight: Any = None) -> Any:
    rows, ts = x.reshape(-1, x.shape[-1]), t.reshape(-1)
    gaps = np.maximum(0, margin - np.take_along_axis(rows, ts[:, None], 1) + rows) ** p
    gaps[np.arange(len(ts)), ts] = 0
    return ((gaps * (1 if weight is None else weight[ts][:, None])).sum(1) / x.shape[-1]).reshape(t.shape)


def multi_margin_samples(rng: np.random.Generator) -> Sequence[Sample]:
    x, t, w = rng.standard_normal((4, 5)), rng.integers(0, 5, 4), rng.uniform(0.5, 2, 5)
    found = [sample(x, t, p, 0.7, reduction=r) for p in (1, 2) for r in REDUCTIONS]
    return [*found, sample(x, t, weight=w), sample(x[0], np.array(2))]


# --- signs and angles
def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.choice([-1, 1], shape))


def cosine(a: Any, b: Any, dim: int = 1) -> Any:
    return (a * b).sum(dim) / np.sqrt((a * a).sum(dim) * (b * b).sum(dim))


CASES = [
    distance("mse_loss", lambda x, t: (x - t) ** 2),
    distance("l1_loss", lambda x, t: np.abs(x - t)),
    distance("smooth_l1_loss", smooth_l1, {}, {"beta": 0.3}, {"beta": 0.0}),
    distance("huber_loss", huber, {}, {"delta": 0.5}),
    distance("binary_cross_entropy", lambda x, t: -(t * np.log(x) + (1 - t) * np.log(1 - x)), low=0.05, high=0.95),
    OpCase(
        "nn.functional.binary_cross_entropy_with_logits",
        lambda rng: [
            *(sample(np.asarray(s.args[0] * 4 - 2), s.args[1], **s.kwargs) for s in pairs(rng, 0, 1)),
            sample(np.array([1e4, -1e4, 1e4, -1e4]), np.array([1.0, 0.0, 0.0, 1.0])),
        ],
        with_reduction(lambda x, t: np.logaddexp(0, x) - t * x),
    ),
    OpCase(
        "nn.functional.kl_div",
        lambda rng: [
            # PyTorch warns of its own "mean"; test_loss.py has it.
            *(s for s in pairs(rng, 0.05, 0.95) if s.kwargs["reduction"] != "mean"),
            *(s for s in pairs(rng, -3, -0.1, {"log_target": True}) if s.kwargs["reduction"] != "mean"),
            sample(rng.standard_normal((4, 5)), rng.uniform(0.1, 1, (4, 5)), reduction="batchmean"),
        ],
        lambda x, t, reduction="mean", log_target=False: (
            reduced(
                np.exp(t) * (t - x) if log_target else t * (np.log(t) - x),
                "sum" if reduction == "batchmean" else reduction,
            )
            / (len(x) if reduction == "batchmean" else 1)
        ),
    ),
    OpCase("nn.functional.cross_entropy", cross_entropy_samples, cross_entropy),
    OpCase("nn.functional.nll_loss", lambda rng: class_samples(rng, {}), nll),
    OpCase(
        "nn.functional.hinge_embedding_loss",
        lambda rng: [sample(rng.uniform(0, 2, (2, 3)), signs(rng, (2, 3)), 0.7, reduction=r) for r in REDUCTIONS],
        with_reduction(lambda x, t, margin: np.where(t == 1, x, np.maximum(0, margin - x))),
    ),
    OpCase("nn.functional.multi_margin_loss", multi_margin_samples, with_reduction(multi_margin)),
    OpCase(
        "nn.functional.margin_ranking_loss",
        lambda rng: [
            sample(rng.standard_normal(5), rng.standard_normal(5), signs(rng, (5,)), 0.2, reduction=r)
            for r in REDUCTIONS
        ],
        with_reduction(lambda a, b, t, margin: np.maximum(0, -t * (a - b) + margin)),
    ),
    OpCase(
        "nn.functional.cosine_similarity",
        lambda rng: [
            *(sample(rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), dim=d) for d in (0, 1, -1)),
            sample(rng.standard_normal((3, 1, 4)), rng.standard_normal((1, 5, 4)), dim=-1),
        ],
        cosine,
    ),
    OpCase(
        "nn.functional.cosine_embedding_loss",
        lambda rng: [
            sample(rng.standard_normal((4, 5)), rng.standard_normal((4, 5)), np.array([1, -1, 1, -1]), 0.1, reduction=r)
            for r in REDUCTIONS
        ],
        with_reduction(
            lambda a, b, t, margin: np.where(t == 1, 1 - cosine(a, b), np.maximum(0, cosine(a, b) - margin))
        ),
    ),
]
