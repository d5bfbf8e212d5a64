"""Solutions of lesson 15."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pad_right(rows: Sequence[Sequence[int]], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (B, T), filled up on the right, and the mask of what is text."""
    shape = len(rows), max(map(len, rows))
    ids, mask = np.full(shape, fill), np.zeros(shape, dtype=bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask


def mean_pool(h: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean over the text of each row, (B, C)."""
    weight = mask[:, :, None]
    return (h * weight).sum(axis=1) / weight.sum(axis=1)


def last_pool(h: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the state of the last token of each row, (B, C)."""
    places = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return h[np.arange(len(h)), places]
