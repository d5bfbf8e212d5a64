"""Sums of many numbers: 16 bits are added up in float32, and a million rows are as exact as a thousand.

The op table has small shapes, on which an accumulator that stays at 2,048 (float16) or 256 (bfloat16) does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minillm
import minillm.nn.functional as F
from minillm import Tensor
from minillm.backend import get_backend
from minillm.ops.common import total
from minillm.ops.rows import ROWS, column_sum
from tests.standin import standin

N = 6000
Make = Callable[..., Tensor]

# name: an input's shape, and what is done with it and with a maker of ones.
MANY: dict[str, tuple[tuple[int, ...], Callable[[Tensor, Make], Tensor]]] = {
    "add": ((3,), lambda w, ones: w + ones(N, 3)),
    "sub": ((3,), lambda w, ones: ones(N, 3) - w),
    "mul": ((3, 1), lambda w, ones: w * ones(3, N)),
    "div": ((), lambda w, ones: ones(N) / w),
    "maximum": ((3,), lambda w, ones: minillm.maximum(w * 2, ones(N, 3))),
    "where": ((3,), lambda w, ones: minillm.where(ones(N, 3) > 0, w, 0.0 * ones(N, 3))),
    "expand": ((1, 3), lambda w, ones: w.expand(N, 3)),
    "repeat": ((3,), lambda w, ones: w.repeat(N)),
    "repeat_interleave": ((3,), lambda w, ones: w.repeat_interleave(N)),
    "unfold": ((N,), lambda w, ones: w.unfold(0, N // 2, 1)),
    "index": ((4, 3), lambda w, ones: w[zeros(w)]),
    "index_select": ((4, 3), lambda w, ones: w.index_select(0, zeros(w))),
    "gather": ((4,), lambda w, ones: w.gather(0, zeros(w))),
    "index_add": ((4, 3), lambda w, ones: w.index_add(0, zeros(w), ones(N, 3))),
    "scatter_add": ((4,), lambda w, ones: w.scatter_add(0, zeros(w), ones(N))),
    "embedding": ((4, 3), lambda w, ones: F.embedding(zeros(w), w)),
    "embedding of a large table": ((300, 3), lambda w, ones: F.embedding(zeros(w), w)),
    "linear": ((2, 3), lambda w, ones: F.linear(ones(N, 3), w, ones(2))),
    "matmul": ((3, 2), lambda w, ones: ones(N // 2, 2, 3) @ w),
    "sum": ((N, 3), lambda w, ones: w.sum(0)),
    "mean": ((N, 3), lambda w, ones: w.mean(0)),
    "var": ((N, 3), lambda w, ones: (w * (minillm.arange(N, device=w.device) % 2).to(w.dtype).unsqueeze(1)).var(0)),
    "norm": ((N, 3), lambda w, ones: w.norm(dim=0)),
    "cumsum": ((N,), lambda w, ones: w.cumsum(0)),
    "cross_entropy": ((N, 3), lambda w, ones: F.cross_entropy(w, zeros(w), reduction="sum")),
    "mse_loss": ((N,), lambda w, ones: F.mse_loss(w, 0.0 * ones(N), reduction="sum")),
}


def zeros(like: Tensor) -> Tensor:
    return minillm.zeros(N, dtype=minillm.int64, device=like.device)


@pytest.fixture(params=["cpu", "standin", pytest.param("card", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "standin":
        with standin():
            yield "cuda"
    else:
        yield "cpu" if request.param == "cpu" else "cuda"


def outcome(name: str, dtype: np.dtype, device: str) -> list[np.ndarray]:
    """Return the result of a row of MANY, whose inputs are ones, and its gradient for an incoming gradient of ones."""
    shape, function = MANY[name]

    def ones(*size: int) -> Tensor:
        return minillm.ones(*size, dtype=dtype, device=device)

    w = ones(*shape).requires_grad_()
    y = function(w, ones)
    y.backward(minillm.ones(*y.shape, dtype=dtype, device=device))
    assert y.dtype == w.grad.dtype == dtype
    return [y.detach().cpu().double().numpy(), w.grad.cpu().double().numpy()]


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize(("kind", "exact"), [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_many_numbers_of_16_bits(name: str, kind: str, exact: float, device: str) -> None:
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    found = outcome(name, np.dtype(getattr(minillm, kind)), device)
    for ours, best in zip(found, outcome(name, np.dtype("float64"), "cpu"), strict=True):
        np.testing.assert_allclose(ours, best, rtol=exact, atol=exact * 1e-3)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_the_logarithm_of_a_sum_of_many(kind: str, device: str) -> None:
    """Its gradient is e^(x - y) with y as it was rounded, as in PyTorch: off by as much as y is."""
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    dtype = getattr(minillm, kind)
    y = minillm.zeros(N, dtype=dtype, device=device).logsumexp(0)
    assert y.item() == minillm.tensor(np.log(N)).to(dtype).item()


@given(
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 3 * ROWS + 5),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_a_column_is_the_sum_of_its_rows(dtype: type, n: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((n, width)).astype(dtype)
    for given_ in (x, x[::-1], np.asfortranarray(x)):
        found = column_sum(get_backend("cpu"), given_)
        assert found.dtype == dtype and found.shape == (width,)
        exact = given_.astype(np.longdouble)
        slack = 20 * np.finfo(dtype).eps * np.abs(exact).sum(0)
        assert (np.abs(found - exact.sum(0)) <= slack).all()


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5), st.data())
def test_the_total_is_numpys_sum(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple))
    keepdims = data.draw(st.booleans())
    x = np.random.default_rng(0).standard_normal(shape)
    for given_ in (x, x.T.copy().T, np.broadcast_to(x[..., :1], shape)):
        expected = given_.sum(axis=axes, keepdims=keepdims)
        found = total(given_, axes, keepdims)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(0),
        lambda x: x.mean(0) * 1e6,
        lambda x: F.linear(x, minillm.eye(2), b := minillm.zeros(2, requires_grad=True)).backward(x) or b.grad,
        lambda x: (x + (b := minillm.zeros(2, requires_grad=True))).backward(x) or b.grad,
    ],
    ids=["sum", "mean", "bias", "broadcast"],
)
def test_a_million_rows_of_float32(function: Callable[[Tensor], Tensor]) -> None:
    """Added up one after the other they are off by 2e-5."""
    x = np.random.default_rng(0).random((1_000_000, 2), dtype=np.float32)
    np.testing.assert_allclose(function(minillm.tensor(x)).numpy(), x.astype(np.float64).sum(0), rtol=1e-6)


def test_what_is_not_finite_stays_in_its_column() -> None:
    x = np.zeros((2 * ROWS + 3, 4), dtype=np.float32)
    x[5, 1], x[7, 2], x[-1, 2], x[ROWS, 3] = np.inf, np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(minillm.tensor(x).sum(0).numpy(), [0, np.inf, np.nan, np.nan])
