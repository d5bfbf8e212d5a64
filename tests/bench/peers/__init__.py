"""The libraries that are compared: one class each, and ``step(batch)`` makes one training step.

Every one does the same work: forward, cross-entropy, backward, the norm of the gradient clipped to 1, AdamW with decay
of matrices only. A peer is imported when it is made, so a missing library costs nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tests.bench.workloads import Workload

Batch = tuple[np.ndarray, np.ndarray]


class Peer(Protocol):
    """Something that trains."""

    def step(self, batch: Batch) -> float:
        """Make one step and return the loss in nats per token."""


@dataclass(frozen=True)
class Entry:
    """Where a peer is found.

    Attributes:
        file: in this folder.
        name: of its class, which takes the workload and the first weights.
        library: that must be installed.
        slow: so slow that it is timed at S without dropout only, and with few steps.
    """

    file: str
    name: str
    library: str
    slow: bool = False

    def lacks(self) -> str:
        """Return what is missing on this machine, or nothing."""
        if importlib.util.find_spec(self.library) is None:
            return f"the package {self.library}"
        if self.name == "TorchCompiled" and not shutil.which(os.environ.get("CXX", "g++")):
            return "a C++ compiler"
        return ""

    def load(self) -> type:
        """Import its library and return its class."""
        return getattr(importlib.import_module(f"tests.bench.peers.{self.file}"), self.name)

    def make(self, w: Workload) -> Peer:
        """Return it with the workload's first weights."""
        return self.load()(w, w.weights())


PEERS = {
    "minillm Trainer": Entry("ours", "ThroughTrainer", "minillm"),
    "minillm plain loop": Entry("ours", "PlainLoop", "minillm"),
    "minillm Trainer, fast": Entry("ours", "CompiledTrainer", "numba"),
    "minillm plain loop, fast": Entry("ours", "CompiledLoop", "numba"),
    "torch eager": Entry("with_torch", "Torch", "torch"),
    "torch.compile": Entry("with_torch", "TorchCompiled", "torch"),
    "JAX jit": Entry("with_jax", "Jax", "jax"),
    "MyGrad": Entry("with_mygrad", "MyGrad", "mygrad", slow=True),
    "HIPS autograd": Entry("with_autograd", "Autograd", "autograd", slow=True),
}
"""By the name in the tables."""


def left_out(names: list[str]) -> dict[str, str]:
    """Return what each peer lacks that cannot be run here."""
    return {n: PEERS[n].lacks() for n in names if PEERS[n].lacks()}
