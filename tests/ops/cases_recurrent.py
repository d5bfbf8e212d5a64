"""The rows of ``ops.recurrent``; the layers built on them are compared with PyTorch's in tests/nn/test_recurrent.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.op_cases import OpCase, Sample, sample


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def along(x: np.ndarray, reverse: bool, step: Callable, *state: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the first state at every time, and all states after the last."""
    y = np.zeros((len(x), *state[0].shape))
    for t in range(len(x))[:: -1 if reverse else 1]:
        state = step(x[t], *state)
        y[t] = state[0]
    return y, *state


def rnn(x: np.ndarray, h: np.ndarray, w: np.ndarray, relu: bool = False, reverse: bool = False) -> np.ndarray:
    bend = (lambda z: z * (z > 0)) if relu else np.tanh
    return along(x, reverse, lambda x, h: (bend(x + np.einsum("bh,gh->bg", h, w)),), h)[0]


def lstm(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: np.ndarray, reverse: bool = False) -> tuple:
    def step(x, h, c):
        i, f, g, o = np.split(x + np.einsum("bh,gh->bg", h, w), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    y, _, c = along(x, reverse, step, h, c)
    return y, c


def gru(x: np.ndarray, h: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, reverse: bool = False) -> np.ndarray:
    def step(x, h):
        u = np.einsum("bh,gh->bg", h, w) + (0 if b is None else b)
        (xr, xz, xn), (ur, uz, un) = np.split(x, 3, axis=-1), np.split(u, 3, axis=-1)
        z = sigmoid(xz + uz)
        return ((1 - z) * np.tanh(xn + sigmoid(xr + ur) * un) + z * h,)

    return along(x, reverse, step, h)[0]


def samples(gates: int, states: int = 1, bias: bool = False, **options: bool) -> Callable[[np.random.Generator], list]:
    def make(rng: np.random.Generator) -> list[Sample]:
        made = []
        for T, B, H in [(1, 2, 3), (4, 2, 3), (3, 1, 1), (2, 0, 3)]:
            wide = gates * H
            shapes = [(T, B, wide), *[(B, H)] * states, (wide, H), *[(wide,)] * bias]
            arrays = [rng.standard_normal(shape) for shape in shapes]
            made += [sample(*arrays, **options), sample(*arrays, reverse=True, **options)]
        return made + ([sample(*arrays[:-1])] if bias else [])

    return make


CASES = [
    OpCase("ops.recurrent.rnn", lambda rng: samples(1)(rng) + samples(1, relu=True)(rng), rnn, torch_name=""),
    OpCase("ops.recurrent.lstm", samples(4, states=2), lstm, torch_name=""),
    OpCase("ops.recurrent.gru", samples(3, bias=True), gru, torch_name=""),
]
