"""Checks of somebody's answer to an exercise: properties that hold for every input, each with a hint.

A check is a function of the answer (a module) and of inputs that hypothesis draws. It fails by raising, and the
smallest input for which it does is reported. Import this module by its name; it needs the package hypothesis
(``pip install minillm[test]``).
"""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

__all__ = ["Check", "Outcome", "TooLong", "check", "checks_of", "run_check", "st", "time_limit"]

EXAMPLES = 60  # why: a tenth of a second for most checks; every seeded mistake of the course is found with 20


@dataclass(frozen=True)
class Check:
    """A property of an answer.

    Attributes:
        name: the property, as a sentence.
        hint: what to look at when it fails.
        function: takes the answer, and the inputs by name; raises where the property does not hold.
        inputs: a strategy for each input; none for a known number.
    """

    name: str
    hint: str
    function: Callable[..., Any]
    inputs: dict[str, st.SearchStrategy]


@dataclass(frozen=True)
class Outcome:
    """What became of a check.

    Attributes:
        name: of the check.
        examples: on so many inputs it was run.
        error: what went wrong; empty if nothing did.
        failing: the smallest input found for which it goes wrong.
        hint: of the check.
    """

    name: str
    examples: int
    error: str
    failing: str
    hint: str

    @property
    def passed(self) -> bool:
        """Whether it was run and nothing went wrong."""
        return self.examples > 0 and not self.error


def check(name: str, hint: str, **inputs: st.SearchStrategy) -> Callable[[Callable[..., Any]], Check]:
    """Make a check of a function; the decorator's arguments are those of ``Check``."""
    return lambda function: Check(name, hint, function, inputs)


def checks_of(module: ModuleType) -> list[Check]:
    """Return the checks that a module defines, in the order of the file."""
    return [thing for thing in vars(module).values() if isinstance(thing, Check)]


class TooLong(Exception):
    """Something took longer than it may."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what is done inside, as Ctrl-C would, if it takes longer; only in the main thread.

    Raises:
        TooLong: then.
    """
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    if threading.current_thread() is threading.main_thread():
        timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if late.is_set():
            raise TooLong(f"not done after {seconds:g} s; is there a loop that does not end?") from None
        raise
    finally:
        timer.cancel()


def run_check(check: Check, answer: Any, max_examples: int = EXAMPLES, seconds: float = 120.0) -> Outcome:
    """Run a check on an answer; the same inputs each time.

    Args:
        check: the property.
        answer: the module that is checked.
        max_examples: how many inputs to try; a check without inputs is run once.
        seconds: after so many the check has failed (see ``time_limit``).
    """
    examples, last, error = 0, "", ""

    def body(**values: Any) -> None:
        nonlocal examples, last
        examples += 1
        last = ", ".join(f"{name}={_shown(value)}" for name, value in values.items())
        check.function(answer, **values)

    run: Callable[[], Any] = body
    if check.inputs:
        quiet = settings(
            max_examples=max_examples,
            deadline=None,  # a slow computer is no mistake
            database=None,  # nothing is left in the learner's folder
            derandomize=True,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        run = quiet(given(**check.inputs)(body))
    try:
        with time_limit(seconds):
            run()
    except TooLong as found:
        error = str(found)
    except NotImplementedError as found:
        # No input is to blame, and what would help now are the hints in the file.
        return Outcome(check.name, examples, f"not written yet: {found}" if str(found) else "not written yet", "", "")
    except Flaky:
        error = "the same input gives another result the second time"
    except (Exception, SystemExit) as found:  # an answer may go wrong in any way
        # hypothesis runs the smallest failing input last, so `last` is that one.
        error = f"{type(found).__name__}: {found}" if str(found) else type(found).__name__
    return Outcome(check.name, examples, error, last if error else "", check.hint)


def _shown(value: Any, width: int = 300) -> str:
    """A value as text, not longer than a few lines."""
    text = np.array2string(value, separator=", ", precision=4) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"
