"""Losses that are short compositions of other ops: their gradient is theirs."""

from __future__ import annotations

import warnings
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.activation import logsigmoid
from minillm.ops.arithmetic import where
from minillm.ops.common import promote
from minillm.ops.creation import arange
from minillm.ops.cross_entropy import check_reduction
from minillm.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "smooth_l1_loss",
]


def _reduce(what: str, loss: Tensor, reduction: str) -> Tensor:
    check_reduction(what, reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _pair(what: str, input: Tensor, target: Tensor, broadcast: bool = True) -> tuple[Tensor, Tensor]:
    if input.shape != target.shape:
        if not broadcast:
            raise ValueError(f"{what}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape")
        warnings.warn(
            f"{what}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and are broadcast; "
            "make sure that this is meant",
            stacklevel=3,
        )
    x, y = promote(what, input, target)
    return x, y


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    x, y = _pair("mse_loss", input, target)
    return _reduce("mse_loss", (x - y).square(), reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Absolute differences; the gradient at 0 is 0."""
    x, y = _pair("l1_loss", input, target)
    return _reduce("l1_loss", (x - y).abs(), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    r"""$d^2 / 2\beta$ where the difference $d$ is below $\beta$ in size, $|d| - \beta/2$ elsewhere."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss: expected beta of 0 or more, got {beta}")
    x, y = _pair("smooth_l1_loss", input, target)
    if beta == 0:
        return _reduce("smooth_l1_loss", (x - y).abs(), reduction)
    d = x - y
    return _reduce("smooth_l1_loss", where(d.abs() < beta, d.square() * (0.5 / beta), d.abs() - 0.5 * beta), reduction)


def huber_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    r"""$d^2 / 2$ where the difference $d$ is at most $\delta$ in size, $\delta (|d| - \delta/2)$ elsewhere."""
    if delta <= 0:
        raise ValueError(f"huber_loss: expected a positive delta, got {delta}")
    x, y = _pair("huber_loss", input, target)
    d = x - y
    far = (d.abs() - 0.5 * delta) * delta
    return _reduce("huber_loss", where(d.abs() <= delta, d.square() * 0.5, far), reduction)


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    r"""$t (\ln t - x)$ for log-probabilities x and probabilities t (or their logarithms), 0 where t is 0.

    Args:
        reduction: "batchmean" divides the sum by the number of rows, which is the mathematical divergence.
    """
    x, t = promote("kl_div", input, target)
    if log_target:
        loss = t.exp() * (t - x)
    else:
        # 0 ln 0 = 0: the logarithm never sees the zeros.
        loss = where(t > 0, t * where(t > 0, t, 1.0).log(), t * 0.0) - t * x
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.ndim else loss.sum()
    return _reduce("kl_div", loss, reduction)


class ClippedLog(Function):
    """``max(ln x, -100)``, the logarithm of PyTorch's binary cross-entropy, with slope ``1 / max(x, 1e-12)``."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        ctx.save_for_backward(x)
        return ctx.xp.maximum(ctx.xp.log(x), -100)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (x,) = ctx.saved_arrays
        return dy / ctx.xp.maximum(x, 1e-12)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    r"""$-(t \ln x + (1 - t) \ln(1 - x))$ for probabilities x; logarithms are not let below -100.

    Raises:
        RuntimeError: for an input outside 0 .. 1.
        ValueError: if the shapes differ.
    """
    x, t = _pair("binary_cross_entropy", input, target, broadcast=False)
    if x.numel() and not (float(x.detach().min()) >= 0 and float(x.detach().max()) <= 1):
        raise RuntimeError("binary_cross_entropy: expected probabilities from 0 to 1; for logits use the _with_logits form")
    loss = -(t * ClippedLog.apply(x) + (1 - t) * ClippedLog.apply(1 - x))
    return _reduce("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    r"""$-(t \ln \sigma(x) + (1 - t) \ln \sigma(-x))$, computed without overflow.

    Args:
        pos_weight: a factor for the first term.

    Raises:
        ValueError: if the shapes differ.
    """
    x, t = _pair("binary_cross_entropy_with_logits", input, target, broadcast=False)
    positive = t if pos_weight is None else t * pos_weight
    loss = -(positive * logsigmoid(x) + (1 - t) * logsigmoid(-x))
    return _reduce("binary_cross_entropy_with_logits", loss if weight is None else loss * weight, reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """x where the target is 1, ``max(0, margin - x)`` where it is -1."""
    positive = where(target != -1, input, input * 0.0)
    negative = where(target != 1, (margin - input).clamp(min=0), input * 0.0)
    return _reduce("hinge_embedding_loss", positive + negative, reduction)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *,
    reduction: str = "mean",
) -> Tensor:
    r"""$\frac{1}{C} \sum_{i \ne t} \max(0, \mathrm{margin} - x_t + x_i)^p$: the hinge loss of several classes."""
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: expected p of 1 or 2, got {p}")
    rows = input.reshape((1, -1)) if input.ndim == 1 else input
    t = target.reshape((-1, 1))
    gaps = (margin - rows.gather(1, t) + rows).clamp(min=0)
    gaps = gaps.square() if p == 2 else gaps
    if weight is not None:
        gaps = gaps * weight[t.reshape((-1,))].unsqueeze(1)
    loss = where(t == arange(rows.shape[1], device=t.device), gaps * 0.0, gaps).sum(1) / rows.shape[1]
    loss = loss.reshape(()) if input.ndim == 1 else loss
    return _reduce("multi_margin_loss", loss, reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """``max(0, -target (x1 - x2) + margin)``: the target says which of the two should be larger (1 or -1)."""
    return _reduce("margin_ranking_loss", (-target * (input1 - input2) + margin).clamp(min=0), reduction)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    r"""$\frac{x_1 \cdot x_2}{\max(\|x_1\|, \epsilon) \max(\|x_2\|, \epsilon)}$ along an axis."""
    a, b = promote("cosine_similarity", x1, x2)
    return ((a / a.norm(2, dim, True).clamp(min=eps)) * (b / b.norm(2, dim, True).clamp(min=eps))).sum(dim)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1."""
    cos = cosine_similarity(input1, input2, -1)
    return _reduce("cosine_embedding_loss", where(target == 1, 1 - cos, (cos - margin).clamp(min=0)), reduction)

