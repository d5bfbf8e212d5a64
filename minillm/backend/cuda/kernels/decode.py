"""One new token a row, into arrays that are there already; formulas and kernels are in ``decode.cu``.

Nothing here waits for the card, and nothing depends on the length of the texts but through an array: a step made of
these can be recorded once and repeated for every token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.cublaslt import Finish
from minillm.backend.cuda.cublaslt_library import NotOffered
from minillm.backend.cuda.kernels.normalization import LayerNorm
from minillm.backend.cuda.launcher import CPP_TYPES, FLAT_BLOCK, PACK_BYTES, pack, threads

FAMILY = "decode"
FEW_BLOCKS = 128
"""Blocks up to which each has as many threads as it can (``MOST_WARPS`` of ``decode.cu``): a large card has a
multiprocessor for each of them, which must have many loads under way to read fast.
"""


class Decode:
    """What a GPT's writer on a card asks for (``lessons/parts/l11_writer_cuda.py``)."""

    @staticmethod
    def fits(dtype: np.dtype, head_dim: int) -> bool:
        """Tell whether ``attention`` can be computed: a head is a whole number of packs, at most one a lane."""
        V = PACK_BYTES // dtype.itemsize
        return dtype.name in CPP_TYPES and head_dim % V == 0 and head_dim <= 32 * V

    @staticmethod
    def embed(backend: Any, tokens: Array, positions: Array, length: Array, ids: Array, x: Array) -> None:
        """``x = tokens[ids] + positions[length]``; ids (B,) must be in range, length (1,) below the positions."""
        rows, width = x.shape
        V = pack(width, tokens, positions, x)
        arguments = (tokens, positions, length, ids, x, width)
        backend.launch(FAMILY, "embed_token", rows, threads(width, V), *arguments, T=x.dtype, V=V)

    @staticmethod
    def attention(backend: Any, qkv: Array, keys: Array, values: Array, length: Array, y: Array) -> None:
        """Put a token's key and value at place ``length`` of the cache, and what its query finds there into y.

        Shape: qkv (B, 3 H D), keys and values (B, H, capacity, D), length (1,) below the capacity, y (B, H D); all of
        them begin at multiples of 16 bytes.
        """
        B, H, capacity, D = keys.shape
        V = PACK_BYTES // y.dtype.itemsize
        if pack(D, qkv, keys, values, y) != V:
            raise ValueError("decode: expected arrays that begin at multiples of 16 bytes")
        lanes = 1 << (D // V - 1).bit_length()
        block = 512 if B * H <= FEW_BLOCKS else 256
        arguments = (qkv, keys, values, length, y, H, capacity, D, lanes, D**-0.5)
        backend.launch(FAMILY, "decode_attention", B * H, block, *arguments, T=y.dtype, V=V)

    norm = staticmethod(LayerNorm.into)

    @staticmethod
    def linear(backend: Any, x: Array, w: Array, b: Array | None, out: Array, add: bool = False) -> None:
        """``out = x w^T + b``, or that much more than ``out`` holds."""
        if _finished(backend, x, w, out, Finish(b), add):
            return
        if add:
            y = backend.matmul(x, w.T)
            out += y if b is None else y + b
        else:
            backend.matmul(x, w.T, out=out)
            if b is not None:
                out += b

    @staticmethod
    def gelu(backend: Any, x: Array, w: Array, b: Array | None, h: Array, approximate: str) -> None:
        """``h = gelu(x w^T + b)``."""
        if approximate == "tanh" and _finished(backend, x, w, h, Finish(b, gelu=True)):
            return
        Decode.linear(backend, x, w, b, h)
        name, V = "gelu_tanh_forward" if approximate == "tanh" else "gelu_forward", pack(h.size, h)
        backend.launch("activation", name, -(-h.size // (V * FLAT_BLOCK)), FLAT_BLOCK, h, h, h.size, T=h.dtype, V=V)


def _finished(backend: Any, x: Array, w: Array, out: Array, finish: Finish, add: bool = False) -> bool:
    """Compute a layer as one product, if cuBLASLt offers it; it finishes nothing of float64."""
    if backend.gemm is None or x.dtype == np.float64 or not backend.gemm.takes(x, w, out):
        return False
    try:
        backend.gemm(x, w.T, out, finish=finish, accumulate=add)
    except NotOffered:
        return False
    return True
