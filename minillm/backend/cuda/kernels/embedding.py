"""The gradient of a table of vectors; the formula and the kernel are in ``embedding.cu``."""

from __future__ import annotations

from typing import Any

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, pack, supported

BLOCK = 256  # 8 warps


class EmbeddingGrad:
    """``Backend.embedding_grad`` for floats."""

    @staticmethod
    def add_up(backend: Any, order: Array, ids: Array, dy: Array, num_embeddings: int) -> Array:
        """Return dw (num_embeddings, C) from ids (N,) in ascending order and the rows of dy (N, C) that they stand for.

        Equal ids stand in the order of their rows.
        """
        if not supported(dy):
            return NotImplemented
        dy, (n, width) = contiguous(dy), dy.shape
        dw = backend.xp.zeros((num_embeddings, width), dtype=dy.dtype)
        V = pack(width, dy, dw)
        blocks = n * -(-width // (32 * V))
        backend.launch("embedding", "embedding_gradient", blocks, BLOCK, dy, order, ids, dw, n, width, T=dy.dtype, V=V)
        return dw
