"""One class a library: ``step(batch)`` makes one training step and returns the loss in nats per token.

Every one does the same work: forward, cross-entropy, backward, the norm of the gradient clipped to 1, AdamW with decay
of matrices only. They are imported when they are made, so a missing library costs nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload

Batch = tuple[np.ndarray, np.ndarray]


class Peer(Protocol):
    """Something that trains."""

    def step(self, batch: Batch) -> float:
        """Make one step."""


class PlainLoop:
    """minillm as a user writes it: ``loss.backward(); optimizer.step()``."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        import minillm
        from lessons.l11_gpt import GPT
        from minillm.training.trainer import parameter_groups

        self.model = GPT(w.config)
        self.model.load_state_dict({k: minillm.tensor(v) for k, v in weights.items()}, strict=False)
        self.model.train(True)
        self.optimizer = minillm.optim.AdamW(parameter_groups(self.model, WEIGHT_DECAY), lr=LR, betas=BETAS)

    def step(self, batch: Batch) -> float:
        import minillm
        import minillm.nn.functional as F

        x, y = minillm.tensor(batch[0]), minillm.tensor(batch[1])
        logits = self.model(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        self.optimizer.zero_grad()
        loss.backward()
        minillm.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.item()


class ThroughTrainer:
    """minillm's Trainer."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        from minillm.training import LanguageTask, Trainer, TrainingConfig

        model = PlainLoop(w, weights).model
        outer = self

        class Given(LanguageTask):
            """Takes its batch from the benchmark."""

            def batch(self, number: int) -> Any:
                return outer.given

        nothing = np.zeros(2, dtype=np.int64)
        task = Given(nothing, nothing, 1, block_size=w.config.block_size, batch_size=w.batch_size)
        settings = TrainingConfig(
            steps=10**6, schedule="constant", warmup_steps=0, lr=LR, beta1=BETAS[0], beta2=BETAS[1], clip=CLIP,
            weight_decay=WEIGHT_DECAY,
        )  # fmt: skip
        self.trainer = Trainer(model, task, settings)
        self.running = self.trainer.workers.running()
        self.running.__enter__()  # its threads live as long as this process

    def step(self, batch: Batch) -> float:
        self.given = batch
        return self.trainer.train_step()[0]


class Torch:
    """PyTorch, eager."""

    compiled = False

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        import torch

        from tests.bench.torch_gpt import make

        self.model = make(w.config, weights)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)
        self.forward = torch.compile(self.loss) if self.compiled else self.loss

    def loss(self, x: Any, y: Any) -> Any:
        import torch.nn.functional as F

        logits = self.model(x)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))

    def step(self, batch: Batch) -> float:
        import torch

        loss = self.forward(torch.from_numpy(batch[0]), torch.from_numpy(batch[1]))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.item()


class TorchCompiled(Torch):
    """PyTorch with ``torch.compile``."""

    compiled = True


PEERS: dict[str, tuple[type, str]] = {
    "minillm Trainer": (ThroughTrainer, "minillm"),
    "minillm plain loop": (PlainLoop, "minillm"),
    "torch eager": (Torch, "torch"),
    "torch.compile": (TorchCompiled, "torch"),
}
"""Class and the module that must be there, by the name in the tables."""
