"""One call on a device, with its gradients, as arrays of the host."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
from minillm.backend import backend_of
from tests.op_cases import OpCase, Sample
from tests.ops.test_table import flat, plain, prepared


def call(case: OpCase, s: Sample, device: str, dtype: Any) -> tuple[list[Any], list[minillm.Tensor]]:
    """Return the results of a sample of the op table on a device, and its floating inputs."""
    leaves: list[minillm.Tensor] = []

    def make(x: np.ndarray) -> minillm.Tensor:
        t = minillm.tensor(x, device=device)
        if x.dtype.kind == "f":
            leaves.append(t.requires_grad_())
        return t

    args = prepared(s.args, make, dtype)
    kwargs = plain(s.kwargs, lambda x: minillm.tensor(x, device=device), dtype)
    if not any(isinstance(t, minillm.Tensor) for t in flat(args)):
        kwargs["device"] = device  # ops that make tensors out of numbers
    return flat(case.call(*args, **kwargs)), leaves


def values(case: OpCase, s: Sample, device: str, dtype: Any = np.float64) -> list[np.ndarray]:
    """Return results and gradients of a sample, the gradients for incoming ones drawn with a fixed seed."""
    results, leaves = call(case, s, device, dtype)
    tensors = [y for y in results if isinstance(y, minillm.Tensor)]
    rng = np.random.default_rng(0)
    for y in tensors:
        if y.requires_grad:
            dy = np.asarray(rng.standard_normal(tuple(y.shape))).astype(y.dtype)
            y.backward(minillm.tensor(dy, device=device), retain_graph=True)
    arrays = [y.array for y in tensors] + [leaf.grad.array for leaf in leaves if leaf.grad is not None]
    assert {backend_of(a).name for a in arrays} <= {device}, "a result came back to the host"
    return [backend_of(a).to_host(a) for a in arrays]
