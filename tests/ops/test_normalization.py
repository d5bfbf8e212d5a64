"""Layer norm, RMS norm and unit vectors at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.ops.rows import TILE


def test_values_far_from_zero_keep_their_variance() -> None:
    x = minillm.tensor([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3], requires_grad=True)
    y = F.layer_norm(x, (4,))
    np.testing.assert_allclose(y.detach().numpy(), [-1.3416, -0.4472, 0.4472, 1.3416], atol=1e-4)
    y.backward(minillm.tensor([1.0, 0.0, 0.0, 0.0]))
    exact = minillm.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    F.layer_norm(exact, (4,)).backward(minillm.tensor([1.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(x.grad.numpy(), exact.grad.numpy(), atol=1e-5)


def test_rows_without_variance_give_0() -> None:
    assert not F.layer_norm(minillm.full((2, 4), 3.0), (4,)).numpy().any()
    assert not F.layer_norm(minillm.tensor([[5.0], [-7.0]]), (1,)).numpy().any()
    x = minillm.zeros(2, 4, requires_grad=True)
    y = F.rms_norm(x, (4,))
    y.sum().backward()
    assert not y.detach().numpy().any() and np.isfinite(x.grad.numpy()).all()


@given(st.integers(1, 5), st.integers(2, 9), st.integers(0, 2**16))
def test_mean_0_and_variance_1(rows: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((rows, width)) * 3 + 2
    y = F.layer_norm(minillm.tensor(x), (width,), eps=0).numpy()
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(y.var(1), 1, rtol=1e-9)
    r = F.rms_norm(minillm.tensor(x), (width,), eps=0).numpy()
    np.testing.assert_allclose((r * r).mean(1), 1, rtol=1e-9)


@pytest.mark.parametrize("op", [F.layer_norm, F.rms_norm])
def test_several_tiles_equal_one(op: object) -> None:
    width = 64
    rows = TILE // width * 2 + 5
    rng = np.random.default_rng(0)
    x, w, dy = rng.standard_normal((rows, width)), rng.standard_normal(width), rng.standard_normal((rows, width))
    found = []
    for part in (slice(None), slice(0, 40), slice(40, None)):
        a, b = minillm.tensor(x[part], requires_grad=True), minillm.tensor(w, requires_grad=True)
        y = op(a, (width,), b)  # type: ignore[operator]
        y.backward(minillm.tensor(dy[part]))
        found.append((y.detach().numpy(), a.grad.numpy(), b.grad.numpy()))
    whole, first, rest = found
    for i in (0, 1):
        np.testing.assert_allclose(whole[i], np.concatenate([first[i], rest[i]]), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole[2], first[2] + rest[2], rtol=1e-9, atol=1e-9)


def test_float16_is_computed_in_float32() -> None:
    x = np.array([6e4, 0.0, -6e4, 3e4])  # the sum of squares is far above what float16 holds
    y = F.layer_norm(minillm.tensor(x.astype(np.float16)), (4,))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), F.layer_norm(minillm.tensor(x), (4,)).numpy(), rtol=2e-3)


def test_bias_alone() -> None:
    x, b = minillm.tensor([[1.0, 3.0]]), minillm.zeros(2, requires_grad=True)
    F.layer_norm(x, (2,), None, b).sum().backward()
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])


def test_normalize_leaves_zeros() -> None:
    x = minillm.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y = F.normalize(x)
    np.testing.assert_allclose(y.detach().numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    y.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_errors_name_the_shapes() -> None:
    with pytest.raises(RuntimeError, match=r"\(3,\).*got \(2, 4\)"):
        F.layer_norm(minillm.ones(2, 4), (3,))
    with pytest.raises(RuntimeError, match=r"parameter of shape \(4,\), got \(3,\)"):
        F.layer_norm(minillm.ones(2, 4), 4, minillm.ones(3))
    with pytest.raises(RuntimeError, match="int64"):
        F.rms_norm(minillm.ones(2, 4).long(), 4)
