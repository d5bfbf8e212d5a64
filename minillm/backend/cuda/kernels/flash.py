"""Attention without an array of queries x keys; the formulas and the kernels are in ``flash.cu``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import PACK_BYTES, Anywhere

FAMILY = "flash"
HEAD_DIMS = (16, 32, 64, 96, 128)
ROWS, THREADS = 64, 128  # as in the source


def fits(ctx: Any, q: Array, k: Array, v: Array) -> bool:
    """Tell whether the kernels can do it: 16 bits, heads of one usual size, tensor cores of 2020 or later."""
    return (
        q.dtype.name in ("float16", "bfloat16")
        and q.shape[-1] == k.shape[-1] == v.shape[-1]
        and q.shape[-1] in HEAD_DIMS
        and 2 <= q.ndim <= 4
        and 0 not in (q.size, k.size)
        and ctx.scale != 0  # hidden places are -inf before they are scaled
        and ctx.backend.tensor_cores
    )


def forward(ctx: Any, q: Array, k: Array, v: Array, y: Array) -> None:
    """Write the result to y, (..., T, D) with any strides but the last, and keep what the way back needs."""
    q, k, v = (_readable(x) for x in (q, k, v))
    statistics = ctx.xp.empty((2, math.prod(q.shape[:-1])), dtype=np.float32)  # L; delta is written on the way back
    _launch(ctx, "flash_forward", (q, k, v, y), (statistics,), q.shape[-2], _shape(q, k), _factor(ctx))
    ctx.save_for_backward(q, k, v, y, statistics)


def backward(ctx: Any, dy: Array, dq: Array, dk: Array, dv: Array) -> None:
    """Write the gradients to dq, dk and dv."""
    q, k, v, y, statistics = ctx.saved_arrays
    dy = _readable(dy)
    factors, shape, given = (*_factor(ctx), float(ctx.scale)), _shape(q, k), (q, k, v, dy)
    # The first also writes delta, which the second reads.
    _launch(ctx, "flash_backward_queries", (*given, y, dq), (statistics,), q.shape[-2], shape, factors, written=1)
    _launch(ctx, "flash_backward_keys", (*given, dk, dv), (statistics,), k.shape[-2], shape, factors, written=2)


def _launch(
    ctx: Any, name: str, arrays: tuple, beside: tuple, rows: int, shape: tuple, factors: tuple, written: int = 0
) -> None:
    """Launch a kernel with a block for every 64 rows of every head; it takes the last arrays after ``beside``."""
    heads, all_heads = _heads(arrays[0])
    pointers = [Anywhere(x) for x in arrays]
    split = len(pointers) - written
    numbers = (*_places(*arrays), heads, all_heads, *shape, int(ctx.causal), *factors)
    arguments = (*pointers[:split], *beside, *pointers[split:], *numbers)
    _kernel(ctx, name, -(-rows // ROWS) * all_heads, THREADS, arrays[0], arguments)


def _kernel(ctx: Any, name: str, grid: int, block: int, q: Array, arguments: tuple) -> None:
    constants = ("HEAD_DIM", q.shape[-1]), ("BFLOAT", int(q.dtype.name == "bfloat16"))
    ctx.backend.launch(FAMILY, name, grid, block, *arguments, T=q.dtype, constants=constants)


def _readable(x: Array) -> Array:
    """Return x, or a copy, so that its rows can be read 16 bytes at a time."""
    steps = [s for n, s in zip(x.shape[:-1], x.strides, strict=False) if n > 1]
    aligned = x.data.ptr % PACK_BYTES == 0 and all(s % PACK_BYTES == 0 for s in steps)
    return x if aligned and x.strides[-1] == x.itemsize else x.copy(order="C")


def _heads(x: Array) -> tuple[int, int]:
    """Return how many heads there are for each of the batch, and in all."""
    batch = x.shape[:-2]
    return (batch[-1] if batch else 1), math.prod(batch)


def _shape(q: Array, k: Array) -> tuple[int, int]:
    return q.shape[-2], k.shape[-2]


def _factor(ctx: Any) -> tuple[float]:
    return (float(ctx.scale) / math.log(2),)


def _places(*arrays: Array) -> list[int]:
    """Return, for each array, how far it is in elements from one of the batch, one head and one row to the next."""
    found = []
    for x in arrays:
        steps = [s // x.itemsize for s in x.strides[:-1]]
        found += [0] * (3 - len(steps)) + steps
    return found
