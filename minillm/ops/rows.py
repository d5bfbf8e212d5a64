"""What the row kernels share: softmax, normalisation, attention and the losses work on rows, in tiles.

A chain of operations on a large array walks through memory once an operation. The same chain on one tile after the
other finds its numbers in the processor's cache: GELU on 2048 x 1536 float32 takes 16 ms at once and 5 ms in tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minillm.backend import Array, Backend

TILE = 1 << 17
"""Elements of a tile: half a megabyte of float32. Tiles under 8 K are two to three times as slow."""


def tiles(backend: Backend, rows: int, width: int = 1) -> Iterator[slice]:
    """Cut ``rows`` rows of ``width`` elements into slices of about ``TILE`` elements, at least one row each.

    On a GPU all rows are one tile: there, what costs is the number of kernels.
    """
    step = max(1, TILE // max(width, 1)) if backend.name == "cpu" else max(rows, 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def working(x: Array) -> Array:
    """Return ``x`` in the type to compute in: float16 and bfloat16 are computed in float32 and rounded once."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def as_rows(x: Array, width: int) -> Array:
    """Return ``x`` as rows (N, width): a view where the memory allows it."""
    return x.reshape(x.size // width if width else math.prod(x.shape[:-1]), width)


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
    return (x @ backend.xp.ones(x.shape[-1], dtype=x.dtype))[..., None]


def row_dot(backend: Backend, x: Array, y: Array) -> Array:
    """Return the dot product of every row of ``x`` with the same row of ``y``, (..., N, C) to (..., N, 1)."""
    if backend.name != "cpu":
        return (x * y).sum(axis=-1, keepdims=True)
    return np.einsum("...i,...i->...", x, y)[..., None]


def column_sum(backend: Backend, x: Array) -> Array:
    """Return the sum of every column, (N, C) to (C,)."""
    return backend.xp.ones(x.shape[0], dtype=x.dtype) @ x
