"""Rows of the op table for minillm/ops/attention.py."""

from __future__ import annotations

import math

import numpy as np

from tests.op_cases import OpCase, Sample, sample


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> np.ndarray:
    """One query at a time, as the definition has it."""
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    T, S = q.shape[-2], k.shape[-2]
    s = np.einsum("...td,...sd->...ts", q, k) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    seen = np.tril(np.ones((T, S), dtype=bool)) if is_causal else np.ones((T, S), dtype=bool)
    if mask is not None:
        seen, s = (seen & mask, s) if mask.dtype == bool else (seen, s + mask)
    seen = np.broadcast_to(seen, s.shape)
    y = np.zeros((*s.shape[:-1], v.shape[-1]))
    v = np.broadcast_to(v, (*s.shape[:-2], *v.shape[-2:]))
    for place in np.ndindex(s.shape[:-1]):
        if seen[place].any():
            row = s[place][seen[place]]
            p = np.exp(row - row.max())
            y[place] = p @ v[place[:-1]][seen[place]] / p.sum()
    return y


def samples(rng: np.random.Generator) -> list[Sample]:
    def heads(T: int, S: int, D: int = 4, E: int = 4, batch: tuple[int, ...] = (2, 3)) -> list[np.ndarray]:
        return [rng.standard_normal((*batch, *s)) for s in ((T, D), (S, D), (S, E))]

    some = rng.random((5, 7)) > 0.4
    some[0] = False  # a query that sees nothing
    return [
        sample(*heads(5, 5), is_causal=True),
        sample(*heads(5, 7, E=6)),
        sample(*heads(5, 7), is_causal=True),
        sample(*heads(7, 5), is_causal=True),
        sample(*heads(5, 7), scale=0.3),
        sample(*heads(5, 7), some),
        sample(*heads(5, 7), rng.random((2, 1, 1, 7)) > 0.3),
        sample(*heads(5, 7), rng.standard_normal((5, 7))),
        sample(*heads(5, 7), rng.standard_normal((2, 3, 5, 7))),
        sample(*heads(5, 7, batch=())),
        sample(*heads(130, 130, batch=(1, 2)), is_causal=True),  # three tiles
        sample(*heads(70, 40, batch=(3,)), rng.random((70, 40)) > 0.2),
        sample(heads(5, 7, batch=(2, 6))[0], *heads(5, 7, batch=(2, 2))[1:], enable_gqa=True),
        sample(heads(5, 5, batch=(2, 6))[0], *heads(5, 5, batch=(2, 3))[1:], is_causal=True, enable_gqa=True),
    ]


CASES = [OpCase("nn.functional.scaled_dot_product_attention", samples, attention)]
