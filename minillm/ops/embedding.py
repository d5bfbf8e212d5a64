"""Looking up vectors by their number, and dropout."""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.random import default_generator
from minillm.ops import inplace as in_place
from minillm.tensor import Tensor

__all__ = ["dropout", "embedding"]


# --- embedding: y[i] = w[ids[i]]
class Embedding(Function):
    """``y[i] = w[ids[i]]``; each row of the table gets the sum of the ``dy`` of its uses."""

    @staticmethod
    def forward(ctx: Any, ids: Array, w: Array, *, padding_idx: int | None) -> Array:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.padding_idx = w.shape[0], padding_idx
        return w.take(ids, axis=0)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[None, Array]:
        (ids,) = ctx.saved_arrays
        total = ctx.total(1) if ctx.padding_idx is None else None  # a tied table has one, from its other use
        dw = ctx.backend.embedding_grad(ids.reshape(-1), dy.reshape(ids.size, dy.shape[-1]), ctx.rows, total)
        if ctx.padding_idx is not None:
            dw[ctx.padding_idx] = 0
        return None, dw


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    r"""Rows of a table by their number: $y_i = W_{\mathrm{id}_i}$, the same as one-hot rows times the table.

    $dW_v = \sum_{i : \mathrm{id}_i = v} dy_i$.

    Args:
        input: ids, integers of any shape.
        weight: the table, (V, C).
        padding_idx: an id whose row gets no gradient; negative ones count from the end.
        max_norm, norm_type, scale_grad_by_freq, sparse: not offered.

    Returns:
        (..., C).

    Raises:
        IndexError: for an id that is not in the table, naming it and the size of the table.
        NotImplementedError: for what is not offered.
        TypeError: if the ids are not integers.

    >>> import minillm
    >>> embedding(minillm.tensor([1, 1]), minillm.tensor([[0.0, 1.0], [2.0, 3.0]]))
    tensor([[2., 3.],
            [2., 3.]])
    """
    for name, given in (("max_norm", max_norm is not None), ("scale_grad_by_freq", scale_grad_by_freq)):
        if given:
            raise NotImplementedError(f"embedding: {name} is not offered by minillm")
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not offered by minillm")
    if input.dtype.kind not in "iu":
        raise TypeError(f"embedding: expected ids as integers, got {input.dtype}; use .long()")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: expected a table (V, C), got shape {tuple(weight.shape)}")
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise IndexError(f"embedding: padding_idx {padding_idx} is not in the table of {rows} rows")
    input.backend.check_ids(input.array, rows, "embedding")
    return Embedding.apply(input, weight, padding_idx=None if padding_idx is None else padding_idx % rows)


# --- dropout: y = x m / (1 - p), with a mask m of zeros and ones
def dropout_noise(ctx: Any, shape: tuple[int, ...], dtype: Any, p: float) -> Array:
    """Draw 0 with probability p and 1 / (1 - p) otherwise, from the stream "dropout" of the default generator."""
    if p == 1:
        return ctx.xp.zeros(shape, dtype=dtype)
    noise = ctx.backend.uniform(default_generator, "dropout", shape, dtype)
    ctx.xp.greater_equal(noise, p, out=noise, casting="unsafe")
    noise *= 1 / (1 - p)
    return noise


class Dropout(Function):
    """``y = x m / (1 - p)``; ``dx = dy m / (1 - p)`` with the same mask m."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float) -> Array:
        noise = dropout_noise(ctx, x.shape, x.dtype, p)
        ctx.save_for_backward(noise)
        return x * noise

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (noise,) = ctx.saved_arrays
        return ctx.xp.multiply(dy, noise, out=noise if ctx.final else None)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    r"""Set each element to 0 with probability p and divide the others by $1 - p$, so that the mean stays.

    Args:
        input: of any shape.
        p: from 0 to 1; 1 gives zeros.
        training: if false nothing is dropped, and the tensor itself is returned.
        inplace: write the result into ``input``, which must not belong to a graph.

    Raises:
        ValueError: if p is not a probability.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability p from 0 to 1, got {p}")
    if not training or p == 0:
        return input
    if inplace:
        return in_place.apply(input, lambda x: Dropout.apply(x, p=float(p)))
    return Dropout.apply(input, p=float(p))
