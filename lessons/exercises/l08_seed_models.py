"""Exercises of lesson 08. Write the class and the two functions, and run ``minillm check 08`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

import numpy as np

import minillm
import minillm.nn as nn


class Listing(nn.Module):
    """The seed's listing, such that it runs: embedding, linear, linear.

    Its parts are called ``embedding``, ``hidden`` and ``out``, as in the lesson's ``ListingAsPrinted``. It takes ids
    (B, T) and returns scores (B, T, V). ``train`` and ``eval`` do what they do for every module.

    Args:
        vocab_size: V.
        embedding_dim: width of the embedding.
        hidden_dim: width of the layer between.
    """

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int) -> None:
        # Hint 1: four things stop the printed one: a name that is taken, a name that is not defined, two shapes that
        #         do not fit. (The fourth: find out what it returns.)
        # Hint 2: super().__init__() comes before the parts are assigned.
        super().__init__()
        raise NotImplementedError("Listing")

    def forward(self, x: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of every word after every position, (B, T, V)."""
        raise NotImplementedError("Listing.forward")

    def fit(self, batches: list[tuple[minillm.Tensor, minillm.Tensor]], num_epochs: int) -> list[float]:
        """Train with Adam (its default settings) on batches (x, y), each (B, T), num_epochs times over all of them.

        Returns:
            For each batch of each epoch the loss before its step: cross-entropy, the mean over all B T words, in nats.
        """
        # Hint 3: cross-entropy takes (N, V) and (N,): let N be B T, with reshape(-1, V) and reshape(-1).
        # Hint 4: one optimizer for the whole training; in each step zero_grad, backward, step, and loss.item().
        raise NotImplementedError("Listing.fit")


def logit_table(model: nn.Module, vocab_size: int) -> np.ndarray:
    """Return the scores of all V words after every single word, (V, V): row a belongs to word a.

    Args:
        model: takes ids (B, T), returns scores (B, T, V), and sees one word at a time.
        vocab_size: V.
    """
    # Hint 1: which text holds every word once? minillm.arange makes it; the model wants two axes.
    # Hint 2: no gradient is needed (minillm.no_grad), and Tensor.numpy() refuses a tensor that asks for one.
    raise NotImplementedError("logit_table")


def as_listing(table: np.ndarray, d: int, h: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights E (V, d), W1 (h, d), W2 (V, h) of a listing without biases whose logit table is ``table``.

    The logit table of these weights is E @ W1.T @ W2.T. If no weights of these widths give the table, return those that
    come nearest: with the smallest sum of squared differences.

    Args:
        table: (V, V).
        d, h: widths of the embedding and of the hidden layer; smaller than V, or larger.
    """
    # Hint 1: first let d = h = V: choose two of the three so that they change nothing.
    # Hint 2: the nearest table of rank r keeps the r largest singular values: np.linalg.svd (Eckart and Young 1936).
    # Hint 3: table = U @ diag(s) @ Vt. E takes columns of U times s, W2 rows of Vt, and W1 passes them on; r is the
    #         smallest of d, h and V, and all else is 0.
    raise NotImplementedError("as_listing")
