"""A vector for each label on top of a GPT that stays as it is: a generative classifier with few parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.l11_gpt import GPT
from minillm import datasets, optim
from minillm.datasets import IGNORE_INDEX
from minillm.text import Tokenizer

States = tuple[minillm.Tensor, minillm.Tensor]
"""What a GPT makes of texts, (N, T, C), and the words that it should expect there, (N, T)."""


class LabelVectors(nn.Module):
    """Scores of the next token from hidden states of a GPT that stays as it is, and a vector for each label.

    Args:
        body: the GPT; its output table is used, and not trained.
        n_labels: number of labels.

    Shape:
        h (B, T, C) and labels (B,) to logits (B, T, V).
    """

    def __init__(self, body: GPT, n_labels: int) -> None:
        super().__init__()
        self.table = body.tokens.weight.detach()  # (V, C)
        self.labels = nn.Embedding(n_labels, body.config.n_embd)
        nn.init.zeros_(self.labels.weight)  # why: the GPT's own scores are where learning begins

    def forward(self, h: minillm.Tensor, labels: minillm.Tensor) -> minillm.Tensor:
        """Return one score for each word."""
        return (h + self.labels(labels).unsqueeze(1)) @ self.table.T  # (B, T, V)


def states_of(body: GPT, tokenizer: Tokenizer, texts: Sequence[str], end: str) -> States:
    """Return what a GPT makes of texts, and the words that it should expect there.

    ``end``, an empty line, stands in front of each text, as in pretraining, so that the first word counts too.
    """
    rows = [tokenizer.encode(end + text)[: body.config.block_size + 1] for text in texts]
    x, _ = datasets.pad_batch([row[:-1] for row in rows], 0)
    y, _ = datasets.pad_batch([row[1:] for row in rows], IGNORE_INDEX)
    with minillm.no_grad():
        parts = [body.features(minillm.tensor(x[i : i + 64])) for i in range(0, len(x), 64)]
    return minillm.cat(parts), minillm.tensor(y)


def fit_label_vectors(
    body: GPT, states: States, labels: np.ndarray, n_labels: int, seed: int, steps: int
) -> LabelVectors:
    """Return label vectors that make the words of the texts likely, given their labels."""
    model, (h, words) = LabelVectors(body, n_labels), states
    # why 0.1, falling to 0: with 0.03 and more steps the same accuracy on validation texts (draws of other seeds)
    optimizer = optim.Adam(model.labels.parameters(), lr=0.1)
    for step in range(steps):
        rows = datasets.epoch_order(len(labels), seed, step)[:16]
        logits = model(h[rows], minillm.tensor(labels[rows]))
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), words[rows].reshape(-1))
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def label_vector_likelihoods(model: LabelVectors, states: States) -> np.ndarray:
    """Return log P(text | label) in nats, (N, number of labels); the GPT has read each text once."""
    h, words = states
    found = np.zeros((len(h), model.labels.num_embeddings))
    with minillm.no_grad():
        for i in range(0, len(h), 64):
            some, wanted = h[i : i + 64], words[i : i + 64]
            for label in range(found.shape[1]):
                logits = model(some, minillm.full((len(some),), label, dtype=minillm.int64))
                losses = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1), reduction="none")
                found[i : i + 64, label] = -losses.reshape(*wanted.shape).sum(1).numpy()
    return found
