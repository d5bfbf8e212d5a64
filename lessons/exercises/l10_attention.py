"""Exercises of lesson 10: attention with its mask and its heads. ``minillm check 10`` says how far you are.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
Everything is NumPy: arrays in, arrays out.
"""

from __future__ import annotations

import numpy as np


def causal_mask(t: int, s: int) -> np.ndarray:
    """Return who may look at whom: a bool array (t, s), true where a query may see a key.

    There are s positions, and the t queries belong to the *last* t of them (t is at most s). Usually t = s, and query
    i sees keys 0 to i. While a text is written, the first s - t positions have been read before, and only the new ones
    ask: a single new position, t = 1, sees everything.
    """
    # Hint 1: query i stands at position s - t + i.
    # Hint 2: it sees all keys j with j <= s - t + i, itself included.
    # Hint 3: np.arange(s)[None, :] and np.arange(s - t, s)[:, None] can be compared with each other.
    raise NotImplementedError("causal_mask")


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return softmax(q k^T / sqrt(D)) v, where a key that the mask hides has weight 0 and takes no part in the sum.

    Scores may be as large as a thousand; nothing may overflow. A query that may see no key at all gets zeros.

    Args:
        q: (..., T, D).
        k: (..., S, D).
        v: (..., S, E).
        mask: bool, (T, S); true where the key is seen.

    Returns:
        (..., T, E).
    """
    # Hint 1: k.swapaxes(-1, -2) transposes the last two axes, whatever stands before them; D is q.shape[-1].
    # Hint 2: set hidden scores to -np.inf *before* the softmax: np.where(mask, scores, -np.inf). Setting weights to 0
    #         after it leaves rows that do not sum to 1.
    # Hint 3: take the largest score of each row away before np.exp. Softmax is over the keys, the last axis.
    # Hint 4: in a row with no visible key the largest is -inf, and -inf - -inf is NaN: use 0 there. The sum of such a
    #         row is 0: divide by 1 there.
    raise NotImplementedError("attention")


def split_heads(x: np.ndarray, n_head: int) -> np.ndarray:
    """Return (B, T, C) as (B, H, T, D) with D = C / H: head h gets numbers h D to (h + 1) D of every position."""
    # Hint 1: two steps: cut C into (H, D), then let the heads and the positions change places.
    # Hint 2: x.reshape(B, T, H, D), then .transpose(0, 2, 1, 3). One reshape to (B, H, T, D) mixes positions and heads.
    raise NotImplementedError("split_heads")


def join_heads(x: np.ndarray) -> np.ndarray:
    """Return (B, H, T, D) as (B, T, H D): undo what split_heads did."""
    # Hint 1: the same two steps, backwards: first the places are changed, then H and D become one axis.
    raise NotImplementedError("join_heads")
