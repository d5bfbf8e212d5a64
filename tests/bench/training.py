"""Time training steps, side by side: one library at work while the others wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from tests.bench.pairings import environment
from tests.bench.peers import PEERS
from tests.bench.process import Process, peak_mb
from tests.bench.workloads import workload

AGREE = 1e-4
"""How far the losses of the first steps may differ, in nats per token."""
SLOW_ROUNDS = 2
"""Turns of a slow peer, of one step each."""


def trainer(name: str, peer: str, dropout: float) -> Callable[[int], dict[str, Any]]:
    """Return a function that makes n steps and returns losses, seconds, peak memory and that of the library alone."""
    w = workload(name, dropout)
    PEERS[peer].load()
    loaded = peak_mb()
    trained, batches = PEERS[peer].make(w), w.batches(8)

    def steps(n: int) -> dict[str, Any]:
        losses, times = [], []
        for i in range(n):
            start = time.perf_counter()
            losses.append(trained.step(batches[i % len(batches)]))
            times.append(time.perf_counter() - start)
        return {"losses": losses, "times": times, "peak_mb": peak_mb(getattr(trained, "pids", ())), "loaded_mb": loaded}

    return steps


def taking_part(name: str, peers: list[str], dropout: float) -> list[str]:
    """Return who is timed at a workload: not who is missing, and the slow ones at S without dropout only."""
    small = name.startswith(("S", "XS")) and not dropout
    return [p for p in peers if not PEERS[p].lacks() and (small or not PEERS[p].slow)]


def gap(losses: dict[str, list[float]]) -> float:
    """Return how far the losses of the first steps lie apart, in nats."""
    return float(np.ptp(list(losses.values()), axis=0).max())


def time_steps(
    name: str, peers: list[str], pairing: str, *, dropout: float, seconds: float, rounds: int
) -> dict[str, Any]:
    """Return milliseconds a step and peak memory of every peer, measured in turns.

    Args:
        name: of the workload.
        peers: names; those whose library is missing are left out.
        pairing: which BLAS meets which.
        dropout: with it, losses differ by chance and are not compared.
        seconds: for all of it, without the first steps.
        rounds: turns of each peer; the order is reversed from one to the next.

    Raises:
        RuntimeError: if the losses of the first steps do not agree.
    """
    w = workload(name, dropout)
    with ExitStack() as stack:
        made = {
            peer: stack.enter_context(
                Process(
                    "tests.bench.training:trainer",
                    environment(pairing, PEERS[peer].library),
                    name=name,
                    peer=peer,
                    dropout=dropout,
                )
            )
            for peer in taking_part(name, peers, dropout)
        }
        first = {peer: p.ask(4)["losses"] for peer, p in made.items()}
        if not dropout and not gap(first) <= AGREE:
            raise RuntimeError(f"{name}: the losses of the first steps differ by {gap(first):.2g} nats: {first}")
        fast = [peer for peer in made if not PEERS[peer].slow]
        speed = {peer: float(np.mean(made[peer].ask(2)["times"])) for peer in fast}
        turn = seconds / rounds / max(1, len(fast))
        rounds_ms: dict[str, list[float]] = {peer: [] for peer in made}
        peak, loaded = {}, {}
        for r in range(rounds):
            for peer in list(made) if r % 2 == 0 else list(made)[::-1]:
                if peer not in fast and r >= SLOW_ROUNDS:
                    continue
                made[peer].ask(1)  # its weights come back into the cache
                result = made[peer].ask(max(2, int(turn / speed[peer])) if peer in fast else 1)
                rounds_ms[peer].append(1e3 * float(np.median(result["times"])))
                peak[peer], loaded[peer] = result["peak_mb"], result["loaded_mb"]
    return {
        "workload": name,
        "dropout": dropout,
        "tokens": w.tokens,
        "loss_gap": gap(first),
        "gflop": w.flops() / 1e9,
        "peak_mb": peak,
        "loaded_mb": loaded,
        "ms": {peer: summary(ms, rounds_ms.get("torch eager")) for peer, ms in rounds_ms.items()},
    }


def summary(values: list[float], reference: list[float] | None) -> dict[str, Any]:
    """Return median, smallest and largest of the rounds, and the median of the ratios to the same rounds of another."""
    return {
        "median": float(np.median(values)),
        "low": float(np.min(values)),
        "high": float(np.max(values)),
        "ratio": None if reference is None else float(np.median(np.divide(values, reference[: len(values)]))),
    }
