"""Attention that keeps no scores, run on the CPU: what it takes, what it leaves to others, and its edges.

That it equals its formula is tested with all kernels, in test_kernels.py, and that it compiles in test_compile.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm.backend.cuda.kernels import flash
from tests import cuda_on_cpu
from tests.backend.kernel_cases import CASES, attention, dtype_of, run
from tests.backend.twins import host
from tests.standin import standin

pytestmark = pytest.mark.skipif(bool(cuda_on_cpu.why_not()), reason=cuda_on_cpu.why_not() or "kernels can run here")

FIRST = 9  # of the cases of attention with heads of the usual sizes


@pytest.fixture(autouse=True)
def cuda():
    with standin(kernels=True):
        yield minillm.backend.get_backend("cuda")


def launched(backend) -> set[str]:
    return {kernel for _, kernel, *_ in backend.launch._functions}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_no_weights_are_kept_in_16_bits(dtype, cuda):
    for call in CASES["Attention"][FIRST:]:
        run(call, "cuda", dtype_of(dtype), dtype_of(dtype))
    assert launched(cuda) >= {"flash_forward", "flash_backward_queries", "flash_backward_keys"}
    assert "attention_weights" not in launched(cuda)


@pytest.mark.parametrize(
    ("dtype", "call"),
    [
        ("float32", attention((2,), 5, 5, 16, 16)),
        ("float16", attention((2,), 5, 5, 40, 40)),
        ("float16", attention((2,), 5, 5, 16, 32)),
        ("float16", attention((2, 1, 2, 1), 5, 5, 16, 16)),
        ("float16", attention((2,), 5, 5, 16, 16, scale=0.0)),
        ("float16", attention((2,), 5, 5, 16, 16, dropout_p=0.5)),
    ],
)
def test_what_it_cannot_do_is_done_with_weights(dtype, call, cuda):
    run(call, "cuda", dtype_of(dtype), dtype_of(dtype))
    assert "attention_weights" in launched(cuda) and "flash_forward" not in launched(cuda)


def test_older_cards_use_weights(cuda):
    cuda.tensor_cores = False
    run(attention((2,), 5, 5, 16, 16), "cuda", np.dtype(np.float16), np.dtype(np.float16))
    assert "attention_weights" in launched(cuda) and "flash_forward" not in launched(cuda)


@pytest.mark.parametrize("scale", [0.125, -1.0, 5.0])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "place",
    [("q", np.nan), ("k", np.nan), ("q", np.inf), ("k", -np.inf), ("k", 1e3), ("v", np.nan), ("dy", np.nan)],
    ids=str,
)
def test_what_is_not_finite_spoils_the_rows_it_touches(place, causal, scale, monkeypatch):
    """The same numbers are not finite as with weights."""
    rng, shape, (where, value) = np.random.default_rng(0), (1, 2, 20, 16), place
    arrays = {name: rng.standard_normal(shape).astype(np.float16) for name in ("q", "k", "v", "dy")}
    arrays[where][0, 1, 11, 3] = value
    arrays["k"][0, 0] = np.where(rng.random((20, 16)) < 0.02, -np.inf, arrays["k"][0, 0])
    arrays["q"][0, 0] = np.abs(arrays["q"][0, 0])
    results = []
    for fits in (True, False):
        monkeypatch.setattr(flash, "fits", lambda *_, fits=fits: fits)
        q, k, v, dy = (minillm.tensor(a, device="cuda", requires_grad=True) for a in arrays.values())
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        y.backward(dy.detach())
        results.append([host(t.detach()).astype(np.float64) for t in (y, q.grad, k.grad, v.grad)])
    if where == "v":  # hidden keys are multiplied by 0, and 0 * NaN is NaN: of such y, delta is NaN
        results = [r[:1] for r in results]
    for name, a, b in zip(("y", "dq", "dk", "dv"), *results):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b), err_msg=name)
