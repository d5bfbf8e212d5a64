"""Looking up vectors by id, and dropout."""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.random import default_generator
from minillm.tensor import Tensor

__all__ = ["dropout", "embedding"]


# --- embedding: y[i] = w[ids[i]] ------------------------------------------------------------------------------------
class Embedding(Function):
    """Row ``ids[i]`` of the table for each i; each row of the table gets the sum of the ``dy`` of its uses."""

    @staticmethod
    def forward(ctx: Any, ids: Array, w: Array, *, padding_idx: int | None) -> Array:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.padding_idx = w.shape[0], padding_idx
        return w[ids]

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[None, Array]:
        (ids,) = ctx.saved_arrays
        dw = ctx.backend.embedding_grad(ids.reshape(-1), dy.reshape(ids.size, dy.shape[-1]), ctx.rows)
        if ctx.padding_idx is not None:
            dw[ctx.padding_idx] = 0
        return None, dw


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:
    r"""Return rows of a table: $y_i = W_{\mathrm{ids}_i}$; equal to one-hot vectors times the table.

    Args:
        input: ids, integers of any shape.
        weight: the table, (V, C).
        padding_idx: an id whose row gets no gradient.

    Returns:
        (..., C).

    Raises:
        IndexError: if an id is not in the table, naming it and the size of the table.
        TypeError: if the ids are not integers.
        NotImplementedError: for max_norm, scale_grad_by_freq and sparse.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding: max_norm, scale_grad_by_freq and sparse are not offered by minillm")
    if input.dtype.kind not in "iu":
        raise TypeError(f"embedding: expected ids as integers, got {input.dtype}; use .long()")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: expected a table (V, C), got shape {tuple(weight.shape)}")
    input.backend.check_ids(input.array, weight.shape[0], "embedding")
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return Embedding.apply(input, weight, padding_idx=padding_idx)


# --- dropout --------------------------------------------------------------------------------------------------------
class Dropout(Function):
    """``y = x m / (1 - p)`` with a mask m of zeros and ones; ``dx = dy m / (1 - p)``."""

    @staticmethod
    def forward(ctx: Any, x: Array, *, p: float) -> Array:
        if p == 1:
            mask = ctx.xp.zeros_like(x)
        else:
            mask = (ctx.backend.uniform(default_generator, "dropout", x.shape, x.dtype) >= p).astype(x.dtype)
            mask *= 1 / (1 - p)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Array:
        (mask,) = ctx.saved_arrays
        return dy * mask


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    r"""Set each element to 0 with probability p and divide the others by $1 - p$, so that the mean stays.

    Args:
        p: from 0 to 1.
        training: nothing is dropped if false; the tensor itself is returned.

    Source: Srivastava et al., "Dropout", JMLR 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability from 0 to 1, got {p}")
    if inplace:
        raise NotImplementedError("dropout: inplace=True is not offered by minillm; use the result")
    return Dropout.apply(input, p=p) if training and p else input
