"""New tensors: numbers arrive exactly, and types, shapes and values are PyTorch's."""

from __future__ import annotations

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
