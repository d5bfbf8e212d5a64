"""The gradient of a table of vectors; the formula and the kernel are in ``embedding.cu``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, pack, supported

BLOCK = 256  # 8 warps
MOST_IDS = 1 << 18
"""Ids up to which each is compared with all before it; 0.07 ms for 32,768, traced on an H200."""
TILE = 1024


class EmbeddingGrad:
    """``Backend.embedding_grad`` for floats."""

    @staticmethod
    def fits(dy: Array, dw: Array) -> bool:
        """Tell whether the kernel can do it."""
        return supported(dy) and dw.dtype == dy.dtype and dw.flags.c_contiguous

    @staticmethod
    def order(backend: Any, ids: Array, table: int) -> tuple[Array, Array]:
        """Return the order that sorts ids below ``table``, equal ones as they stand, and the ids in that order."""
        n, xp = len(ids), backend.xp
        if n > MOST_IDS:
            order = backend.order(ids)
            return order, ids[order]
        ids, counts, ranks = contiguous(ids), xp.zeros(table, dtype=np.int32), xp.zeros(n, dtype=np.int32)
        order, in_order = (xp.empty(n, dtype=np.int64) for _ in range(2))
        launch, T = functools.partial(backend.launch, "embedding"), np.dtype(np.float32)
        blocks, tiles = -(-n // BLOCK), -(-n // TILE)
        launch("count_ids", blocks, BLOCK, ids, counts, n, T=T)
        launch("starts_of_ids", 1, 1024, counts, table, T=T)
        launch("ranks_of_ids", tiles * (tiles + 1) // 2, TILE, ids, ranks, n, T=T)
        launch("order_of_ids", blocks, BLOCK, ids, counts, ranks, order, in_order, n, T=T)
        return order, in_order

    @staticmethod
    def add(backend: Any, order: Array, ids: Array, dy: Array, dw: Array) -> None:
        """Add to dw (V, C) the rows of dy (N, C), by ids (N,) in ascending order and the rows that they stand for.

        Equal ids stand in the order of their rows.
        """
        dy, (n, width) = contiguous(dy), dy.shape
        V = pack(width, dy, dw)
        blocks = n * -(-width // (32 * V))
        backend.launch("embedding", "embedding_gradient", blocks, BLOCK, dy, order, ids, dw, n, width, T=dy.dtype, V=V)
