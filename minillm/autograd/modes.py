"""Switches of the engine, one set for each thread: recording, the search for NaNs, and what is cast for an op."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any


class Modes(threading.local):
    """Each thread has its own."""

    grad_enabled = True
    anomaly = False
    autocast: Any = None  # sees the inputs of every op first and may cast them; made by ``minillm.amp.autocast``


modes = Modes()


def is_grad_enabled() -> bool:
    """Tell whether ops record themselves for a backward pass in this thread."""
    return modes.grad_enabled


def is_anomaly_enabled() -> bool:
    """Tell whether results are searched for NaNs in this thread."""
    return modes.anomaly


class set_grad_enabled:
    """Switch recording on or off: as a call, a ``with`` block or a decorator. Leaving a block restores the old mode.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._before = [modes.grad_enabled]  # a stack: one object may be entered several times
        modes.grad_enabled = self._mode

    def __enter__(self) -> set_grad_enabled:
        modes.grad_enabled = self._mode
        return self

    def __exit__(self, *error: object) -> None:
        modes.grad_enabled = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        modes.grad_enabled = self._before.pop()
        return decorated(function, lambda: set_grad_enabled(self._mode))


class _Mode:
    """A block, or a decorator, inside which recording is on or off."""

    _mode: bool

    def __init__(self, function: Callable | None = None) -> None:
        self._before: list[bool] = []

    def __new__(cls, function: Callable | None = None) -> Any:
        made = super().__new__(cls)
        if function is not None:  # used as @no_grad without parentheses
            made.__init__()  # type: ignore[misc]
            return made(function)
        return made

    def __enter__(self) -> _Mode:
        self._before.append(modes.grad_enabled)
        modes.grad_enabled = self._mode
        return self

    def __exit__(self, *error: object) -> None:
        modes.grad_enabled = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        return decorated(function, type(self))


class no_grad(_Mode):
    """Inside, nothing is recorded: ``with no_grad(): ...`` or ``@no_grad()``. Thread-local.

    >>> with no_grad():
    ...     is_grad_enabled()
    False
    """

    _mode = False


class enable_grad(_Mode):
    """Inside, ops are recorded again, also within ``no_grad``."""

    _mode = True


class inference_mode(no_grad):
    """The same as ``no_grad`` here; PyTorch's name for the stricter form."""

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return no_grad(mode)
        return no_grad() if mode else set_grad_enabled(is_grad_enabled())


class AnomalyError(RuntimeError):
    """An op made a NaN inside ``detect_anomaly``."""


class detect_anomaly:
    """Inside, the first op that makes a NaN, forward or backward, is named with the line of the program that called it.

    Slow: every result is searched. A NaN in the *input* of an op is not held against the op.

    Raises:
        AnomalyError: a RuntimeError, from the op's call (forward) or from ``backward()``.
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> detect_anomaly:
        self._before.append(modes.anomaly)
        modes.anomaly = True
        return self

    def __exit__(self, *error: object) -> None:
        modes.anomaly = self._before.pop()


class set_autocast:
    """Inside, ``casting.inputs(op name, inputs)`` gives what an op gets; ``None`` leaves the inputs alone.

    ``casting.covers(array)`` tells whether it may change an array. Both are asked by ops and by ``Function.apply``.
    """

    def __init__(self, casting: Any) -> None:
        self._casting = casting
        self._before: list[Any] = []

    def __enter__(self) -> set_autocast:
        self._before.append(modes.autocast)
        modes.autocast = self._casting
        return self

    def __exit__(self, *error: object) -> None:
        modes.autocast = self._before.pop()


def decorated(function: Callable, make_block: Callable[[], Any]) -> Callable:
    """Return a function whose body, or whose every step if it is a generator, runs inside a block."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            source = function(*args, **kwargs)
            while True:
                with make_block():  # left while the caller holds an item, so the mode does not leak to it
                    try:
                        item = next(source)
                    except StopIteration as stop:
                        return stop.value
                yield item

        return generator

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with make_block():
            return function(*args, **kwargs)

    return call
