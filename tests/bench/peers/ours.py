"""minillm: as a user writes the loop, and through the Trainer."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.l11_gpt import GPT
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training.trainer import parameter_groups
from tests.bench.peers import Batch
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload


class PlainLoop:
    """minillm as a user writes it: ``loss.backward(); optimizer.step()``."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        self.model = GPT(w.config)
        self.model.load_state_dict({k: minillm.tensor(v) for k, v in weights.items()}, strict=False)
        self.model.train(True)
        self.optimizer = minillm.optim.AdamW(parameter_groups(self.model, WEIGHT_DECAY), lr=LR, betas=BETAS)

    def step(self, batch: Batch) -> float:
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
