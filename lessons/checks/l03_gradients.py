"""Checks of the answers to lesson 03."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
from minillm.autograd import Function
from minillm.testing import gradcheck
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays, broadcast_shapes, shapes

Shape = tuple[int, ...]


def numbers(shape: Shape, seed: int) -> np.ndarray:
    """Random numbers, the same for the same seed."""
    return np.random.default_rng(seed).uniform(-2, 2, shape)


@st.composite
def pairs_of_shapes(draw: st.DrawFn) -> tuple[Shape, Shape]:
    """Two shapes that broadcast, without empty ones."""
    x, y = draw(broadcast_shapes(2, 3, 3, empty=False))
    return x, y


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Shape, Shape]:
    """The shapes of two stacks of matrices that can be multiplied."""
    a, b = draw(broadcast_shapes(2, 2, 3, empty=False))
    n, k, m = (draw(st.integers(1, 3)) for _ in range(3))
    return (*a, n, k), (*b, k, m)


class Mul(Function):
    """x * y with the answer's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, *, answer: Any) -> Any:
        """Multiply, and keep what the gradient needs."""
        ctx.answer = answer
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx: Any, dz: Any) -> Any:
        """Ask the answer."""
        return tuple(ctx.answer.mul_backward(*ctx.saved_arrays, dz))


class MatMul(Function):
    """a @ b with the answer's gradient."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any, *, answer: Any) -> Any:
        """Multiply, and keep what the gradient needs."""
        ctx.answer = answer
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx: Any, dc: Any) -> Any:
        """Ask the answer."""
        return tuple(ctx.answer.matmul_backward(*ctx.saved_arrays, dc))


class LogSumExp(Function):
    """log(sum(exp(x))) with the answer's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, axis: int, answer: Any) -> Any:
        """Compute it without overflow, and keep what the gradient needs."""
        ctx.answer, ctx.axis = answer, axis
        ctx.save_for_backward(x)
        top = x.max(axis=axis, keepdims=True)
        return np.squeeze(top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True)), axis)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        """Ask the answer."""
        (x,) = ctx.saved_arrays
        return (ctx.answer.logsumexp_backward(x, ctx.axis, dy),)


def leaf(shape: Shape, seed: int) -> minillm.Tensor:
    """A tensor whose gradient is asked for."""
    return minillm.tensor(numbers(shape, seed)).requires_grad_()


@check("unbroadcast: it is the transpose of broadcasting",
       "sum over every axis along which numbers were repeated, the ones in front and those of length 1",
       both=pairs_of_shapes(), seed=st.integers(0, 99))  # fmt: skip
def unbroadcast_is_the_adjoint(answer: Any, both: tuple[Shape, Shape], seed: int) -> None:
    """For any x and dy: the sum of dy * broadcast(x) is the sum of unbroadcast(dy) * x."""
    full = np.broadcast_shapes(*both)
    for shape in both:
        dy, x = numbers(full, seed), numbers(shape, seed + 1)
        found = answer.unbroadcast(dy, shape)
        assert np.shape(found) == shape, f"from {full} to {shape}: the result has shape {np.shape(found)}"
        one, other = (dy * np.broadcast_to(x, full)).sum(), (found * x).sum()
        assert np.isclose(one, other), f"from {full} to {shape}: expected {one}, got {other}"
        again = np.broadcast_to(answer.unbroadcast(np.ones(full), shape), shape)
        uses = np.prod(full, dtype=int) // max(1, np.prod(shape, dtype=int))
        assert np.allclose(again, uses), f"from {full} to {shape}: every number was used {uses} times, got {again}"


@check("mul_backward: the gradients are those that nudging finds", "the other factor, then unbroadcast",
       both=pairs_of_shapes(), seed=st.integers(0, 99))  # fmt: skip
def mul_passes_gradcheck(answer: Any, both: tuple[Shape, Shape], seed: int) -> None:
    """gradcheck over shapes that broadcast."""
    gradcheck(lambda x, y: Mul.apply(x, y, answer=answer), [leaf(both[0], seed), leaf(both[1], seed + 1)])


@check("matmul_backward: the gradients are those that nudging finds",
       "da = dc b^T, db = a^T dc; swap the last two axes only; unbroadcast what met a stack",
       both=stacks(), seed=st.integers(0, 99))  # fmt: skip
def matmul_passes_gradcheck(answer: Any, both: tuple[Shape, Shape], seed: int) -> None:
    """gradcheck over stacks of matrices."""
    gradcheck(lambda a, b: MatMul.apply(a, b, answer=answer), [leaf(both[0], seed), leaf(both[1], seed + 1)])


@check("logsumexp_backward: the gradient is the one that nudging finds",
       "the shares along the axis, times dy, which needs its axis back",
       shape=shapes(1, 3, 3, empty=False), axis=st.integers(-3, 2), seed=st.integers(0, 99))  # fmt: skip
def logsumexp_passes_gradcheck(answer: Any, shape: Shape, axis: int, seed: int) -> None:
    """gradcheck along every axis."""
    axis = max(-len(shape), min(axis, len(shape) - 1))
    gradcheck(lambda x: LogSumExp.apply(x, axis=axis, answer=answer), leaf(shape, seed))


@check("logsumexp_backward: a row of shares sums to 1, also of large numbers",
       "subtract the largest number of the row before exp",
       x=arrays(shapes(2, 2, 4, empty=False)), shift=st.sampled_from([0.0, 1e4, -1e4]))  # fmt: skip
def shares_sum_to_one(answer: Any, x: np.ndarray, shift: float) -> None:
    """A closed form, with one row far away from the others."""
    x[0] += shift
    with np.errstate(all="ignore"):  # the complaint is ours
        found = answer.logsumexp_backward(x.copy(), 1, np.ones(len(x)))
    assert np.shape(found) == x.shape, f"the result has shape {np.shape(found)}, x has {x.shape}"
    assert np.allclose(found.sum(axis=1), 1), f"the rows sum to {found.sum(axis=1)}"
    assert np.allclose(found, minillm.softmax(minillm.tensor(x), -1).numpy()), f"these are no shares: {found}"
