"""What is timed: the same GPT, the same first weights, the same batches, for every library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minillm
from lessons.l11_gpt import GPT, GPTConfig

LR, BETAS, WEIGHT_DECAY, CLIP = 3e-4, (0.9, 0.95), 0.1, 1.0


@dataclass(frozen=True)
class Workload:
    """A model and its batches.

    Attributes:
        name: as the tables show it: size and vocabulary.
        config: the model.
        batch_size: windows in a batch.
        window: tokens in a window; 0 is the model's whole context.
    """

    name: str
    config: GPTConfig
    batch_size: int
    window: int = 0

    @property
    def context(self) -> int:
        """T, tokens in a window."""
        return self.window or self.config.block_size

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.context

    def weights(self) -> dict[str, np.ndarray]:
        """Return the first weights by name; the tied table once."""
        minillm.manual_seed(0)
        return {name: p.detach().numpy().copy() for name, p in GPT(self.config).named_parameters()}

    def batches(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return n batches of ids and the ids that follow, each (B, T)."""
        rng = np.random.default_rng(0)
        shape = (n, self.batch_size, self.context + 1)
        # Skewed as words are, so that the loss falls and the embedding gradient meets repeated ids.
        ids = np.minimum(rng.zipf(1.2, shape) - 1, self.config.vocab_size - 1)
        return [(np.ascontiguousarray(x[:, :-1]), np.ascontiguousarray(x[:, 1:])) for x in ids]

    def flops(self) -> float:
        """Return the floating-point operations of the matrix products of one training step (6 a weight and token)."""
        c, T = self.config, self.context
        weights = c.n_layer * 12 * c.n_embd**2 + c.vocab_size * c.n_embd
        attention = c.n_layer * T * c.n_embd  # q k^T and P v, half of it hidden by the mask
        return 6.0 * self.tokens * (weights + attention)


SHAPES: dict[str, tuple[dict[str, int], int]] = {
    "XS": ({"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8}, 3),
    "S": ({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}, 12),
    "M": ({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256}, 8),
}
"""Model and windows in a batch by size; XS is for the tests."""


def workload(name: str, dropout: float = 0.0) -> Workload:
    """Return a size with the vocabulary that follows its letters: ``S65``, ``M8192``.

    Raises:
        ValueError: for another name.
    """
    size = name.rstrip("0123456789")
    if size not in SHAPES or size == name:
        raise ValueError(f"{name}: expected one of {', '.join(SHAPES)} and a vocabulary, such as S65 or M8192")
    shape, batch_size = SHAPES[size]
    return Workload(name, GPTConfig(vocab_size=int(name.removeprefix(size)), dropout=dropout, **shape), batch_size)
