"""The gradient check lets right gradients pass and names wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.autograd import Function
from minillm.testing import gradcheck
from minillm.testing.strategies import broadcast_shapes, tensors

every_mode = pytest.mark.parametrize("mode", ["elementwise", "directional"])


class Cube(Function):
    """x^3 with a gradient that can be made wrong: ``factor`` is 3 where it is right."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, factor: float) -> Any:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x**3

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_arrays
        return ctx.factor * x**2 * dy


def leaf(*values: float, dtype: Any = np.float64) -> minillm.Tensor:
    return minillm.tensor(np.array(values, dtype=dtype), requires_grad=True)


@every_mode
@given(data=st.data())
def test_right_gradients_pass(mode: str, data: st.DataObject) -> None:
    a, b = data.draw(broadcast_shapes())
    x, y = data.draw(tensors(a)), data.draw(tensors(b, low=0.5))
    assert gradcheck(lambda x, y: (x * y, (x / y).tanh()), (x, y), mode=mode)
    assert x.grad is None and y.grad is None  # the inputs stay as they were


@every_mode
@pytest.mark.parametrize("factor", [0.0, 2.99, -3.0, 6.0])
def test_wrong_gradients_are_named(mode: str, factor: float) -> None:
    with pytest.raises(AssertionError, match=r"input 1.*: backward gives .*, differences give"):
        gradcheck(lambda x, y: x + Cube.apply(y, factor=factor), (leaf(1.0, 2.0), leaf(1.0, 2.0)), mode=mode)
    assert gradcheck(lambda y: Cube.apply(y, factor=3.0), leaf(1.0, 2.0), mode=mode)


def test_the_place_is_named() -> None:
    class Half(Cube):
        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            dx = Cube.backward(ctx, dy)
            dx[1, 0] *= 2
            return dx

    x = minillm.tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(AssertionError, match=r"input 0\[1, 0\]"):
        gradcheck(lambda x: Half.apply(x, factor=3.0), x)


def test_a_gradient_that_changes_its_mind() -> None:
    class Moody(Cube):
        calls = 0

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            Moody.calls += 1
            return Cube.backward(ctx, dy) * (1 + 1e-12 * Moody.calls)

    with pytest.raises(AssertionError, match="differs between two backward passes"):
        gradcheck(lambda x: Moody.apply(x, factor=3.0), leaf(1.0))


def test_a_missing_gradient_is_0() -> None:
    with pytest.raises(AssertionError, match=r"input 1\[0\]: backward gives 0, differences give"):
        gradcheck(lambda x, y: x + y.detach() ** 3, (leaf(1.0), leaf(2.0)))


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        ([leaf(1.0, dtype=np.float32)], {}, TypeError, "input 0 is float32; use float64"),
        ([minillm.tensor([1.0])], {}, ValueError, "no input requires grad"),
        ([leaf(1.0)], {"mode": "fast"}, ValueError, "'elementwise' or 'directional', got 'fast'"),
    ],
    ids=["float32", "no gradient", "mode"],
)
def test_what_cannot_be_checked(inputs: list, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        gradcheck(lambda x: x * 2, inputs, **options)
