"""Reading and writing through brackets, and ops that take an index: what a table of single calls does not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minillm

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

INDICES: list[Callable[[Any], Any]] = [
    lambda t: (0, slice(None), [1, 2]),
    lambda t: (0, slice(None), t.tensor([1, 2])),
    lambda t: ([1, 0], slice(None), 2),
    lambda t: (0, [1]),
    lambda t: (1, t.tensor([True, False, True])),
    lambda t: (..., 0, [0, 1]),
    lambda t: (1, 2, 3),
    lambda t: ([0, 1], slice(None), [1, 2]),
]


@pytest.mark.parametrize("index", INDICES)
def test_what_is_written_through_brackets_is_read_through_them(index: Callable) -> None:
    ours, theirs = minillm.arange(24.0).reshape(2, 3, 4), torch.arange(24.0).reshape(2, 3, 4)
    shape = ours[index(minillm)].shape
    ours[index(minillm)] = minillm.arange(100.0, 100.0 + shape.numel()).reshape(shape)
    theirs[index(torch)] = torch.arange(100.0, 100.0 + shape.numel()).reshape(shape)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    ours[index(minillm)] += 1
    theirs[index(torch)] += 1
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_one_number_in_a_tensor_is_written_where_one_number_fits() -> None:
    x = minillm.zeros(2, 2)
    x[0, 1] = minillm.tensor([7.0])
    assert x.tolist() == [[0.0, 7.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x[i],
        lambda x, i: x.scatter(0, i, minillm.ones(3)),
        lambda x, i: x.scatter_add(0, i, x),
        lambda x, i: x.index_add(0, i, x),
    ],
    ids=["integers", "scatter", "scatter_add", "index_add"],
)
def test_the_gradient_goes_where_the_index_pointed_when_it_was_used(call: Callable) -> None:
    gradients = []
    for changed in (False, True):
        x, index = minillm.ones(3, requires_grad=True), minillm.tensor([2, 0, 2])
        y = (call(x, index) * minillm.tensor([1.0, 2.0, 3.0])).sum()
        if changed:
            index.fill_(1)
        y.backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1]


def test_a_mask_that_is_changed_later() -> None:
    x, mask = minillm.ones(3, requires_grad=True), minillm.tensor([True, False, True])
    y = x[mask].sum()
    mask.fill_(False)
    y.backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, i: x.scatter(0, i, minillm.ones(1)), r"scatter: expected a source of shape \(2,\) or more, got"),
        (lambda x, i: x.scatter_add(0, i, minillm.ones(1)), r"scatter_add: expected a source of shape \(2,\) or more"),
        (lambda x, i: x.index_add(0, i, minillm.ones(1)), r"index_add: expected a source of shape \(2,\), got \(1,\)"),
        (lambda x, i: minillm.ones(3, 2).index_add(0, i, minillm.ones(2)), r"of shape \(2, 2\), got \(2,\)"),
        (lambda x, i: x.masked_select(minillm.tensor([1, 0, 1])), "masked_select: expected a bool mask"),
    ],
)
def test_what_is_too_short_is_not_spread(call: Callable, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call(minillm.zeros(3), minillm.tensor([0, 2]))


def test_a_number_is_written_to_as_a_tensor_of_one() -> None:
    zero, two = minillm.tensor(0.0, requires_grad=True), minillm.tensor([0, 0])
    y = zero.scatter_add(0, two, minillm.ones(2)) + zero.scatter(0, minillm.tensor(0), 5.0)
    y.backward()
    assert y.item() == 7.0 and zero.grad.item() == 1.0
