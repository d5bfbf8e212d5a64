"""MyGrad: NumPy's functions on tensors of its own."""

from __future__ import annotations

import mygrad
import numpy as np

from tests.bench.peers import Batch
from tests.bench.peers.functional_gpt import AdamW, loss
from tests.bench.workloads import Workload


class MyGrad:
    """The gradient by MyGrad, the step in plain NumPy."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        self.config, self.optimizer = w.config, AdamW(weights)

    def step(self, batch: Batch) -> float:
        tensors = {k: mygrad.tensor(p, copy=False) for k, p in self.optimizer.weights.items()}
        with mygrad.mem_guard_off:  # its check for writes into the graph, which nobody does here, takes time
            value = loss(mygrad, self.config, tensors, *batch)
            value.backward()
        self.optimizer.step({k: t.grad for k, t in tensors.items()})
        return float(value)
