"""Addition; the kernel is in ``add.cu``.

It is there for residual connections: under autocast a branch of 16 bits is added to a float32. CuPy's own sum moves
2.5 TB/s on an H200, which copies 4.3.
"""

from __future__ import annotations

from typing import Any

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import FLAT_BLOCK, pack, supported


class Add:
    """``minillm.ops.arithmetic.Add`` of two arrays of one shape, of one type or of float32 and one of 16 bits."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        if not all(isinstance(a, ctx.backend.array_type) and a.flags.c_contiguous for a in (x, y)):
            return NotImplemented
        if x.shape != y.shape or not supported(x, y):
            return NotImplemented
        if x.dtype.itemsize < y.dtype.itemsize:
            x, y = y, x
        if x.dtype != y.dtype and (x.dtype.itemsize, y.dtype.itemsize) != (4, 2):
            return NotImplemented
        ctx.shapes = x.shape, x.shape
        z = ctx.xp.empty_like(x)
        V = pack(x.size, x, y)
        grid = -(-x.size // (V * FLAT_BLOCK))
        ctx.backend.launch("add", "add", grid, FLAT_BLOCK, x, y, z, x.size, T=x.dtype, W=y.dtype, V=V)
        return z

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        needs_x, needs_y = ctx.needs_input_grad
        return dz if needs_x else None, dz if needs_y else None
