"""The row of ``ops.mlp``."""

from __future__ import annotations

import numpy as np

from tests.op_cases import OpCase, Sample, sample


def mlp(x: np.ndarray, w1: np.ndarray, b1: np.ndarray | None, w2: np.ndarray, b2: np.ndarray | None) -> np.ndarray:
    u = np.einsum("...i,hi->...h", x, w1) + (0 if b1 is None else b1)
    h = u / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))  # (1 + tanh(a)) / 2 = 1 / (1 + exp(-2 a))
    return np.einsum("...h,oh->...o", h, w2) + (0 if b2 is None else b2)


def samples(rng: np.random.Generator) -> list[Sample]:
    made = []
    for batch, n_in, hidden, n_out in [
        ((2, 3), 4, 8, 5),
        ((), 3, 8, 2),
        ((7,), 4, 5, 1),
        ((0,), 4, 8, 3),
        ((2,), 0, 8, 3),
    ]:
        arrays = [
            rng.standard_normal(s) for s in [(*batch, n_in), (hidden, n_in), (hidden,), (n_out, hidden), (n_out,)]
        ]
        made += [sample(*arrays), sample(arrays[0], arrays[1], None, arrays[3], None)]
    return made


CASES = [OpCase("ops.mlp.mlp", samples, mlp, torch_name="")]
