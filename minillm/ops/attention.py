"""Scaled dot-product attention, forward and backward in one op."""

from __future__ import annotations

import math
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.backend.random import default_generator
from minillm.ops.common import unbroadcast
from minillm.ops.reduction import wide
from minillm.tensor import Tensor

__all__ = ["scaled_dot_product_attention"]

QUERY_TILE = 64
"""Queries that a causal pass takes at a time: keys past the tile are masked for all of them and are never looked at."""


def attention_formula(xp: Any, q: Any, k: Any, v: Any, *, mask: Any = None, scale: float) -> Any:
    """``softmax(q k^T scale) v``, over the keys that ``mask`` allows (all, if it is ``None``)."""
    scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) * scale
    if mask is not None:
        scores = xp.where(mask, scores, -math.inf)
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return xp.matmul(e / xp.sum(e, axis=-1, keepdims=True), v)


class Attention(Function):
    """``S = q k^T scale + mask``, ``P = softmax(S)``, ``y = P v``.

    ``dv = P^T dy``, ``dP = dy v^T``, ``dS = P (dP - sum of dP P)``, ``dq = scale dS k``, ``dk = scale dS^T q``. A query that
    may see no key gets 0 and sends no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Array, k: Array, v: Array, mask: Array | None, *, scale: float, is_causal: bool, dropout_p: float
    ) -> Array:
        xp, matmul = ctx.xp, ctx.backend.matmul
        T, S = q.shape[-2], k.shape[-2]
        ctx.tiles = [(0, T, S)]
        if is_causal and mask is None:
            ctx.tiles = [(a, min(a + QUERY_TILE, T), min(a + QUERY_TILE, T, S)) for a in range(0, T, QUERY_TILE)]
        parts, saved = [], []
        for a, b, end in ctx.tiles:
            s = matmul(q[..., a:b, :], k[..., :end, :].swapaxes(-1, -2)).astype(wide(q.dtype), copy=False)
            s *= scale
            if is_causal:
                # Only the square on the diagonal has something to hide: key j from query i < j.
                hidden = xp.arange(end)[None, :] > xp.arange(a, b)[:, None]
                s[..., hidden] = -math.inf
            if mask is not None:
                s = xp.where(mask, s, -math.inf) if mask.dtype.kind == "b" else s + mask
            p = _softmax_rows(xp, s).astype(q.dtype, copy=False)
            keep = None
            if dropout_p > 0:
                keep = (ctx.backend.uniform(default_generator, "dropout", p.shape, p.dtype) >= dropout_p).astype(p.dtype)
                keep *= 1 / (1 - dropout_p) if dropout_p < 1 else 0
            saved += [p, keep]
            parts.append(matmul(p if keep is None else p * keep, v[..., :end, :]))
        ctx.scale = scale
        ctx.mask_shape = mask.shape if mask is not None else None
        ctx.save_for_backward(q, k, v, *saved)
        return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=-2)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        q, k, v, *saved = ctx.saved_arrays
        xp, matmul = ctx.xp, ctx.backend.matmul
        batch = dy.shape[:-2]
        dq = xp.empty((*batch, *q.shape[-2:]), dtype=q.dtype)
        dk = xp.zeros((*batch, *k.shape[-2:]), dtype=k.dtype)
        dv = xp.zeros((*batch, *v.shape[-2:]), dtype=v.dtype)
        dmask = None
        for i, (a, b, end) in enumerate(ctx.tiles):
            p, keep = saved[2 * i], saved[2 * i + 1]
            dy_tile = dy[..., a:b, :]
            dv[..., :end, :] += matmul((p if keep is None else p * keep).swapaxes(-1, -2), dy_tile)
            ds = matmul(dy_tile, v[..., :end, :].swapaxes(-1, -2))
            if keep is not None:
                ds *= keep
            ds *= p
            ds -= p * ds.sum(axis=-1, keepdims=True)
            if ctx.needs_input_grad[3]:
                dmask = unbroadcast(ds, ctx.mask_shape)  # a float mask comes with a single tile
            ds *= ctx.scale
            dq[..., a:b, :] = matmul(ds, k[..., :end, :])
            dk[..., :end, :] += matmul(ds.swapaxes(-1, -2), q[..., a:b, :])
        return unbroadcast(dq, q.shape), unbroadcast(dk, k.shape), unbroadcast(dv, v.shape), dmask


def _softmax_rows(xp: Any, s: Array) -> Array:
    """Softmax of the last axis, written over ``s``; a row of -inf gives zeros."""
    if not s.shape[-1]:
        return s
    m = s.max(axis=-1, keepdims=True)
    m = xp.where(m == -math.inf, 0, m)
    s -= m
    xp.exp(s, out=s)
    total = s.sum(axis=-1, keepdims=True)
    s /= xp.where(total == 0, 1, total)
    return s


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    r"""Mix values, weighted by how well each query fits their keys: $\mathrm{softmax}(Q K^T / \sqrt D + M)\, V$.

    Args:
        query: (..., T, D).
        key: (..., S, D).
        value: (..., S, E).
        attn_mask: bool (..., T, S), true where a key takes part; or floats that are added to the scores.
        dropout_p: share of the weights set to 0.
        is_causal: query i sees the keys 0 .. i only.
        scale: instead of $1/\sqrt D$.
        enable_gqa: let each key and value head serve several query heads (axis -3), whose number is a multiple.

    Returns:
        (..., T, E). A query that may see no key gets zeros, and sends no gradient.

    Raises:
        RuntimeError: if lengths do not fit, or both a mask and ``is_causal`` are given.
        ValueError: for a dropout_p outside 0 .. 1.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.1.
    """
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: expected dropout_p from 0 to 1, got {dropout_p}")
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: give either attn_mask or is_causal=True, not both")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"scaled_dot_product_attention: query {tuple(query.shape)}, key {tuple(key.shape)} and value "
            f"{tuple(value.shape)} do not fit: last axes of query and key, and numbers of keys and values, must be equal"
        )
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        times, rest = divmod(query.shape[-3], key.shape[-3])
        if rest:
            raise RuntimeError(
                f"scaled_dot_product_attention: {query.shape[-3]} query heads are no multiple of {key.shape[-3]} key heads"
            )
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return Attention.apply(query, key, value, attn_mask, scale=scale, is_causal=is_causal, dropout_p=dropout_p)
