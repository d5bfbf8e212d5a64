"""Activations and the softmax at the edges, in place, and against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.ops.activation import gelu_tanh_formula, softplus_formula
from minillm.ops.rows import TILE

NAMES = ["relu", "leaky_relu", "elu", "selu", "silu", "gelu", "softplus", "logsigmoid", "hardtanh", "relu6"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_at_1e4(name: str, dtype: type, recwarn: pytest.WarningsRecorder) -> None:
    x = minillm.tensor(np.array([-1e4, -100, 0, 100, 1e4], dtype=dtype), requires_grad=True)
    y = getattr(F, name)(x)
    y.sum().backward()
    assert np.isfinite(y.detach().numpy()).all() and np.isfinite(x.grad.numpy()).all()
    assert not recwarn.list


@pytest.mark.parametrize("name", NAMES)
def test_several_tiles_equal_one(name: str) -> None:
    x = np.random.default_rng(0).standard_normal(2 * TILE + 3)
    whole, last = minillm.tensor(x, requires_grad=True), minillm.tensor(x[-5:], requires_grad=True)
    call = getattr(F, name)
    np.testing.assert_allclose(call(whole).detach().numpy()[-5:], call(last).detach().numpy(), rtol=1e-14)
    call(whole).sum().backward()
    call(last).sum().backward()
    np.testing.assert_allclose(whole.grad.numpy()[-5:], last.grad.numpy(), rtol=1e-13)


def test_limits() -> None:
    x = minillm.tensor([-1e4, 1e4])
    np.testing.assert_array_equal(F.gelu(x).numpy(), [0, 1e4])
    np.testing.assert_array_equal(F.softplus(x).numpy(), [0, 1e4])
    np.testing.assert_array_equal(F.silu(x).numpy(), [0, 1e4])
    np.testing.assert_array_equal(F.logsigmoid(x).numpy(), [-1e4, 0])


def test_relu_passes_nan_on_and_has_slope_0_at_0() -> None:
    x = minillm.tensor([0.0, float("nan")], requires_grad=True)
    y = F.relu(x)
    y.sum().backward()
    assert np.isnan(y.detach().numpy()[1])
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1])


def test_relu_takes_integers_and_the_others_say_why_not() -> None:
    assert F.relu(minillm.tensor([-1, 2])).tolist() == [0, 2]
    with pytest.raises(RuntimeError, match=r"int64.*float\(\)"):
        F.gelu(minillm.tensor([1]))
    with pytest.raises(RuntimeError, match=r"int64.*float\(\)"):
        F.softmax(minillm.tensor([1]), -1)


def test_gelu_knows_two_forms() -> None:
    with pytest.raises(RuntimeError, match="'fast'"):
        F.gelu(minillm.ones(1), approximate="fast")


@given(st.floats(-1e4, 1e4))
def test_kernels_equal_their_formulas(x: float) -> None:
    array = np.array([x])
    ours = F.gelu(minillm.tensor(array), approximate="tanh").numpy()
    np.testing.assert_allclose(ours, gelu_tanh_formula(np, array), rtol=1e-12, atol=1e-12)
    straight = F.softplus(minillm.tensor(array), threshold=1e9 if x < 700 else 20).numpy()
    np.testing.assert_allclose(straight, softplus_formula(np, array), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "silu", "hardtanh", "relu6"])
def test_in_place_changes_plain_tensors_and_refuses_graphs(name: str) -> None:
    call = getattr(F, name)
    x = minillm.tensor([-1.0, 2.0])
    expected = call(x).numpy().copy()
    assert call(x, inplace=True) is x
    np.testing.assert_array_equal(x.numpy(), expected)
    leaf = minillm.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError):
        call(leaf * 2, inplace=True)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "gelu", "silu"])
def test_float16_is_computed_in_float32(name: str) -> None:
    x = np.array([[3e4, -3e4, 0.0], [1.0, 2.0, 3.0]])
    extra = (-1,) if "softmax" in name else ()
    half = getattr(F, name)(minillm.tensor(x.astype(np.float16)), *extra)
    exact = getattr(F, name)(minillm.tensor(x), *extra)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.numpy(), exact.numpy().astype(np.float16), rtol=2e-3, atol=1e-3)


# --- softmax
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8), st.floats(-100, 100))
def test_probabilities_add_up_and_do_not_see_a_shift(xs: list[float], shift: float) -> None:
    x = np.array(xs)
    p = F.softmax(minillm.tensor(x), -1).numpy()
    assert (p >= 0).all() and p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(F.softmax(minillm.tensor(x + shift), -1).numpy(), p, rtol=1e-9, atol=1e-12)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8))
def test_the_logarithm_of_the_softmax(xs: list[float]) -> None:
    x = minillm.tensor(np.array(xs), requires_grad=True)
    y = F.log_softmax(x, -1)
    np.testing.assert_allclose(np.exp(y.detach().numpy()), F.softmax(x, -1).detach().numpy(), rtol=1e-9, atol=1e-300)
    y.backward(minillm.ones_like(y))
    assert x.grad.numpy().sum() == pytest.approx(0, abs=1e-9)  # the logits may all shift without a change


def test_rows_of_minus_infinity() -> None:
    row = minillm.tensor([[-float("inf"), -float("inf")], [0.0, -float("inf")]])
    p = F.softmax(row, -1).numpy()
    assert np.isnan(p[0]).all()
    np.testing.assert_array_equal(p[1], [1, 0])


def test_rows_in_several_tiles() -> None:
    x = np.random.default_rng(0).standard_normal((300, 1000))
    p = F.softmax(minillm.tensor(x), -1).numpy()
    e = np.exp(x)
    np.testing.assert_allclose(p, e / e.sum(1, keepdims=True), rtol=1e-12)


def test_softmax_wants_a_dim_and_casts() -> None:
    with pytest.raises(ValueError, match="dim=-1"):
        F.softmax(minillm.ones(2))
    with pytest.raises(IndexError):
        F.softmax(minillm.ones(2), 1)
    assert F.softmax(minillm.tensor([1, 2]), 0, dtype=minillm.float64).dtype == np.float64


def test_glu_needs_halves() -> None:
    with pytest.raises(RuntimeError, match="even"):
        F.glu(minillm.ones(3))
