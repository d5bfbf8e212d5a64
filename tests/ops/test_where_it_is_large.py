"""Ops that take another way where arrays are large: it leads where the one for small arrays does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.backend import get_backend
from minillm.backend.cpu import BY_BITS
from minillm.backend.special import TAIL_ENDS, normal_tail
from minillm.ops import rows
from minillm.ops.cumulative import WIDE, _sums_in_blocks
from minillm.ops.softmax import WIDE as MANY

STRANGE = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-42, 3.0]


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    kind = f"i{found.dtype.itemsize}"
    np.testing.assert_array_equal(np.ascontiguousarray(found).view(kind), np.ascontiguousarray(expected).view(kind))


@given(st.data())
def test_a_choice_by_bits_is_a_choice(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["f2", "f4", "f8"])))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def operand() -> object:
        kind = data.draw(st.sampled_from(["array", "array", "number", "zero", "0-d", "turned"]))
        array = rng.choice(np.array(STRANGE), (2, BY_BITS // 2)).astype(dtype)
        if kind == "turned":
            return np.asfortranarray(array)
        return {"array": array, "number": 2.5, "zero": data.draw(st.sampled_from([0, 0.0, -0.0]))}.get(
            kind, array[0, 0]
        )

    condition, x, y = rng.random((2, BY_BITS // 2)) < 0.5, operand(), operand()
    same_bits(get_backend("cpu").where(condition, x, y), np.where(condition, x, y))


def test_a_choice_of_mixed_types_and_shapes_is_numpys() -> None:
    where, n = get_backend("cpu").where, BY_BITS
    condition = np.arange(n) % 3 == 0
    for x, y in [
        (np.ones(n, np.float32), np.ones(n)),
        (np.ones(n, np.float32), np.float64(2)),
        (np.ones((3, n), np.float32), 0),
        (np.ones(n, np.int64), 0),
        (1.0, 0),
    ]:
        same_bits(where(condition, x, y), np.where(condition, x, y))


@pytest.mark.parametrize("dtype", [minillm.float32, minillm.float64])
def test_what_chooses_sends_gradients_to_what_was_chosen(dtype: np.dtype) -> None:
    n = 2 * BY_BITS
    rng = np.random.default_rng(0)
    mask = minillm.tensor(rng.random(n) < 0.5)
    array, dy = (minillm.tensor(rng.standard_normal(n)).to(dtype) for _ in range(2))
    for f, chosen in [
        (lambda x: minillm.where(mask, x, -1.5), mask),
        (lambda x: minillm.where(mask, 0.0, x), ~mask),
        (lambda x: x.masked_fill(mask, math.inf), ~mask),
        (lambda x: x.clamp(-0.5, 0.75), (array >= -0.5) & (array <= 0.75)),
    ]:
        x = array.clone().requires_grad_()
        f(x).backward(dy)
        np.testing.assert_array_equal(x.grad.numpy(), np.where(chosen.numpy(), dy.numpy(), 0))
    x = array.clone().requires_grad_()
    y = x[mask.reshape(n)]
    np.testing.assert_array_equal(y.detach().numpy(), array.numpy()[mask.numpy()])
    y.backward(dy[: len(y)])
    expected = np.zeros_like(array.numpy())
    expected[mask.numpy()] = dy.numpy()[: len(y)]
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_bounds_keep_nan(dtype: type) -> None:
    x = np.array([-3, 0, 5] if dtype == np.int64 else [-3, -0.0, 5, math.nan, math.inf, -math.inf], dtype=dtype)
    for low, high in ((-1, 2), (-1.0, 2.0), (dtype(-1), dtype(2))):
        np.testing.assert_array_equal(rows.at_least(np, x, low), np.maximum(x, low))
        np.testing.assert_array_equal(rows.at_most(np, x, high), np.minimum(x, high))


def test_maximum_shares_what_is_equal() -> None:
    x = minillm.tensor([1.0, 2.0, 3.0, math.nan, 2.0], requires_grad=True)
    y = minillm.tensor([2.0, 2.0, 2.0, 2.0, math.nan], requires_grad=True)
    for f, share in ((minillm.maximum, [0, 0.5, 1, 0, 0]), (minillm.minimum, [1, 0.5, 0, 0, 0])):
        x.grad = y.grad = None
        f(x, y).backward(minillm.ones(5))
        assert x.grad.tolist() == share and y.grad.tolist() == [1 - s for s in share]


@pytest.mark.parametrize("compiled", [False, True])
def test_gelu_is_right_far_to_the_left(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:  # by the extra "fast", where it is installed; tests/backend/test_compiled.py says that it is used
        monkeypatch.setattr(get_backend("cpu"), "compiles", False)
    x = np.concatenate([np.linspace(-5, 5, 20_001), [-12.0, -30.0, 30.0, 1e-30]]).astype(np.float32)
    exact = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(np.float64)])
    slopes = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(np.float64)])
    slopes += x.astype(np.float64) * np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
    t = minillm.tensor(x, requires_grad=True)
    y = F.gelu(t)
    y.sum().backward()
    near = np.abs(x) <= 5
    np.testing.assert_allclose(y.detach().numpy()[near], exact[near], rtol=1.2e-6)  # with 1 + erf: 0.3 at -5
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=2e-5, atol=1e-38)
    np.testing.assert_allclose(t.grad.numpy(), slopes, rtol=2e-5, atol=3e-7)
    t = minillm.tensor([math.inf, -math.inf, math.nan, 0.0], requires_grad=True)
    y = F.gelu(t)
    y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy(), [math.inf, 0, math.nan, 0])
    np.testing.assert_array_equal(t.grad.numpy(), [1, 0, math.nan, 0.5])


def test_the_tail_of_the_normal_distribution() -> None:
    a = np.linspace(0, TAIL_ENDS, 50_001).astype(np.float32)
    exact = np.array([math.erfc(v / math.sqrt(2)) / 2 for v in a.astype(np.float64)])
    found = normal_tail(a, np.exp(a * a * np.float32(-0.5)))
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-38)
    assert found[0] == 0.5 and found[-1] == 0


@given(st.integers(0, 40), st.integers(1, 3), st.sampled_from([WIDE - 1, WIDE, WIDE + 5]), st.integers(0, 1))
def test_running_sums_of_rows(n: int, outer: int, inner: int, dim: int) -> None:
    x = np.random.default_rng(0).standard_normal((outer, n, inner) if dim else (n, inner))
    expected = np.cumsum(x, axis=dim)
    np.testing.assert_allclose(_sums_in_blocks(x.copy(), dim), expected, rtol=1e-12, atol=1e-12)
    t = minillm.tensor(x, requires_grad=True)
    y = t.cumsum(dim)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    turned = minillm.tensor(np.asfortranarray(x)).cumsum(dim).numpy()
    np.testing.assert_allclose(turned, expected, rtol=1e-12, atol=1e-12)
    y.backward(minillm.tensor(x))
    backwards = np.flip(np.cumsum(np.flip(x, dim), axis=dim), dim)
    np.testing.assert_allclose(t.grad.numpy(), backwards, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(t.detach().numpy(), x)


def test_running_sums_of_many_rows_are_exact_to_the_last_digits() -> None:
    x = np.random.default_rng(0).random((40_000, WIDE), dtype=np.float32)
    exact = np.cumsum(x.astype(np.float64), axis=0)
    np.testing.assert_allclose(minillm.tensor(x).cumsum(0).numpy(), exact, rtol=3e-6)


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax])
@pytest.mark.parametrize("shape", [(5, MANY), (2, 3, MANY), (3, MANY // 2), (0, MANY)])
def test_softmax_along_another_axis_moves_nothing(f, shape: tuple[int, ...]) -> None:
    dim = len(shape) - 2
    x = minillm.randn(*shape, dtype=minillm.float64, requires_grad=True)
    dy = minillm.randn(*shape, dtype=minillm.float64)
    ys = f(x, dim), f(x.transpose(dim, -1), -1).transpose(dim, -1)
    gradients = [minillm.autograd.grad(y, x, dy)[0].numpy() for y in ys]
    np.testing.assert_allclose(*(y.detach().numpy() for y in ys), rtol=1e-12)
    np.testing.assert_allclose(*gradients, rtol=1e-12, atol=1e-12)
    low = f(x.detach().to(minillm.float16), dim)
    assert low.dtype == minillm.float16
    np.testing.assert_allclose(low.numpy(), ys[0].detach().numpy(), rtol=2e-3, atol=1e-3)


@given(st.integers(0, 70), st.sampled_from([1, 3, 4096, 5000]))
def test_a_row_is_added_to_every_row(n: int, width: int) -> None:
    n = n if width > 4000 else n * 4000
    x = np.arange(n * width, dtype=np.float64).reshape(n, width)
    row = np.linspace(-1, 1, width)
    expected = x + row
    rows.add_row(get_backend("cpu"), x, row)
    np.testing.assert_array_equal(x, expected)


@given(st.data())
def test_the_median_stands_in_the_middle_of_a_sort(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1,), (6,), (5, 4), (3, 7, 2)]))
    dim = data.draw(st.integers(0, len(shape) - 1))
    dtype = data.draw(st.sampled_from([minillm.float32, minillm.int64, minillm.float16]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    array = rng.integers(0, data.draw(st.sampled_from([3, 1000])), shape).astype(np.float64)
    if dtype != minillm.int64 and data.draw(st.booleans()):
        array[rng.random(shape) < 0.2] = math.nan
    x = minillm.tensor(array).to(dtype)
    values, places = x.median(dim)
    middle = (shape[dim] - 1) // 2
    expected = np.sort(array, axis=dim).take(middle, axis=dim)
    expected = np.where(np.isnan(array).any(axis=dim), math.nan, expected)
    np.testing.assert_array_equal(values.numpy().astype(np.float64), expected)
    found = np.take_along_axis(x.numpy(), np.expand_dims(places.numpy(), dim), dim).squeeze(dim)
    np.testing.assert_array_equal(found, values.numpy())


@pytest.mark.parametrize(
    "factors",
    [[2.0, 3, 4], [2.0, 0, 4], [0.0, 0, 1], [1e-200, 1e-200, 3], [3e-160, 3e-160, 7], [1e200, 1e200, 1]],
)
def test_products_that_are_0_or_too_large_are_not_divided(factors: list[float]) -> None:
    x = minillm.tensor([factors, [1.0, 1.0, 1.0]], dtype=minillm.float64, requires_grad=True)
    a, b, c = factors
    x.prod(1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[b * c, a * c, a * b], [1, 1, 1]], rtol=1e-14)
    one = minillm.tensor(factors, dtype=minillm.float64, requires_grad=True)
    one.prod().backward()
    np.testing.assert_allclose(one.grad.numpy(), [b * c, a * c, a * b], rtol=1e-14)


@given(st.data())
def test_places_along_an_axis(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(4,), (3, 5), (2, 3, 4)]))
    dim = data.draw(st.integers(0, len(shape) - 1))
    wanted = tuple(data.draw(st.integers(0, n if d != dim else 7)) for d, n in enumerate(shape))
    rng = np.random.default_rng(0)
    index = rng.integers(0, shape[dim], wanted)
    array = rng.standard_normal(shape)
    own = np.ix_(*(np.arange(n) for n in wanted))
    places = tuple(index if d == dim else o for d, o in enumerate(own))
    x, chosen = minillm.tensor(array, requires_grad=True), minillm.tensor(index)
    for turned in (x, x.transpose(0, -1).clone().transpose(0, -1)):  # also from other strides
        y = turned.gather(dim, chosen)
        np.testing.assert_array_equal(y.detach().numpy(), array[places])
        dy = rng.standard_normal(wanted)
        (dx,) = minillm.autograd.grad(y, x, minillm.tensor(dy))
        expected = np.zeros(shape)
        np.add.at(expected, places, dy)
        np.testing.assert_allclose(dx.numpy(), expected, rtol=1e-12, atol=1e-12)
    source = minillm.tensor(rng.standard_normal((*wanted,)), requires_grad=True)
    expected = array.copy()
    np.add.at(expected, places, source.detach().numpy())
    y = x.scatter_add(dim, chosen, source)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(shape)
    y.backward(minillm.tensor(dy))
    np.testing.assert_array_equal(x.grad.numpy(), dy)
    np.testing.assert_array_equal(source.grad.numpy(), dy[places])


def test_an_index_may_be_changed_after_it_was_used() -> None:
    for use in (
        lambda x, i, s: x.gather(0, i),
        lambda x, i, s: x.scatter_add(0, i, s),
        lambda x, i, s: x.scatter(0, i, s),
        lambda x, i, s: x.index_add(0, i, s),
    ):
        x, source = minillm.zeros(3, requires_grad=True), minillm.ones(2, requires_grad=True)
        index = minillm.tensor([0, 2])
        y = use(x, index, source)
        index[0] = 1
        y.backward(minillm.tensor([10.0, 20.0, 30.0][: len(y)]))
        if len(y) == 2:
            assert x.grad.tolist() == [10.0, 0.0, 20.0]
        else:
            assert source.grad.tolist() == [10.0, 30.0]


@pytest.mark.parametrize("shape", [(0, WIDE), (1, WIDE), (6, WIDE), (6, 2), (0,), (5,)])
def test_running_products_of_rows(shape: tuple[int, ...]) -> None:
    x = minillm.randn(*shape, dtype=minillm.float64, requires_grad=True)
    y, one_by_one = x.cumprod(0), [minillm.prod(x[: t + 1], 0) for t in range(len(x))]
    if len(x):
        np.testing.assert_allclose(y.detach().numpy(), minillm.stack(one_by_one).detach().numpy(), rtol=1e-12)
    dy = minillm.randn(*shape, dtype=minillm.float64)
    (dx,) = minillm.autograd.grad(y, x, dy)
    if len(x):
        expected = minillm.autograd.grad(minillm.stack(one_by_one), x, dy)[0].numpy()
        np.testing.assert_allclose(dx.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_product_near_the_largest_number_has_a_gradient() -> None:
    x = minillm.tensor([1e30, 1e8, 2.0], requires_grad=True)
    x.prod().backward(minillm.tensor(4.0))
    np.testing.assert_allclose(x.grad.numpy(), [8e8, 8e30, np.inf], rtol=1e-6)


def test_running_sums_that_grow_large_and_small_again() -> None:
    x = np.zeros((9, WIDE), dtype=np.float32)
    x[:] = np.float32([-3e38, 0, 0, 3e38, 3e38, -3e38, 0, 0, 1])[:, None]
    expected = np.float32([-3e38, -3e38, -3e38, 0, 3e38, 0, 0, 0, 1])
    np.testing.assert_array_equal(minillm.tensor(x).cumsum(0).numpy(), np.repeat(expected[:, None], WIDE, axis=1))
