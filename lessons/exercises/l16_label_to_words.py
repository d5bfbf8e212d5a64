"""Exercises of lesson 16. Write the three functions, and run ``minillm check 16`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

import numpy as np

IGNORED = -100  # a target that is not judged: words of the label, and filling


def sequence_log_probability(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return log P of each text in nats, (B,): the sum of log P of its words, ignored ones left out.

    Args:
        logits: a score for every word at every place, (B, T, V); as large or as small as they like.
        targets: the word that stands there, (B, T), from 0 to V - 1, or ``IGNORED``.
    """
    # Hint 1: log softmax(s)[w] = s[w] - log(sum over v of e^s[v]); for large s take the largest score out first.
    # Hint 2: np.take_along_axis picks one number a place; -100 is no place to pick from, so put 0 there before.
    # Hint 3: np.where(targets == IGNORED, 0, picked).sum(axis=1): an ignored word adds 0, whatever stands there.
    raise NotImplementedError("sequence_log_probability")


def log_evidence(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return log P(text) in nats, (N,): the logarithm of the sum over labels of P(label) P(text | label).

    Args:
        log_p: log P(text | label), (N, labels); -10,000 is nothing unusual.
        prior: P(label), (labels,), all above 0.
    """
    # Hint 1: np.log((prior * np.exp(log_p)).sum(axis=1)) is the formula, and 0 for every long text.
    # Hint 2: take the largest of each row out, before the exponential, and add it again behind the logarithm.
    # Hint 3: the largest of log_p + log(prior), with keepdims=True so that it can be subtracted from its row.
    raise NotImplementedError("log_evidence")


def label_probabilities(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return P(label | text) by Bayes' rule, (N, labels).

    Args:
        log_p, prior: as for ``log_evidence``.
    """
    # Hint 1: P(label | text) = P(label) P(text | label) / P(text), and you have the logarithms of all three.
    # Hint 2: the evidence has one number a text, (N,): give it a second axis.
    raise NotImplementedError("label_probabilities")
