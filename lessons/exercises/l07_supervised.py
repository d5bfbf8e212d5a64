"""Exercises of lesson 07: three ways to find a straight border. ``minillm check 07`` says how far you are.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

import numpy as np


def hinge_subgradient(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float, decay: float
) -> tuple[float, np.ndarray, float]:
    """Return the loss of a support vector machine with two labels, and its slopes in w and in b.

    loss = mean of max(0, 1 - y_i (x_i @ w + b)) + decay / 2 * (w @ w). A point with a margin of exactly 1 sits on the
    kink; take the slope 0 there.

    Shape:
        x (N, C), y (N,) of -1 and 1, w (C,); the slopes (C,) and a number.
    """
    # Hint 1: margins = y * (x @ w + b), (N,). Points with a margin of 1 or more cost nothing and pull at nothing.
    # Hint 2: for one point with a smaller margin the slope in w is -y_i x_i, and in b it is -y_i.
    # Hint 3: the mean divides by all N points, not by those that pull. b is not decayed.
    raise NotImplementedError("hinge_subgradient")


def ridge_weights(x: np.ndarray, targets: np.ndarray, decay: float) -> np.ndarray:
    """Return the W for which the squared loss with a penalty is smallest, in closed form; there is no b.

    loss = 1 / N * (sum of the squares of x @ W - targets) + decay * (sum of the squares of W), with decay > 0.

    Shape:
        x (N, C), targets (N, K); W (C, K).
    """
    # Hint 1: the gradient is 2 / N * x.T @ (x @ W - targets) + 2 * decay * W. Where is it 0?
    # Hint 2: (x.T @ x / N + decay * I) @ W = x.T @ targets / N, with I = np.eye(C).
    # Hint 3: np.linalg.solve(A, B) finds W with A @ W = B; it is quicker and more exact than the inverse of A.
    raise NotImplementedError("ridge_weights")


def naive_bayes_weights(
    counts: np.ndarray, labels: np.ndarray, n_labels: int, k: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the W and b with which counts @ W + b is log P(label) + log P(words | label).

    P(label) is its share of the texts. P(word | label) = (C(word, label) + k) / (sum over words + k V), where C adds
    the counts of all texts of the label. Every label has a text or more.

    Shape:
        counts (N, V), labels (N,) from 0 to n_labels - 1; W (V, n_labels), b (n_labels,).
    """
    # Hint 1: counts[labels == c].sum(axis=0) is the row C(., c), (V,).
    # Hint 2: add k to it, divide by its sum *after* that, take the logarithm; this is a column of W.
    # Hint 3: b does not know the words: the logarithm of (number of texts with the label) / N.
    raise NotImplementedError("naive_bayes_weights")
