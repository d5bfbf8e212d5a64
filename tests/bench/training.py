"""Time training steps, side by side."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

import numpy as np

from tests.bench.peers import PEERS
from tests.bench.workloads import workload

AGREE = 1e-4
"""How far the losses of the first steps may differ, in nats per token."""


def installed(names: list[str]) -> list[str]:
    """Return the peers whose library is there."""
    return [n for n in names if importlib.util.find_spec(PEERS[n][1]) is not None]


def time_steps(name: str, peers: list[str], *, dropout: float, seconds: float, rounds: int) -> dict[str, Any]:
    """Return milliseconds a step of every peer, measured in turns.

    Args:
        name: of the workload.
        peers: names; those whose library is missing are left out.
        dropout: with it, losses differ by chance and are not compared.
        seconds: for all of it, without the warm-up.
        rounds: turns of each peer; the order is reversed from one to the next.

    Raises:
        RuntimeError: if the losses of the first steps do not agree.
    """
    w = workload(name, dropout)
    weights, batches = w.weights(), w.batches(8)
    made = {peer: PEERS[peer][0](w, weights) for peer in installed(peers)}
    first = {peer: [p.step(b) for b in batches[:5]] for peer, p in made.items()}
    gap = float(np.ptp(list(first.values()), axis=0).max())
    if not dropout and not gap <= AGREE:
        raise RuntimeError(f"{name}: the losses of the first steps differ by {gap:.2g} nats: {first}")
    speed = {}
    for peer, p in made.items():
        start = time.perf_counter()
        p.step(batches[0])
        p.step(batches[1])
        speed[peer] = (time.perf_counter() - start) / 2
    turn = seconds / rounds / len(made)
    medians: dict[str, list[float]] = {peer: [] for peer in made}
    for r in range(rounds):
        for peer in list(made) if r % 2 == 0 else list(made)[::-1]:
            time.sleep(0.05)  # the other library's threads stop spinning
            made[peer].step(batches[0])  # its weights come back into the cache
            times = []
            for i in range(max(2, int(turn / speed[peer]))):
                start = time.perf_counter()
                made[peer].step(batches[i % len(batches)])
                times.append(time.perf_counter() - start)
            medians[peer].append(1e3 * float(np.median(times)))
    reference = medians.get("torch eager")
    return {
        "workload": name,
        "dropout": dropout,
        "tokens": w.tokens,
        "loss_gap": gap,
        "gflop": w.flops() / 1e9,
        "ms": {
            peer: {
                "median": float(np.median(ms)),
                "low": float(np.min(ms)),
                "high": float(np.max(ms)),
                "ratio": None if reference is None else float(np.median(np.divide(ms, reference))),
            }
            for peer, ms in medians.items()
        },
    }


def peak_memory(name: str, peer: str, steps: int = 5) -> float:
    """Return the peak memory of this process after some steps, in MB; call it in a process of its own."""
    import resource

    w = workload(name)
    trained = PEERS[peer][0](w, w.weights())
    for batch in w.batches(steps):
        trained.step(batch)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
