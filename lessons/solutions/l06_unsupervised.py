"""Solutions of lesson 06."""

from __future__ import annotations

import numpy as np


def leading_direction(matrix: np.ndarray, start: np.ndarray, steps: int = 200) -> tuple[float, np.ndarray]:
    """Multiply and scale; what the matrix stretches most is left."""
    v = start / np.linalg.norm(start)
    for _ in range(steps):
        product = matrix @ v
        length = np.linalg.norm(product)
        if length == 0:
            break
        v = product / length
    return float(v @ matrix @ v), v


def principal_components(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading direction of S, of what is left of S, and so on."""
    centred = x - x.mean(axis=0)
    s = centred.T @ centred / len(x)
    rng = np.random.default_rng(0)
    found, values = [], []
    for _ in range(k):
        value, v = leading_direction(s, rng.standard_normal((x.shape[1],)))
        found.append(v)
        values.append(value)
        s = s - value * np.outer(v, v)
    return np.array(found), np.array(values)


def k_means_step(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each point to its nearest centre, each centre to the mean of its points."""
    numbers = ((x[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2).argmin(axis=1)
    moved = centres.copy()
    for j in range(len(centres)):
        if (numbers == j).any():
            moved[j] = x[numbers == j].mean(axis=0)
    return numbers, moved
