"""Solutions of lesson 16."""

from __future__ import annotations

import numpy as np

IGNORED = -100  # a target that is not judged: words of the label, and filling


def sequence_log_probability(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return log P of each text in nats, (B,)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (B, T, V)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counted = targets != IGNORED
    picked = np.take_along_axis(log_p, np.where(counted, targets, 0)[..., None], axis=-1)[..., 0]  # (B, T)
    return np.where(counted, picked, 0).sum(axis=1)


def log_evidence(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return log P(text) in nats, (N,)."""
    joint = log_p + np.log(prior)  # (N, labels)
    top = joint.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))


def label_probabilities(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return P(label | text), (N, labels)."""
    return prior * np.exp(log_p - log_evidence(log_p, prior)[:, None])
