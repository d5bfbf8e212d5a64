"""Writing with the GPT of lesson 11 on plain arrays, with as few operations as possible.

With one new token a row the arrays are so small that calling NumPy takes longer than the arithmetic, and making tensors
longer still. So this is the model's forward pass once more, in evaluation mode, on the CPU, where all that does not
depend on the text was multiplied beforehand. Three things can be moved into the weights:

- a norm subtracts the mean of x. All that is ever added to x are rows of the two tables and results of the layers
  ``projection`` and ``down``; if each of them has mean 0, so has x;
- a norm divides by the root of the mean square, which is the sum of squares over C, multiplies by its weight g and adds
  its bias b. The next layer gives W (g h + b) + c = (W g) h + (W b + c);
- queries are divided by sqrt(D), and half of GELU's ``x (1 + tanh u) / 2`` is a factor of the layer behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm import nn
from minillm.backend import get_backend
from minillm.ops.activation import GELU_CUBIC, GELU_TANH


class Writer:
    """A GPT that is ready to write, at the cost of a second copy of its weights.

    The copy is made anew when a weight was changed, by an optimizer, by ``load_state_dict`` or in place under
    ``no_grad``. A change through ``.data`` goes unnoticed, and so does a part that is replaced between two tokens.

    Args:
        model: a ``lessons.l11_gpt.GPT`` whose parts are what the lesson builds; see ``can_write``.
        layers: the cache of each of its blocks.
    """

    def __init__(self, model: Any, layers: Sequence[nn.KVCache]) -> None:
        self.model, self.layers = model, layers
        self.parameters, self.versions = list(model.parameters()), [-1]

    def _multiply(self) -> None:
        """Do beforehand what can be done."""
        model, config = self.model, self.model.config
        self.shape = config.n_head, config.n_embd // config.n_head  # H, D
        self.tokens, self.positions = (_centred(table.weight.array) for table in (model.tokens, model.positions))
        self.blocks = []
        for block in model.blocks:
            attention, mlp = block.attention, block.mlp
            qkv, qkv_bias = _after(block.norm1, attention.qkv)
            for a in (qkv, qkv_bias):
                a[..., : config.n_embd] *= self.shape[1] ** -0.5
            down, down_bias = _without_mean(mlp.down)
            down *= 0.5
            inner = _without_mean(attention.projection), _after(block.norm2, mlp.up)
            eps = (config.n_embd * norm.eps for norm in (block.norm1, block.norm2))
            self.blocks.append(((qkv, qkv_bias), *inner, (down, down_bias), *eps))
        self.head, self.eps = _after(model.norm, model.head), config.n_embd * model.norm.eps

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Add new tokens to each row, ids (B, T), and return the logits of the next one, (B, V).

        Raises:
            ValueError: if the text becomes longer than ``block_size``.
        """
        versions = [p._version[0] for p in self.parameters]
        if versions != self.versions:  # the first time, and where somebody trains between two tokens
            self.versions = versions
            self._multiply()
        (B, T), past, (H, D) = ids.shape, len(self.layers[0]), self.shape
        if past + T > len(self.positions):
            raise ValueError(f"Writer: {past + T} tokens are more than block_size={len(self.positions)}")
        x = (self.tokens[ids] + self.positions[past : past + T]).reshape(B * T, H * D)  # (B T, C)
        later = np.triu(np.full((T, past + T), -np.inf, dtype=x.dtype), past + 1) if T > 1 else None
        for layer, (qkv, projection, up, down, eps1, eps2) in zip(self.layers, self.blocks):
            q, k, v = _linear(_norm(x, eps1), qkv).reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # each (B, H, T, D)
            k, v = layer.append_arrays(k, v)  # (B, H, S, D)
            e = q @ k.swapaxes(-1, -2)  # (B, H, T, S)
            if later is not None:
                e += later
            e -= np.maximum.reduce(e, axis=-1, keepdims=True)
            np.exp(e, out=e)
            y = e @ v  # (B, H, T, D)
            y /= np.add.reduce(e, axis=-1, keepdims=True)
            x = _linear(y.swapaxes(1, 2).reshape(B * T, H * D), projection) + x
            h = _linear(_norm(x, eps2), up)  # (B T, 4 C)
            u = h * h  # twice GELU: h (1 + tanh(a (h + b h^3)))
            u *= GELU_TANH * GELU_CUBIC
            u += GELU_TANH
            u *= h
            np.tanh(u, out=u)
            u += 1
            u *= h
            x = _linear(u, down) + x
        return _linear(_norm(x[T - 1 :: T], self.eps), self.head)


def _norm(x: np.ndarray, eps: float) -> np.ndarray:
    """Return rows of mean 0, divided by the square root of the sum of their squares."""
    return x / np.sqrt(np.vecdot(x, x) + eps)[:, None]


def can_write(model: Any, whole: Parts, block: Parts) -> bool:
    """Tell whether a model is what the lesson builds, on a device and of a type for which there is a writer.

    A part more, another class (as of LoRA), a hook or a forward of its own may compute something else, or want to see
    what the parts give.

    Args:
        model: any module.
        whole, block: the parts of a GPT and of its blocks, in their order: name and class.
    """
    modules = list(model.named_modules())
    inside = [(f"blocks.{i}.{name}".rstrip("."), cls) for i in range(model.config.n_layer) for name, cls in block]
    at = next(i for i, (name, _) in enumerate(whole) if name == "blocks") + 1
    kinds = {(p.device.type, p.dtype) for p in model.parameters()}
    return (
        [(name, type(m)) for name, m in modules] == [*whole[:at], *inside, *whole[at:]]
        and not any(m._forward_hooks or m._forward_pre_hooks for _, m in modules)
        and not any({"forward", "features"} & m.__dict__.keys() for _, m in modules)
        and len(kinds) == 1
        and _is_for(model, *kinds.pop())
    )


def _is_for(model: Any, device: str, dtype: np.dtype) -> bool:
    """Tell whether the writer of a device can compute with this type, these heads and this GELU."""
    gelus, config = {block.mlp.gelu.approximate for block in model.blocks}, model.config
    if device == "cpu":
        return dtype in (np.float32, np.float64) and gelus == {"tanh"}
    decode = get_backend(device).kernels.get("Decode")
    return decode is not None and decode.fits(dtype, config.n_embd // config.n_head) and gelus <= {"tanh", "none"}


Parts = Sequence[tuple[str, type]]
Weights = tuple[np.ndarray, np.ndarray]  # (in, out) and (out,)


def _turned(w: np.ndarray) -> np.ndarray:
    """Return a weight (out, in) as (in, out), the longer axis side by side in memory.

    With few rows a product takes as long as it takes to read the weight: for (1536, 384) 60 us, the other way 93.
    """
    return np.ascontiguousarray(w.T) if w.shape[0] >= w.shape[1] else w.T


def _linear(x: np.ndarray, layer: Weights) -> np.ndarray:
    y = x @ layer[0]
    y += layer[1]
    return y


def _or(p: Any, value: float, like: np.ndarray) -> np.ndarray:
    """Return a parameter's numbers, or the same number everywhere if there is none."""
    return np.full(len(like), value, dtype=like.dtype) if p is None else p.array


def _after(norm: Any, layer: Any) -> Weights:
    """Return weight and bias of a layer that takes a norm's weight and bias upon itself."""
    w = layer.weight.array
    scale = w.shape[1] ** 0.5 * _or(norm.weight, 1, w[0])
    return _turned(w * scale), w @ _or(norm.bias, 0, w[0]) + _or(layer.bias, 0, w)


def _without_mean(layer: Any) -> Weights:
    """Return weight and bias of a layer whose results have mean 0."""
    w = layer.weight.array
    return _turned(w - w.mean(axis=0)), _centred(_or(layer.bias, 0, w))


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=-1, keepdims=True)
