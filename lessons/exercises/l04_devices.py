"""Exercises of lesson 04: functions that run on any device. ``minillm check 04`` says how far you are.

``xp`` is the array library: NumPy, CuPy, or the strict stand-in of the lesson. The arrays given are arrays of that
library, and so is what you return, with the same type of numbers. Do not import NumPy. Each function has a
specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

from typing import Any


def standardize(xp: Any, x: Any, eps: float) -> Any:
    """Return (x - mean) / sqrt(variance + eps), with mean and variance of each row (the last axis).

    The variance is the mean of the squared distances from the mean. x has at least one axis.
    """
    # Hint 1: x.mean(axis=-1, keepdims=True) is an array over there; keepdims lets it broadcast against x.
    # Hint 2: math.sqrt would ask for a number, np.sqrt belongs to NumPy; xp.sqrt is right.
    raise NotImplementedError("standardize")


def one_hot(xp: Any, ids: Any, classes: int, dtype: Any) -> Any:
    """Return, for ids of any shape, rows of zeros with a 1 at the id: shape (*ids.shape, classes), of a type."""
    # Hint 1: no loop over the ids: each turn would ask for a number.
    # Hint 2: compare every id with 0, 1, ..., classes - 1, which xp.arange makes over there.
    # Hint 3: ids[..., None] has one more axis, of length 1; .astype(dtype) turns claims into numbers.
    raise NotImplementedError("one_hot")


def shorten(xp: Any, g: Any, longest: float) -> Any:
    """Return g times min(1, longest / length), without a way home; the length is the root of the sum of squares.

    An array of zeros stays as it is. The type of the numbers is kept.
    """
    # Hint 1: no `if`: xp.minimum and xp.maximum choose over there.
    # Hint 2: longest / max(length, longest) is at most 1, and defined for a length of 0 too.
    # Hint 3: xp.maximum(length, longest) compares an array with a Python number, which takes the array's type.
    raise NotImplementedError("shorten")


def all_finite(xp: Any, arrays: list[Any]) -> bool:
    """Return True if there is neither inf nor NaN in any of the arrays; there is at least one. One way home in all."""
    # Hint 1: bool(...) of an array over there is a way home; `and` and Python's all() ask for one each.
    # Hint 2: collect one claim for each array over there, join them with &, and ask at the end.
    raise NotImplementedError("all_finite")
