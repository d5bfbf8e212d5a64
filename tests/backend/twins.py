"""The same call on the host and on the stand-in, compared."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
from tests.op_cases import OpCase, Sample
from tests.ops.test_table import flat, plain, prepared, samples_of
from tests.standin import DeviceArray


def on_cuda(case: OpCase, s: Sample, dtype: Any) -> tuple[Any, list]:
    leaves: list = []

    def convert(x: np.ndarray) -> minillm.Tensor:
        t = minillm.tensor(x, device="cuda")
        if x.dtype.kind == "f":
            leaves.append(t.requires_grad_())
        return t

    kwargs = plain(s.kwargs, lambda x: minillm.tensor(x, device="cuda"), dtype)
    if not any(isinstance(t, minillm.Tensor) for t in flat(prepared(s.args, convert, dtype))):
        kwargs["device"] = "cuda"  # ops that make tensors out of numbers
    leaves.clear()
    return case.call(*prepared(s.args, convert, dtype), **kwargs), leaves


def on_cpu(case: OpCase, s: Sample, dtype: Any) -> tuple[Any, list]:
    leaves: list = []

    def convert(x: np.ndarray) -> minillm.Tensor:
        t = minillm.tensor(x)
        if x.dtype.kind == "f":
            leaves.append(t.requires_grad_())
        return t

    return case.call(*prepared(s.args, convert, dtype), **plain(s.kwargs, minillm.tensor, dtype)), leaves


def host(t: minillm.Tensor) -> np.ndarray:
    """Look at a tensor on the device; on the stand-in without a transfer that would be counted."""
    assert not isinstance(t.array, np.ndarray), "the result came back to the host"
    return t.array._array if isinstance(t.array, DeviceArray) else t.backend.to_host(t.array)


def compare_row(case: OpCase, dtype: Any = np.float64, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """Run every sample of a row of the op table on both, forward and backward; ``atol`` grows with the numbers."""

    def near(got: minillm.Tensor, expected: minillm.Tensor, s: Sample) -> None:
        wanted = expected.detach().numpy()
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0) if wanted.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(host(got), wanted, rtol=rtol, atol=atol * size, err_msg=str(s))

    for s in samples_of(case):
        expected, leaves = on_cpu(case, s, dtype)
        got, device_leaves = on_cuda(case, s, dtype)
        pairs = [
            (a, b) for a, b in zip(flat(got), flat(expected), strict=True) if isinstance(b, minillm.Tensor)
        ]  # is_tensor and others answer with plain Python
        for a, b in pairs:
            assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad), s
            near(a, b, s)
        rng = np.random.default_rng(0)
        for a, b in pairs:
            if b.requires_grad:
                dy = np.asarray(rng.standard_normal(b.shape)).astype(b.dtype)
                a.backward(minillm.tensor(dy, device="cuda"), retain_graph=True)
                b.backward(minillm.tensor(dy), retain_graph=True)
        for a, b in zip(device_leaves, leaves, strict=True):
            assert (a.grad is None) == (b.grad is None), s
            if b.grad is not None:
                near(a.grad, b.grad, s)
