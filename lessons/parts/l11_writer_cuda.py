"""Writing with the GPT of lesson 11 on a card, which is given each token by one launch.

The card computes a token of a small model in less time than Python needs to launch one op; so Python must launch next
to nothing. This is the model's forward pass for one new token a row once more, in evaluation mode: about seven kernels
a layer, all on arrays that stay where they are. Even the length of the text is read from one of them. So what is
launched is the same for every token, and is recorded once and repeated (a CUDA graph).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minillm
from minillm import nn
from minillm.autograd.modes import modes
from minillm.backend import Array, backend_of


class CudaWriter:
    """A GPT that is ready to write. It reads the model's own weights: what changes in place is seen.

    Where a weight gets another array, it is recorded anew. A part that is replaced between two tokens goes unnoticed.
    A prompt of several tokens, autocast, training mode: the model does by itself what is not recorded.

    Args:
        model: a ``lessons.l11_gpt.GPT`` on a card whose parts are what the lesson builds; see ``can_write``.
        layers: the cache of each of its blocks.
    """

    def __init__(self, model: Any, layers: Sequence[nn.KVCache]) -> None:
        self.model, self.layers = model, layers
        self.parameters = list(model.parameters())
        self.backend = backend_of(model.tokens.weight.array)
        self._given: list[Any] = [None] * (len(self.parameters) + 2 * len(layers))
        self._settings: tuple[int, bool] | None = None
        self._fits = self._computed = False
        self._repeat: Callable[[], None] | None = None

    @property
    def length(self) -> int:
        """How many positions the layers hold; with ``layers``, this is what the model asks of a cache."""
        return len(self.layers[0])

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Add new tokens to each row, ids (B, T), and return the logits of the next one, (B, V), until the next step.

        Raises:
            ValueError: if the text becomes longer than ``block_size``.
            IndexError: for ids that the model does not know.
        """
        past, config = self.length, self.model.config
        if past + ids.shape[1] > config.block_size:
            raise ValueError(f"Writer: {past + ids.shape[1]} tokens are more than block_size={config.block_size}")
        if ids.shape[1] != 1 or self.model.training or modes.autocast is not None or not self._ready(len(ids)):
            return self._step_of_the_model(ids)
        self.backend.check_ids(ids, len(self.model.tokens.weight), "Writer")
        self._place[...] = self.backend.from_host(np.array([past, *ids[:, 0]], dtype=np.int64))
        if self._repeat is None and self._computed:
            self._repeat = self.backend.repeatable(self._compute)
        if self._repeat is None:  # kernels are compiled, algorithms found
            self._compute()
            self._computed = True
        else:
            self._repeat()
        for layer in self.layers:
            layer.grow()
        return self._logits_on_host()

    def _step_of_the_model(self, ids: np.ndarray) -> np.ndarray:
        x = minillm.tensor(np.ascontiguousarray(ids), device=self.model.tokens.weight.device)
        with minillm.no_grad():
            return self.backend.to_host(self.model(x, cache=self)[:, -1].array)

    def _ready(self, rows: int) -> bool:
        """Tell whether a token can be written with the arrays that there are now; make what is needed for them."""
        given = [p.array for p in self.parameters]
        given += [a for layer in self.layers for a in layer.arrays]
        settings = rows, minillm.backends.cuda.matmul.allow_tf32
        # Trap: another array could get the address of one that is gone. These are kept, so they are not gone.
        if settings != self._settings or any(a is not b for a, b in zip(given, self._given, strict=True)):
            self._given, self._settings, self._repeat, self._computed = given, settings, None, False
            self._fits = self._can_compute(rows)
            if self._fits:
                self._make_arrays(rows, given[0].dtype)
        return self._fits

    def _can_compute(self, rows: int) -> bool:
        blocks, places = self.model.blocks, len(self.model.positions.weight)
        return (
            all(type(a) is type(self._given[0]) for a in self._given)
            and all(a.dtype == self._given[0].dtype and a.flags.c_contiguous for a in self._given)
            and all(len(a) == rows for layer in self.layers for a in layer.arrays)
            and all(block.mlp.up.out_features == blocks[0].mlp.up.out_features for block in blocks)
            and places >= self.model.config.block_size
        )

    def _make_arrays(self, rows: int, dtype: np.dtype) -> None:
        C, hidden = self.model.config.n_embd, self.model.blocks[0].mlp.up.out_features
        exact = np.dtype(np.float64 if dtype == np.float64 else np.float32)

        def make(*shape: int, dtype: np.dtype = dtype) -> Array:
            return self.backend.xp.empty(shape, dtype=dtype)

        self._place = make(1 + rows, dtype=np.dtype(np.int64))  # the length of the texts, and the new ids
        self._x, self._normed, self._y = (make(rows, C) for _ in range(3))
        self._qkv, self._h = make(rows, 3 * C), make(rows, hidden)
        self._statistics = make(rows, dtype=exact), make(rows, dtype=exact)
        self._logits = make(rows, self.model.head.out_features, dtype=exact)
        self._logits_on_host = self.backend.host_copy(self._logits)

    def _compute(self) -> None:
        """Let the card compute the logits; nothing of it waits, or depends on the length or the ids."""
        model, ops, x, normed = self.model, self.backend.kernels["Decode"], self._x, self._normed
        length, ids = self._place[:1], self._place[1:]
        ops.embed(self.backend, model.tokens.weight.array, model.positions.weight.array, length, ids, x)
        for block, layer in zip(model.blocks, self.layers, strict=True):
            attention, mlp = block.attention, block.mlp
            self._norm(block.norm1)
            ops.linear(self.backend, normed, *_weights(attention.qkv), self._qkv)
            ops.attention(self.backend, self._qkv, *layer.arrays, length, self._y)
            ops.linear(self.backend, self._y, *_weights(attention.projection), x, add=True)
            self._norm(block.norm2)
            ops.gelu(self.backend, normed, *_weights(mlp.up), self._h, mlp.gelu.approximate)
            ops.linear(self.backend, self._h, *_weights(mlp.down), x, add=True)
        self._norm(model.norm)
        w, b = _weights(model.head)
        self.backend.matmul(normed, w.T, out=self._logits)
        if b is not None:
            self._logits += b.astype(self._logits.dtype)

    def _norm(self, norm: nn.LayerNorm) -> None:
        ops = self.backend.kernels["Decode"]
        ops.norm(self.backend, self._x, *_weights(norm), self._normed, *self._statistics, norm.eps)


def _weights(layer: Any) -> tuple[Array, Array]:
    """Return the arrays of a layer's weight and bias, ``None`` where it has none."""
    weight, bias = (None if p is None else p.array for p in (layer.weight, layer.bias))
    return weight, bias
