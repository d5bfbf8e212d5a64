"""Cross-entropy: the loss of classifiers and language models, from logits in one op."""

from __future__ import annotations

import math
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.device import is_floating
from minillm.ops.activation import log_softmax
from minillm.ops.common import cast
from minillm.ops.reduction import wide
from minillm.tensor import Tensor

__all__ = ["cross_entropy", "nll_loss"]


def cross_entropy_formula(xp: Any, x: Any, target: Any) -> Any:
    """``-log softmax(x)[target]`` of each row; x (N, C), target (N,) of integers."""
    m = xp.max(x, axis=1, keepdims=True)
    log_z = xp.log(xp.sum(xp.exp(x - m), axis=1, keepdims=True)) + m
    return (log_z - xp.take_along_axis(x, target[:, None], axis=1))[:, 0]


class CrossEntropy(Function):
    """``loss = log sum of e^x - x[target]`` of each row; ``dx = softmax(x) - one_hot(target)``, times the row's weight.

    One array of the logits' size is made: it holds e^x, and at the end the gradient. Label smoothing e mixes in the mean
    loss over all classes: the target row is ``(1 - e) one_hot + e / C``.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Array, target: Array, weight: Array | None, *, ignore_index: int, smoothing: float, reduction: str
    ) -> Array:
        xp, (n, classes) = ctx.xp, x.shape
        counted = target != ignore_index
        rows, t = xp.arange(n), xp.where(counted, target, 0)
        p = x.astype(wide(x.dtype))  # a copy
        if n and classes:
            p -= p.max(axis=1, keepdims=True)
        row_weight = counted.astype(p.dtype) if weight is None else xp.where(counted, weight[t], 0)
        picked = p[rows, t] if classes else xp.zeros(n, dtype=p.dtype)
        if smoothing:
            # sum over classes of weight_c (log z - x_c) / C
            w = xp.ones(classes, dtype=p.dtype) if weight is None else weight
            smooth_x, smooth_w = (p * w).sum(axis=1), w.sum()
        xp.exp(p, out=p)
        z = p.sum(axis=1, keepdims=True)
        log_z = xp.log(z[:, 0])
        loss = xp.where(counted, (log_z - picked) * row_weight, 0)
        if smoothing:
            spread = xp.where(counted, log_z * smooth_w - smooth_x, 0)
            loss = (1 - smoothing) * loss + (smoothing / classes) * spread
        total_weight = row_weight.sum()
        if ctx.needs_input_grad[0]:
            p /= z
            if not smoothing:
                p[rows, t] -= 1
                p *= row_weight[:, None]
            else:
                target_mass = (1 - smoothing) * row_weight
                spread_mass = xp.where(counted, smoothing / classes, 0).astype(p.dtype)
                p *= (target_mass + spread_mass * smooth_w)[:, None]
                p -= spread_mass[:, None] * w
                p[rows, t] -= target_mass
            ctx.save_for_backward(p, total_weight if hasattr(total_weight, "dtype") else xp.asarray(total_weight))
        ctx.reduction, ctx.dtype = reduction, x.dtype
        if reduction == "none":
            return loss.astype(x.dtype, copy=False)
        total = loss.sum()
        return (total / total_weight if reduction == "mean" else total).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None, None]:
        p, total_weight = ctx.saved_arrays
        if ctx.reduction == "none":
            return (p * dy[:, None]).astype(ctx.dtype, copy=False), None, None
        if ctx.reduction == "mean":
            # Nothing counted: the loss is 0 / 0 = NaN, the gradient is 0.
            dy = ctx.xp.where(total_weight == 0, 0, dy / total_weight)
        return (p * ctx.xp.asarray(dy).astype(p.dtype)).astype(ctx.dtype, copy=False), None, None


def _rows(input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return logits (N, C) for (C,), (N, C) or (N, C, d1, ...), and the shape of one loss a prediction."""
    if input.ndim == 1:
        return input.reshape((1, -1)), ()
    if input.ndim == 2:
        return input, (input.shape[0],)
    classes, shape = input.shape[1], (input.shape[0], *input.shape[2:])
    return input.movedim(1, -1).reshape((math.prod(shape), classes)), shape


def check_reduction(what: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{what}: expected reduction 'none', 'mean' or 'sum', got {reduction!r}")


def _check_target(what: str, target: Tensor, shape: tuple[int, ...], classes: int, ignore_index: int) -> Tensor:
    if target.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected class numbers as integers, got {target.dtype}; use .long()")
    if tuple(target.shape) != shape:
        raise ValueError(f"{what}: expected targets of shape {shape} for these logits, got {tuple(target.shape)}")
    flat = target.reshape((-1,))
    xp = flat.backend.xp
    counted = xp.where(flat.array == ignore_index, 0, flat.array)
    if not classes and flat.numel():
        raise IndexError(f"{what}: there are no classes to choose from")
    flat.backend.check_ids(counted, classes, f"{what}: target")
    return flat


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    r"""Return how surprising the targets are, in nats: $-\ln \mathrm{softmax}(x)_{t}$.

    $\partial L/\partial x = \mathrm{softmax}(x) - \mathrm{onehot}(t)$, divided by the number of targets for the mean.

    Args:
        input: logits (C,), (N, C) or (N, C, d1, ...).
        target: class numbers of the same shape without C; or probabilities of the same shape as the logits.
        weight: a factor for each class, (C,); the mean then divides by the sum of the targets' weights.
        ignore_index: a target that does not count. If none counts, the mean is NaN and the gradient 0.
        reduction: "mean" over the targets that count, "sum", or "none" for one loss a target.
        label_smoothing: share of the target's probability that is spread evenly over all classes.

    Raises:
        IndexError: for a target that is not a class, naming it and the number of classes.
        TypeError, ValueError: for targets of another type or shape.
    """
    check_reduction("cross_entropy", reduction)
    if size_average is not None or reduce is not None:
        raise NotImplementedError("cross_entropy: size_average and reduce are PyTorch's past; use reduction")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: expected label_smoothing from 0 to 1, got {label_smoothing}")
    if not input.ndim or not is_floating(input.dtype):
        raise ValueError(f"cross_entropy: expected floating logits (N, C), got {input.dtype} {tuple(input.shape)}")
    if target.shape == input.shape and is_floating(target.dtype):
        return _with_probabilities(input, target, weight, reduction, label_smoothing)
    logits, shape = _rows(input)
    flat = _check_target("cross_entropy", target, shape, logits.shape[1], ignore_index)
    if weight is not None and tuple(weight.shape) != (logits.shape[1],):
        raise ValueError(f"cross_entropy: weight has shape {tuple(weight.shape)}, expected ({logits.shape[1]},)")
    loss = CrossEntropy.apply(
        logits, flat, weight, ignore_index=ignore_index, smoothing=label_smoothing, reduction=reduction
    )
    return loss.reshape(shape) if reduction == "none" else loss


def _with_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    """Cross-entropy against a distribution: ``-sum of target * log_softmax(input)``."""
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        target = target * weight.reshape([-1 if i == axis else 1 for i in range(input.ndim)])
    loss = -(log_softmax(input, axis) * cast(target, input.dtype)).sum(axis)
    if reduction == "none":
        return loss
    n = loss.numel()
    return loss.sum() if reduction == "sum" else loss.sum() / n if n else loss.sum() * math.nan


class NLL(Function):
    """``-weight[target] * x[target]`` of each row."""

    @staticmethod
    def forward(
        ctx: Any, x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str
    ) -> Array:
        xp = ctx.xp
        counted = target != ignore_index
        rows, t = xp.arange(len(target)), xp.where(counted, target, 0)
        w = counted.astype(x.dtype) if weight is None else xp.where(counted, weight[t], 0).astype(x.dtype)
        loss = xp.where(counted, -x[rows, t] * w, 0)
        ctx.shape, ctx.reduction = x.shape, reduction
        ctx.save_for_backward(t, w)
        if reduction == "none":
            return loss
        return loss.sum() / w.sum() if reduction == "mean" else loss.sum()

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None, None]:
        t, w = ctx.saved_arrays
        xp = ctx.xp
        if ctx.reduction == "mean":
            dy = xp.where(w.sum() == 0, 0, dy / w.sum())
        dx = xp.zeros(ctx.shape, dtype=w.dtype)
        dx[xp.arange(len(t)), t] = -w * dy
        return dx, None, None


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean",
) -> Tensor:
    """Return minus the log-probability of the targets; ``cross_entropy`` for what is log-softmax already.

    Args:
        input: log-probabilities (C,), (N, C) or (N, C, d1, ...).
        target, weight, ignore_index, reduction: see ``cross_entropy``.
    """
    check_reduction("nll_loss", reduction)
    rows, shape = _rows(input)
    flat = _check_target("nll_loss", target, shape, rows.shape[1], ignore_index)
    loss = NLL.apply(rows, flat, weight, ignore_index=ignore_index, reduction=reduction)
    return loss.reshape(shape) if reduction == "none" else loss
