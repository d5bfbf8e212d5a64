"""Exercises of lesson 09: a table of vectors, its gradient, and neighbours. ``minillm check 09`` says how far you are.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

import numpy as np


def one_hot(ids: np.ndarray, v: int) -> np.ndarray:
    """Return for each id a row of v numbers: 1.0 in the place of the id, 0.0 everywhere else.

    Args:
        ids: whole numbers from 0 to v - 1, of any shape.
        v: how many words there are.

    Returns:
        An array of the shape of the ids with one more axis, of v, at the end.
    """
    # Hint 1: ids[..., None] has one more axis at the end, of length 1.
    # Hint 2: compared with np.arange(v) it gives truth values of the right shape; astype(float) makes numbers of them.
    raise NotImplementedError("one_hot")


def embedding_backward(ids: np.ndarray, dx: np.ndarray, v: int) -> np.ndarray:
    """Return the gradient of a table of v rows, from which the rows ``ids`` were taken.

    Row i is the sum of all dx at the places where the id is i, and 0 if there is none. It equals the product of the
    transposed one-hot rows with dx, but do not make one-hot rows: with V = 50,000 words they would be mostly zeros.

    Args:
        ids: whole numbers from 0 to v - 1, of any shape; often some are equal.
        dx: the gradient of what was looked up: the shape of the ids, and d at the end.
        v: rows of the table.

    Returns:
        (v, d).
    """
    # Hint 1: begin with zeros, and go through the places: table[ids[t]] += dx[t]. A loop is a right answer.
    # Hint 2: table[ids] += dx for all places at once keeps only the last of equal ids; look up np.add.at.
    # Hint 3: ids of several axes: ids.reshape(-1) and dx.reshape(-1, d), or let np.add.at do it.
    raise NotImplementedError("embedding_backward")


def nearest(table: np.ndarray, id: int, n: int) -> list[int]:
    """Return the n ids whose rows are most similar to row ``id``, the most similar first; never the id itself.

    Similar is what points the same way: the cosine of the angle, $a \\cdot b / (|a| |b|)$. Of equally similar rows the
    smaller id comes first.

    Args:
        table: (V, d); no row is all zeros.
        id: a row of the table.
        n: at most V - 1.
    """
    # Hint 1: divide every row by its length first; then the cosine is a dot product, and one product gives all.
    # Hint 2: np.argsort sorts upwards: sort what is negative. kind="stable" leaves equal ones in their order.
    # Hint 3: the row itself has the cosine 1, but it need not be alone with that: remove the id, not the first place.
    raise NotImplementedError("nearest")
