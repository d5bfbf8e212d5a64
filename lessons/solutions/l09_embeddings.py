"""Solutions of lesson 09."""

from __future__ import annotations

import numpy as np


def one_hot(ids: np.ndarray, v: int) -> np.ndarray:
    """Return for each id a row of v numbers: 1 in its place, 0 elsewhere."""
    return (np.asarray(ids)[..., None] == np.arange(v)).astype(float)


def embedding_backward(ids: np.ndarray, dx: np.ndarray, v: int) -> np.ndarray:
    """Return the gradient of the table: for each word the sum over the places where it stood."""
    table = np.zeros((v, dx.shape[-1]))
    np.add.at(table, ids, dx)
    return table


def nearest(table: np.ndarray, id: int, n: int) -> list[int]:
    """Return the n ids whose rows have the largest cosine with row id."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[id]), kind="stable").tolist()
    return [other for other in order if other != id][:n]
