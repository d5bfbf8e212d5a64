"""Solutions of lesson 08."""

from __future__ import annotations

import numpy as np

import minillm
import minillm.nn as nn
from lessons.l08_seed_models import AutoRegressiveModel
from minillm import optim


class Listing(AutoRegressiveModel):
    """The lesson's three parts, with a training whose name is not taken."""

    def fit(self, batches: list[tuple[minillm.Tensor, minillm.Tensor]], num_epochs: int) -> list[float]:
        """Train with Adam, and return the losses."""
        optimizer = optim.Adam(self.parameters())
        losses = []
        for _ in range(num_epochs):
            for x, y in batches:
                # Cross-entropy also takes one more axis than (N, V) and (N,), if the scores stand second: (B, V, T).
                loss = nn.functional.cross_entropy(self(x).transpose(1, 2), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses


def logit_table(model: nn.Module, vocab_size: int) -> np.ndarray:
    """Return the scores after every single word, (V, V)."""
    with minillm.no_grad():
        return model(minillm.arange(vocab_size).reshape(-1, 1))[:, 0].numpy()


def as_listing(table: np.ndarray, d: int, h: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights of the listing whose table is nearest to the one given."""
    u, s, vt = np.linalg.svd(table)
    r = min(d, h, len(table))
    embedding, out = np.zeros((len(table), d)), np.zeros((len(table), h))
    embedding[:, :r] = u[:, :r] * s[:r]
    out[:, :r] = vt[:r].T
    return embedding, np.eye(h, d), out
