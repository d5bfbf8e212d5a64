"""Checks of the answers to lesson 04: on NumPy, and on the strict stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lessons.l04_devices import TRIPS, FarArray, far
from minillm.testing.properties import check, st
from minillm.testing.strategies import shapes

DTYPE = st.sampled_from([np.float32, np.float64])
SEED = st.integers(0, 99)


def numbers(shape: tuple[int, ...], seed: int, dtype: Any) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def on_both(function: Callable[..., Any], *arrays: Any, trips: int = 0, **more: Any) -> Any:
    """Run an answer on NumPy and on the stand-in; return NumPy's result if both agree and the ways home are few."""
    near = function(np, *arrays, **more)
    away = [[far.asarray(b) for b in a] if isinstance(a, list) else far.asarray(a) for a in arrays]
    TRIPS["home"] = 0
    there = function(far, *away, **more)
    assert TRIPS["home"] <= trips, f"{TRIPS['home']} ways home, {trips} allowed"
    if isinstance(near, (bool, np.bool_)):
        assert isinstance(there, bool), f"expected True or False from the device, got {type(there).__name__}"
        assert there == near, "the device says something else than NumPy"
        return near
    assert isinstance(there, FarArray), f"expected an array of the device, got {type(there).__name__}"
    inside = there.inside
    assert np.array_equal(inside, near), f"NumPy has {near}, the device {inside}"
    assert inside.dtype == near.dtype, f"NumPy has {near.dtype}, the device {inside.dtype}"
    return near


@check("standardize: rows of mean 0 and variance 1, on both devices", "xp.sqrt; keepdims; the type of x stays",
       shape=shapes(1, 3, 5, empty=False), seed=SEED, dtype=DTYPE, eps=st.sampled_from([1e-5, 0.5]))  # fmt: skip
def rows_are_standard(answer: Any, shape: tuple[int, ...], seed: int, dtype: Any, eps: float) -> None:
    """The definition, and the variance that eps leaves."""
    x = 3 * numbers(shape, seed, dtype) + 1
    y = on_both(answer.standardize, x, eps=eps)
    assert y.shape == shape and y.dtype == dtype, f"expected {shape} of {dtype.__name__}, got {y.shape} of {y.dtype}"
    assert np.allclose(y.mean(axis=-1), 0, atol=1e-4), f"the means are {y.mean(axis=-1)}"
    wanted = x.var(axis=-1) / (x.var(axis=-1) + eps)
    assert np.allclose(y.var(axis=-1), wanted, atol=1e-3), f"the variances are {y.var(axis=-1)}, expected {wanted}"


@check("one_hot: one 1 in each row, at the id, on both devices", "compare ids[..., None] with xp.arange(classes)",
       shape=shapes(0, 3, 4), classes=st.integers(1, 5), seed=SEED, dtype=DTYPE)  # fmt: skip
def one_stands_at_the_id(answer: Any, shape: tuple[int, ...], classes: int, seed: int, dtype: Any) -> None:
    """Against rows of the identity."""
    ids = np.random.default_rng(seed).integers(0, classes, shape)
    y = on_both(answer.one_hot, np.asarray(ids), classes=classes, dtype=dtype)
    wanted = np.eye(classes, dtype=dtype)[ids]
    assert y.dtype == dtype, f"expected {dtype.__name__}, got {y.dtype}"
    assert y.shape == wanted.shape and np.array_equal(y, wanted), f"ids {ids}: expected {wanted}, got {y}"


@check("shorten: never longer than allowed, same direction, no way home", "xp.maximum(length, longest) instead of if",
       shape=shapes(1, 2, 4, empty=False), scale=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
       longest=st.sampled_from([0.5, 1.0, 30.0]), seed=SEED, dtype=DTYPE)  # fmt: skip
def not_longer_than_allowed(
    answer: Any, shape: tuple[int, ...], scale: float, longest: float, seed: int, dtype: Any
) -> None:
    """Against the definition, with an if."""
    g = dtype(scale) * numbers(shape, seed, dtype)
    with np.errstate(all="ignore"):  # the complaint is ours
        y = on_both(answer.shorten, g, longest=longest)
    length = float(np.sqrt((g.astype(np.float64) ** 2).sum()))
    wanted = g * (longest / length) if length > longest else g
    assert y.dtype == dtype, f"expected {dtype.__name__}, got {y.dtype}"
    assert np.allclose(y, wanted, 1e-4, 1e-7), f"length {length:.3g}, allowed {longest}: expected {wanted}, got {y}"


@check("all_finite: finds inf and NaN anywhere, with one way home", "join the claims with & over there, then bool()",
       n=st.integers(1, 4), bad=st.sampled_from([0.0, np.inf, -np.inf, np.nan]), where=st.integers(0, 99))  # fmt: skip
def finite_or_not(answer: Any, n: int, bad: float, where: int) -> None:
    """Put one bad number somewhere."""
    arrays = [numbers((2, 3), i, np.float32) for i in range(n)]
    arrays[where % n][where % 2, where % 3] = bad
    found = on_both(answer.all_finite, arrays, trips=1)
    assert found == (bad == 0), f"with {bad} in array {where % n} of {n} the answer is {found}"
