"""Gradients that an op is given from elsewhere, to return the sum, and those that somebody sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import minillm
from minillm import autograd
from minillm.autograd import Function, engine
from minillm.testing.strategies import programs
from tests.autograd.test_engine import OPS, leaf


def adding_up_themselves(node, dys, usual=engine._call_backward):
    """A backward pass that returns, of each input, its gradient and what came to it from elsewhere."""
    others = [node.so_far(i) for i in range(len(node.edges))]
    before = [None if other is None else other.copy() for other in others]
    dxs = list(usual(node, dys))
    for i, other in enumerate(others):
        if other is not None and dxs[i] is not None:
            dxs[i] = dxs[i] + other
            np.testing.assert_array_equal(other, before[i])
    return tuple(dxs)


@pytest.mark.parametrize("retain_graph", [False, True])
@given(program=programs(len(OPS)))
def test_ops_may_add_what_came_from_elsewhere(program, retain_graph):
    runs = []
    for way in (engine._call_backward, adding_up_themselves):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "_call_backward", way)
            leaves = [minillm.tensor(v).requires_grad_() for v in program.inputs]
            results = program.run(OPS, minillm, leaves)
            middle = [t for t in results if t.grad_fn is not None]
            for t in middle:
                t.retain_grad()
            loss = sum((t * t).sum() for t in results[-3:])
            loss.backward(retain_graph=retain_graph)
            if retain_graph:
                found = autograd.grad(loss, [*middle, *leaves], allow_unused=True, retain_graph=True)
                loss.backward()
            else:
                found = ()
            runs.append([*found, *(t.grad for t in (*middle, *leaves))])
    for a, b in zip(*runs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9 * max(1.0, np.abs(a.numpy()).max()))


def test_what_came_from_elsewhere_is_given_once_and_only_in_a_backward_pass():
    seen = []

    class Asks(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            seen.append([None if (other := ctx.so_far(0)) is None else float(other) for _ in range(2)])
            return dy * 2 + (seen[-1][0] or 0.0)

    for x in (leaf(1.0).sum() * 1.0, leaf(1.0)[0]):
        y = Asks.apply(x) + x * 5.0  # what was computed last is the first on the way back
        y.backward()
    x = leaf(1.0)
    z = Asks.apply(x).sum() + x.sum() * 5  # of a leaf nothing is given: its gradient is in .grad
    z.backward()
    assert seen == [[5.0, None], [5.0, None], [None, None]] and x.grad.item() == 7.0
    assert z.grad_fn.so_far(0) is None


# --- gradients that somebody sets
@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (1.0, TypeError, "expected a Tensor or None, got float"),
        (np.zeros(2), TypeError, "got ndarray"),
        (
            minillm.zeros(3, dtype=minillm.float64),
            RuntimeError,
            r"expected shape \(2,\), that of the tensor, got \(3,\)",
        ),
        (minillm.zeros(2), RuntimeError, "expected dtype float64, that of the tensor, got float32"),
    ],
)
def test_what_cannot_be_a_gradient_is_refused(value, error, said):
    x = leaf(1.0, 2.0)
    x.grad = before = minillm.ones(2, dtype=minillm.float64)
    with pytest.raises(error, match=said):
        x.grad = value
    with pytest.raises(RuntimeError, match="its own gradient"):
        x.grad = x
    assert x.grad is before
    (x * 3).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]
    x.grad = None
    assert x.grad is None
    (x * 3).sum().backward()
    del x.grad
    assert x.grad is None
