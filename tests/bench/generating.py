"""Time generation with a key/value cache, beside a hand-written loop in PyTorch."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np

from tests.bench.workloads import workload


def time_tokens(name: str, seconds: float = 30.0, batches: tuple[int, ...] = (1, 16)) -> dict[str, Any]:
    """Return tokens a second at several batch sizes: the likeliest token each time, from a prompt of 8.

    Raises:
        RuntimeError: if the two do not write the same.
    """
    import minillm
    from lessons.l11_gpt import GPT
    from minillm.generation import Sampling, generate

    w = workload(name)
    weights = w.weights()
    model = GPT(w.config)
    model.load_state_dict({k: minillm.tensor(v) for k, v in weights.items()}, strict=False)
    new = w.config.block_size - 8
    cases = []
    for batch in batches:
        prompts = np.random.default_rng(1).integers(0, w.config.vocab_size, (batch, 8))

        def ours(prompts: np.ndarray = prompts) -> Any:
            return generate(model, prompts.tolist(), new, Sampling(temperature=0))

        runs = {"minillm": ours}
        if importlib.util.find_spec("torch") is not None:
            import torch

            from tests.bench import torch_gpt

            other = torch_gpt.make(w.config, weights)

            def theirs(prompts: np.ndarray = prompts, other: Any = other) -> Any:
                return torch_gpt.generate(other, torch.from_numpy(prompts), new)

            runs["torch"] = theirs
            same = np.mean(np.array(theirs()) == np.array(ours()))
            if same < 0.9:  # float32: one near tie changes everything after it in that row
                raise RuntimeError(f"{name}: only {same:.0%} of the tokens are the same")
        times: dict[str, list[float]] = {key: [] for key in runs}
        until = time.perf_counter() + seconds / len(batches)
        while time.perf_counter() < until:
            for key, run in runs.items():
                time.sleep(0.05)
                start = time.perf_counter()
                run()
                times[key].append(time.perf_counter() - start)
        cases.append({"batch": batch, **{key: batch * new / float(np.median(t)) for key, t in times.items()}})
    return {"workload": name, "cases": cases}
