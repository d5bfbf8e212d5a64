"""New tensors: numbers arrive exactly, and types, shapes and values are PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm

FLOATS = st.floats(allow_nan=False, width=64)
NESTED = st.recursive(FLOATS, lambda inner: st.lists(inner, min_size=1, max_size=1), max_leaves=3)


@given(NESTED)
def test_numbers_keep_all_their_digits_in_float64(value):
    assert minillm.tensor(value, dtype=minillm.float64).tolist() == value
    assert minillm.as_tensor(value, dtype=minillm.float64).tolist() == value


@given(st.lists(FLOATS, max_size=4), st.sampled_from(["float64", "float32", "float16"]))
def test_numbers_are_rounded_once(values, name):
    with np.errstate(over="ignore"):
        expected = np.array(values, dtype=np.float64).astype(name)
    found = minillm.tensor(values, dtype=getattr(minillm, name))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@given(st.integers(-(2**62), 2**62))
def test_integers_are_exact(n):
    assert minillm.tensor(n).item() == minillm.tensor([n]).tolist()[0] == n
    assert minillm.full((1,), n).tolist() == [n]


@pytest.mark.parametrize("default", ["float32", "float64"])
@pytest.mark.parametrize("dtype", [None, "float64", "float32", "float16", "int64", "int32", "bool"])
@pytest.mark.parametrize(
    "make",
    [
        lambda t, d: t.tensor([[0.1, 2.7], [1.0, 0.0]], dtype=d),
        lambda t, d: t.tensor(0.1, dtype=d),
        lambda t, d: t.tensor([], dtype=d),
        lambda t, d: t.tensor([True, False], dtype=d),
        lambda t, d: t.tensor([3, 0], dtype=d),
        lambda t, d: t.tensor(np.array([0.1, 2.0]), dtype=d),
        lambda t, d: t.full((2, 1), 0.1, dtype=d),
        lambda t, d: t.full((2,), 3, dtype=d),
        lambda t, d: t.zeros(2, 0, dtype=d),
        lambda t, d: t.ones((2, 3), dtype=d),
        lambda t, d: t.zeros(size=(2, 3), dtype=d),
        lambda t, d: t.ones(size=[2], dtype=d),
        lambda t, d: t.ones(2).new_zeros(size=(3,), dtype=d),
        lambda t, d: t.ones(2).new_ones(2, 1, dtype=d),
        lambda t, d: t.ones(2).new_ones((2, 1), dtype=d),
        lambda t, d: t.eye(2, 3, dtype=d),
        lambda t, d: t.zeros_like(t.ones(2, dtype=t.float16), dtype=d),
        lambda t, d: t.full_like(t.ones(2, dtype=t.float64), 0.1, dtype=d),
    ],
    ids=lambda _: "",
)
def test_types_and_values_are_pytorchs(make, dtype, default):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    results = []
    for library in (minillm, torch):
        before = library.get_default_dtype()
        library.set_default_dtype(getattr(library, default))
        try:
            results.append(make(library, None if dtype is None else getattr(library, dtype)))
        finally:
            library.set_default_dtype(before)
    ours, theirs = results
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 5), st.booleans())
def test_arange_counts_as_pytorch_does(start, end, step, fractions):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    scale = 0.5 if fractions else 1
    sign = 1 if end >= start else -1
    bounds = (start * scale, end * scale, sign * step * scale)
    ours, theirs = minillm.arange(*bounds), torch.arange(*bounds)
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@given(FLOATS.filter(lambda x: abs(x) < 1e6), FLOATS.filter(lambda x: abs(x) < 1e6), st.integers(0, 9))
def test_linspace_goes_from_start_to_end(start, end, steps):
    x = minillm.linspace(start, end, steps, dtype=minillm.float64).numpy()
    np.testing.assert_allclose(x, np.linspace(start, end, steps), rtol=1e-12, atol=1e-9)


def test_what_is_too_large_for_a_type_becomes_infinite():
    assert minillm.full((2,), 1e6, dtype=minillm.float16).tolist() == [np.inf, np.inf]
    assert minillm.tensor([1e300]).tolist() == [np.inf]


@pytest.mark.parametrize("value", [300, -300, math.nan, math.inf, 255.5 + 1])
def test_what_an_integer_type_cannot_hold_is_refused(value) -> None:
    with pytest.raises(RuntimeError, match=r"tensor: .* does not fit into uint8"):
        minillm.tensor([1, value], dtype=minillm.uint8)
    assert minillm.tensor([-1, 255, 1.7], dtype=minillm.uint8).tolist() == [255, 255, 1]


@pytest.mark.parametrize("ends", [(2.7,), (0.5, 3.5), (0.9, 5.9, 2.5)])
def test_arange_counts_integers(ends) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")
    assert minillm.arange(*ends, dtype=minillm.int64).tolist() == torch.arange(*ends, dtype=torch.int64).tolist()


def test_random_numbers_are_below_1_and_of_a_floating_type() -> None:
    minillm.manual_seed(1)
    drawn = minillm.rand(100_000, dtype=minillm.float16)
    assert drawn.max().item() < 1 and abs(drawn.double().mean().item() - 0.5) < 0.01
    for draw in (minillm.rand, minillm.randn):
        with pytest.raises(NotImplementedError, match="expected a floating type, got int64; whole numbers"):
            draw(2, dtype=minillm.int64)
    for call in (
        lambda: minillm.normal(0.0, -1.0, (2,)),
        lambda: minillm.normal(minillm.zeros(2), minillm.tensor([1.0, -1.0])),
        lambda: minillm.zeros(2).normal_(0, -1),
    ):
        with pytest.raises(RuntimeError, match="expected a std of 0 or more"):
            call()


def test_a_shape_makes_a_tensor() -> None:
    assert minillm.Tensor(minillm.ones(2, 3).shape).shape == (2, 3)


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_a_size_may_be_given_by_name(name) -> None:
    make = getattr(minillm, name)
    assert make(size=(2, 3)).shape == make((2, 3)).shape == make(2, 3).shape == (2, 3)
    assert make(size=()).shape == make(()).shape == ()
    with pytest.raises(TypeError, match=r"got two sizes: \(2,\) and size=\(3,\)"):
        make(2, size=(3,))


def test_integers_are_drawn_from_0_whichever_way_the_size_is_given() -> None:
    draws = [lambda: minillm.randint(5, (40,)), lambda: minillm.randint(5, size=(40,))]
    draws += [lambda: minillm.randint(high=5, size=(40,)), lambda: minillm.randint(0, 5, (40,))]
    found = []
    for draw in draws:
        minillm.manual_seed(0)
        found.append(draw().tolist())
    assert all(x == found[0] for x in found) and set(found[0]) == set(range(5))


def test_arange_takes_its_ends_by_name() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")
    for ends in ({"end": 5}, {"end": 2.5}, {"start": 1, "end": 5}, {"start": 5, "end": 1, "step": -2}):
        ours, theirs = minillm.arange(**ends), torch.arange(**ends)
        assert ours.tolist() == theirs.tolist() and str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    with pytest.raises(TypeError, match="arange: expected an end"):
        minillm.arange()


# --- shapes
@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=3), st.slices(5))
def test_parts_and_sums_of_shapes_are_shapes_as_in_pytorch(shape, more, part):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    made = []
    for size in (minillm.zeros(shape).shape, torch.zeros(shape).shape):
        other = tuple(more)
        made.append([size, size[part], size + other, other + size, size + size])
        assert {type(s) for s in made[-1]} == {type(size)}
        assert all(type(length) is int for length in size)
        with pytest.raises(TypeError):
            size + more  # a list
        with pytest.raises(TypeError):
            size * size
    assert [(tuple(s), s.numel()) for s in made[0]] == [(tuple(s), s.numel()) for s in made[1]]


def test_a_shape_times_an_array_is_what_numpy_makes_of_a_tuple():
    size = minillm.zeros(2, 3).shape
    for factor in (np.array([1, 2]), np.ones(2), np.array(2)):
        np.testing.assert_array_equal(size * factor, np.array([2, 3]) * factor)
    assert size * 2 == 2 * size == np.int64(2) * size == (2, 3, 2, 3)
