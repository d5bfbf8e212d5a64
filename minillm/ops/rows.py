"""What the row kernels share: softmax, normalisation, attention and the losses work on rows, in tiles.

A chain of operations on a large array walks through memory once an operation. The same chain on one tile after the
other finds its numbers in the processor's cache: GELU on 2048 x 1536 float32 takes 16 ms at once and 5 ms in tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minillm.backend import Array, Backend, threads

TILE = 1 << 16
"""Elements of a tile at most: a quarter of a megabyte of float32, so that the four or five arrays of a kernel stay in
the L2 cache. GELU of 1024 x 1536 in one thread: 4.4 ms in tiles of 16 K, 3.8 of 64 K, 4.4 of 128 K, 5.5 of 256 K.
"""

SHARED_TILE = 1 << 18
"""Elements of a tile where several threads share them: with fewer tiles they wait less often for Python's lock."""

SHARE_FROM = 700_000
"""Elements from which several threads share the tiles. With fewer they lose more to Python's lock than they gain: in
two threads and in one, layer norm of 768 x 128 numbers and its gradient take 0.94 and 0.80 ms, of 2048 x 384 4.0 and
4.4; GELU of 1024 x 512 2.2 and 2.0 ms, of 2048 x 1536 8.2 and 9 to 12.
"""


ADD_FROM, LONG_ROW = 1 << 17, 1 << 13
"""Elements of an array from which ``add_row`` makes its row longer, and how long."""

ROWS = 1 << 12
"""Rows that BLAS adds up at once: after a million of them a float32 sum would be off by 1e-5, in two steps by 2e-7."""


def in_tiles(backend: Backend, shape: tuple[int, int], function: Callable[[slice], None]) -> None:
    """Call a function for slices that together are all rows of an array of this shape, in several threads.

    On a GPU all rows are one tile: there, what costs is the number of kernels.
    """
    rows, width = shape
    if backend.name != "cpu":
        function(slice(0, rows))
        return
    large = rows * width >= SHARE_FROM
    n = threads.available() if large else 1
    step = max(1, min(-(-rows // n), (TILE if n == 1 else SHARED_TILE) // max(width, 1)))
    threads.share(function, [slice(start, min(start + step, rows)) for start in range(0, rows, step)], large)


def in_order(sums: dict[int, Array], like: Array) -> Array:
    """Add up what tiles found, by their first row: the same sum whichever thread was first."""
    total = like * 0 if not sums else sums[0]
    for start in sorted(sums)[1:]:
        total += sums[start]
    return total


def multiply(backend: Backend, x: Array, y: Array, out: Array | None) -> Array:
    """Return ``x * y`` of one shape, in several threads if they are large."""
    if x.size < SHARE_FROM or not (x.flags.c_contiguous and y.flags.c_contiguous and x.dtype == y.dtype):
        return backend.xp.multiply(x, y, out=out)
    out = backend.xp.empty_like(x) if out is None else out
    flat_x, flat_y, flat_out = x.reshape(-1), y.reshape(-1), out.reshape(-1)

    def tile(part: slice) -> None:
        backend.xp.multiply(flat_x[part], flat_y[part], out=flat_out[part])

    in_tiles(backend, (x.size, 1), tile)
    return out


def at_least(xp: Any, x: Array, low: Any, out: Array | None = None) -> Array:
    """Return ``max(x, low)``; NaN stays NaN."""
    # NumPy's maximum of an array and a number takes three times as long as its clip.
    if x.dtype.kind == "f" and isinstance(low, (int, float)):
        return x.clip(low, math.inf, out=out)
    return xp.maximum(x, low, out=out)


def at_most(xp: Any, x: Array, high: Any, out: Array | None = None) -> Array:
    """Return ``min(x, high)``; NaN stays NaN."""
    if x.dtype.kind == "f" and isinstance(high, (int, float)):
        return x.clip(-math.inf, high, out=out)
    return xp.minimum(x, high, out=out)


def working(x: Array) -> Array:
    """Return ``x`` in the type to compute in: float16 and bfloat16 are computed in float32 and rounded once."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def as_rows(x: Array, width: int) -> Array:
    """Return ``x`` as rows (N, width): a view where the memory allows it."""
    return x.reshape(x.size // width if width else math.prod(x.shape[:-1]), width)


def exp_rows(backend: Backend, x: Array, e: Array, m: Array, z: Array) -> None:
    """Fill ``e = exp(x - m)`` (N, C), the largest of every row ``m`` and the sums of e, ``z`` (N, 1); e may be x."""
    fast = backend.compiled("exp_rows", x, e)
    if fast is not None:
        fast(x, e, m[:, 0], z[:, 0])
        return
    m[...] = row_max(backend, x)
    backend.xp.subtract(x, m, out=e)
    backend.xp.exp(e, out=e)
    z[...] = row_sum(backend, e)


def subtract_multiply(backend: Backend, x: Array, row: Array, y: Array) -> None:
    """Let x become ``(x - row) y``, with x and y (N, C) and row (N, 1)."""
    fast = backend.compiled("subtract_multiply", x, y)
    if fast is not None:
        fast(x, row[:, 0], y)
        return
    x -= row
    x *= y


def row_max(backend: Backend, x: Array) -> Array:
    """Return the largest of every row, (..., N, C) to (..., N, 1); C is at least 1 and ``x`` contiguous."""
    if backend.name != "cpu":
        return x.max(axis=-1, keepdims=True)
    # NumPy's argmax takes a fifth of the time of its max on short rows (3072 x 64: 0.04 ms against 0.20).
    width = x.shape[-1]
    places = x.argmax(axis=-1).reshape(-1)
    places += np.arange(0, x.size, width)
    return x.reshape(-1)[places].reshape(*x.shape[:-1], 1)


def row_sum(backend: Backend, x: Array) -> Array:
    """Return the sum of every row, (N, C) to (N, 1), as a product with a vector of ones (5 times as fast)."""
    return backend.matmul(x, backend.xp.ones(x.shape[-1], dtype=x.dtype))[..., None]


def row_dot(backend: Backend, x: Array, y: Array) -> Array:
    """Return the dot product of every row of ``x`` with the same row of ``y``, (..., N, C) to (..., N, 1)."""
    if backend.name != "cpu":
        return (x * y).sum(axis=-1, keepdims=True)
    return np.einsum("...i,...i->...", x, y)[..., None]


def add_row(backend: Backend, x: Array, row: Array) -> None:
    """Add a row to every row of x (N, C) in place.

    NumPy takes 45 ns to go from one row to the next, or copies the row over and over into a buffer. For large arrays
    the row is written several times side by side first: 2048 x 1536, 0.53 to 0.32 ms.
    """
    n, width = x.shape
    times = LONG_ROW // max(width, 1)
    if backend.name != "cpu" or x.size < ADD_FROM or times < 2 or not x.flags.c_contiguous:
        x += row
        return
    whole = n - n % times
    part = x[:whole].reshape(-1, times * width)
    part += np.concatenate([row] * times)
    x[whole:] += row


def column_sum(backend: Backend, x: Array) -> Array:
    """Return the sum of every column, (N, C) to (C,), as a product with a vector of ones."""
    blocks, rest = divmod(len(x), ROWS)
    if backend.name != "cpu" or blocks < 2:
        return backend.matmul(backend.xp.ones(x.shape[0], dtype=x.dtype), x)
    ones = np.ones(ROWS, dtype=x.dtype)
    y = column_sum(backend, ones @ x[: len(x) - rest].reshape(blocks, ROWS, x.shape[1]))
    return y + ones[:rest] @ x[len(x) - rest :] if rest else y
