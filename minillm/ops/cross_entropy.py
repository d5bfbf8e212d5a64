"""Cross-entropy: how surprising the right answers are. The loss of classifiers and of language models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.autograd import Function, modes
from minillm.backend import Array
from minillm.backend.device import is_floating
from minillm.ops.common import cast, wide
from minillm.ops.rows import exp_rows, in_tiles, row_dot, row_sum, working
from minillm.ops.shape import movedim, reshape
from minillm.tensor import Tensor

__all__ = ["cross_entropy", "nll_loss"]


# --- cross_entropy: l = log(sum(exp(x))) - x[target]
def cross_entropy_formula(xp: Any, x: Any, target: Any) -> Any:
    m = xp.max(x, axis=-1, keepdims=True)
    log_z = xp.log(xp.sum(xp.exp(x - m), axis=-1, keepdims=True)) + m
    return xp.mean(xp.sum(target * (log_z - x), axis=-1))


def _exponentials(ctx: Any, x: Array, keep: bool) -> tuple[Array | None, Array, Array]:
    """Return e = exp(x - m) (N, C) if it is to be kept, the largest of every row, m (N, 1), and the sums of e, z (N,
    1).

    The backward pass needs e, and not x: the logits themselves can be freed.
    """
    m, z = ctx.xp.empty((2, x.shape[0], 1), dtype=x.dtype)
    e = ctx.xp.empty_like(x) if keep else None

    def tile(part: slice) -> None:
        exp_rows(ctx.backend, x[part], ctx.xp.empty_like(x[part]) if e is None else e[part], m[part], z[part])

    if x.size:
        in_tiles(ctx.backend, x.shape, tile)
    return e, m, z


def _reduced(loss: Array, total: Any, reduction: str) -> Array:
    """``total`` is what a mean divides by; 0 / 0 is NaN, as it must be."""
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.sum() / total


def _spread(xp: Any, dy: Array, total: Any, reduction: str) -> Array:
    """Return the gradient of each row's loss, 0 where nothing counts."""
    return xp.where(total == 0, 0, dy / total) if reduction == "mean" else dy


class CrossEntropy(Function):
    """``l = log(sum(exp(x))) - x[target]`` for every row; ``dx = (softmax(x) - one_hot(target)) dl``.

    Label smoothing e replaces ``one_hot`` by ``(1 - e) one_hot + e / C``, and class weights multiply its entries.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Array,
        target: Array,
        weight: Array | None,
        *,
        ignore_index: int,
        reduction: str,
        smoothing: float,
        dtype: np.dtype,
    ) -> Array:
        xp = ctx.xp
        ctx.reduction, ctx.smoothing, ctx.weight = reduction, smoothing, weight is not None
        x = working(x)
        counted = target != ignore_index
        target = xp.where(counted, target, 0)
        # What each row's target weighs; 0 where it does not count.
        weighs = counted.astype(x.dtype) if weight is None else xp.where(counted, working(weight)[target], 0)
        e, m, z = _exponentials(ctx, x, keep=ctx.needs_input_grad[0])
        log_z = xp.log(z)[:, 0]
        # Not log(sum(exp(x))) - x[target]: with logits of 1e4 that would round a loss of 0.001 away.
        loss = xp.where(counted, (log_z - (x[xp.arange(len(x)), target] - m[:, 0])) * weighs, 0)
        if smoothing:
            w = xp.ones(x.shape[1], dtype=x.dtype) if weight is None else working(weight)
            even = xp.where(counted, (log_z + m[:, 0]) * w.sum() - ctx.backend.matmul(x, w), 0)
            loss = (1 - smoothing) * loss + (smoothing / x.shape[1]) * even
        ctx.save_for_backward(e, z, target, counted, weighs, weight if smoothing else None)
        return _reduced(loss, weighs.sum(), reduction).astype(dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None, None]:
        e, z, target, counted, weighs, weight = ctx.saved_arrays
        classes, smoothing = e.shape[1], ctx.smoothing
        dl = _spread(ctx.xp, dy, weighs.sum(), ctx.reduction)
        mass = at_target = (1 - smoothing) * weighs * dl  # (N,)
        if smoothing:
            at_all = counted * dl * (smoothing / classes)
            mass = at_target + at_all * (classes if weight is None else weight.sum())
        dx = e if ctx.final else ctx.xp.empty_like(e)
        factors = mass[:, None] / z

        def tile(part: slice) -> None:
            ctx.xp.multiply(e[part], factors[part], out=dx[part])

        in_tiles(ctx.backend, e.shape, tile)
        dx[ctx.xp.arange(len(dx)), target] -= at_target
        if smoothing:
            dx -= at_all[:, None] if weight is None else at_all[:, None] * weight
        return dx, None, None


class SoftCrossEntropy(Function):
    """``l = sum(q (log z - x))`` with a distribution q as target; ``dx = (softmax(x) sum(q) - q) dl``."""

    @staticmethod
    def forward(ctx: Any, x: Array, q: Array, weight: Array | None, *, reduction: str, smoothing: float) -> Array:
        ctx.reduction, ctx.smoothing, dtype = reduction, smoothing, x.dtype
        x, q = working(x), working(q)
        e, m, z = _exponentials(ctx, x, keep=ctx.needs_input_grad[0])
        ctx.save_for_backward(e, z, x if ctx.needs_input_grad[1] else None, m, q, weight)
        loss = ctx.xp.empty_like(m)

        def tile(part: slice) -> None:
            q_part = SoftCrossEntropy.target(ctx, q[part], weight)
            loss[part] = row_dot(ctx.backend, q_part, ctx.xp.log(z[part]) - (x[part] - m[part]))

        in_tiles(ctx.backend, x.shape, tile)
        return _reduced(loss[:, 0], len(x), reduction).astype(dtype, copy=False)

    @staticmethod
    def target(ctx: Any, q: Array, weight: Array | None) -> Array:
        if ctx.smoothing:
            q = q * (1 - ctx.smoothing) + ctx.smoothing / q.shape[1]
        return q if weight is None else q * weight

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, None]:
        e, z, x, m, q, weight = ctx.saved_arrays
        xp, dx, dq = ctx.xp, None, None
        dl = xp.broadcast_to(dy / len(q) if ctx.reduction == "mean" else dy, (len(q),))[:, None]
        if ctx.needs_input_grad[0]:
            weighted = SoftCrossEntropy.target(ctx, q, weight)
            dx = e * (row_sum(ctx.backend, weighted) / z)
            dx -= weighted
            dx *= dl
        if ctx.needs_input_grad[1]:
            dq = (xp.log(z) - (x - m)) * ((1 - ctx.smoothing) * dl)
            dq = dq if weight is None else dq * weight
        return dx, dq, None


def check_reduction(what: str, reduction: str, *more: str) -> None:
    """Refuse a reduction of another name.

    Raises:
        ValueError: naming the known ones.
    """
    if reduction not in ("none", "mean", "sum", *more):
        known = ", ".join(map(repr, ("none", "mean", "sum", *more)))
        raise ValueError(f"{what}: expected reduction to be one of {known}, got {reduction!r}")


def _as_rows(what: str, input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return logits (C,), (N, C) or (N, C, d1, ...) as rows (..., C), and the shape of one loss a prediction."""
    if not input.ndim or not is_floating(input.dtype):
        raise ValueError(f"{what}: expected floats (C,), (N, C) or (N, C, ...), got {input.dtype} {tuple(input.shape)}")
    if input.ndim == 2:
        return input, (input.shape[0],)
    moved = movedim(input, 1, -1) if input.ndim > 2 else input
    shape = tuple(moved.shape[:-1])
    return reshape(moved, (math.prod(shape), moved.shape[-1])), shape


def _class_numbers(what: str, target: Tensor, shape: tuple[int, ...], classes: int, ignore_index: int) -> Tensor:
    """Return the targets as one list, after a look at their type, shape and range."""
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"{what}: expected class numbers as integers, or probabilities of the logits' shape, got {target.dtype} "
            f"{tuple(target.shape)}; use .long() for class numbers"
        )
    if tuple(target.shape) != shape:
        raise ValueError(f"{what}: expected one target for each prediction, shape {shape}, got {tuple(target.shape)}")
    target.backend.check_ids(target.array, classes, f"{what}: target", ignore_index)
    return reshape(target, (-1,)) if target.ndim != 1 else target


def _check_weight(what: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"{what}: expected a weight for each of {classes} classes, got shape {tuple(weight.shape)}")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Cross-entropy of the softmax of logits, in nats: $\ell = -\log \mathrm{softmax}(x)_t = \log \sum_c e^{x_c} -
    x_t$.

    $dx = (\mathrm{softmax}(x) - \mathrm{onehot}(t)) \, d\ell$.

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...).
        target: class numbers of the same shape without C; or probabilities of the shape of the logits.
        weight: a factor for each class, (C,). With class numbers, a mean then divides by the sum of the targets'
            weights.
        ignore_index: a class number that does not count. If no target counts, the mean is NaN, the sum 0 and the
            gradient 0.
        reduction: "mean" over the targets that count, "sum", or "none": one loss for each target.
        label_smoothing: the share of the target's probability that is spread evenly over all classes.

    Raises:
        IndexError: for a target that is not a class, naming it and the number of classes.
        TypeError: for targets that are neither integers nor of the shape of the logits.
        ValueError: for shapes that do not fit, or a share outside 0 .. 1.

    >>> import minillm
    >>> cross_entropy(minillm.zeros(2, 4), minillm.tensor([0, 3]))  # log 4: all four are equally likely
    tensor(1.3863)
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: expected label_smoothing from 0 to 1, got {label_smoothing}")
    x, shape = _as_rows("cross_entropy", input)
    classes = x.shape[1]
    _check_weight("cross_entropy", weight, classes)
    if is_floating(target.dtype) and target.shape == input.shape:
        q, _ = _as_rows("cross_entropy", cast(target, input.dtype))
        loss = SoftCrossEntropy.apply(x, q, weight, reduction=reduction, smoothing=float(label_smoothing))
    else:
        t = _class_numbers("cross_entropy", target, shape, classes, ignore_index)
        # Under autocast the loss is a float32, and so is all that is computed; but logits of 16 bits are read as they
        # are: as float32 they would be the largest array of all.
        widened = modes.autocast is not None and modes.autocast.covers(x.array)
        loss = CrossEntropy.apply(
            x,
            t,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            smoothing=float(label_smoothing),
            dtype=wide(x.array.dtype) if widened else x.array.dtype,
        )
    return reshape(loss, shape) if reduction == "none" and len(shape) != 1 else loss


# --- nll_loss: l = -x[target], for what is a log-softmax already
class NLLLoss(Function):
    """``l = -x[target]`` times the weight of the target's class; ``dx = -one_hot(target) dl``."""

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str) -> Array:
        xp = ctx.xp
        counted = target != ignore_index
        target = xp.where(counted, target, 0)
        weighs = working(counted.astype(x.dtype) if weight is None else xp.where(counted, weight[target], 0))
        ctx.shape, ctx.reduction = x.shape, reduction
        ctx.save_for_backward(target, weighs)
        loss = xp.where(counted, -x[xp.arange(len(x)), target] * weighs, 0)
        return _reduced(loss, weighs.sum(), reduction).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array, None, None]:
        target, weighs = ctx.saved_arrays
        dx = ctx.xp.zeros(ctx.shape, dtype=weighs.dtype)
        dl = _spread(ctx.xp, dy, weighs.sum(), ctx.reduction)
        dx[ctx.xp.arange(len(dx)), target] = -weighs * dl
        return dx, None, None


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log-likelihood, $\ell = -x_t$: ``cross_entropy`` for logarithms of probabilities.

    Args:
        input: log-probabilities, (C,), (N, C) or (N, C, d1, ...).
        target, weight, ignore_index, reduction: as for ``cross_entropy``, with class numbers.

    Raises:
        IndexError: for a target that is not a class, naming it and the number of classes.
        TypeError, ValueError: for targets of another type or shape.
    """
    check_reduction("nll_loss", reduction)
    x, shape = _as_rows("nll_loss", input)
    _check_weight("nll_loss", weight, x.shape[1])
    t = _class_numbers("nll_loss", target, shape, x.shape[1], ignore_index)
    loss = NLLLoss.apply(x, t, weight, ignore_index=ignore_index, reduction=reduction)
    return reshape(loss, shape) if reduction == "none" and len(shape) != 1 else loss
