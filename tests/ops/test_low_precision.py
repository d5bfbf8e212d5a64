"""Every op in float16 and bfloat16: PyTorch's types, values and gradients within what 11 and 8 bits can hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import minillm
from tests.op_cases import OpCase, Sample, load_cases
from tests.ops.test_table import call_torch, flat, plain, prepared, rng_of, samples_of

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

CASES = [case for case in load_cases() if case.torch_name != ""]
# The tolerances, relative and absolute: of values, of gradients.
TOLERANCES = {"float16": ((2e-3, 1e-3), (1e-2, 5e-3)), "bfloat16": ((1.6e-2, 1e-2), (5e-2, 5e-2))}


def to_torch(x: np.ndarray) -> Any:
    if x.dtype.name == "bfloat16":
        return torch.tensor(x.astype(np.float32)).bfloat16()
    return torch.tensor(x)


def call(case: OpCase, function: Any, make: Any, s: Sample, dtype: np.dtype) -> tuple[list, list]:
    """Return the results and the floating inputs of one call."""
    leaves = []

    def convert(x: np.ndarray) -> Any:
        t = make(x)
        if x.dtype == dtype:
            leaves.append(t.requires_grad_())
        return t

    args = prepared(s.args, convert, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own remarks are not what is tested
        return flat(function(*args, **plain(s.kwargs, make, dtype))), leaves


def wide(x: Any) -> np.ndarray:
    """Return the numbers of a tensor of either package, floats in float64."""
    x = x.detach() if hasattr(x, "detach") else minillm.tensor(x)
    return (x.double() if x.is_floating_point() else x).numpy()


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sixteen_bits(case: OpCase, name: str) -> None:
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    dtype = np.dtype(getattr(minillm, name))
    (rtol, atol), (grad_rtol, grad_atol) = TOLERANCES[name]
    rng = rng_of(case)
    for s in samples_of(case):
        try:
            theirs, their_leaves = call(case, case.torch_call(torch), to_torch, s, dtype)
        except RuntimeError as error:
            assert "not implemented for" in str(error)  # PyTorch has no such kernel: nothing to compare with
            continue
        ours, leaves = call(case, case.call, minillm.tensor, s, dtype)
        exact, _ = call_torch(torch, case, s, np.float64)
        for a, b, best in zip(ours, theirs, exact, strict=True):
            if isinstance(b, torch.Tensor):
                assert str(b.dtype) == f"torch.{a.dtype}", s
                assert tuple(a.shape) == tuple(b.shape), s
            x, y, z = wide(a), wide(b), wide(best)
            with np.errstate(all="ignore"):
                close = np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True)
                fair = np.abs(x * 1.0 - z) <= 4 * np.abs(y * 1.0 - z)
            assert (close | fair).all(), (s, x, y)
        for a, b in zip(ours, theirs, strict=True):
            if isinstance(b, torch.Tensor) and b.requires_grad:
                incoming = np.asarray(rng.standard_normal(tuple(b.shape))).astype(a.dtype)
                a.backward(minillm.tensor(incoming), retain_graph=True)
                b.backward(to_torch(incoming), retain_graph=True)
        for mine, their in zip(leaves, their_leaves, strict=True):
            if their.grad is not None and their.grad.numel():
                assert mine.grad.dtype == dtype
                np.testing.assert_allclose(
                    wide(mine.grad), wide(their.grad), rtol=grad_rtol, atol=grad_atol, err_msg=str(s)
                )


def test_numbers_are_weak_beside_every_type() -> None:
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    for dtype in (minillm.float64, minillm.float32, minillm.float16, minillm.bfloat16):
        for x in (minillm.ones(2, dtype=dtype), minillm.tensor(1.0, dtype=dtype)):
            for y in (x * 2, 2.0 * x, x + 1.5, 1 - x, x / 3, x**2, 2**x, x.clamp(0.0, 1.0)):
                assert y.dtype == dtype
        assert (minillm.ones(2, dtype=dtype) * minillm.tensor(2.0)).dtype == dtype  # 0-d tensors too
        assert (minillm.ones(2, dtype=dtype) * np.float64(2.0)).dtype == dtype


def test_limits_of_types() -> None:
    assert minillm.finfo(minillm.float32).max == np.finfo(np.float32).max
    assert minillm.finfo().bits == 32
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    assert float(minillm.finfo(minillm.bfloat16).eps) == torch.finfo(torch.bfloat16).eps
    assert float(minillm.finfo(minillm.bfloat16).max) == torch.finfo(torch.bfloat16).max
