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
    """

    name: str
    config: GPTConfig
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.config.block_size

    def weights(self) -> dict[str, np.ndarray]:
        """Return the first weights by name; the tied table once."""
        minillm.manual_seed(0)
        return {name: p.detach().numpy().copy() for name, p in GPT(self.config).named_parameters()}

    def batches(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return n batches of ids and the ids that follow, each (B, T)."""
        rng = np.random.default_rng(0)
        shape = (n, self.batch_size, self.config.block_size + 1)
        # Skewed as words are, so that the loss falls and the embedding gradient meets repeated ids.
        ids = np.minimum(rng.zipf(1.2, shape) - 1, self.config.vocab_size - 1)
        return [(np.ascontiguousarray(x[:, :-1]), np.ascontiguousarray(x[:, 1:])) for x in ids]

    def flops(self) -> float:
        """Return the floating-point operations of the matrix products of one training step (6 a weight and token)."""
        c, T = self.config, self.config.block_size
        weights = c.n_layer * 12 * c.n_embd**2 + c.vocab_size * c.n_embd
        attention = c.n_layer * T * c.n_embd  # q k^T and P v, half of it hidden by the mask
        return 6.0 * self.tokens * (weights + attention)


def workload(name: str, dropout: float = 0.0) -> Workload:
    """Return S or M with the vocabulary that follows the letter: ``S65``, ``M8192``.

    Raises:
        ValueError: for another name.
    """
    shapes = {
        "S": ({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}, 12),
        "M": ({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256}, 8),
    }
    if name[:1] not in shapes or not name[1:].isdigit():
        raise ValueError(f"{name}: expected S or M and a vocabulary, such as S65 or M8192")
    shape, batch_size = shapes[name[0]]
    return Workload(name, GPTConfig(vocab_size=int(name[1:]), dropout=dropout, **shape), batch_size)
