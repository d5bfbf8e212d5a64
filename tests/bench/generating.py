"""Time generation with a key/value cache, beside a hand-written loop in PyTorch, each with the threads that suit it."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from tests.bench.pairings import environment
from tests.bench.process import Process
from tests.bench.training import summary
from tests.bench.workloads import workload

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def lengths(name: str) -> tuple[int, int]:
    """Return the tokens of a prompt, and of what is written to the end of the context."""
    context = workload(name).context
    return min(8, context // 2), context - min(8, context // 2)


def writer(name: str, library: str, batch: int) -> Callable[[None], dict[str, Any]]:
    """Return a function that continues prompts to the end of the context, always with the likeliest token."""
    w = workload(name)
    prompt, new = lengths(name)
    prompts = np.random.default_rng(1).integers(0, w.config.vocab_size, (batch, prompt))
    if library == "torch":
        import torch

        from tests.bench import torch_gpt

        other = torch_gpt.make(w.config, w.weights())

        def write() -> list[list[int]]:
            return torch_gpt.generate(other, torch.from_numpy(prompts), new).tolist()

    else:
        from minillm.generation import Sampling, generate
        from tests.bench.peers.ours import PlainLoop

        model = PlainLoop(w, w.weights()).model

        def write() -> list[list[int]]:
            return generate(model, prompts.tolist(), new, Sampling(temperature=0))

    def turn(_: None) -> dict[str, Any]:
        start = time.perf_counter()
        text = write()
        return {"seconds": time.perf_counter() - start, "text": text}

    return turn


def time_tokens(
    name: str, pairing: str, *, seconds: float, rounds: int, batches: tuple[int, ...] = (1, 16)
) -> dict[str, Any]:
    """Return microseconds a token of minillm and PyTorch, at several numbers of texts side by side.

    Each is timed with one thread and with as many as there are cores; the better one counts.

    Raises:
        RuntimeError: if the two do not write the same.
    """
    libraries = ["minillm", *(["torch"] if importlib.util.find_spec("torch") else [])]
    cases = []
    for batch in batches:
        with ExitStack() as stack:
            made = {}
            for library in libraries:
                for threads in sorted({1, os.cpu_count() or 1}):
                    surroundings = {**environment(pairing, library), **dict.fromkeys(THREADS, str(threads))}
                    process = Process(
                        "tests.bench.generating:writer", surroundings, name=name, library=library, batch=batch
                    )
                    made[library, threads] = stack.enter_context(process)
            texts = [p.ask()["text"] for p in made.values()]
            same = min(float(np.mean(np.array(text) == np.array(texts[0]))) for text in texts)
            if same < 0.9:  # float32: one near tie changes everything after it in that row
                raise RuntimeError(f"{name}: only {same:.0%} of the tokens are the same")
            tokens = batch * lengths(name)[1]
            times: dict[tuple[str, int], list[float]] = {key: [] for key in made}
            for _ in range(rounds):
                for key, process in made.items():
                    until = time.perf_counter() + seconds / rounds / len(batches) / len(made)
                    turns = [process.ask()["seconds"]]
                    while time.perf_counter() < until:
                        turns.append(process.ask()["seconds"])
                    times[key].append(1e6 * float(np.median(turns)) / tokens)
        best = {library: min((np.median(t), n) for (l, n), t in times.items() if l == library) for library in libraries}
        reference = times["torch", best["torch"][1]] if "torch" in best else None
        case: dict[str, Any] = {"batch": batch, "same": same}
        for library, (_, threads) in best.items():
            case[library] = {"threads": threads, **summary(times[library, threads], reference)}
        cases.append(case)
    return {"workload": name, "cases": cases}
