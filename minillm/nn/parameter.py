"""Parameter: a tensor that a Module counts among what is to be learned."""

from __future__ import annotations

from typing import Any

from minillm.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that registers itself when it becomes an attribute of a Module.

    Args:
        data: its numbers; memory is shared with the given tensor.
        requires_grad: whether it is to be learned.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        given = Tensor(()) if data is None else data if isinstance(data, Tensor) else Tensor(data)
        self.array = given.array
        self._version = given._version
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
