"""The CPU: NumPy."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import math
import os
import sys
import warnings
from typing import Any

import numpy as np

from minillm.backend.base import Array, Backend
from minillm.backend.device import device
from minillm.backend.threads import let_blas_sleep


class NumPyBackend(Backend):
    """Arrays in main memory, computed by NumPy: the reference for every other backend.

    Attributes:
        compiled_from: elements from which compiled row kernels take over. For fewer, loading them does not pay.
    """

    compiled_from = 1 << 12

    def __init__(self) -> None:
        self.xp = np
        self.array_type = np.ndarray
        self.device = device("cpu")
        self.compiles = os.environ.get("MINILLM_NUMBA") != "0" and importlib.util.find_spec("numba") is not None
        _keep_freed_memory()
        let_blas_sleep()

    def compiled(self, name: str, *arrays: Array) -> Any:
        """Return a row kernel that Numba compiled, if the extra ``fast`` is installed and the arrays suit it.

        They must be contiguous float32, the first of them large. ``MINILLM_NUMBA=0`` leaves everything to NumPy.
        """
        if not self.compiles or arrays[0].size < self.compiled_from:
            return None
        if not all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays):
            return None
        try:
            kernels = importlib.import_module("minillm.backend.compiled")  # late: importing Numba takes half a second
        except ImportError as error:  # a Numba that does not know this NumPy yet, for example
            self.compiles = False
            warnings.warn(f"Numba is installed but cannot be used, NumPy computes alone: {error}", stacklevel=2)
            return None
        return getattr(kernels, name)

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        """``x`` where the condition holds, ``y`` elsewhere, for large arrays of floats by their bits.

        NumPy decides at every element, and a processor that cannot foresee the decision waits: half a million of a
        million chosen at random, 3.8 ms; by bits 0.6, and 0.2 where the others are 0.
        """
        given = [a for a in (x, y) if isinstance(a, np.ndarray) and a.ndim]
        like = given[0] if given else condition
        fits = like.dtype.kind == "f" and like.size >= BY_BITS and condition.dtype == bool
        if not fits or any(a.shape != like.shape or not a.flags.c_contiguous for a in (*given, condition)):
            return np.where(condition, x, y)
        if any(a.dtype != like.dtype for a in (x, y) if isinstance(a, (np.ndarray, np.generic))):
            return np.where(condition, x, y)  # which finds their common type
        kind = np.dtype(f"i{like.dtype.itemsize}")
        x, y = (np.asarray(a, dtype=like.dtype).view(kind) for a in (x, y))
        bits = np.negative(condition.view(np.int8)).astype(kind)  # all of them where the condition holds, else none
        if not x.ndim and x == 0:
            np.invert(bits, out=bits)
            bits &= y
        else:
            bits &= x if not y.ndim and y == 0 else x ^ y
            bits ^= y
        return bits.view(like.dtype)

    def embedding_grad(self, ids: Array, dy: Array, num_embeddings: int, total: Array | None = None) -> Array:
        """Sum the rows of ``dy`` by id; see ``Backend.embedding_grad``."""
        n = len(ids)
        if dy.dtype.itemsize == 2:  # added up in float32 and rounded once
            sums = self.embedding_grad(ids, dy.astype(np.float32), num_embeddings)
            if total is None:
                return sums.astype(dy.dtype)
            total += sums
            return total
        dw = np.zeros((num_embeddings, dy.shape[1]), dtype=dy.dtype) if total is None else total
        if n == 0 or not num_embeddings:
            return dw
        if num_embeddings <= 256 and n >= 256:
            # A product with one-hot rows is the fastest way for small tables: 0.6 ms against 1.2 for sorting
            # and 5.3 for np.add.at (2048 rows of 384, table of 65).
            one_hot = np.zeros((num_embeddings, n), dtype=dy.dtype)
            one_hot[ids, np.arange(n)] = 1
            dw += one_hot @ dy
            return dw
        _add_rows(dw, ids, dy)
        return dw

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """Add ``values`` to ``target[index]`` in place; see ``Backend.scatter_add``."""
        if target.dtype.itemsize == 2:  # comes back in float32
            super().scatter_add(target, index, values)
            return
        parts = index if isinstance(index, tuple) else (index,)
        dim, ids = len(parts) - 1, parts[-1]
        of_rows = isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu"
        if of_rows and all(isinstance(p, slice) and p == slice(None) for p in parts[:-1]):
            rows = np.moveaxis(target, dim, 0)
            if math.prod(rows.shape[1:]) >= WIDE_ROW:
                shape = (*target.shape[:dim], len(ids), *target.shape[dim + 1 :])
                _add_rows(rows, ids, np.moveaxis(np.broadcast_to(values, shape), dim, 0))
                return
        integers = all(isinstance(p, np.ndarray) and p.dtype.kind in "iu" for p in parts)
        if integers and len(parts) == target.ndim > 1 and target.flags.c_contiguous:
            # One number for a place, instead of one an axis: NumPy has a short way for that.
            places = np.zeros((), dtype=np.intp)
            for p, n in zip(parts, target.shape):
                places = places * n + from_front(p, n)
            np.add.at(target.reshape(-1), places.reshape(-1), np.broadcast_to(values, places.shape).reshape(-1))
            return
        np.add.at(target, index, values)


BY_BITS = 1 << 14
"""Elements from which ``where`` works on bits: with fewer it is not faster."""

WIDE_ROW = 16
"""Elements of a row from which it pays to look for equal rows first."""

OFTEN = 8
"""Uses of one row above which they are added up by a product."""


def from_front(places: np.ndarray, n: int) -> np.ndarray:
    """Return places of an axis of length n counted from its front; negative ones count from its end."""
    places = places.astype(np.intp, copy=False)  # n may be more than their own type holds
    return np.where(places < 0, places + n, places)


def _add_rows(target: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """``target[ids[k]] += rows[k]`` for all k, equal ids in their order.

    ``+=`` with an index adds once where an id stands several times, so the first uses of all ids are added, then the
    second ones, and so on. Gradients of 4096 tokens of GPT-2's table (50,257 x 768, few words make up most of a text):
    18 ms, by np.add.reduceat 41, by np.add.at 51; of 4096 rows of 256, drawn evenly: 1.8, 15 and 9 ms.
    """
    n = len(ids)
    if not n:
        return
    ids = from_front(ids, len(target))
    order = np.argsort(ids, kind="stable")
    first = np.ones(n, dtype=bool)
    first[1:] = ids[order[1:]] != ids[order[:-1]]
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=n)
    often = counts > OFTEN
    group = np.cumsum(first) - 1
    use = np.where(often[group], n, np.arange(n) - starts[group])  # 0 for the first use of an id
    for k in range(min(OFTEN, counts.max())):
        chosen = order[use == k]
        target[ids[chosen]] += rows[chosen]
    for start, count in zip(starts[often], counts[often]):
        several = rows[order[start : start + count]]
        total = np.ones(count, dtype=several.dtype) @ several.reshape(count, -1)
        target[ids[order[start]]] += total.reshape(several.shape[1:])


def _keep_freed_memory() -> None:
    """Ask glibc to keep large freed blocks instead of giving them back to the system.

    A training step allocates and frees the same large arrays again and again; without this every one of them costs
    page faults (a small GPT's step: 21 ms instead of 15). Set MINILLM_MALLOPT=0 to leave the allocator alone.
    """
    if not sys.platform.startswith("linux") or os.environ.get("MINILLM_MALLOPT") == "0":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl and others have no mallopt
        return
    m_trim_threshold, m_mmap_threshold, one_gib = -1, -3, 1 << 30
    mallopt(m_mmap_threshold, one_gib)
    mallopt(m_trim_threshold, one_gib)
