"""Checks of answers: the smallest failing input is named, the reasons are told apart, and nothing counts as checked
that was not run.
"""

from __future__ import annotations

import itertools
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minillm.testing.properties import Check, check, checks_of, run_check, st


@check("the double is even", "times 2", n=st.integers(0, 1000))
def doubles(answer: Any, n: int) -> None:
    """A property to try."""
    if answer.double(n) != 2 * n:  # pytest would add to the message of an assert
        raise AssertionError(f"got {answer.double(n)}")


@check("the double of 1 is 2", "once")
def one(answer: Any) -> None:
    """A known number."""
    assert answer.double(1) == 2


def double(how: Any) -> SimpleNamespace:
    return SimpleNamespace(double=how)


def test_a_right_answer_passes_on_many_inputs() -> None:
    right = double(lambda n: 2 * n)
    assert run_check(doubles, right, max_examples=7).examples == 7
    assert run_check(doubles, right).passed and run_check(one, right).passed
    assert (run_check(one, right).examples, run_check(doubles, right).failing) == (1, "")


def test_the_smallest_failing_input_is_named() -> None:
    found = run_check(doubles, double(lambda n: 2 * n + (n >= 17)))
    assert not found.passed
    assert (found.failing, found.error, found.hint) == ("n=17", "AssertionError: got 35", "times 2")
    assert run_check(doubles, double(lambda n: 2 * n + (n >= 17))) == found  # the same each time


def unwritten(n: int) -> int:
    raise NotImplementedError("double")


def leaving(n: int) -> int:
    raise SystemExit


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (unwritten, "not written yet: double"),
        (lambda n: n / 0, "ZeroDivisionError: division by zero"),
        (lambda n: {}[n], "KeyError: 0"),
        (lambda n, m: 0, "TypeError"),
        (leaving, "SystemExit"),
    ],
)
def test_reasons_are_told(how: Any, error: str) -> None:
    found = run_check(doubles, double(how))
    assert not found.passed and found.error.startswith(error)
    assert (found.failing == "") is (how is unwritten)


def test_an_answer_that_changes_its_mind_is_told_so() -> None:
    count = itertools.count()
    found = run_check(doubles, double(lambda n: 2 * n + (next(count) == 3)))
    assert found.error == "the same input gives another result the second time"


def test_a_check_without_inputs_that_fit_is_no_success() -> None:
    never = Check("never", "", lambda answer, n: None, {"n": st.integers().filter(lambda n: False)})
    found = run_check(never, double(None))
    assert found.examples == 0 and not found.passed


def test_long_and_many_numbers_are_shortened() -> None:
    long = Check(
        "long", "", lambda answer, x: answer.double(x), {"x": st.just(np.zeros(1000)), "y": st.just("a" * 999)}
    )
    found = run_check(long, double(None))
    assert len(found.failing) < 800 and "(1001 characters)" in found.failing


def test_checks_come_in_the_order_of_the_file() -> None:
    module = ModuleType("m")
    module.__dict__.update(b=doubles, a=one, c=3)
    assert checks_of(module) == [doubles, one]
