"""PyTorch, eager and compiled."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.bench.peers import Batch
from tests.bench.torch_gpt import make
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload


class Torch:
    """PyTorch as it is: fused attention, fused AdamW."""

    backend = ""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        self.model = make(w.config, weights)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)
        self.forward = torch.compile(self.loss, backend=self.backend) if self.backend else self.loss

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = self.model(x)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))

    def step(self, batch: Batch) -> float:
        loss = self.forward(torch.from_numpy(batch[0]), torch.from_numpy(batch[1]))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.item()


class TorchCompiled(Torch):
    """PyTorch with ``torch.compile``."""

    backend = "inductor"
