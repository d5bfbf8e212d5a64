"""Checks of the answers to lesson 06."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays

seeds = st.integers(0, 999)


def right_angles(n: int, seed: int) -> np.ndarray:
    """Random directions at right angles to each other, one in each column, (n, n)."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@st.composite
def spectra(draw: st.DrawFn) -> list[float]:
    """Eigenvalues, the largest first, each at most 0.7 of the one before, so that products tell them apart."""
    ratios = draw(st.lists(st.floats(0.1, 0.7), min_size=0, max_size=4))
    return np.cumprod([draw(st.floats(0.5, 4)), *ratios]).tolist()


def cloud(spectrum: list[float], seed: int) -> np.ndarray:
    """Points whose variances, along some directions, are exactly a spectrum."""
    n = len(spectrum)
    directions = right_angles(n, seed)
    # Columns at right angles to the vector of ones, so that their mean is 0, and to each other.
    raw = np.random.default_rng(seed + 1).standard_normal((2 * n + 3, n + 1))
    raw[:, 0] = 1
    columns = np.linalg.qr(raw)[0][:, 1:] * np.sqrt(2 * n + 3)
    mean = np.random.default_rng(seed + 2).uniform(-3, 3, n)
    return columns * np.sqrt(spectrum) @ directions.T + mean


@check("leading_direction: the matrix stretches the vector by the largest eigenvalue",
       "multiply, scale to length 1, again; in the end v @ matrix @ v",
       spectrum=spectra(), seed=seeds)  # fmt: skip
def leading_is_leading(answer: Any, spectrum: list[float], seed: int) -> None:
    """A matrix with known eigenvalues."""
    q = right_angles(len(spectrum), seed)
    matrix = q * spectrum @ q.T
    start = np.random.default_rng(seed + 1).standard_normal(len(spectrum))
    value, v = answer.leading_direction(matrix, start.copy())
    assert np.shape(v) == start.shape, f"the vector has shape {np.shape(v)}, expected {start.shape}"
    assert np.isclose(np.linalg.norm(v), 1), f"the vector has length {np.linalg.norm(v)}"
    assert np.isclose(value, spectrum[0]), f"expected the eigenvalue {spectrum[0]}, got {value}"
    assert np.allclose(matrix @ v, spectrum[0] * v, atol=1e-6), f"the matrix does not just stretch {v}"


@check("leading_direction: large and small numbers make no difference", "scale in every step, and not only at the end",
       power=st.sampled_from([-30, 0, 30]), seed=seeds)  # fmt: skip
def any_scale(answer: Any, power: int, seed: int) -> None:
    """The same direction for a multiple of the matrix."""
    q, scale = right_angles(3, seed), 10.0**power
    start = np.random.default_rng(seed + 1).standard_normal(3)
    with np.errstate(all="ignore"):  # the complaint is ours
        value, v = answer.leading_direction(q * (scale * np.array([2.0, 1.0, 0.5])) @ q.T, start)
    assert np.isclose(value / scale, 2), f"expected {2 * scale}, got {value}"
    assert np.isclose(abs(v @ q[:, 0]), 1), f"expected {q[:, 0]} or its opposite, got {v}"


@check("leading_direction: of zeros the value is 0, and the start is left",
       "a product of length 0 cannot be scaled; and with no step at all the start must have length 1")  # fmt: skip
def of_zeros(answer: Any) -> None:
    """Nothing is stretched."""
    value, v = answer.leading_direction(np.zeros((2, 2)), np.array([3.0, 4.0]))
    assert value == 0 and np.allclose(v, [0.6, 0.8]), f"got {value}, {v}"
    value, v = answer.leading_direction(np.diag([2.0, 1.0]), np.array([3.0, 0.0]), 0)
    assert np.isclose(value, 2) and np.allclose(v, [1, 0]), f"without steps: got {value}, {v}"


@check("principal_components: directions and variances are those of the singular value decomposition",
       "subtract the mean; divide by N; take each direction out of S with its value before looking for the next",
       spectrum=spectra(), seed=seeds)  # fmt: skip
def equals_the_svd(answer: Any, spectrum: list[float], seed: int) -> None:
    """NumPy finds the same by another method."""
    x = cloud(spectrum, seed)
    before, k = x.copy(), 1 + seed % len(spectrum)
    directions, variances = answer.principal_components(x, k)
    assert np.array_equal(x, before), "the points were changed"
    shape = (k, len(spectrum))
    assert np.shape(directions) == shape, f"the directions have shape {np.shape(directions)}, expected {shape}"
    _, lengths, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    wanted = lengths[:k] ** 2 / len(x)
    assert np.allclose(variances, wanted), f"expected variances {wanted}, got {variances}"
    alike = np.abs((directions * rows[:k]).sum(axis=1))
    assert np.allclose(alike, 1, atol=1e-6), f"|cosine| with NumPy's directions: {alike}"


@check("principal_components: the directions stand at right angles, and all of them hold all of the variance",
       "what was found must be gone before the next is looked for: S - value * np.outer(v, v)",
       spectrum=spectra(), shift=st.sampled_from([0.0, 5.0]), seed=seeds)  # fmt: skip
def orthonormal(answer: Any, spectrum: list[float], shift: float, seed: int) -> None:
    """Where the points lie makes no difference."""
    x, n = cloud(spectrum, seed) + shift, len(spectrum)
    directions, variances = answer.principal_components(x, n)
    products = directions @ directions.T
    assert np.allclose(products, np.eye(n), atol=1e-6), f"the products of the directions are {products}"
    total = x.var(axis=0).sum()
    assert np.isclose(np.sum(variances), total), (
        f"the variances sum to {np.sum(variances)}, those of the axes to {total}"
    )


@check("k_means_step: every point goes to the nearest centre, the first of equals",
       "the sum of squared differences over the last axis, then argmin",
       x=arrays((6, 2)), centres=arrays((3, 2)))  # fmt: skip
def nearest(answer: Any, x: np.ndarray, centres: np.ndarray) -> None:
    """No other centre is nearer."""
    numbers, _ = answer.k_means_step(x.copy(), centres.copy())
    for point, number in zip(x, numbers, strict=True):
        apart = [float(((point - c) ** 2).sum()) for c in centres]
        assert apart.index(min(apart)) == number, f"{point}: squared distances {apart}, given to {number}"


@check("k_means_step: every centre moves to the mean of its points, and stays if it has none",
       "the new centres in a copy of the old ones; the mean of no points is nan",
       x=arrays((5, 2)), centres=arrays((4, 2)))  # fmt: skip
def means(answer: Any, x: np.ndarray, centres: np.ndarray) -> None:
    """The middle of the points, and J does not rise."""
    before_x, before = x.copy(), centres.copy()
    with np.errstate(all="ignore"):  # the complaint is ours
        numbers, moved = answer.k_means_step(x, centres)
    assert np.array_equal(x, before_x) and np.array_equal(centres, before), "what was passed in was changed"
    for j, (old, new) in enumerate(zip(before, moved, strict=True)):
        own = x[np.asarray(numbers) == j]
        wanted = own.mean(axis=0) if len(own) else old
        assert np.allclose(new, wanted), f"centre {j} of {len(own)} points: expected {wanted}, got {new}"
