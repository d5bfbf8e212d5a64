"""Losses other than cross-entropy: short compositions of ops, so that their gradient is theirs.

All take ``reduction``: "mean", "sum", or "none" for the losses one by one.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from minillm.autograd import Function, modes
from minillm.backend import Array
from minillm.ops.activation import logsigmoid, relu
from minillm.ops.arithmetic import where
from minillm.ops.common import promote, wide
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


def _autocast(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let autocast choose the type of a whole loss, which it does for every ``Function`` by itself."""

    @functools.wraps(loss)
    def call(*inputs: Any, **settings: Any) -> Tensor:
        if modes.autocast is not None:
            inputs = modes.autocast.inputs(loss.__name__, inputs)
        return loss(*inputs, **settings)

    return call


def _reduce(what: str, loss: Tensor, reduction: str) -> Tensor:
    check_reduction(what, reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _difference(what: str, input: Tensor, target: Tensor) -> Tensor:
    """Return input - target; warn if they broadcast, as (N, 1) and (N,) do to (N, N), which is hardly ever meant."""
    if input.shape != target.shape:
        warnings.warn(
            f"{what}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and are broadcast; "
            "give both the same shape",
            stacklevel=3,
        )
    x, y = promote(what, input, target)
    return x - y


# --- distances
@_autocast
def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Mean squared error: $\ell = (x - t)^2$, averaged.

    >>> import minillm
    >>> mse_loss(minillm.tensor([1.0, 2.0]), minillm.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return _reduce("mse_loss", _difference("mse_loss", input, target).square(), reduction)


@_autocast
def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Mean absolute error: $\ell = |x - t|$, averaged; the gradient where $x = t$ is 0."""
    return _reduce("l1_loss", _difference("l1_loss", input, target).abs(), reduction)


class Huber(Function):
    """``l = c (d - c / 2)`` with d cut off at ``-delta`` and ``delta``, c: ``d^2 / 2`` inside, a line outside; ``dd =
    c dl``.
    """

    @staticmethod
    def forward(ctx: Any, d: Array, *, delta: float) -> Array:
        c = ctx.xp.clip(d, -delta, delta).astype(wide(d.dtype), copy=False)
        ctx.save_for_backward(c)
        loss = c * -0.5
        loss += d
        loss *= c
        return loss.astype(d.dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dl: Array) -> Array:
        (c,) = ctx.saved_arrays
        return c * dl


@_autocast
def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    r"""Squared error near 0, absolute error further away: with $d = x - t$, $\ell = d^2 / 2\beta$ for $|d| < \beta$ and
    $|d| - \beta/2$ elsewhere.

    Raises:
        ValueError: for a negative beta.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: expected beta of 0 or more, got {beta}")
    d = _difference("smooth_l1_loss", input, target)
    if beta == 0:
        return _reduce("smooth_l1_loss", d.abs(), reduction)
    return _reduce("smooth_l1_loss", Huber.apply(d, delta=beta) * (1 / beta), reduction)


@_autocast
def huber_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    r"""Squared error near 0, absolute error further away: with $d = x - t$, $\ell = d^2 / 2$ for $|d| \le \delta$ and
    $\delta (|d| - \delta/2)$ elsewhere.

    Raises:
        ValueError: if delta is not positive.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: expected a positive delta, got {delta}")
    d = _difference("huber_loss", input, target)
    return _reduce("huber_loss", Huber.apply(d, delta=delta), reduction)


# --- distributions
@_autocast
def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    r"""Kullback-Leibler divergence, term by term: $\ell = t (\log t - x)$, and 0 where $t = 0$.

    Args:
        input: logarithms of probabilities.
        target: probabilities; their logarithms if ``log_target``.
        reduction: also "batchmean": the sum divided by the number of rows, which is the divergence as it is defined.
    """
    check_reduction("kl_div", reduction, "batchmean")
    x, t = promote("kl_div", input, target)
    if log_target:
        loss = t.exp() * (t - x)
    else:
        # 0 log 0 = 0: the logarithm, and its gradient, never see the zeros.
        loss = where(t == 0, 0.0, t * where(t == 0, 1.0, t).log()) - t * x
    if reduction == "batchmean":
        return loss.sum() / max(input.shape[0], 1) if input.ndim else loss.sum()
    return _reduce("kl_div", loss, reduction)


class BinaryCrossEntropy(Function):
    """``l = -(t log x + (1 - t) log(1 - x))``; ``dx = (x - t) / (x (1 - x)) dl``.

    Logarithms are not let below -100, nor the denominator below 1e-12, so that x = 0 and x = 1 give finite numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, t: Array) -> Array:
        xp = ctx.xp
        ctx.save_for_backward(x, t)
        return -(t * xp.maximum(xp.log(x), -100) + (1 - t) * xp.maximum(xp.log1p(-x), -100))

    @staticmethod
    def backward(ctx: Any, dl: Array) -> tuple[Array | None, Array | None]:
        x, t = ctx.saved_arrays
        dx = dt = None
        if ctx.needs_input_grad[0]:
            dx = dl * (x - t) / ctx.xp.maximum(x * (1 - x), 1e-12)
        if ctx.needs_input_grad[1]:
            dt = dl * (ctx.xp.log1p(-x) - ctx.xp.log(x))
        return dx, dt


def _same_shape(what: str, input: Tensor, target: Tensor) -> list[Tensor]:
    if input.shape != target.shape:
        raise ValueError(f"{what}: input {tuple(input.shape)} and target {tuple(target.shape)} must have one shape")
    return promote(what, input, target)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    r"""Cross-entropy of yes or no: $\ell = -(t \log x + (1 - t) \log(1 - x))$, each logarithm at least -100.

    Args:
        input: probabilities.
        target: what they should be, of the same shape.
        weight: a factor for each loss.

    Raises:
        RuntimeError: for an input outside 0 .. 1.
        ValueError: if the shapes differ.
    """
    x, t = _same_shape("binary_cross_entropy", input, target)
    if x.numel() and not bool(((x.array >= 0) & (x.array <= 1)).all()):
        raise RuntimeError(
            "binary_cross_entropy: expected probabilities from 0 to 1; for logits use binary_cross_entropy_with_logits"
        )
    loss = BinaryCrossEntropy.apply(x, t)
    return _reduce("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


@_autocast
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy of yes or no, from logits: $\ell = -(w t \log \sigma(x) + (1 - t) \log \sigma(-x))$, without
    overflow; computed as $(1 - t) x - (1 + (w - 1) t) \log \sigma(x)$.

    Args:
        input: logits.
        target: probabilities, of the same shape.
        weight: a factor for each loss.
        pos_weight: the factor $w$ of the first term.

    Raises:
        ValueError: if the shapes differ.
    """
    x, t = _same_shape("binary_cross_entropy_with_logits", input, target)
    yes = logsigmoid(x)
    loss = (1 - t) * x - (yes if pos_weight is None else (1 + (pos_weight - 1) * t) * yes)
    return _reduce("binary_cross_entropy_with_logits", loss if weight is None else loss * weight, reduction)


# --- margins
@_autocast
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    r"""For distances $x$: $\ell = x$ where the target is 1, $\max(0, \mathrm{margin} - x)$ where it is -1."""
    near = where(target != -1, input, 0.0)
    far = where(target != 1, (margin - input).clamp(min=0), 0.0)
    return _reduce("hinge_embedding_loss", near + far, reduction)


@_autocast
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    r"""Hinge loss of several classes: $\ell = \frac{1}{C} \sum_{c \ne t} w_t \max(0, \mathrm{margin} - x_t + x_c)^p$.

    Args:
        input: scores, (N, C) or (C,).
        target: class numbers, (N,) or ().
        p: 1 or 2.
        margin: by how much the right score should be ahead.
        weight: a factor for each class, (C,).

    Raises:
        IndexError: for a target that is not a class.
        ValueError: for another p, or shapes that do not fit.
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: expected p of 1 or 2, got {p}")
    rows, t = input.reshape(-1, input.shape[-1]), target.reshape(-1, 1)
    if input.ndim not in (1, 2) or rows.shape[0] != t.shape[0] or not rows.shape[1]:
        shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
        raise ValueError(f"multi_margin_loss: expected scores (N, C) and targets (N,), got {shapes}")
    input.backend.check_ids(t.array, rows.shape[1], "multi_margin_loss: target")
    gaps = relu(margin - rows.gather(1, t) + rows)
    gaps = gaps if p == 1 else gaps.square()
    if weight is not None:
        gaps = gaps * weight[t]
    others = t != arange(rows.shape[1], device=t.device)
    loss = where(others, gaps, 0.0).sum(1) / rows.shape[1]
    return _reduce("multi_margin_loss", loss if input.ndim == 2 else loss.reshape(target.shape), reduction)


@_autocast
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    r"""$\ell = \max(0, -t (x_1 - x_2) + \mathrm{margin})$: t says whether $x_1$ (1) or $x_2$ (-1) is to be larger."""
    return _reduce("margin_ranking_loss", (-target * (input1 - input2) + margin).clamp(min=0), reduction)


# --- angles
@_autocast
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    r"""Cosine of the angle between vectors along an axis: $\frac{x_1 \cdot x_2}{\max(|x_1|, \epsilon) \max(|x_2|,
    \epsilon)}$.

    Args:
        x1, x2: tensors that broadcast.
        dim: the axis of the vectors.
        eps: the smallest length; a vector of zeros gives 0.
    """
    a, b = promote("cosine_similarity", x1, x2)
    return (a * b).sum(dim) / (a.norm(2, dim).clamp(min=eps) * b.norm(2, dim).clamp(min=eps))


@_autocast
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    r"""$\ell = 1 - \cos$ where the target is 1, $\max(0, \cos - \mathrm{margin})$ where it is -1.

    Args:
        input1, input2: (N, C) or (C,).
        target: (N,) or ().
    """
    eps = 1e-12  # PyTorch's, under the root, unlike that of cosine_similarity
    squares = (input1.square().sum(-1) + eps) * (input2.square().sum(-1) + eps)
    cos = (input1 * input2).sum(-1) / squares.sqrt()
    alike = where(target == 1, 1 - cos, 0.0)
    unlike = where(target == -1, (cos - margin).clamp(min=0), 0.0)
    return _reduce("cosine_embedding_loss", alike + unlike, reduction)
