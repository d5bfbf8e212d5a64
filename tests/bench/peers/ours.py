"""minillm: as a user writes the loop, and through the Trainer; with NumPy alone, and with the extra ``fast``."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.l11_gpt import GPT
from minillm.backend import get_backend
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training.trainer import parameter_groups
from tests.bench.peers import Batch
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload


class CompiledLoop:
    """minillm as a user writes it: ``loss.backward(); optimizer.step()``."""

    compiles = True

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        get_backend("cpu").compiles = self.compiles
        os.environ["MINILLM_NUMBA"] = str(int(self.compiles))  # for the processes that the Trainer starts
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


class PlainLoop(CompiledLoop):
    """The same with NumPy alone."""

    compiles = False


class Given(LanguageTask):
    """Takes its batch from the benchmark."""

    given: Batch

    def batch(self, number: int) -> Any:
        return self.given


class CompiledTrainer:
    """minillm's Trainer as in a run of more than some seconds: each worker in its own process, where that can be.

    Attributes:
        pids: of the other processes.
    """

    loop: type[CompiledLoop] = CompiledLoop

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        model = self.loop(w, weights).model
        nothing = np.zeros(2, dtype=np.int64)
        self.task = Given(nothing, nothing, 1, block_size=w.config.block_size, batch_size=w.batch_size)
        settings = TrainingConfig(
            steps=10**6, schedule="constant", warmup_steps=0, lr=LR, beta1=BETAS[0], beta2=BETAS[1], clip=CLIP,
            weight_decay=WEIGHT_DECAY,
        )  # fmt: skip
        self.trainer = Trainer(model, self.task, settings)
        workers = self.trainer.workers
        self.running = workers.running()
        self.running.__enter__()  # its threads live as long as this process
        workers.start_processes()
        until = time.perf_counter() + 60
        while not all(p.is_ready() for p in workers._processes) and time.perf_counter() < until:
            time.sleep(0.05)
        self.pids = [p._process.pid for p in workers._processes]

    def step(self, batch: Batch) -> float:
        self.task.given = batch
        return self.trainer.train_step()[0]

    def close(self) -> None:
        """End its threads and processes."""
        self.running.__exit__(None, None, None)


class ThroughTrainer(CompiledTrainer):
    """The same with NumPy alone."""

    loop = PlainLoop
