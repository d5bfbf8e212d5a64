"""Exercises of lesson 15. Write the three functions, and run ``minillm check 15`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pad_right(rows: Sequence[Sequence[int]], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Return texts of different lengths as one array of ids (B, T), and a mask (B, T).

    T is the length of the longest text. Shorter ones are filled up on the right with ``fill``. The mask is True where
    there is text; an id of the text that happens to equal ``fill`` is text too.

    Args:
        rows: at least one; none of them is empty.
        fill: any id.
    """
    # Hint 1: start with an array of B rows that holds nothing but fill, and a mask of nothing but False.
    # Hint 2: np.full((B, T), fill) and np.zeros((B, T), dtype=bool); then write each text over the front of its row.
    # Hint 3: ids != fill is not the mask: it is wrong for a text that contains fill.
    raise NotImplementedError("pad_right")


def mean_pool(h: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean of the hidden states of each text, (B, C), leaving filled positions out.

    Args:
        h: hidden states, (B, T, C); at filled positions any numbers may stand.
        mask: True where there is text, (B, T); every row has one True or more, at any places.
    """
    # Hint 1: for one text it is h[i][mask[i]].mean(axis=0).
    # Hint 2: for all at once, give the mask a third axis, mask[:, :, None], multiply, and sum over T.
    # Hint 3: the divisor is the number of True in each row, (B, 1), not T.
    raise NotImplementedError("mean_pool")


def last_pool(h: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the hidden state of the last token of each text, (B, C).

    Args:
        h: hidden states, (B, T, C); at filled positions any numbers may stand.
        mask: True where there is text, (B, T); every row has one True or more, at any places.
    """
    # Hint 1: it is h[:, -1] only for texts that fill their row.
    # Hint 2: the place of the last True in a row of the mask: the first True of the row read backwards, by argmax.
    # Hint 3: h[np.arange(B), places] takes one place from each row.
    raise NotImplementedError("last_pool")
