"""Time training steps, side by side: every peer in a process of its own, one at work while the others wait."""

from __future__ import annotations

import importlib.util
import json
import subprocess
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


def serve(name: str, peer: str, dropout: float) -> None:
    """Train when told to: a line with a number of steps comes in, a line with losses, times and peak memory goes out.

    In one process the libraries would disturb each other: idle threads of one spin while the other works.
    """
    import resource

    w = workload(name, dropout)
    trained, batches = PEERS[peer][0](w, w.weights()), w.batches(8)
    unit = 1 if sys.platform == "darwin" else 1024
    for line in sys.stdin:
        losses, times = [], []
        for i in range(int(line)):
            start = time.perf_counter()
            losses.append(trained.step(batches[i % len(batches)]))
            times.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        print(json.dumps({"losses": losses, "times": times, "peak_mb": peak}), flush=True)


class Process:
    """A peer at work in another process."""

    def __init__(self, name: str, peer: str, dropout: float) -> None:
        what = json.dumps({"name": name, "peer": peer, "dropout": dropout})
        command = [sys.executable, "-m", "tests.bench", "--child", "serve", what]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def steps(self, n: int) -> dict[str, Any]:
        """Make n steps."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(n, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args}: ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def time_steps(name: str, peers: list[str], *, dropout: float, seconds: float, rounds: int) -> dict[str, Any]:
    """Return milliseconds a step and peak memory of every peer, measured in turns.

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
    made = {peer: Process(name, peer, dropout) for peer in installed(peers)}
    first = {peer: p.steps(5)["losses"] for peer, p in made.items()}
    gap = float(np.ptp(list(first.values()), axis=0).max())
    if not dropout and not gap <= AGREE:
        raise RuntimeError(f"{name}: the losses of the first steps differ by {gap:.2g} nats: {first}")
    speed = {peer: float(np.mean(p.steps(2)["times"])) for peer, p in made.items()}
    turn = seconds / rounds / len(made)
    medians: dict[str, list[float]] = {peer: [] for peer in made}
    peak = {}
    for r in range(rounds):
        for peer in list(made) if r % 2 == 0 else list(made)[::-1]:
            made[peer].steps(1)  # its weights come back into the cache
            result = made[peer].steps(max(2, int(turn / speed[peer])))
            medians[peer].append(1e3 * float(np.median(result["times"])))
            peak[peer] = result["peak_mb"]
    for p in made.values():
        p.close()
    reference = medians.get("torch eager")
    return {
        "workload": name,
        "dropout": dropout,
        "tokens": w.tokens,
        "loss_gap": gap,
        "gflop": w.flops() / 1e9,
        "peak_mb": peak,
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
