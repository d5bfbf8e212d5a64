"""Solutions of lesson 03."""

from __future__ import annotations

import numpy as np


def unbroadcast(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the places in which each number was used."""
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and dy.shape[i] != 1)
    return dy.sum(axis=repeated, keepdims=True)


def mul_backward(x: np.ndarray, y: np.ndarray, dz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx = dz y, dy = dz x, each summed to its shape."""
    return unbroadcast(dz * y, x.shape), unbroadcast(dz * x, y.shape)


def matmul_backward(a: np.ndarray, b: np.ndarray, dc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """da = dc b^T, db = a^T dc, each summed to its shape."""
    da = dc @ np.swapaxes(b, -1, -2)
    db = np.swapaxes(a, -1, -2) @ dc
    return unbroadcast(da, a.shape), unbroadcast(db, b.shape)


def logsumexp_backward(x: np.ndarray, axis: int, dy: np.ndarray) -> np.ndarray:
    """dx = dy softmax(x)."""
    shares = np.exp(x - x.max(axis=axis, keepdims=True))
    shares /= shares.sum(axis=axis, keepdims=True)
    return np.expand_dims(dy, axis) * shares
