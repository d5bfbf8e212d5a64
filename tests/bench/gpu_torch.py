"""PyTorch's side of the GPU benchmark: the same GPT, autocast, fused AdamW, a key/value cache for generation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tests.bench import torch_gpt
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload


class OnDevice(torch_gpt.TorchGPT):
    """The GPT, with positions made where the ids are."""

    def forward(self, ids: torch.Tensor, caches: Any = None, past: int = 0) -> torch.Tensor:
        positions = torch.arange(past, past + ids.shape[1], device=ids.device)
        x = self.dropout(self.tokens(ids) + self.positions(positions))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else (*caches[i], past))
        return self.head(self.norm(x if caches is None else x[:, -1:]))


def make(w: Workload, weights: dict[str, np.ndarray], device: str) -> OnDevice:
    """Return the model with the given weights on a device."""
    model = OnDevice(w.config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(weights[name]))
    return model.to(device)


class Theirs:
    """PyTorch as a user writes it."""

    def __init__(
        self, w: Workload, weights: dict[str, np.ndarray], device: str, precision: str, compiled: bool
    ) -> None:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.device, self.low = device, torch.bfloat16 if precision == "bfloat16" else None
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.model = make(w, weights, device)
        parts = [[p for p in self.model.parameters() if (p.ndim >= 2) == matrix] for matrix in (True, False)]
        groups = [{"params": parts[0], "weight_decay": WEIGHT_DECAY}, {"params": parts[1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)
        # Of one shape: the second batch size would otherwise be compiled for any.
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device, self.low, enabled=self.low is not None):
            logits = self.model(x)
            return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))

    def step(self, batch: Any) -> torch.Tensor:
        """Make one step; return the loss, still on the card."""
        x, y = (torch.from_numpy(ids).to(self.device, non_blocking=True) for ids in batch)
        loss = self.loss(x, y)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.detach()

    def synchronize(self) -> None:
        """Wait for the card."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak_bytes(self) -> int | None:
        """Return the bytes taken from the card."""
        return torch.cuda.max_memory_reserved() if self.device == "cuda" else None


def writer(w: Workload, weights: dict[str, np.ndarray], device: str, precision: str) -> Any:
    """Return a function of prompts (B, T) and a number that returns rows of ids, the likeliest each time."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model, c = make(w, weights, device).to(dtype).eval(), w.config

    def write(prompts: np.ndarray, n: int) -> list[list[int]]:
        shape = (len(prompts), c.n_head, c.block_size, c.n_embd // c.n_head)
        caches = [tuple(torch.empty(shape, dtype=dtype, device=device) for _ in range(2)) for _ in range(c.n_layer)]
        new, past, found = torch.from_numpy(prompts).to(device), 0, []
        with torch.inference_mode():
            for _ in range(n):
                logits = model(new, caches, past)[:, -1]
                past += new.shape[1]
                new = logits.argmax(-1, keepdim=True)
                found.append(new)
        return torch.cat(found, 1).tolist()

    return write
