"""Checks of the answers to lesson 05."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minillm
from minillm import optim
from minillm.testing.properties import check, st
from minillm.testing.strategies import shapes

LR = st.sampled_from([0.001, 0.1, 1.0])
BETA = st.sampled_from([0.0, 0.5, 0.9, 0.999])
SEED = st.integers(0, 99)


def gradients(shape: tuple[int, ...], seed: int, steps: int) -> np.ndarray:
    """Random gradients of several steps, none of them near 0."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 2, (steps, *shape)) * rng.choice([-1, 1], (steps, *shape))


def run(answer: Any, w: np.ndarray, gs: np.ndarray, lr: float, beta1: float, beta2: float, eps: float) -> Any:
    """Several steps of the answer, from means of 0."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gs, start=1):
        w, m, v = answer.adam_step(w, g, m, v, t, lr, beta1, beta2, eps)
    return w, m, v


@check("adam_step: three steps equal the closed form",
       "both means first, then both corrections with the number of the step, then the step; eps outside the root",
       shape=shapes(0, 2, 3, empty=False), seed=SEED, lr=LR, beta1=BETA, beta2=BETA,
       eps=st.sampled_from([1e-8, 0.1]))  # fmt: skip
def adam_closed_form(
    answer: Any, shape: tuple[int, ...], seed: int, lr: float, beta1: float, beta2: float, eps: float
) -> None:
    """The corrected means are weighted means of the gradients, with weights beta^age that are made to sum to 1."""
    gs = gradients(shape, seed, 3)
    wanted = w = gradients(shape, seed + 1, 1)[0]
    for t in (1, 2, 3):
        means = []
        for beta, values in ((beta1, gs), (beta2, gs**2)):
            weights = np.array([beta ** (t - i) for i in range(1, t + 1)])
            means.append(np.tensordot(weights / weights.sum(), values[:t], 1))
        wanted = wanted - lr * means[0] / (np.sqrt(means[1]) + eps)
        found = run(answer, w, gs[:t], lr, beta1, beta2, eps)[0]
        assert np.shape(found) == shape, f"the weights have shape {np.shape(found)}, expected {shape}"
        assert np.allclose(found, wanted, 1e-9, 1e-12), f"after step {t}: expected {wanted}, got {found}"


@check("adam_step: gradients in another unit give the same steps",
       "the unit cancels: a mean of g, divided by the root of a mean of g squared",
       seed=SEED, scale=st.sampled_from([1e-3, 7.0, 1e4]), beta1=BETA, beta2=BETA)  # fmt: skip
def adam_does_not_care_for_units(answer: Any, seed: int, scale: float, beta1: float, beta2: float) -> None:
    """Multiply all gradients by a number: with eps = 0 nothing changes."""
    gs, w = gradients((3,), seed, 5), np.ones(3)
    one, other = (run(answer, w, k * gs, 0.1, beta1, beta2, 0.0)[0] for k in (1.0, scale))
    assert np.allclose(one, other, 1e-9), f"gradients times {scale}: {other} instead of {one}"
    first = answer.adam_step(w, scale * gs[0], 0 * w, 0 * w, 1, 0.1, beta1, beta2, 0.0)[0]
    assert np.allclose(w - first, 0.1 * np.sign(gs[0])), f"the first step is lr = 0.1 long, got {w - first}"


@check("adam_step: it is minillm's Adam, and changes none of its inputs", "make new arrays; += changes the caller's",
       seed=SEED, beta1=BETA, beta2=BETA)  # fmt: skip
def adam_as_in_minillm(answer: Any, seed: int, beta1: float, beta2: float) -> None:
    """Ten steps beside the library's."""
    gs, start = gradients((2, 3), seed, 10), np.ones((2, 3))
    p = minillm.tensor(start).requires_grad_()
    optimizer = optim.Adam([p], 0.1, (beta1, beta2))
    w, m, v = start.copy(), np.zeros((2, 3)), np.zeros((2, 3))
    for t, g in enumerate(gs, start=1):
        given = [w, g, m, v]
        before = [x.copy() for x in given]
        w, m, v = answer.adam_step(*given, t, 0.1, beta1, beta2, 1e-8)
        assert all(np.array_equal(a, b) for a, b in zip(given, before, strict=True)), "an input was changed"
        p.grad = minillm.tensor(g)
        optimizer.step()
        found = p.detach().numpy()
        assert np.allclose(w, found, 1e-9, 1e-12), f"step {t}: minillm has {found}, got {w}"


@check("adamw_step: it is minillm's AdamW, and the means know nothing of the decay",
       "shrink the weights by 1 - lr decay, leave the gradient alone",
       seed=SEED, decay=st.sampled_from([0.0, 0.1, 1.0]), lr=LR)  # fmt: skip
def adamw_as_in_minillm(answer: Any, seed: int, decay: float, lr: float) -> None:
    """Ten steps beside the library's; without gradients the weights only shrink."""
    gs, start = gradients((3,), seed, 10), np.ones(3)
    p = minillm.tensor(start).requires_grad_()
    optimizer = optim.AdamW([p], lr, (0.9, 0.99), 1e-8, decay)
    w, m, v = start, np.zeros(3), np.zeros(3)
    for t, g in enumerate(gs, start=1):
        w, m, v = answer.adamw_step(w, g, m, v, t, lr, 0.9, 0.99, 1e-8, decay)
        p.grad = minillm.tensor(g)
        optimizer.step()
        found = p.detach().numpy()
        assert np.allclose(w, found, 1e-9, 1e-12), f"step {t}: minillm has {found}, got {w}"
    no = np.zeros(3)
    shrunk, m, v = answer.adamw_step(start, no, no, no, 1, lr, 0.9, 0.99, 1e-8, decay)
    assert np.allclose(shrunk, 1 - lr * decay), f"without a gradient: expected {1 - lr * decay}, got {shrunk}"
    assert not np.any(m) and not np.any(v), "without a gradient the means stay 0"


@check("clip: never longer than allowed, and in the same direction",
       "one length over all arrays, one factor for all; nothing at all happens to short ones",
       seed=SEED, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), scale=st.sampled_from([0.0, 0.01, 1, 100]),
       longest=st.sampled_from([0.5, 1.0, 30.0]))  # fmt: skip
def clip_keeps_the_direction(answer: Any, seed: int, sizes: list[int], scale: float, longest: float) -> None:
    """Against the length of all numbers in one row."""
    given = [scale * gradients((n,), seed + i, 1)[0] for i, n in enumerate(sizes)]
    before = [g.copy() for g in given]
    with np.errstate(all="ignore"):  # the complaint is ours
        found = answer.clip(given, longest)
    assert all(np.array_equal(a, b) for a, b in zip(given, before, strict=True)), "an input was changed"
    assert [np.shape(g) for g in found] == [g.shape for g in given], "each array keeps its shape"
    row, was = np.concatenate(found), np.concatenate(given)
    length = math.sqrt((was**2).sum())
    if length <= longest:
        assert np.array_equal(row, was), f"gradients of length {length:.3g} were changed, {longest} is allowed"
    else:
        assert np.allclose(row, was * (longest / length)), f"length {length:.3g}: expected {longest}, got {row}"


@check("step_size: it rises to lr, and ends at 0", "a straight line while t < warmup, then half a cosine",
       lr=LR, warmup=st.integers(0, 6), after=st.integers(1, 10))  # fmt: skip
def step_size_rises_and_falls(answer: Any, lr: float, warmup: int, after: int) -> None:
    """Known values, equal increases, falling afterwards, and symmetric around the middle."""
    total = warmup + after
    found = [answer.step_size(t, lr, warmup, total) for t in range(total + 1)]
    rise, fall = found[:warmup], found[warmup:]
    assert np.allclose(rise, [lr * (t + 1) / warmup for t in range(warmup)]), f"the warm-up is {rise}"
    assert np.isclose(fall[0], lr) and np.isclose(fall[-1], 0, atol=1e-12), f"after the warm-up: {fall}"
    assert all(a > b for a, b in zip(fall, fall[1:])), f"after the warm-up it falls, got {fall}"
    assert np.allclose(np.add(fall, fall[::-1]), lr), f"the fall is symmetric around lr / 2, got {fall}"
    if after % 3 == 0:
        third = fall[after // 3]
        assert np.isclose(third, 0.75 * lr), f"a third of the way down: expected {0.75 * lr}, got {third}"
