"""What the trainer needs to learn texts from labels: batches of inputs and targets, and their loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minillm
from lessons.l11_gpt import GPT
from minillm import datasets
from minillm.datasets import IGNORE_INDEX
from minillm.training import split_rows

Pair = tuple[list[int], list[int]]
"""The ids of a text with its label in front, and for each of them the next id or ``IGNORE_INDEX``."""


def collate(rows: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets as arrays (B, T), filled up on the right."""
    x, _ = datasets.pad_batch([a for a, _ in rows], 0)
    y, _ = datasets.pad_batch([b for _, b in rows], IGNORE_INDEX)
    return x, y


class WritingTask:
    """Learn the words of texts, given what stands in front of them: a task for the trainer.

    Args:
        pairs: the training texts.
        batch_size: texts in a batch.
        seed: of their order.
        given: the labels of the held-out texts, (N,).
        prior: P(label).
        words: how many words the held-out texts have together.
        judge: returns log P(text | label) of the held-out texts, (N, labels).
        sample: returns texts by a model.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        batch_size: int,
        seed: int,
        *,
        given: np.ndarray,
        prior: np.ndarray,
        words: int,
        judge: Callable[[GPT], np.ndarray],
        sample: Callable[[GPT], str],
    ) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, seed
        self.given, self.prior, self.words, self.judge, self.sample = given, prior, words, judge, sample
        self.steps_per_epoch = math.ceil(len(pairs) / batch_size)

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, each (B, T)."""
        epoch, place = divmod(number, self.steps_per_epoch)
        rows = datasets.epoch_order(len(self.pairs), self.seed, epoch)[place * self.batch_size :][: self.batch_size]
        return collate([self.pairs[i] for i in rows])

    def count(self, batch: tuple[np.ndarray, np.ndarray]) -> int:
        """Return the number of words that are predicted."""
        return int((batch[1] != IGNORE_INDEX).sum())

    def split(self, batch: tuple[np.ndarray, np.ndarray], n: int) -> list[Any]:
        """Return n shares of a batch, by rows."""
        return split_rows(batch, n)

    def loss(self, model: GPT, batch: tuple[np.ndarray, np.ndarray]) -> minillm.Tensor:
        """Return the mean loss in nats per token of the texts."""
        device = model.tokens.weight.device
        logits = model(minillm.tensor(batch[0], device=device))  # (B, T, V)
        return minillm.nn.functional.cross_entropy(
            logits.view(-1, logits.shape[-1]), minillm.tensor(batch[1].reshape(-1), device=device)
        )

    def evaluate(self, model: GPT) -> dict[str, float]:
        """Return nats per label of the held-out texts by Bayes' rule, the accuracy, and nats per token of the words.

        Which model is the best is decided by the labels: the words of the training texts were mostly read in
        pretraining, so the loss of other texts' words may rise from the first step while the labels are being learned.
        """
        log_p, rows = self.judge(model), np.arange(len(self.given))
        joint = log_p + np.log(self.prior)
        return {
            "loss": float((np.logaddexp.reduce(joint, axis=1) - joint[rows, self.given]).mean()),
            "accuracy": float((joint.argmax(axis=1) == self.given).mean()),
            "nats_per_token": float(-log_p[rows, self.given].sum() / self.words),
        }
