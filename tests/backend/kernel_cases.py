"""Calls that each kernel of the CUDA backend is tested with: rows of one, odd widths, widths beyond a block.

A case is a function that gets a maker of inputs and returns a result, the same on every device and in every type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F

Call = Callable[["Inputs"], minillm.Tensor]
ROWS = [(1, 1), (3, 4), (2, 5, 33), (1, 768), (2, 3000), (70, 16)]


@dataclass
class Inputs:
    """Makes the inputs of a case: normal numbers that ``dtype`` can hold, as tensors of ``in_type`` on ``device``."""

    device: Any
    dtype: np.dtype
    in_type: np.dtype
    leaves: list[minillm.Tensor] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __call__(self, *shape: int, grad: bool = True) -> minillm.Tensor:
        return self.of(self.rng.standard_normal(shape), grad)

    def of(self, values: Any, grad: bool = True) -> minillm.Tensor:
        values = np.asarray(values).astype(self.dtype).astype(self.in_type)
        made = minillm.tensor(values, device=self.device)
        if grad:
            self.leaves.append(made.requires_grad_())
        return made

    def ids(self, size: int, *shape: int) -> minillm.Tensor:
        return minillm.tensor(self.rng.integers(0, size, shape), device=self.device)


def layer_norm(*shape: int, **options: Any) -> Call:
    return lambda t: F.layer_norm(t(*shape), shape[-1:], t(shape[-1]), t(shape[-1]), **options)


def attention(batch: tuple[int, ...], T: int, S: int, D: int, E: int, **options: Any) -> Call:
    return lambda t: F.scaled_dot_product_attention(t(*batch, T, D), t(*batch, S, D), t(*batch, S, E), **options)


def packed_attention(t: Inputs) -> minillm.Tensor:
    qkv = t(2, 17, 3, 4, 8)  # (B, T, 3, H, D)
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 17, 32)


def with_ignored(t: Inputs, *shape: int) -> minillm.Tensor:
    ids = t.ids(5, *shape)
    return minillm.where(ids == 0, -100, ids)


CASES: dict[str, list[Call]] = {
    **{
        name: [
            *((lambda t, s=shape, f=f: f(t(*s))) for shape in [(1,), (5,), (2, 3, 8), (40, 33), (1000, 16)]),
            lambda t, f=f: f(t.of(np.linspace(-12, 12, 97))),
            lambda t, f=f: f(t(6, 8).T),
            lambda t, f=f: f(t(9)[1:]),
        ]
        for name, f in {
            "ReLU": F.relu,
            "GELU": F.gelu,
            "GELUTanh": lambda x: F.gelu(x, "tanh"),
            "SiLU": F.silu,
        }.items()
    },
    "Attention": [
        attention((2, 3), 5, 5, 8, 8, is_causal=True),
        attention((2, 3), 33, 33, 8, 8, is_causal=True),
        attention((1, 2), 4, 7, 3, 5),
        attention((1, 2), 7, 4, 3, 5, is_causal=True),
        attention((1, 2), 4, 7, 3, 5, is_causal=True, scale=0.3),
        attention((3,), 1, 9, 4, 4),
        attention((), 6, 6, 4, 4, is_causal=True),
        attention((1, 1), 2, 1000, 4, 4),
        packed_attention,
    ],
    "CrossEntropy": [
        *((lambda t, s=s: F.cross_entropy(t(*s), t.ids(s[1], s[0]))) for s in [(1, 1), (3, 4), (9, 33), (2, 3000)]),
        *((lambda t, r=r: F.cross_entropy(t(6, 5), with_ignored(t, 6), reduction=r)) for r in ("mean", "sum", "none")),
        lambda t: F.cross_entropy(t(2, 5, 3), t.ids(5, 2, 3)),
        lambda t: F.cross_entropy(t(5), t.ids(5)),
        lambda t: F.cross_entropy(t(3, 8), minillm.full((3,), -100, device=t.device), reduction="sum"),
        lambda t: F.cross_entropy(t(1100, 8), t.ids(8, 1100)),
        lambda t: F.cross_entropy(t.of([[-np.inf, 0, 1], [2, -np.inf, 3]]), minillm.tensor([2, 2], device=t.device)),
    ],
    "LayerNorm": [
        *(layer_norm(*shape) for shape in ROWS),
        layer_norm(3, 8, eps=0.5),
        lambda t: F.layer_norm(t(3, 8), (8,)),
        lambda t: F.layer_norm(t(3, 8), (8,), None, t(8)),
        lambda t: F.layer_norm(t(3, 8, grad=False), (8,), t(8), t(8)),
        lambda t: F.layer_norm(t.of(1e3 + np.arange(24.0).reshape(3, 8)), (8,), t(8, grad=False), t(8)),
        lambda t: F.layer_norm(t(8, 6).transpose(0, 1), (8,), t(8), t(8)),
        lambda t: F.layer_norm(t(3, 9)[:, 1:], (8,), t(8), t(8)),
        lambda t: F.layer_norm(t(1100, 8), (8,), t(8), t(8)),  # more rows than blocks share
    ],
    "RMSNorm": [
        *((lambda t, s=shape: F.rms_norm(t(*s), s[-1:], t(s[-1]), eps=1e-5)) for shape in ROWS),
        lambda t: F.rms_norm(t(3, 8), (8,), None, eps=0.5),
        lambda t: F.rms_norm(t(3, 8), (8,), t(8, grad=False), eps=1e-5),
    ],
    **{
        name: [
            *((lambda t, s=shape, f=f: f(t(*s), dim=-1)) for shape in ROWS),
            lambda t, f=f: f(t(8, 6).T, dim=1),
            lambda t, f=f: f(t.of([[-np.inf, 0, 1, 2], [700, -np.inf, -np.inf, -700], [3, 3, 3, 3]]), dim=-1),
            lambda t, f=f: f(t.of([[-np.inf, -np.inf], [np.nan, 1], [1, 2]], grad=False), dim=-1),
        ]
        for name, f in {"Softmax": F.softmax, "LogSoftmax": F.log_softmax}.items()
    },
}
