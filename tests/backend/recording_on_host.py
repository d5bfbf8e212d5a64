"""A recording on the stand-in for CuPy: the function is called again, and what it makes is put where a card would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minillm.autograd import Variable, modes
from minillm.backend.cuda.graph import MOST_SEEDS, Recording, draw_seed
from tests.standin import DeviceArray, to_host


class HostRecording(Recording):
    """See above.

    Args:
        backend: that of the stand-in.
        parameters: whose gradients are part of what is made.
    """

    def __init__(self, backend: Any, parameters: Sequence[Variable]) -> None:
        self._backend, self._parameters, self._constants = backend, parameters, []
        self._seeds, self._drawn, self.inputs, self.checks = DeviceArray(np.zeros(MOST_SEEDS, np.uint64)), 0, (), []

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        yield

    def record(self, function: Callable[[], Any], inputs: Sequence[Any] = ()) -> Any:
        self.inputs, self._function = inputs, function
        results = self._run()
        self._made = self._arrays(results)
        for array in self._made:
            array[...] = np.nan  # nothing is computed yet
        return results

    def _run(self) -> Any:
        self._backend.recording, waited = self, to_host["count"]
        try:
            results = self._function()
        finally:
            self._backend.recording = None
        if to_host["count"] > waited:
            raise RuntimeError("operation not permitted when stream is capturing")
        return results

    def _arrays(self, results: Any) -> list[Any]:
        given = [results] if isinstance(results, Variable) else results
        return [t.array for t in (*given, *(p._grad for p in self._parameters if p._grad is not None))]

    def repeat(self) -> None:
        seeds = [draw_seed() for _ in range(self._drawn)]
        self._seeds._array[: len(seeds)] = seeds
        self._drawn, noted, before = 0, self.checks, [p._grad for p in self._parameters]
        around = modes.autocast
        modes.autocast = around and around.anew()  # as when it was recorded
        self.checks = []
        for p in self._parameters:
            p._grad = None
        for place, array in zip(self._made, self._arrays(self._run()), strict=True):
            place[...] = array
        self.checks, modes.autocast = noted, around
        for p, grad in zip(self._parameters, before, strict=True):
            p._grad = grad

    def constant(self, array: np.ndarray) -> Any:
        return self._backend.xp.asarray(array)
