"""A GPT that trains in no time, the same on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.l11_gpt import GPT, GPTConfig
from minillm.training import LanguageTask


def make(device: str, dropout: float = 0.0) -> GPT:
    minillm.manual_seed(0)
    config = GPTConfig(vocab_size=20, block_size=12, n_layer=2, n_head=2, n_embd=16, dropout=dropout)
    # float64: the bias of the keys has a gradient of 0, and Adam makes steps of full size out of roundings.
    return GPT(config).double().to(device)


TOKENS = np.random.default_rng(0).integers(0, 20, 300)


def task() -> LanguageTask:
    return LanguageTask(TOKENS[:250], TOKENS[250:], 50, block_size=12, batch_size=3)


def step(model: GPT, optimizer: Any, x: np.ndarray, y: np.ndarray) -> tuple[minillm.Tensor, minillm.Tensor]:
    device = model.tokens.weight.device
    logits = model(minillm.tensor(x, device=device))
    loss = F.cross_entropy(logits.reshape(-1, 20), minillm.tensor(y.reshape(-1), device=device))
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    return loss.detach(), norm
