"""HIPS autograd: NumPy's functions, differentiated."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad

from tests.bench.peers import Batch
from tests.bench.peers.functional_gpt import AdamW, loss
from tests.bench.workloads import Workload


class Autograd:
    """The gradient by autograd, the step in plain NumPy."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        self.optimizer = AdamW(weights)
        self.gradient = value_and_grad(lambda weights, x, y: loss(anp, w.config, weights, x, y))

    def step(self, batch: Batch) -> float:
        value, grads = self.gradient(self.optimizer.weights, *batch)
        self.optimizer.step(grads)
        return float(value)
