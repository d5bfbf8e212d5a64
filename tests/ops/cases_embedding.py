"""Rows of the op table for minillm/ops/embedding.py: what is random about dropout is tested in test_embedding.py."""

from __future__ import annotations

import numpy as np

from tests.op_cases import OpCase, Sample, rough, sample


def embedding_samples(rng: np.random.Generator) -> list[Sample]:
    table = rng.standard_normal((6, 3))
    ids = np.array([[0, 2, 2], [1, 0, 5]])
    return [
        sample(ids, table),
        rough(ids, table, 2),  # the row of padding_idx gets no gradient, whatever differences say
        rough(ids, table, -1),
        sample(np.array(3), table),
        sample(np.zeros((0,), dtype=np.int64), table),
        sample(rng.integers(0, 40, 700), rng.standard_normal((40, 5))),
        sample(rng.integers(0, 600, 700), rng.standard_normal((600, 5))),
    ]


CASES = [
    OpCase("nn.functional.embedding", embedding_samples, lambda ids, table, padding_idx=None: table[ids]),
    OpCase(
        "nn.functional.dropout",
        lambda rng: [
            sample(rng.standard_normal((3, 4)), p, training) for p, training in ((0.0, True), (0.5, False), (1.0, True))
        ],
        lambda x, p, training: x * (0 if p == 1 and training else 1),
    ),
]
