"""A model's weights and gradients in one block of memory each, while it is trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.backend.layout import Block
from minillm.training.processes import SharedBlock, in_order


class Blocks:
    """The parameters of a model as views of one block, and places for their gradients in another.

    Attributes:
        weights, gradients: the blocks; the weights can be seen by other processes, except on Windows.
    """

    def __init__(self, parameters: Sequence[Any]) -> None:
        self.parameters = parameters
        shapes, dtype = [p.array.shape for p in parameters], parameters[0].array.dtype
        try:
            self.weights = Block(shapes, dtype) if sys.platform == "win32" else SharedBlock(parameters)
        except OSError:  # a limit on the size of files holds for shared memory, too
            self.weights = Block(shapes, dtype)
        self.gradients = Block(shapes, dtype)
        self._index = {id(p): i for i, p in enumerate(parameters)}
        for p, place in zip(parameters, self.gradients.arrays, strict=True):
            p._grad_place = place
        self.gather()

    @classmethod
    def of(cls, model: Any) -> Blocks | None:
        """Return the blocks of a model, or ``None`` if its parameters are not of one type and on the CPU."""
        parameters = in_order(model)
        if not parameters or {type(p.array) for p in parameters} != {np.ndarray}:
            return None
        return cls(parameters) if len({p.array.dtype for p in parameters}) == 1 else None

    def gather(self) -> None:
        """Let the parameters be views of the block, also where somebody gave one another array since."""
        for p, array in zip(self.parameters, self.weights.arrays, strict=True):
            if p.array is not array:
                array[...] = p.array
                p.array = array

    def leave(self) -> None:
        """Give the parameters memory of their own again."""
        for p in self.parameters:
            p.array, p._grad_place = p.array.copy(), None
        if isinstance(self.weights, SharedBlock):
            self.weights.close()

    def stretch(self, parameters: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return weights and gradients of parameters as two flat arrays; ``None`` if they are not in the blocks."""
        first = self._index.get(id(parameters[0]), -1)
        for i, p in enumerate(parameters, first):
            if self._index.get(id(p)) != i or p.grad is None:
                return None
            if p.array is not self.weights.arrays[i] or p.grad.array is not self.gradients.arrays[i]:
                return None
        end = first + len(parameters)
        return self.weights.stretch(first, end), self.gradients.stretch(first, end)
