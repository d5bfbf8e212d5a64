"""Ops that take a short way where NumPy's own is slow: the short way leads where the long one does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minillm
import minillm.nn.functional as F
from minillm.backend import get_backend
from minillm.backend.cpu import OFTEN, WIDE_ROW
from minillm.backend.special import erf

KINDS = [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_]


@given(st.data())
def test_topk_is_the_beginning_of_a_stable_sort(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=24))
    dtype = np.dtype(data.draw(st.sampled_from(KINDS)))
    different = data.draw(st.sampled_from([2, 5, 1000]))  # few of them tie
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(0, min(different, 200 if dtype == np.uint8 else different), shape).astype(dtype)
    if dtype.kind == "f" and data.draw(st.booleans()):
        x[rng.random(shape) < 0.1] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    dim, largest = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.booleans())
    k = data.draw(st.integers(0, shape[dim]))
    values, places = minillm.tensor(x).topk(k, dim, largest)
    everything, order = minillm.tensor(x).sort(dim, descending=largest)
    np.testing.assert_array_equal(places.numpy(), order.narrow(dim, 0, k).numpy())
    np.testing.assert_array_equal(values.numpy(), everything.narrow(dim, 0, k).numpy())


def test_topk_of_a_vocabulary_sorts_no_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    expected = np.argsort(-logits, axis=1)[:, :20]
    whole, seen = np.argsort, []
    monkeypatch.setattr(np, "argsort", lambda x, **how: (seen.append(x.shape), whole(x, **how))[1])
    np.testing.assert_array_equal(minillm.tensor(logits).topk(20).indices.numpy(), expected)
    assert seen == [(2, 20)]


@given(st.data())
def test_rows_are_added_as_one_by_one(data: st.DataObject) -> None:
    n, dim = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 2))
    shape = [data.draw(st.sampled_from([1, 2, WIDE_ROW])) for _ in range(2)]
    shape.insert(dim, n)
    ids = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=4 * OFTEN)), dtype=np.int64)
    dtype = data.draw(st.sampled_from([np.float64, np.float32, np.int64]))
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((*shape[:dim], len(ids), *shape[dim + 1 :])) * 100).astype(dtype)
    start = (rng.standard_normal(shape) * 100).astype(dtype)
    index = (slice(None),) * dim + (ids,)
    expected, found = start.copy(), start.copy()
    np.add.at(expected, index, values)
    for given_ in (index, ids) if dim == 0 else (index,):
        found[...] = start
        get_backend("cpu").scatter_add(found, given_, values)
        np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-3)


@pytest.mark.parametrize("width", [1, WIDE_ROW])
@pytest.mark.parametrize("uses", [1, OFTEN, OFTEN + 1, 5 * OFTEN])
def test_a_row_that_is_used_often(uses: int, width: int) -> None:
    ids = np.random.default_rng(0).permutation(np.concatenate([np.repeat(1, uses), [0, 2, 2, 300]]))
    rows = np.random.default_rng(1).standard_normal((len(ids), width))
    expected = np.zeros((301, width))
    np.add.at(expected, ids, rows)
    found = np.zeros((301, width))
    get_backend("cpu").scatter_add(found, ids, rows)
    for sums in (found, get_backend("cpu").embedding_grad(ids, rows, 301)):
        np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.uint64])
def test_small_types_of_ids_name_rows_of_large_tables(kind: type) -> None:
    ids = minillm.tensor(np.array([3, 100, 3], dtype=kind))
    for read in (lambda w: F.embedding(ids, w), lambda w: w.index_select(0, ids), lambda w: w[ids.long()]):
        w = minillm.zeros(70_000, WIDE_ROW, requires_grad=True)
        read(w).sum().backward()
        assert [w.grad[i, 0].item() for i in (3, 100, 5)] == [2.0, 1.0, 0.0]


@given(st.integers(257, 400), st.lists(st.integers(0, 256), max_size=60), st.booleans())
def test_gradients_of_a_large_table_are_added_as_one_by_one(rows: int, ids: list[int], tied: bool) -> None:
    rng = np.random.default_rng(1)
    dy, start = rng.standard_normal((len(ids), 3)), rng.standard_normal((rows, 3)) * tied
    expected = start.copy()
    np.add.at(expected, np.array(ids, dtype=int), dy)
    total = start.copy() if tied else None
    found = get_backend("cpu").embedding_grad(np.array(ids, dtype=int), dy, rows, total)
    assert (found is total) == tied
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(st.data())
def test_windows_are_slices(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=9))
    dim = data.draw(st.integers(0, len(shape) - 1))
    size, step = data.draw(st.integers(1, shape[dim])), data.draw(st.integers(1, 4))
    x = minillm.randn(*shape, dtype=minillm.float64).transpose(0, -1).detach()  # with strides of its own
    x = x.transpose(0, -1).requires_grad_()
    y = x.unfold(dim, size, step)
    starts = range(0, shape[dim] - size + 1, step)
    expected = minillm.stack([x.narrow(dim, s, size).movedim(dim, -1) for s in starts], dim)
    np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    dy = minillm.randn(*y.shape, dtype=minillm.float64)
    gradients = [minillm.autograd.grad(out, x, dy)[0].numpy() for out in (y, expected)]
    np.testing.assert_allclose(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("power", [3, 3.0, 4, 4.0, 5])
@pytest.mark.parametrize("dtype", [minillm.float64, minillm.float32, minillm.int64])
def test_small_powers(power: float, dtype: np.dtype) -> None:
    x = minillm.tensor([-3, -1, 0, 1, 2, 7]).to(dtype)
    y = x**power
    assert y.dtype == (x * power).dtype
    np.testing.assert_allclose(y.numpy(), x.numpy().astype(float) ** power, rtol=1e-6)
    if x.is_floating_point():
        x.requires_grad_()
        (x**power).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), power * x.detach().numpy().astype(float) ** (power - 1), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "exact"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_the_error_function(dtype: type, exact: float) -> None:
    x = np.concatenate([np.linspace(-6.5, 6.5, 130_001), 10.0 ** np.linspace(-37, 1, 500)]).astype(dtype)
    y = erf(x)
    assert y.dtype == dtype and (np.abs(y) <= 1).all()
    np.testing.assert_allclose(y, [math.erf(float(v)) for v in x], rtol=exact)
    np.testing.assert_array_equal(erf(-x), -y)
    np.testing.assert_array_equal(
        erf(np.array([math.inf, -math.inf, math.nan, 7, -7], dtype)), [1, -1, math.nan, 1, -1]
    )


@pytest.mark.parametrize("loss", [F.huber_loss, F.smooth_l1_loss])
def test_losses_with_a_line_outside_are_finite_in_their_slope(loss) -> None:
    x = minillm.tensor([-math.inf, -3.0, 0.5, 3.0, math.inf], requires_grad=True)
    y = loss(x, minillm.zeros(5), reduction="none")
    y.backward(minillm.ones(5))
    assert y.tolist() == [math.inf, 2.5, 0.125, 2.5, math.inf]
    assert x.grad.tolist() == [-1.0, -1.0, 0.5, 1.0, 1.0]


def test_running_sums_and_products_of_many() -> None:
    x = np.random.default_rng(0).random(1_000_000, dtype=np.float32)
    exact = np.cumsum(x.astype(np.float64))
    np.testing.assert_allclose(minillm.tensor(x).cumsum(0).numpy(), exact, rtol=1e-7)  # in float32 itself 2e-5
    factors = minillm.ones(50_000, dtype=minillm.float64, requires_grad=True)
    factors.cumprod(0).sum().backward()  # n steps, not n squared
    np.testing.assert_array_equal(factors.grad.numpy(), np.arange(50_000, 0, -1))


@given(st.data())
def test_places_are_added_as_one_by_one(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4))
    n = data.draw(st.integers(0, 20))
    index = tuple(np.array(data.draw(st.lists(st.integers(-m, m - 1), min_size=n, max_size=n)), int) for m in shape)
    if data.draw(st.booleans()):
        index = (index[0][:, None], *index[1:])  # that are broadcast
    values = np.random.default_rng(0).standard_normal(np.broadcast_shapes(*(i.shape for i in index)))
    start = np.random.default_rng(1).standard_normal(shape)
    expected, found = start.copy(), start.copy()
    np.add.at(expected, index, values)
    get_backend("cpu").scatter_add(found, index, values)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
