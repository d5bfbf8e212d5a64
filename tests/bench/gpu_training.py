"""Training and generation with GPT-2 124M on a card: minillm, PyTorch eager, and torch.compile, one a process."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.l11_gpt import GPT, GPTConfig
from minillm.backend import get_backend
from minillm.generation import Sampling, generate
from minillm.training.trainer import parameter_groups
from tests.bench.gpu_device import PRECISIONS, emit, free, guarded, tf32, used_bytes
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload

PEERS = ("minillm", "torch eager", "torch.compile")
# GPT-2 124M; its vocabulary of 50,257 rounded up to a multiple of 64, as trainers of it do for the sake of the card.
GPT2_124M = GPTConfig(vocab_size=50304, block_size=1024, n_layer=12, n_head=12, n_embd=768)
TINY = GPTConfig(vocab_size=40, block_size=8, n_layer=1, n_head=2, n_embd=16)
SHARED = "MINILLM_BENCH_SHARED"
"""Environment variable: a folder for what pieces share."""
AGREE = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""How far the losses of the first steps may lie apart, in nats per token."""


def workload(size: str, batch_size: int) -> Workload:
    """Return the model, its first weights and batches."""
    return Workload(f"GPT-2 124M, {batch_size}", TINY if size == "tiny" else GPT2_124M, batch_size)


def first_weights(size: str) -> dict[str, np.ndarray]:
    """Return the first weights of the model; all pieces of one run share a file, as drawing them takes 5 seconds."""
    w, folder = workload(size, 1), os.environ.get(SHARED)
    if folder is None:
        return w.weights()
    file = Path(folder) / f"{size}.npz"
    if not file.exists():
        np.savez(file, **w.weights())
    with np.load(file) as kept:
        return dict(kept)


@functools.cache
def model_of(config: GPTConfig) -> GPT:
    """Return a model, the same each time: drawing the first weights of 124 million takes 5 seconds."""
    return GPT(config)


class Ours:
    """minillm as a user writes it."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray], device: str, precision: str) -> None:
        self.device, self.low = device, PRECISIONS[precision]() if precision == "bfloat16" else None
        used_bytes(device)  # notes what is taken before there is a model
        self.model = model_of(w.config).to(device).to(np.float32)
        self.model.load_state_dict({k: minillm.tensor(v) for k, v in weights.items()}, strict=False)
        self.model.train(True)
        self.model.zero_grad()
        self.optimizer = minillm.optim.AdamW(parameter_groups(self.model, WEIGHT_DECAY), lr=LR, betas=BETAS)
        self.gradients = minillm.cuda.graphed(self._gradients, list(self.model.parameters()))

    def _gradients(self, x: Any, y: Any) -> Any:
        with minillm.autocast(self.device, self.low, enabled=self.low is not None):
            logits = self.model(x)
            loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        loss.backward()
        return loss.detach()

    def step(self, batch: Any) -> Any:
        """Make one step; return the loss, still on the card."""
        self.optimizer.zero_grad()
        loss = self.gradients(*(minillm.tensor(ids, device=self.device) for ids in batch))
        minillm.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss

    def synchronize(self) -> None:
        """Wait for the card."""
        get_backend(self.device).synchronize()

    def peak_bytes(self) -> int | None:
        """Return the bytes taken from the card."""
        return used_bytes(self.device)


def make(peer: str, w: Workload, weights: dict[str, np.ndarray], device: str, precision: str) -> Any:
    """Return a peer that trains."""
    if peer == "minillm":
        return Ours(w, weights, device, precision)
    from tests.bench.gpu_torch import Theirs

    return Theirs(w, weights, device, precision, compiled=peer == "torch.compile")


def time_training(trained: Any, w: Workload, least: float) -> dict[str, Any]:
    """Return first losses, seconds a step (median, fastest, slowest) and memory of a peer.

    Args:
        least: seconds of timed steps.
    """
    batches = w.batches(4)
    start = time.perf_counter()
    losses, peak = [], trained.peak_bytes()
    for batch in batches:  # also compiles, finds algorithms, and records
        losses.append(float(trained.step(batch)))
        peak = None if peak is None else max(peak, trained.peak_bytes())
    first = time.perf_counter() - start
    times: list[float] = []
    while sum(times) < least or len(times) < 5:
        batch = batches[len(times) % len(batches)]
        trained.synchronize()
        start = time.perf_counter()
        trained.step(batch)
        trained.synchronize()
        times.append(time.perf_counter() - start)
    # Steps that follow each other without waiting, as in a training run.
    start = time.perf_counter()
    for i in range(5):
        last = trained.step(batches[i % len(batches)])
    trained.synchronize()
    return {
        "losses": losses,
        "last_loss": float(last),
        "warm_up_s": first,
        "s": float(np.median(times)),
        "low_s": min(times),
        "high_s": max(times),
        "pipelined_s": (time.perf_counter() - start) / 5,
        "peak_bytes": peak if peak is None else max(peak, trained.peak_bytes()),
        "tokens": w.tokens,
        "flops": w.flops(),
    }


def training(device: str, size: str, peer: str, precisions: list[str], batch_sizes: list[int], least: float) -> None:
    """Emit one result for each precision and batch size."""
    if peer != "minillm" and not has_torch():
        emit(part="training", peer=peer, failed="PyTorch is not installed")
        return
    weights = first_weights(size)
    for precision in precisions:
        for batch_size in batch_sizes:
            about, w = {"peer": peer, "precision": precision, "batch_size": batch_size}, workload(size, batch_size)
            with guarded("training", **about), tf32(precision == "tf32"):
                found = time_training(make(peer, w, weights, device, precision), w, least)
                emit(part="training", **about, **found)
            free(device)


def has_torch() -> bool:
    """Tell whether PyTorch is installed."""
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def generation(device: str, size: str, peer: str, batch_sizes: list[int], new_tokens: int) -> None:
    """Emit tokens a second, the likeliest each time, with weights in bfloat16 and in float32."""
    if peer != "minillm" and not has_torch():
        emit(part="generation", peer=peer, failed="PyTorch is not installed")
        return
    w, weights = workload(size, 1), first_weights(size)
    for precision in ("bfloat16", "float32"):
        for batch_size in batch_sizes:
            about = {"peer": peer, "precision": precision, "batch_size": batch_size}
            with guarded("generation", **about):
                prompts = np.random.default_rng(1).integers(0, w.config.vocab_size, (batch_size, 4))
                write = writer(peer, w, weights, device, precision)
                write(prompts, 4)  # compiles
                start = time.perf_counter()
                found = write(prompts, new_tokens)
                took = time.perf_counter() - start
                rate = batch_size * new_tokens / took
                emit(part="generation", **about, tokens_s=rate, ms_a_token=1e3 * took / new_tokens, first_row=found[0])
            free(device)


def writer(peer: str, w: Workload, weights: dict[str, np.ndarray], device: str, precision: str) -> Any:
    """Return a function of prompts (B, T) and a number that returns rows of ids."""
    if peer != "minillm":
        from tests.bench.gpu_torch import writer as theirs

        return theirs(w, weights, device, precision)
    model = Ours(w, weights, device, "float32").model.to(PRECISIONS[precision]())

    def write(prompts: np.ndarray, n: int) -> list[list[int]]:
        return [row[prompts.shape[1] :] for row in generate(model, prompts.tolist(), n, Sampling(temperature=0))]

    return write
