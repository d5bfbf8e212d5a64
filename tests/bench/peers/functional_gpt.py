"""The GPT of lesson 11 as one function of a dictionary of arrays, for libraries that have NumPy's functions.

``xp`` is ``jax.numpy``, ``autograd.numpy`` or ``mygrad``; AdamW is written for plain NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lessons.l11_gpt import GPTConfig
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY

Weights = dict[str, Any]


def norm(xp: Any, w: Weights, name: str, x: Any) -> Any:
    """Return layer norm."""
    x = x - xp.mean(x, axis=-1, keepdims=True)
    scale = (xp.mean(x * x, axis=-1, keepdims=True) + np.float32(1e-5)) ** np.float32(-0.5)
    return x * scale * w[name + ".weight"] + w[name + ".bias"]


def linear(xp: Any, w: Weights, name: str, x: Any) -> Any:
    """Return x W' + b."""
    return xp.matmul(x, w[name + ".weight"].T) + w[name + ".bias"]


def gelu(xp: Any, x: Any) -> Any:
    """Return GELU by its formula with tanh."""
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * (x * x * x))
    return np.float32(0.5) * x * (np.float32(1) + xp.tanh(inner))


def attention(xp: Any, c: GPTConfig, w: Weights, name: str, x: Any, drop: Callable) -> Any:
    """Return causal attention, (B, T, C)."""
    B, T, C = x.shape
    qkv = linear(xp, w, name + ".qkv", x).reshape(B, T, 3, c.n_head, C // c.n_head)
    q, k, v = (xp.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))  # (B, H, T, D)
    scores = xp.matmul(q * np.float32((C // c.n_head) ** -0.5), xp.transpose(k, (0, 1, 3, 2)))
    scores = scores + np.triu(np.full((T, T), -1e9, np.float32), 1)  # (B, H, T, T)
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    p = e / xp.sum(e, axis=-1, keepdims=True)
    y = xp.transpose(xp.matmul(drop(p), v), (0, 2, 1, 3)).reshape(B, T, C)
    return linear(xp, w, name + ".projection", y)


def loss(xp: Any, c: GPTConfig, w: Weights, x: Any, y: Any, drop: Callable = lambda x: x) -> Any:
    """Return the mean cross-entropy, in nats per token.

    Args:
        x, y: ids and the ids that follow, (B, T).
        drop: dropout.
    """
    h = drop(w["tokens.weight"][x] + w["positions.weight"])  # (B, T, C)
    for i in range(c.n_layer):
        name = f"blocks.{i}."
        h = h + drop(attention(xp, c, w, name + "attention", norm(xp, w, name + "norm1", h), drop))
        up = gelu(xp, linear(xp, w, name + "mlp.up", norm(xp, w, name + "norm2", h)))
        h = h + drop(linear(xp, w, name + "mlp.down", up))
    logits = xp.matmul(norm(xp, w, "norm", h), w["tokens.weight"].T).reshape(-1, c.vocab_size)
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    right = logits[np.arange(y.size), y.reshape(-1)]
    return xp.mean(xp.log(xp.sum(xp.exp(logits), axis=-1)) - right)


class AdamW:
    """Clips the gradient and makes a step of AdamW, in place, on NumPy arrays."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights, self.t = weights, 0
        self.m = {k: np.zeros_like(p) for k, p in weights.items()}
        self.v = {k: np.zeros_like(p) for k, p in weights.items()}

    def step(self, grads: dict[str, np.ndarray]) -> None:
        """Make one step."""
        self.t += 1
        total = float(np.sqrt(sum(float(np.vdot(g, g)) for g in grads.values())))
        share = min(1.0, CLIP / (total + 1e-6))
        for k, p in self.weights.items():
            g, m, v = share * grads[k], self.m[k], self.v[k]
            m += (1 - BETAS[0]) * (g - m)
            v += (1 - BETAS[1]) * (g * g - v)
            if p.ndim >= 2:
                p *= 1 - LR * WEIGHT_DECAY
            p -= LR / (1 - BETAS[0] ** self.t) * m / (np.sqrt(v / (1 - BETAS[1] ** self.t)) + 1e-8)
