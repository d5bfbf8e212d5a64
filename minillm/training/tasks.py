"""What is learned: the next token, or a label. The trainer asks a task for batches, losses and evaluations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from minillm import ops
from minillm.autograd import no_grad
from minillm.datasets import IGNORE_INDEX, epoch_order, pad_batch, random_windows, sequential_windows
from minillm.tensor import Tensor
from minillm.training.parallel import split_rows

__all__ = ["ClassificationTask", "LanguageTask", "Task", "evaluate_language"]


class Task(Protocol):
    """What is learned."""

    def batch(self, number: int) -> Any:
        """Return training batch ``number``, always the same one for the same number."""

    def count(self, batch: Any) -> int:
        """Return how many predictions the loss of a batch is the mean of."""

    def loss(self, model: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch, in nats for each prediction."""

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return figures on the validation data; "loss" (lower is better) is among them."""

    def sample(self, model: Any) -> str | None:
        """Return something to read that shows what the model can do now, or ``None``."""

    # ``split(batch, n)``, if a task has it, returns n shares of a batch for n workers: the mean loss of the batch must
    # be the mean over the predictions of all shares. Without it, one thread does the work. ``without_data()``, if a
    # task has it, returns what is sent to another process: a task that can ``count`` and ``loss``, and needs no more.
    # ``takes_tensors = True`` says that batches are tuples of arrays, that ``loss`` takes tensors in their place, and
    # that all it does with the model depends on their shapes alone: a card then records a step and repeats it.


def evaluate_language(
    model: Any, tokens: np.ndarray, n_bytes: int, block_size: int, *, stride: int | None = None, batch_size: int = 32
) -> dict[str, float]:
    """Return how well a model predicts a text: every token but the first exactly once.

    Args:
        tokens: the text's ids.
        n_bytes: its length in UTF-8, for bits per byte.
        stride: how far the window moves; smaller than ``block_size`` gives every token a longer past, at more cost.
        batch_size: windows at a time.

    Returns:
        "loss" in nats per token, "bits_per_byte", and "perplexity" per token. Bits per byte can be compared between
        models with different tokenizers; the other two cannot.
    """
    total, count = 0.0, 0
    with no_grad():
        for x, y in sequential_windows(tokens, block_size, batch_size, stride=stride):
            n = int((y != IGNORE_INDEX).sum())
            if n:
                total += _token_loss(model, x, y).item() * n
                count += n
    nats = total / count
    return {"loss": nats, "bits_per_byte": total / math.log(2) / n_bytes, "perplexity": math.exp(min(nats, 700.0))}


def _token_loss(model: Any, x: Any, y: Any) -> Tensor:
    device = next(model.parameters()).device
    logits = model(ops.as_tensor(x, device=device))  # (B, T, V)
    return ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), ops.as_tensor(y, device=device).reshape(-1))


class LanguageTask:
    """Predict the next token of a text.

    Args:
        train: token ids to learn from.
        validation: token ids to be judged on.
        validation_bytes: the length of the validation text in UTF-8.
        block_size: T, tokens in a window.
        batch_size: B, windows in a batch.
        seed: of the windows' places.
        evaluation_tokens: judge on so many tokens at most while training; ``None`` takes all.
        sampler: makes a text to read from the model, for the log.
    """

    takes_tensors = True

    def __init__(
        self,
        train: np.ndarray,
        validation: np.ndarray,
        validation_bytes: int,
        *,
        block_size: int,
        batch_size: int,
        seed: int = 0,
        evaluation_tokens: int | None = None,
        sampler: Callable[[Any], str] | None = None,
    ) -> None:
        self.train, self.block_size, self.batch_size, self.seed = train, block_size, batch_size, seed
        self.validation = validation if evaluation_tokens is None else validation[: evaluation_tokens + 1]
        # The bytes of a part of the text, in proportion: exact when all of it is used.
        self.validation_bytes = validation_bytes * (len(self.validation) - 1) / max(1, len(validation) - 1)
        self.sampler = sampler

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return windows at random places and the same windows one token later, each (B, T)."""
        return random_windows(self.train, self.block_size, self.batch_size, seed=self.seed, step=number)

    def count(self, batch: tuple[np.ndarray, np.ndarray]) -> int:
        """Return the number of tokens that are predicted."""
        return int((batch[1] != IGNORE_INDEX).sum())

    def split(self, batch: tuple[np.ndarray, np.ndarray], n: int) -> list[Any]:
        """Return n shares of a batch, by rows."""
        return split_rows(batch, n)

    def without_data(self) -> LanguageTask:
        """Return a copy for another process, which gets its batches sent."""
        task = copy.copy(self)
        task.train = task.validation = np.zeros(0, dtype=np.int64)
        task.sampler = None
        return task

    def loss(self, model: Any, batch: Sequence[Any]) -> Tensor:
        """Return the mean loss in nats per token; of arrays or tensors."""
        return _token_loss(model, *batch)

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return nats per token and bits per byte on the validation text."""
        return evaluate_language(model, self.validation, self.validation_bytes, self.block_size)  # type: ignore[arg-type]

    def sample(self, model: Any) -> str | None:
        """Return a text by the model."""
        return None if self.sampler is None else self.sampler(model)


class ClassificationTask:
    """Predict the label of a text.

    Args:
        train, validation: pairs of token ids and label.
        pad_id: fills short texts.
        batch_size: texts in a batch.
        max_length: texts are cut to so many tokens.
        seed: of the order; every epoch has its own.
    """

    takes_tensors = True

    def __init__(
        self,
        train: Sequence[tuple[Sequence[int], int]],
        validation: Sequence[tuple[Sequence[int], int]],
        *,
        pad_id: int,
        batch_size: int,
        max_length: int,
        seed: int = 0,
    ) -> None:
        if not train or not validation:
            raise ValueError(f"classification: got {len(train)} texts to train on and {len(validation)} to validate on")
        self.train, self.validation = list(train), list(validation)
        self.pad_id, self.batch_size, self.max_length, self.seed = pad_id, batch_size, max_length, seed
        self.steps_per_epoch = math.ceil(len(self.train) / batch_size)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids (B, T), a mask (B, T) of what is text, and labels (B,)."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, epoch_order(len(self.train), self.seed, epoch)
        rows = self._order[1][place * self.batch_size : (place + 1) * self.batch_size]
        return self._collate([self.train[i] for i in rows])

    def _collate(self, rows: list[tuple[Sequence[int], int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, mask = pad_batch([ids[: self.max_length] for ids, _ in rows], self.pad_id)
        return ids, mask, np.array([label for _, label in rows], dtype=np.int64)

    def count(self, batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> int:
        """Return the number of texts."""
        return len(batch[2])

    def split(self, batch: tuple[np.ndarray, np.ndarray, np.ndarray], n: int) -> list[Any]:
        """Return n shares of a batch, by rows."""
        return split_rows(batch, n)

    def without_data(self) -> ClassificationTask:
        """Return a copy for another process, which gets its batches sent."""
        task = copy.copy(self)
        task.train, task.validation = [], []
        return task

    def loss(self, model: Any, batch: Sequence[Any]) -> Tensor:
        """Return the mean loss in nats per text; of arrays or tensors."""
        device = next(model.parameters()).device
        ids, mask, labels = (ops.as_tensor(array, device=device) for array in batch)
        return ops.cross_entropy(model(ids, mask), labels)  # (B, number of labels)

    def predict(self, model: Any, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return logits (N, number of labels) for texts."""
        found = []
        device = next(model.parameters()).device
        with no_grad():
            for first in range(0, len(texts), 64):
                ids, mask, _ = self._collate([(t, 0) for t in texts[first : first + 64]])
                y = model(ops.tensor(ids, device=device), ops.tensor(mask, device=device))
                found.append(y.backend.to_host(y.array))
        return np.concatenate(found)

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return the mean loss in nats per text and the accuracy on the validation texts."""
        logits = self.predict(model, [ids for ids, _ in self.validation]).astype(np.float64)
        labels = np.array([label for _, label in self.validation])
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return {
            "loss": float(-log_p[np.arange(len(labels)), labels].mean()),
            "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        }

    def sample(self, model: Any) -> str | None:
        """A classifier writes nothing."""
        return None
