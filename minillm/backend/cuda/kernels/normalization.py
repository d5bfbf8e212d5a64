"""Layer norm and RMS norm; the formulas and the kernels are in ``normalization.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import CPP_TYPES, PACK_BYTES, accumulator, contiguous, pack, supported, threads

FAMILY = "normalization"
PARTS, MANY_PARTS, MANY_ROWS = 1024, 2048, 1 << 14
"""Blocks that share the rows of a backward pass, few and many rows: enough for any card (on an H200 2,048 take 127 us
for 32,768 rows of 768, 1,024 take 149), and always as many, so that sums are the same on every card.
"""
SHARED_BYTES = 47 << 10  # every card offers a block 48 KB without asking; some of it is for the sums over the block


class _Norm:
    """What the two have in common. ``ctx`` keeps x itself, one or two numbers a row, and w."""

    @staticmethod
    def fits(x: Array, w: Array | None, b: Array | None, width: int) -> bool:
        weights = [p for p in (w, b) if p is not None]
        if not supported(x, *weights) or 2 * width * accumulator(x.dtype).itemsize > SHARED_BYTES:
            return False
        return len({p.dtype for p in weights}) < 2 and all(p.dtype in (x.dtype, accumulator(x.dtype)) for p in weights)

    @staticmethod
    def launch(
        backend: Any, name: str, grid: int, width: int, arguments: tuple, x: Array, w: Array | None, **more: Any
    ) -> None:
        arrays = [a for a in arguments if isinstance(a, backend.array_type)]
        # As many as a load of x has; of a gradient of fewer bits a load is shorter then.
        V = PACK_BYTES // x.dtype.itemsize if pack(width, *arrays) > 1 else 1
        W = x.dtype if w is None else w.dtype
        backend.launch(FAMILY, name, grid, threads(width, V), *arguments, T=x.dtype, W=W, V=V, **more)

    @staticmethod
    def backward(ctx: Any, name: str, dy: Array, x: Array, statistics: tuple, w: Array | None, needs: tuple) -> list:
        """Return dx, and the sums over rows for the parameters, each ``None`` where it is not needed."""
        xp, width = ctx.xp, ctx.width
        rows = x.size // width
        blocks, A = min(rows, PARTS if rows < MANY_ROWS else MANY_PARTS), accumulator(x.dtype)
        dy = contiguous(dy)
        dx = xp.empty_like(x) if needs[0] else None
        other = ctx.so_far(0) if needs[0] else None
        other = None if other is None else contiguous(other).astype(x.dtype, copy=False)
        parts = [xp.empty((blocks, width), dtype=A) if need else None for need in needs[1:]]
        shared = 2 * width * A.itemsize
        arguments = (dy, x, w, *statistics, other, dx, *parts, rows, width)
        constants = () if dy.dtype == x.dtype else (("GRADIENT", CPP_TYPES[dy.dtype.name]),)
        _Norm.launch(ctx.backend, name, blocks, width, arguments, x, w, shared=shared, constants=constants)
        sums = [None if p is None else _Norm.total(ctx, p, x.dtype if w is None else w.dtype, x.dtype) for p in parts]
        return [dx, *sums]

    @staticmethod
    def total(ctx: Any, parts: Array, W: np.dtype, T: np.dtype) -> Array:
        rows, width = parts.shape
        out = ctx.xp.empty(ctx.shape, dtype=W)
        ctx.backend.launch(FAMILY, "column_sums", -(-width // 32), 1024, parts, out, rows, width, T=T, W=W)
        return out


class LayerNorm:
    """``minillm.ops.normalization.LayerNorm``."""

    takes_16_bits = True  # gradients of them, of a result in float32

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, b: Array | None, *, width: int, eps: float) -> Array:
        if not _Norm.fits(x, w, b, width):
            return NotImplemented
        xp = ctx.xp
        x = contiguous(x)
        rows, y = x.size // width, xp.empty_like(x)
        means, rs = (xp.empty(rows, dtype=accumulator(x.dtype)) for _ in range(2))
        LayerNorm.into(ctx.backend, x, w, b, y, means, rs, eps)
        parameter = w if w is not None else b
        ctx.width, ctx.shape = width, None if parameter is None else parameter.shape
        ctx.save_for_backward(x, means, rs, w)
        return y

    @staticmethod
    def into(
        backend: Any, x: Array, w: Array | None, b: Array | None, y: Array, means: Array, rs: Array, eps: float
    ) -> None:
        """Write y, and the two numbers of every row, into arrays that are there already; all are contiguous."""
        rows, width = len(means), x.size // len(means)
        arguments = (x, w, b, y, means, rs, width, eps)
        _Norm.launch(backend, "layer_norm_forward", rows, width, arguments, x, w if w is not None else b)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        x, means, rs, w = ctx.saved_arrays
        return tuple(_Norm.backward(ctx, "layer_norm_backward", dy, x, (means, rs), w, ctx.needs_input_grad))


class RMSNorm:
    """``minillm.ops.normalization.RMSNorm``."""

    takes_16_bits = True

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array | None, *, width: int, eps: float) -> Array:
        if not _Norm.fits(x, w, None, width):
            return NotImplemented
        xp = ctx.xp
        x = contiguous(x)
        rows, y = x.size // width, xp.empty_like(x)
        rs = xp.empty(rows, dtype=accumulator(x.dtype))
        _Norm.launch(ctx.backend, "rms_norm_forward", rows, width, (x, w, y, rs, width, eps), x, w)
        ctx.width, ctx.shape = width, None if w is None else w.shape
        ctx.save_for_backward(x, rs, w)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        x, rs, w = ctx.saved_arrays
        return tuple(_Norm.backward(ctx, "rms_norm_backward", dy, x, (rs,), w, ctx.needs_input_grad))
