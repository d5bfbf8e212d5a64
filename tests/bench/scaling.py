"""How time and memory of a training step grow with parameters, context and vocabulary."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import minillm.nn as nn
from lessons.l11_gpt import GPT2, GPTConfig
from minillm.utils.checkpoint import checkpoint
from tests.bench.peers import PEERS
from tests.bench.process import once, peak_mb
from tests.bench.workloads import Workload

NOISE = 1.15
"""A factor that growth may be above the law: measurements on a shared machine differ by as much."""
PEER = "minillm plain loop"


def sweeps() -> dict[str, list[Workload]]:
    """Return the points of each sweep. What is not varied stays: the tokens of a batch, too."""

    def point(batch_size: int, vocab_size: int, block_size: int, n_layer: int, n_head: int, n_embd: int) -> Workload:
        config = GPTConfig(vocab_size, block_size, n_layer, n_head, n_embd)
        return Workload("", config, batch_size)

    sizes = [(3, 3, 96), (4, 4, 128), (4, 6, 192), (6, 8, 256), (6, 6, 384), (10, 8, 512)]  # layers, heads, width
    contexts = [64, 128, 256, 512, 1024, 2048]
    return {
        "parameters": [point(8, 256, 128, *size) for size in sizes],
        "context": [point(2048 // T, 256, T, 4, 4, 256) for T in contexts],
        "vocabulary": [point(12, V, 64, 4, 4, 128) for V in (65, 256, 1024, 4096, 16384, 50257)],
    }


def parameters(w: Workload) -> int:
    """Return how many numbers are learned."""
    c = w.config
    in_blocks = c.n_layer * (12 * c.n_embd**2 + 13 * c.n_embd)
    return (c.vocab_size + c.block_size) * c.n_embd + in_blocks + 2 * c.n_embd


def activation_mb(w: Workload) -> float:
    """Return what the numbers take that must be there in a step: activations, and four for each parameter, in MB.

    A token's activations: in each block the inputs of both norms, of both branches, of queries, keys, values, of their
    mix, of GELU and what comes out (16 C), and a probability for each head and position (H T); at the end 2 C, and
    logits with their gradient (2 V). A parameter has its gradient and AdamW's two moments beside it.
    """
    c = w.config
    token = c.n_layer * (16 * c.n_embd + c.n_head * w.context) + 2 * c.n_embd + 2 * c.vocab_size
    return 4 * (w.tokens * token + 4 * parameters(w)) / 1e6


class Recomputed(nn.Module):
    """A block that keeps its input alone and computes the rest again on the way back."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Any, cache: Any = None) -> Any:
        return checkpoint(self.block, x)


def step(
    config: dict[str, Any], batch_size: int, window: int, seconds: float, recompute: bool = False
) -> dict[str, Any]:
    """Return the time of a step in ms (median), and how much memory training takes beside the program itself, in MB."""
    w = Workload("", GPTConfig.from_dict(config), batch_size, window)
    before = peak_mb()
    trained: Any = PEERS[PEER].make(w)
    if recompute:
        trained.model.blocks = nn.ModuleList([Recomputed(block) for block in trained.model.blocks])
    batches, times = w.batches(4), []
    until = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 200):
        start = time.perf_counter()
        loss = trained.step(batches[len(times) % len(batches)])
        times.append(time.perf_counter() - start)
    if not np.isfinite(loss):
        raise RuntimeError(f"{config}: the loss is {loss}")
    peak = peak_mb()
    return {
        "ms": 1e3 * float(np.median(times[1:])),
        "mb": None if peak is None or before is None else peak - before,
        "peak_mb": peak,
    }


def measured(w: Workload, seconds: float, **more: Any) -> dict[str, Any]:
    """Return time and memory of a step, in a process of its own, beside what the law says."""
    arguments = {"config": w.config.to_dict(), "batch_size": w.batch_size, "window": w.window}
    found = once("tests.bench.scaling:step", dict(os.environ), **arguments, seconds=seconds, **more)
    return {
        "parameters": parameters(w),
        "context": w.context,
        "vocabulary": w.config.vocab_size,
        "us_per_token": 1e3 * found["ms"] / w.tokens,
        "mflop_per_token": w.flops() / w.tokens / 1e6,
        "law_mb": activation_mb(w),
        **found,
    }


def long_context(seconds: float) -> dict[str, Any]:
    """Return memory at a context of 2,048, plain and recomputed, beside what one T x T array a head and layer takes."""
    w = Workload("", GPTConfig(vocab_size=256, block_size=2048, n_layer=8, n_head=4, n_embd=128), 1)
    c = w.config
    return {
        "squares_mb": 4 * c.n_layer * c.n_head * c.block_size**2 / 1e6,
        "plain": measured(w, seconds),
        "recomputed": measured(w, seconds, recompute=True),
    }


def gpt2(seconds: float) -> dict[str, Any]:
    """Return a step of GPT-2's smallest model: one text of 256 tokens."""
    return measured(Workload("", GPT2, batch_size=1, window=256), seconds)


def sweep_all(seconds: float) -> dict[str, Any]:
    """Measure everything.

    Args:
        seconds: for each point.
    """
    found: dict[str, Any] = {}
    for axis, points in sweeps().items():
        found[axis] = [measured(w, seconds) for w in points]
    found["long context"] = long_context(seconds)
    found["GPT-2 124M"] = gpt2(seconds)
    return found


def excess(points: list[dict[str, Any]], what: str, law: str) -> float:
    """Return how much faster something grows than its law between two points of a sweep, at worst.

    1 where it never grows faster: for sizes i before j the largest (y_j / y_i) / (law_j / law_i).
    """
    share = [p[what] / p[law] for p in points]
    lowest, worst = share[0], 1.0
    for s in share:
        lowest = min(lowest, s)
        worst = max(worst, s / lowest)
    return worst


def verdicts(found: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Say of each sweep whether it keeps the law, and of the long context whether no T x T arrays stay alive."""
    for axis in sweeps():
        for what, law, words in (
            ("us_per_token", "mflop_per_token", "time a token against FLOPs"),
            ("mb", "law_mb", "memory against activations"),
        ):
            points = found.get(axis, [])
            if points and all(p[what] is not None for p in points):
                worst = excess(points, what, law)
                yield f"{words} by {axis}: at worst {worst:.2f} times as fast", worst <= NOISE
    if "long context" in found and found["long context"]["plain"]["mb"] is not None:
        case = found["long context"]
        plain, less, squares = case["plain"]["mb"], case["recomputed"]["mb"], case["squares_mb"]
        words = f"2,048 tokens: {plain:.0f} MB, {less:.0f} MB recomputed"
        yield f"{words}; a T x T array for each head and layer: {squares:.0f} MB", less < squares / 2
