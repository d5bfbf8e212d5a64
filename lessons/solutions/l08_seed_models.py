"""Solutions of lesson 08."""

from __future__ import annotations

import numpy as np

import minillm
import minillm.nn as nn
from minillm import optim


class Listing(nn.Module):
    """Embedding, linear, linear."""

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, vocab_size)

    def forward(self, x: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of every word after every position."""
        return self.out(self.hidden(self.embedding(x)))

    def fit(self, batches: list[tuple[minillm.Tensor, minillm.Tensor]], num_epochs: int) -> list[float]:
        """Train with Adam, and return the losses."""
        optimizer = optim.Adam(self.parameters())
        losses = []
        for _ in range(num_epochs):
            for x, y in batches:
                logits = self(x)
                loss = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
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
