"""Recomputed blocks give the gradients of plain ones, bit for bit, and keep nothing in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn as nn
from minillm.utils.checkpoint import checkpoint


def block(p: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(p), nn.Linear(8, 4), nn.LayerNorm(4)).double()


def gradients(model: nn.Module, x: minillm.Tensor) -> list[np.ndarray]:
    return [t.grad.numpy().copy() for t in [x, *model.parameters()]]


@pytest.mark.parametrize("p", [0.0, 0.5])
@given(seed=st.integers(0, 999))
def test_the_same_bits(p: float, seed: int) -> None:
    minillm.manual_seed(seed)
    model = block(p)
    found = []
    for recompute in (False, True):
        minillm.manual_seed(seed)  # the same masks in both runs
        x = minillm.randn(3, 4, dtype=minillm.float64).requires_grad_()
        model.zero_grad()
        y = checkpoint(model, x) if recompute else model(x)
        z = checkpoint(model, y) if recompute else model(y)  # the same block twice
        (z * minillm.arange(4, dtype=minillm.float64)).sum().backward()
        later = nn.functional.dropout(minillm.ones(40), 0.5)  # the backward pass has used up no random numbers
        found.append([z.detach().numpy(), *gradients(model, x), later.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_inside_is_kept_until_the_backward_pass() -> None:
    calls = []

    def inner(x: minillm.Tensor) -> minillm.Tensor:
        y = x.exp()
        calls.append(y.requires_grad)
        return y.sin()

    x = minillm.tensor([1.0, 2.0], requires_grad=True)
    z = checkpoint(inner, x).sum()
    assert calls == [False]  # no graph was built
    z.backward()
    assert calls == [False, True]
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.exp([1.0, 2.0])) * np.exp([1.0, 2.0]), rtol=1e-5)


def test_several_arguments_and_results() -> None:
    a, b = (minillm.tensor([v], dtype=minillm.float64, requires_grad=True) for v in (2.0, 3.0))

    def inner(a: Any, n: int, b: Any, *, c: float) -> tuple[Any, Any]:
        return a * b**n, a * c

    one, two = checkpoint(inner, a, 2, b, c=5.0)
    (one * 10 + two).sum().backward()
    assert (a.grad.item(), b.grad.item()) == (10 * 9 + 5, 10 * 2 * 6)


def test_without_gradients_it_is_a_plain_call() -> None:
    with minillm.no_grad():
        y = checkpoint(block(0.0), minillm.zeros(1, 4, dtype=minillm.float64))
    assert not y.requires_grad


def test_parameters_learn_although_no_input_asks() -> None:
    model = block(0.0)
    checkpoint(model, minillm.ones(2, 4, dtype=minillm.float64)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
