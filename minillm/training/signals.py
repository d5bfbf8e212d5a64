"""Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed: a run finishes its step and saves before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Interrupted", "StopSignals", "ending_signals"]


def ending_signals() -> list[int]:
    """Return the signals beside Ctrl-C's that ask a program to end; one that nohup holds off is not among them."""
    known = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM or SIGHUP) and has been saved; ``signal`` says by which."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}")
        self.signal = signal_number


class StopSignals:
    """Inside, the first Ctrl-C, SIGTERM or SIGHUP calls ``note`` with its number; the second Ctrl-C ends at once."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self._tell = note
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, *ending_signals()):
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self._tell(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
