"""Many arrays in one block of memory, so that one call can serve all of them.

A pass over the small arrays of a model costs more for the calls than for the numbers.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes: every array of a block begins on a cache line of its own; the gaps hold zeros."""


class Block:
    """Arrays of one element type, one after the other in a flat array.

    Args:
        shapes: of the arrays.
        dtype: of all of them.
        memory: a writable buffer of ``Block.nbytes(shapes, dtype)`` bytes; ``None`` takes new memory of zeros, from the
            system and not from the heap: what lives as long as a model would leave the heap in pieces too small for the
            arrays of a step.

    Attributes:
        flat: all of it.
        arrays: the views.

    >>> block = Block([(2, 3), (4,)], np.dtype("float32"))
    >>> block.arrays[1][...] = 7
    >>> float(block.stretch(1, 2).sum()), block.flat.size
    (28.0, 32)
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: np.dtype, memory: Any = None) -> None:
        self._starts = _starts(shapes, dtype)
        if memory is None:
            memory = mmap.mmap(-1, max(1, self._starts[-1] * dtype.itemsize))
        self.flat = flat = np.frombuffer(memory, dtype, self._starts[-1])
        self.arrays = []
        for shape, start in zip(shapes, self._starts):
            # Each from a flat array of its own: views with one base in common would count as views of each other.
            part = np.frombuffer(flat, dtype, math.prod(shape), start * dtype.itemsize)
            self.arrays.append(part.reshape(shape))

    @staticmethod
    def nbytes(shapes: Sequence[tuple[int, ...]], dtype: np.dtype) -> int:
        """Return how much memory a block takes."""
        return _starts(shapes, dtype)[-1] * dtype.itemsize

    def holds(self, arrays: Sequence[Any]) -> bool:
        """Tell whether these are the arrays of this block, all of them and in its order."""
        return len(arrays) == len(self.arrays) and all(a is b for a, b in zip(arrays, self.arrays))

    def stretch(self, first: int, end: int) -> np.ndarray:
        """Return arrays ``first`` to ``end - 1`` as one flat view, the gaps between them included."""
        return self.flat[self._starts[first] : self._starts[end]]


def _starts(shapes: Sequence[tuple[int, ...]], dtype: np.dtype) -> list[int]:
    step, starts = ALIGNMENT // dtype.itemsize, [0]
    for shape in shapes:
        starts.append(starts[-1] + -(-math.prod(shape) // step) * step)
    return starts
