"""Exercises of lesson 06: principal components and k-means, with products only. ``minillm check 06`` looks at them.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
No ``np.linalg.eigh`` and no ``np.linalg.svd``, please: finding the directions is the exercise.
"""

from __future__ import annotations

import numpy as np


def leading_direction(matrix: np.ndarray, start: np.ndarray, steps: int = 200) -> tuple[float, np.ndarray]:
    """Return the largest eigenvalue of a matrix and its eigenvector of length 1, by power iteration.

    The matrix is symmetric, and no eigenvalue is negative. Begin at ``start``; ``steps`` times, multiply by the matrix
    and scale to length 1. The sign of the vector is free. Of a matrix of zeros the eigenvalue is 0, and the vector is
    ``start``, scaled to length 1.

    Shape:
        matrix (C, C), start (C,), which is not zero; the vector (C,).
    """
    # Hint 1: the loop has two lines: a product, and a division by the length of the result.
    # Hint 2: scale in *every* step; a number that is multiplied by 1e9 two hundred times leaves the range of floats.
    # Hint 3: for v of length 1, v @ matrix @ v is the eigenvalue. Before the loop v must have length 1 too.
    # Hint 4: a product of zeros has no direction: stop before you divide by 0.
    raise NotImplementedError("leading_direction")


def principal_components(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k directions of largest variance of some points, and the variances, the largest first.

    The variance along v is the mean of ((x_i - mean) @ v)^2 over the N points. The directions have length 1 and stand
    at right angles to each other; the sign of each is free. The points are not changed. (Of the points that you will
    get each variance is at most 0.7 of the one before; with equal ones power iteration does not know where to turn.)

    Shape:
        x (N, C) with k at most C; directions (k, C), variances (k,).
    """
    # Hint 1: centred points, and the matrix S = centred.T @ centred / N.
    # Hint 2: k times: the leading direction v of S with its value; then take it out, S - value * np.outer(v, v).
    # Hint 3: as a start take random numbers (np.random.default_rng(0)): a vector such as (1, 0, 0) may stand at a right
    #         angle to the direction that you look for, and then no product ever finds it.
    raise NotImplementedError("principal_components")


def k_means_step(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the nearest centre for each point, and the centres moved into the middle of their points.

    Of equally near centres the first counts. A centre without points stays where it is. Nothing that is passed in is
    changed.

    Shape:
        x (N, C), centres (K, C); numbers (N,), new centres (K, C).
    """
    # Hint 1: x[:, None, :] - centres[None, :, :] holds all differences, (N, K, C).
    # Hint 2: argmin gives the first of equals by itself.
    # Hint 3: loop over the centres; x[numbers == j] are the points of centre j, and there may be none.
    raise NotImplementedError("k_means_step")
