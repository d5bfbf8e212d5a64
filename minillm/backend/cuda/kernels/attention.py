"""Attention as two matrix products around one kernel; the formulas and the kernels are in ``attention.cu``.

In 16 bits, without dropout and with heads of a usual size, ``flash.py`` does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.kernels import flash
from minillm.backend.cuda.kernels.dropout import dropped, new_seed
from minillm.backend.cuda.launcher import pack, supported, threads

FAMILY = "attention"
RECOMPUTE_ABOVE = 1 << 28
"""Weights (512 MB in 16 bits) above which they are not kept for the backward pass but computed again."""


class Attention:
    """``minillm.ops.attention.Attention`` without a mask other than the causal one.

    ``y = P v``; ``dv = P^T dy``, ``dP = dy v^T``, ``dq = dS k``, ``dk = dS^T q``. With dropout, the P of the products
    with v and the dP are dropped by the same seed.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Array, k: Array, v: Array, mask: Array | None, *, scale: float, causal: bool, dropout: float
    ) -> Array:
        batch = q.shape[:-2]
        same = k.shape[:-2] == v.shape[:-2] == batch and len({q.dtype, k.dtype, v.dtype}) == 1
        if mask is not None or dropout == 1 or not same or not supported(q, k, v):
            return NotImplemented
        ctx.scale, ctx.causal, ctx.p, ctx.seed = scale, causal, dropout, new_seed(ctx.backend) if dropout else None
        ctx.flash = not dropout and flash.fits(ctx, q, k, v)
        if ctx.flash:
            y = _side_by_side(ctx.xp, batch, q.shape[-2], (), v.shape[-1], q.dtype)
            flash.forward(ctx, q, k, v, y)
            return y
        p = Attention.weights(ctx, q, k)
        keep = p.size <= RECOMPUTE_ABOVE
        y = _side_by_side(ctx.xp, batch, q.shape[-2], (), v.shape[-1], q.dtype)
        ctx.backend.matmul(dropped(ctx, p, dropout, ctx.seed) if dropout else p, v, out=y)
        ctx.save_for_backward(q, k, v, p if keep else None)
        return y

    @staticmethod
    def weights(ctx: Any, q: Array, k: Array) -> Array:
        """Return P (..., T, S)."""
        # In float16, products of large queries and keys would be infinite before they are scaled.
        first = q.dtype == np.float16
        scores = ctx.backend.matmul(q * ctx.scale if first else q, k.swapaxes(-1, -2))
        Attention.launch(ctx, "attention_weights", 1.0 if first else ctx.scale, scores)
        return scores

    @staticmethod
    def launch(ctx: Any, name: str, scale: float, *arrays: Array) -> None:
        queries, keys = arrays[0].shape[-2:]
        V = pack(keys, *arrays)
        arguments = (*arrays, queries, keys, int(ctx.causal), scale)
        rows = arrays[0].size // keys
        ctx.backend.launch(FAMILY, name, rows, threads(keys, V), *arguments, T=arrays[0].dtype, V=V)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        q, k, v, *kept = ctx.saved_arrays
        matmul, batch = ctx.backend.matmul, q.shape[:-2]
        if q.shape == k.shape == v.shape:
            # Parts of one array (B, T, 3, H, D): a layer that made all three with one product wants them so.
            block = _side_by_side(ctx.xp, batch, q.shape[-2], (3,), q.shape[-1], q.dtype)
            dq, dk, dv = (block[i] for i in range(3))
        else:
            dq, dk, dv = (_side_by_side(ctx.xp, batch, x.shape[-2], (), x.shape[-1], x.dtype) for x in (q, k, v))
        if ctx.flash:
            flash.backward(ctx, dy, dq, dk, dv)
            return dq, dk, dv, None
        p = Attention.weights(ctx, q, k) if kept[0] is None else kept[0]
        used = dropped(ctx, p, ctx.p, ctx.seed) if ctx.p else p
        matmul(used.swapaxes(-1, -2), dy, out=dv)
        ds = matmul(dy, v.swapaxes(-1, -2))
        if ctx.p:
            ds = dropped(ctx, ds, ctx.p, ctx.seed)
        Attention.launch(ctx, "attention_gradient", ctx.scale, ds, p)
        matmul(ds, k, out=dq)
        matmul(ds.swapaxes(-1, -2), q, out=dk)
        return dq, dk, dv, None


def _side_by_side(xp: Any, batch: tuple[int, ...], T: int, n: tuple[int, ...], D: int, dtype: Any) -> Array:
    """Return an empty array (*n, *batch, T, D) whose heads lie side by side in memory: (B, T, *n, H, D).

    That is how the layers around attention want it: joining the heads again copies nothing.
    """
    if len(batch) < 2:
        return xp.empty((*n, *batch, T, D), dtype=dtype)
    made = xp.empty((*batch[:-1], T, *n, batch[-1], D), dtype=dtype)
    return xp.moveaxis(made, -3, 0).swapaxes(-2, -3) if n else made.swapaxes(-2, -3)
