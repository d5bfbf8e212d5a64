"""The gradient of a table of vectors; the formula and the kernel are in ``embedding.cu``."""

from __future__ import annotations

from typing import Any

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, pack, supported

BLOCK = 256  # 8 warps


class EmbeddingGrad:
    """``Backend.embedding_grad`` for floats."""

    @staticmethod
    def fits(dy: Array, dw: Array) -> bool:
        """Tell whether the kernel can do it."""
        return supported(dy) and dw.dtype == dy.dtype and dw.flags.c_contiguous

    @staticmethod
    def add(backend: Any, order: Array, ids: Array, dy: Array, dw: Array) -> None:
        """Add to dw (V, C) the rows of dy (N, C), by ids (N,) in ascending order and the rows that they stand for.

        Equal ids stand in the order of their rows.
        """
        dy, (n, width) = contiguous(dy), dy.shape
        V = pack(width, dy, dw)
        blocks = n * -(-width // (32 * V))
        backend.launch("embedding", "embedding_gradient", blocks, BLOCK, dy, order, ids, dw, n, width, T=dy.dtype, V=V)
