"""Scaled dot-product attention, forward and backward in one op, tile by tile."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minillm.autograd import Function
from minillm.backend import Array, threads
from minillm.backend.device import is_floating
from minillm.ops.common import one_dtype, unbroadcast
from minillm.ops.embedding import dropout_noise
from minillm.ops.rows import exp_rows, row_dot, subtract_multiply, working
from minillm.ops.shape import reshape, unsqueeze
from minillm.tensor import Tensor

__all__ = ["scaled_dot_product_attention"]

QUERY_TILE = 64
"""Queries of a tile. A causal tile never looks at the keys past its last query."""

TILE = 1 << 17
"""Weights of a tile at most: half a megabyte of float32."""

SHARE_FROM = 1 << 19
"""Weights from which several threads share the tiles."""

RECOMPUTE_ABOVE = 1 << 24
"""Weights (64 MB of float32) above which they are not kept for the backward pass but computed again."""


def attention_formula(xp: Any, q: Any, k: Any, v: Any, scale: float, bias: Any = None) -> Any:
    scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) * scale
    scores = scores if bias is None else scores + bias
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return xp.matmul(e / xp.sum(e, axis=-1, keepdims=True), v)


class Attention(Function):
    """``y = P v`` with ``P = softmax(q k^T scale + bias)``, where masked places have a bias of -inf.

    ``dv = P^T dy``, ``dS = P (dy v^T - delta)`` with ``delta = sum(dy y)`` a row, ``dq = scale dS k``, ``dk = scale
    dS^T q``. Kept for the backward pass is P or, where it is large, two numbers a row, with which ``P = exp(S - m) r``:
    the same but for rounding.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Array, k: Array, v: Array, mask: Array | None, *, scale: float, causal: bool, dropout: float
    ) -> Array:
        xp, dtype = ctx.xp, q.dtype
        ctx.scale, ctx.shapes = scale, tuple(None if x is None else x.shape for x in (q, k, v, mask))
        # A leading axis of 1 lets a single head pass as a batch.
        batch = np.broadcast_shapes((1,), *{s[:-2] for s in ctx.shapes if s is not None})
        (T, S), D, E = (q.shape[-2], k.shape[-2]), q.shape[-1], v.shape[-1]
        q = _broadcast(xp, working(q) * scale, (*batch, T, D))
        k = _broadcast(xp, working(k), (*batch, S, D))
        v = _broadcast(xp, working(v), (*batch, S, E))
        bias = None if mask is None else _broadcast(xp, _as_bias(xp, mask, q.dtype), (*batch, T, S))
        future = _kept_future if xp is np else _future  # a card's is as large as the scores, and would hold its memory
        ctx.future = future(xp, _tile(ctx, T), q.dtype) if causal else None
        ctx.tiles = _tiles(ctx, batch, T, S, causal)
        y = _empty(xp, batch, T, E, q.dtype)
        if not ctx.tiles:
            y[...] = 0
        needed = any(ctx.needs_input_grad)
        ctx.recompute = math.prod(batch) * T * S * (0.5 if causal else 1) > RECOMPUTE_ABOVE
        saved: list[Any] = [None] * (3 * len(ctx.tiles))
        if dropout:  # drawn in order, whichever thread will need them
            shapes = [(*q[part].shape[:-2], b - a, end) for part, a, b, end in ctx.tiles]
            saved[2::3] = [dropout_noise(ctx, shape, q.dtype, dropout) for shape in shapes]

        def tile(i: int) -> None:
            part, a, b, end = ctx.tiles[i]
            e = Attention.scores(ctx, q, k, bias, ctx.tiles[i])
            m, r = xp.empty((2, *e.shape[:-1], 1), dtype=e.dtype)
            rows = e.reshape(-1, end)
            exp_rows(ctx.backend, rows, rows, m.reshape(-1, 1), r.reshape(-1, 1))
            if bias is not None:
                blind = m == -math.inf  # a query that may see no key
                xp.copyto(m, 0, where=blind)
                xp.copyto(r, 1, where=blind)
                xp.copyto(e, 0, where=blind)
            xp.reciprocal(r, out=r)
            e *= r
            noise = saved[3 * i + 2]
            ctx.backend.matmul(e if noise is None else e * noise, v[part, ..., :end, :], out=y[part, ..., a:b, :])
            if needed:
                saved[3 * i : 3 * i + 2] = (m, r) if ctx.recompute else (e, None)

        threads.share(tile, range(len(ctx.tiles)), ctx.large)
        if needed:
            ctx.save_for_backward(q, k, v, bias, y, *saved)
        return y.reshape(y.shape[y.ndim - max(len(s) for s in ctx.shapes if s is not None) :]).astype(dtype, copy=False)

    @staticmethod
    def scores(ctx: Any, q: Array, k: Array, bias: Array | None, tile: tuple) -> Array:
        part, a, b, end = tile
        # Trap: a product lies in memory as its factors do, and rows of a turned one would be rows of a copy.
        s = ctx.xp.ascontiguousarray(ctx.backend.matmul(q[part, ..., a:b, :], k[part, ..., :end, :].swapaxes(-1, -2)))
        if ctx.future is not None and end > a:
            s[..., a:] += ctx.future[: b - a, : end - a]  # only here, on the diagonal, is something to hide
        if bias is not None:
            s += bias[part, ..., a:b, :end]
        return s

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        q, k, v, bias, y, *saved = ctx.saved_arrays
        xp, matmul, batch = ctx.xp, ctx.backend.matmul, q.shape[:-2]
        dy = working(dy).reshape(y.shape)
        dq, dk, dv = _empty_like(xp, batch, q, k, v)
        dbias = xp.zeros((*batch, q.shape[-2], k.shape[-2]), dtype=q.dtype) if ctx.needs_input_grad[3] else None
        if not ctx.tiles:
            dq[...], dk[...], dv[...] = 0, 0, 0

        def tile(i: int) -> None:
            part, a, b, end = ctx.tiles[i]
            p, r, noise = saved[3 * i : 3 * i + 3]
            if ctx.recompute:
                p = xp.exp(Attention.scores(ctx, q, k, bias, ctx.tiles[i]) - p) * r
            dy_part = dy[part, ..., a:b, :]
            ds = xp.ascontiguousarray(matmul(dy_part, v[part, ..., :end, :].swapaxes(-1, -2)))
            if noise is not None:
                ds *= noise
            delta = row_dot(ctx.backend, dy_part, y[part, ..., a:b, :])
            rows = ds.reshape(-1, end)
            subtract_multiply(ctx.backend, rows, delta.reshape(-1, 1), p.reshape(-1, end))
            if dbias is not None:
                dbias[part, ..., a:b, :end] = ds
            matmul(ds, k[part, ..., :end, :], out=dq[part, ..., a:b, :])
            weights = p if noise is None else p * noise
            products = (dk, ds.swapaxes(-1, -2), q[part, ..., a:b, :]), (dv, weights.swapaxes(-1, -2), dy_part)
            for total, left, right in products:
                if b == q.shape[-2]:
                    matmul(left, right, out=total[part, ..., :end, :])
                    total[part, ..., end:, :] = 0
                else:
                    total[part, ..., :end, :] += matmul(left, right)

        def rows(first: int) -> None:
            # From the last queries to the first: in a causal pass the last ones see the most keys.
            for i in reversed(range(first, first + ctx.queries)):
                tile(i)

        threads.share(rows, range(0, len(ctx.tiles), ctx.queries or 1), ctx.large)
        dq *= ctx.scale
        grads = (dq, dk, dv, dbias)
        return tuple(None if g is None else unbroadcast(g, s) for g, s in zip(grads, ctx.shapes))


def _broadcast(xp: Any, x: Array, shape: tuple[int, ...]) -> Array:
    return x if x.shape == shape else xp.broadcast_to(x, shape)


def _future(xp: Any, n: int, dtype: np.dtype) -> Array:
    """Return what is added to the scores on the diagonal (n, n): -inf where a query would see a later key."""
    return xp.triu(xp.full((n, n), -math.inf, dtype=dtype), 1)


_kept_future = functools.lru_cache(8)(_future)


def _as_bias(xp: Any, mask: Array, dtype: Any) -> Array:
    if mask.dtype.kind == "b":
        mask = xp.where(mask, 0.0, -math.inf)
    return mask.astype(dtype, copy=False)


def _tile(ctx: Any, T: int) -> int:
    return min(T, QUERY_TILE) if ctx.backend.name == "cpu" else T


def _tiles(ctx: Any, batch: tuple[int, ...], T: int, S: int, causal: bool) -> list[tuple[slice, int, int, int]]:
    """Return (part of the first axis, first query, past the last query, number of keys) of every tile.

    ``ctx.queries`` is how many tiles, one after the other, belong to one part of the first axis; ``ctx.large`` whether
    several threads share them.
    """
    ctx.queries, size = 0, math.prod(batch) * T * S
    ctx.large = size >= SHARE_FROM
    if not size:
        return []
    rows, step = _tile(ctx, T), batch[0]
    if ctx.backend.name == "cpu":
        n = threads.available() if ctx.large else 1
        step = max(1, min(TILE // (math.prod(batch[1:]) * rows * S), -(-batch[0] // n)))
    parts = [slice(i, min(i + step, batch[0])) for i in range(0, batch[0], step)]
    queries = [(a, min(a + rows, T)) for a in range(0, T, rows)]
    ctx.queries = len(queries)
    return [(part, a, b, min(b, S) if causal else S) for part in parts for a, b in queries]


def _empty(xp: Any, batch: tuple[int, ...], T: int, D: int, dtype: Any) -> Array:
    """Return an array (*batch, T, D) that lies in memory with the heads side by side: (B, T, H, D).

    That is how the layers around attention want it: joining the heads again copies nothing.
    """
    if len(batch) < 2:
        return xp.empty((*batch, T, D), dtype=dtype)
    return xp.empty((*batch[:-1], T, batch[-1], D), dtype=dtype).swapaxes(-2, -3)


def _empty_like(xp: Any, batch: tuple[int, ...], *inputs: Array) -> list[Array]:
    """Return an empty gradient for each input; if all are alike, as parts of one array (B, T, 3, H, D).

    That is how a layer that made all three with one product wants them: see ``Unbind``.
    """
    (T, D), n = inputs[0].shape[-2:], len(inputs)
    if len(batch) < 2 or any(x.shape != inputs[0].shape for x in inputs):
        return [_empty(xp, batch, x.shape[-2], x.shape[-1], x.dtype) for x in inputs]
    block = xp.empty((*batch[:-1], T, n, batch[-1], D), dtype=inputs[0].dtype)
    return [block[..., i, :, :].swapaxes(-2, -3) for i in range(n)]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    r"""Mix the values, weighted by how well each query fits their keys: $\mathrm{softmax}(Q K^T / \sqrt{D} + M) \, V$.

    Args:
        query: (..., T, D).
        key: (..., S, D).
        value: (..., S, E).
        attn_mask: (..., T, S); bool, true where a key takes part, or floats that are added to the scores.
        dropout_p: the probability that a weight is set to 0; the others are divided by 1 - dropout_p.
        is_causal: query i sees keys 0 .. i only, also where S is not T.
        scale: instead of $1 / \sqrt{D}$.
        enable_gqa: let each key and value head (axis -3) serve several query heads.

    Shape:
        in a GPT (B, H, T, D) for all three and the result.

    Returns:
        (..., T, E). A query that may see no key gets zeros and sends no gradient.

    Raises:
        RuntimeError: if shapes or dtypes do not fit, or both a mask and ``is_causal`` are given.
        ValueError: if dropout_p is not a probability.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.1; the order of the backward pass follows
    Dao et al., "FlashAttention", 2022.
    """
    _check(query, key, value, attn_mask, dropout_p, is_causal)
    scale = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    options = {"scale": scale, "causal": bool(is_causal), "dropout": float(dropout_p)}
    heads = query.shape[-3] if enable_gqa and query.ndim > 2 else 0
    if not heads or heads == key.shape[-3] == value.shape[-3]:
        return Attention.apply(query, key, value, attn_mask, **options)
    # Query heads become (key head, place): every key head broadcasts over its places.
    shared = key.shape[-3]
    if heads % shared or value.shape[-3] != shared:
        raise RuntimeError(
            f"scaled_dot_product_attention: {heads} query heads, {shared} key heads and {value.shape[-3]} value heads "
            "do not fit: expected as many value heads as key heads, and a multiple of them as query heads"
        )
    split = (shared, heads // shared)
    q = reshape(query, (*query.shape[:-3], *split, *query.shape[-2:]))
    if attn_mask is not None and attn_mask.ndim > 2:
        own = split if attn_mask.shape[-3] == heads else (1, 1)
        attn_mask = reshape(attn_mask, (*attn_mask.shape[:-3], *own, *attn_mask.shape[-2:]))
    y = Attention.apply(q, unsqueeze(key, -3), unsqueeze(value, -3), attn_mask, **options)
    return reshape(y, (*y.shape[:-4], heads, *y.shape[-2:]))


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, is_causal: bool) -> None:
    name = "scaled_dot_product_attention"
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability dropout_p from 0 to 1, got {p}")
    if mask is not None and is_causal:
        raise RuntimeError(f"{name}: give either attn_mask or is_causal=True, not both")
    shapes = f"query {tuple(q.shape)}, key {tuple(k.shape)} and value {tuple(v.shape)}"
    if min(q.ndim, k.ndim, v.ndim) < 2 or not one_dtype(q, k, v) or not is_floating(q.dtype):
        raise RuntimeError(
            f"{name}: expected floats of one dtype with at least two axes, got {shapes} of {q.dtype}, "
            f"{k.dtype}, {v.dtype}"
        )
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise RuntimeError(f"{name}: {shapes} do not fit: expected (..., T, D), (..., S, D) and (..., S, E)")
    if mask is not None and mask.dtype.kind != "b" and not is_floating(mask.dtype):
        raise RuntimeError(f"{name}: expected a mask of bools or floats, got {mask.dtype}; use mask.bool()")
