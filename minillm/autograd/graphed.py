"""Steps that a card repeats as a whole instead of being given each launch by Python; see ``minillm.cuda.graphed``."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from minillm.autograd.function import Variable, wrap
from minillm.autograd.modes import modes
from minillm.backend import Array, backend_of
from minillm.backend.device import matmul_settings

MOST_KINDS = 4
"""Kinds of calls that are recorded: each holds memory of its own."""


class _Kind:
    """Calls of one kind: the same shapes and types, the same arrays of parameters."""

    def __init__(self, parameters: Sequence[Variable]) -> None:
        self.calls = 0
        self.recording: Any = None
        self.ready = self.failed = False
        # Trap: another array could get the address, and so the id, of one that is gone.
        self.kept = [p.array for p in parameters]

    def record(self, function: Callable[..., Any], inputs: Sequence[Variable], parameters: Sequence[Variable]) -> None:
        """Record a call, in which every parameter starts without a gradient."""
        before = [p._grad for p in parameters]
        with self.recording.apart():
            self.inputs = [x.array.copy(order="C") for x in inputs]
        for p in parameters:
            p._grad = None
        try:
            made = self.recording.record(lambda: function(*map(wrap, self.inputs)), self.inputs)
            self.single = isinstance(made, Variable)
            self.results: list[Array] = [y.array for y in ([made] if self.single else made)]
            self.gradients: list[Array | None] = [None if p._grad is None else p._grad.array for p in parameters]
            self.ready = True
        finally:
            for p, grad in zip(parameters, before, strict=True):
                p._grad = grad

    def repeat(self, inputs: Sequence[Variable], parameters: Sequence[Variable]) -> Any:
        """Let the card do it for other inputs."""
        for i, check in self.recording.checks:
            check(inputs[i].array)
        for place, x in zip(self.inputs, inputs, strict=True):
            place[...] = x.array
        for p, dw in zip(parameters, self.gradients, strict=True):
            if p._grad is not None and p._grad.array is dw:  # of the last time, to which will be added
                p._grad = wrap(dw.copy())
        self.recording.repeat()
        for p, dw in zip(parameters, self.gradients, strict=True):
            if dw is None:
                continue
            if p._grad is None:
                p._grad = wrap(dw)
            else:
                p._grad.array += dw
                p._grad._version[0] += 1
        results = [wrap(y.copy()) for y in self.results]  # the next time writes over them
        return results[0] if self.single else tuple(results)


class Graphed:
    """What ``minillm.cuda.graphed`` returns."""

    def __init__(self, function: Callable[..., Any], parameters: Sequence[Variable]) -> None:
        self.function, self.parameters = function, list(parameters)
        self._kinds: dict[Hashable, _Kind] = {}

    def __call__(self, *inputs: Variable) -> Any:
        around = modes.autocast
        if around is None:
            return self._call(inputs, None)
        # Trap: a weight that was cast before is no part of a recording, which would go on with what it was then.
        modes.autocast = around.anew()
        try:
            return self._call(inputs, (around.device_type, around.dtype))
        finally:
            modes.autocast = around

    def _call(self, inputs: Sequence[Variable], casting: Hashable) -> Any:
        if any(x.requires_grad for x in inputs):
            raise ValueError("graphed: expected inputs that need no gradient; name parameters when it is made")
        arrays = [x.array for x in inputs]
        backend = backend_of(arrays[0])
        # What a recording holds on to: where parameters lie, and what is asked of them.
        state = tuple((id(p.array), p.requires_grad) for p in self.parameters)
        settings = casting, modes.grad_enabled, modes.anomaly, matmul_settings.allow_tf32
        key = (*((a.shape, a.dtype) for a in arrays), state, settings)
        kind = self._kinds.pop(key, None)
        if kind is None:
            kind = _Kind(self.parameters)
            if len(self._kinds) == MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
        self._kinds[key] = kind  # the latest comes last
        kind.calls += 1
        if modes.anomaly or kind.failed or kind.calls == 1:  # kernels are compiled, algorithms found
            return self.function(*inputs)
        if kind.recording is None:
            kind.recording = backend.start_recording()
            kind.failed = kind.recording is None
            if not kind.failed:
                backend.empty_cache()  # what a step needed without a recording it will not need again
            with contextlib.nullcontext() if kind.failed else kind.recording.apart():  # memory is taken
                return self.function(*inputs)
        if not kind.ready:
            try:
                kind.record(self.function, inputs, self.parameters)
            except Exception as error:  # what cannot be recorded says so in many ways
                kind.failed, kind.recording = True, None
                warnings.warn(f"graphed: not recorded, each launch is made by itself: {error}", stacklevel=3)
                return self.function(*inputs)
        return kind.repeat(inputs, self.parameters)
