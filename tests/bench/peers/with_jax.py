"""JAX: the whole step, optimizer included, as one compiled function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.bench.peers import Batch
from tests.bench.peers.functional_gpt import loss
from tests.bench.workloads import BETAS, CLIP, LR, WEIGHT_DECAY, Workload


class Jax:
    """Weights and moments are given to the step for good, so that it can write into them."""

    def __init__(self, w: Workload, weights: dict[str, np.ndarray]) -> None:
        c = w.config
        self.t = 0
        self.weights = {k: jnp.asarray(p) for k, p in weights.items()}
        self.m = jax.tree.map(jnp.zeros_like, self.weights)
        self.v = jax.tree.map(jnp.zeros_like, self.weights)

        def total(weights: Any, x: Any, y: Any, key: Any) -> Any:
            keys = iter(jax.random.split(key, 3 * c.n_layer + 1))

            def drop(a: Any) -> Any:
                if not c.dropout:
                    return a
                return jnp.where(jax.random.bernoulli(next(keys), 1 - c.dropout, a.shape), a / (1 - c.dropout), 0)

            return loss(jnp, c, weights, x, y, drop)

        def step(weights: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> Any:
            value, grads = jax.value_and_grad(total)(weights, x, y, jax.random.key(t))
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
            grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, CLIP / (norm + 1e-6)), grads)
            m = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, m, grads)
            v = jax.tree.map(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g * g, v, grads)

            def move(p: Any, m: Any, v: Any) -> Any:
                p = p * (1 - LR * WEIGHT_DECAY) if p.ndim >= 2 else p
                return p - LR / (1 - BETAS[0] ** t) * m / (jnp.sqrt(v / (1 - BETAS[1] ** t)) + 1e-8)

            return jax.tree.map(move, weights, m, v), m, v, value

        self.compiled = jax.jit(step, donate_argnums=(0, 1, 2))

    def step(self, batch: Batch) -> float:
        self.t += 1
        self.weights, self.m, self.v, value = self.compiled(self.weights, self.m, self.v, self.t, *batch)
        return float(value)
