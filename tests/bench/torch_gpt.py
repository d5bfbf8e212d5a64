"""The GPT of lesson 11 as a PyTorch user would write it: SDPA, fused AdamW, a key/value cache for generation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons.l11_gpt import GPTConfig


class Attention(nn.Module):
    def __init__(self, c: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.p = c.n_head, c.dropout
        self.qkv = nn.Linear(c.n_embd, 3 * c.n_embd)
        self.projection = nn.Linear(c.n_embd, c.n_embd)

    def forward(self, x: torch.Tensor, cache: Any = None) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.n_head, -1).transpose(1, 2) for t in self.qkv(x).split(C, dim=2))
        if cache is not None:
            keys, values, past = cache
            keys[:, :, past : past + T], values[:, :, past : past + T] = k, v
            k, v = keys[:, :, : past + T], values[:, :, : past + T]
        p = self.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=T > 1)
        return self.projection(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, c: GPTConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c.n_embd), nn.LayerNorm(c.n_embd)
        self.attention = Attention(c)
        self.mlp = nn.ModuleDict({"up": nn.Linear(c.n_embd, 4 * c.n_embd), "down": nn.Linear(4 * c.n_embd, c.n_embd)})
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: torch.Tensor, cache: Any = None) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), cache))
        m = self.mlp
        return x + self.dropout(m["down"](F.gelu(m["up"](self.norm2(x)), approximate="tanh")))


class TorchGPT(nn.Module):
    """Has the names of lesson 11's parameters, so that its weights can be copied in."""

    def __init__(self, c: GPTConfig) -> None:
        super().__init__()
        self.config = c
        self.tokens, self.positions = nn.Embedding(c.vocab_size, c.n_embd), nn.Embedding(c.block_size, c.n_embd)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList([Block(c) for _ in range(c.n_layer)])
        self.norm = nn.LayerNorm(c.n_embd)
        self.head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor, caches: Any = None, past: int = 0) -> torch.Tensor:
        x = self.dropout(self.tokens(ids) + self.positions(torch.arange(past, past + ids.shape[1])))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else (*caches[i], past))
        return self.head(self.norm(x if caches is None else x[:, -1:]))


def make(config: GPTConfig, weights: dict[str, np.ndarray]) -> TorchGPT:
    """Return the model with the given weights."""
    model = TorchGPT(config)
    parameters = dict(model.named_parameters())
    if parameters.keys() != weights.keys():
        raise ValueError(f"the two models differ in {parameters.keys() ^ weights.keys()}")
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(torch.from_numpy(weights[name]))
    return model


def generate(model: TorchGPT, prompt: torch.Tensor, n: int) -> torch.Tensor:
    """Return the prompt (B, T) and n more tokens, the likeliest each time."""
    c, B = model.config, len(prompt)
    shape = (B, c.n_head, c.block_size, c.n_embd // c.n_head)
    caches = [(torch.empty(shape), torch.empty(shape)) for _ in range(c.n_layer)]
    model.eval()
    with torch.inference_mode():
        new, past, found = prompt, 0, [prompt]
        for _ in range(n):
            logits = model(new, caches, past)[:, -1]
            past += new.shape[1]
            new = logits.argmax(-1, keepdim=True)
            found.append(new)
    return torch.cat(found, 1)
