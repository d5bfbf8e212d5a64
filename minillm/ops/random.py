"""Random tensors. Numbers are drawn on the host, so that they are the same on every device, and moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from minillm.backend import get_backend
from minillm.backend.device import finfo, get_default_dtype, is_floating
from minillm.backend.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    set_rng_state,
)
from minillm.ops.common import flat_ints, size_or
from minillm.tensor import Tensor

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "set_rng_state",
]


def _stream(generator: Generator | None) -> np.random.Generator:
    return (generator or default_generator).stream()


def _made(array: Any, dtype: Any, device: Any, requires_grad: bool = False) -> Tensor:
    made = Tensor._wrap(get_backend(device).from_host(np.asarray(array).astype(dtype, copy=False)))
    return made.requires_grad_() if requires_grad else made


def _floating(what: str, dtype: Any) -> np.dtype:
    """Return the type to draw in.

    Raises:
        NotImplementedError: for a type that is not floating.
    """
    found = np.dtype(dtype or get_default_dtype())
    if not is_floating(found):
        raise NotImplementedError(f"{what}: expected a floating type, got {found}; whole numbers come from randint()")
    return found


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn evenly from [0, 1)."""
    dtype = _floating("rand", dtype)
    # The draw has the digits of the type that is asked for: rounding others up could give 1.
    exact = np.float64 if dtype == np.float64 else np.float32
    drawn = _stream(generator).random(size_or(sizes, size), dtype=exact)
    if dtype.itemsize == 2:
        steps = 2.0 ** (finfo(dtype).nmant + 1)
        drawn = np.floor(drawn * steps) / steps
    return _made(drawn, dtype, device, requires_grad)


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn from the normal distribution with mean 0 and variance 1."""
    dtype = _floating("randn", dtype)
    return _made(_stream(generator).standard_normal(size_or(sizes, size)), dtype, device, requires_grad)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Return normal numbers; mean and std are numbers (with a size) or tensors.

    Raises:
        RuntimeError: if a standard deviation is negative.
    """
    if bool((std < 0).any()) if isinstance(std, Tensor) else std < 0:
        raise RuntimeError("normal: expected a std of 0 or more")
    if size is None:
        shape = np.broadcast_shapes(getattr(mean, "shape", ()), getattr(std, "shape", ()))
        like = mean if isinstance(mean, Tensor) else std
        size, dtype, device = shape, dtype or like.dtype, device or like.device
    return randn(size, generator=generator, dtype=dtype, device=device) * std + mean


def randint(
    low: int = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Return integers drawn evenly from ``low`` to ``high - 1``; ``randint(high, size)`` starts at 0.

    Raises:
        RuntimeError: if there is no integer to draw.
    """
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if not low < high:
        raise RuntimeError(f"randint: expected low < high, got {low} and {high}")
    drawn = _stream(generator).integers(int(low), int(high), size=flat_ints((size,)))
    return _made(drawn, dtype or np.int64, device)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Return 0 .. n - 1 in random order."""
    return _made(_stream(generator).permutation(n), dtype or np.int64, device)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ``rand`` with the shape, type and device of ``input``."""
    return rand(input.shape, dtype=dtype or input.dtype, device=device or input.device)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ``randn`` with the shape, type and device of ``input``."""
    return randn(input.shape, dtype=dtype or input.dtype, device=device or input.device)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None) -> Tensor:
    """Return ``randint`` with the shape, type and device of ``input``."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=input.device)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with the probability that ``input`` gives for each element, 0 otherwise."""
    p = input.backend.to_host(input.array)
    if ((p < 0) | (p > 1)).any():
        raise RuntimeError("bernoulli: expected probabilities from 0 to 1")
    return _made(_stream(generator).random(p.shape) < p, input.dtype, input.device)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Draw positions along the last axis with probabilities in proportion to ``input``.

    Args:
        input: weights of 0 or more, (V,) or (B, V); they need not sum to 1.
        num_samples: draws a row.
        replacement: whether a position may be drawn more than once.

    Returns:
        Positions (num_samples,) or (B, num_samples), int64.

    Raises:
        RuntimeError: for negative, infinite or NaN weights, rows of zeros, or more draws than there are positions.
    """
    weights = input.backend.to_host(input.array).astype(np.float64)
    if weights.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: expected weights (V,) or (B, V), got shape {tuple(input.shape)}")
    if num_samples < 1:
        raise RuntimeError(f"multinomial: expected num_samples of 1 or more, got {num_samples}")
    rows = weights.reshape(-1, weights.shape[-1])
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise RuntimeError("multinomial: expected weights of 0 or more, found negative, infinite or NaN ones")
    total = rows.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise RuntimeError("multinomial: every weight of a row is 0")
    if not replacement and ((rows > 0).sum(axis=1) < num_samples).any():
        raise RuntimeError(f"multinomial: cannot draw {num_samples} different positions; fewer have a positive weight")
    stream = _stream(generator)
    if replacement:
        cumulative = np.cumsum(rows / total, axis=1)
        cumulative[:, -1] = np.inf
        drawn = np.stack([np.searchsorted(c, stream.random(num_samples), side="right") for c in cumulative])
        drawn = np.minimum(drawn, [[np.flatnonzero(r)[-1]] for r in rows])  # rounding can run past the last weight
    else:
        # The smallest of exponential times with these rates come first in proportion to the rates.
        with np.errstate(divide="ignore"):
            times = stream.standard_exponential(rows.shape) / rows
        drawn = np.argsort(times, axis=1, kind="stable")[:, :num_samples]
    return _made(drawn.reshape(*weights.shape[:-1], num_samples), np.int64, input.device)
