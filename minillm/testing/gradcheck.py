"""Compare a gradient with differences of the function itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minillm.tensor import Tensor

__all__ = ["gradcheck"]


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    *,
    mode: str = "elementwise",
    seed: int = 0,
) -> bool:
    r"""Check the gradients of ``fn`` with respect to all inputs that require one.

    For a random incoming gradient v, the gradient of $v \cdot f(x)$ must equal the central difference
    $(v \cdot f(x + \epsilon u) - v \cdot f(x - \epsilon u)) / 2\epsilon$ along directions u: every axis
    ("elementwise"), or one random direction for each input ("directional", for large inputs). The backward pass is run
    twice and must give the same bits.

    Args:
        fn: maps tensors to a tensor or a tuple of tensors.
        inputs: tensors in float64.
        eps: length of the step.
        atol, rtol: how far the two may differ.
        mode: "elementwise" or "directional".
        seed: of the incoming gradient and the directions.

    Returns:
        True.

    Raises:
        AssertionError: naming the input, the place, and both numbers.
        TypeError: for inputs that are not float64, where differences are too coarse to say anything.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires grad; call requires_grad_() on those to be checked")
    for i in checked:
        if given[i].dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {given[i].dtype}; use float64, in which differences are fine enough"
            )
    if mode not in ("elementwise", "directional"):
        raise ValueError(f"gradcheck: expected mode 'elementwise' or 'directional', got {mode!r}")
    rng = np.random.default_rng(seed)
    incoming = [rng.standard_normal(y.shape) for y in _floating(fn(*given))]
    first, second = _analytic(fn, given, checked, incoming), _analytic(fn, given, checked, incoming)
    for i, a, b in zip(checked, first, second, strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            raise AssertionError(f"gradcheck: the gradient of input {i} differs between two backward passes")
    for i, analytic in zip(checked, first, strict=True):
        for place, u in _directions(given[i], mode, rng):
            numeric = _difference(fn, given, i, u, incoming, eps)
            slope = float((analytic * u).sum())
            if not np.isclose(slope, numeric, rtol=rtol, atol=atol, equal_nan=True):
                raise AssertionError(
                    f"gradcheck: input {i}{place}: backward gives {slope:.8g}, differences give {numeric:.8g}"
                )
    return True


def _floating(result: Any) -> list[Tensor]:
    results = [result] if isinstance(result, Tensor) else list(result)
    return [y for y in results if y.is_floating_point()]


def _analytic(fn: Callable, given: list, checked: list[int], incoming: list[np.ndarray]) -> list[np.ndarray]:
    """Return the gradients that the backward pass gives, on fresh leaves."""
    fresh = [x.detach().clone().requires_grad_() if i in checked else x for i, x in enumerate(given)]
    for y, v in zip(_floating(fn(*fresh)), incoming, strict=True):
        if y.requires_grad:
            y.backward(Tensor._wrap(y.backend.from_host(v)), retain_graph=True)
    zero = [np.zeros(given[i].shape) for i in checked]
    found = [fresh[i].grad for i in checked]
    return [z if g is None else g.backend.to_host(g.array) for z, g in zip(zero, found, strict=True)]


def _directions(x: Tensor, mode: str, rng: np.random.Generator) -> Any:
    if mode == "directional":
        u = rng.standard_normal(x.shape)
        yield "", u / max(float(np.sqrt((u * u).sum())), 1e-30)
        return
    for place in np.ndindex(*x.shape):
        u = np.zeros(x.shape)
        u[place] = 1.0
        yield f"{list(place)}" if place else "", u


def _difference(fn: Callable, given: list, i: int, u: np.ndarray, incoming: list[np.ndarray], eps: float) -> float:
    total = 0.0
    for sign in (1, -1):
        moved = list(given)
        base = given[i].backend.to_host(given[i].array)
        moved[i] = Tensor._wrap(given[i].backend.from_host(np.asarray(base + sign * eps * u)))
        for y, v in zip(_floating(fn(*moved)), incoming, strict=True):
            total += sign * float((y.backend.to_host(y.array) * v).sum())
    return total / (2 * eps)
