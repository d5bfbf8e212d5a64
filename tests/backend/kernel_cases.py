"""Calls that each kernel of the CUDA backend is tested with: rows of one, odd widths, widths beyond a block.

A case is a function that gets a maker of inputs and returns a result, the same on every device and in every type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm.backend.cuda.kernels import KERNELS
from minillm.backend.device import bfloat16
from tests.backend.twins import host

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


def residual(norm: Callable, *shape: int) -> Call:
    """x gets a gradient from elsewhere before it gets that of the norm; the second time in another layout."""

    def call(t: Inputs) -> minillm.Tensor:
        x = t(*shape) * 2
        y = x + norm(x, shape[-1:], t(shape[-1]))
        return y.T + norm(y, shape[-1:], t(shape[-1])).T

    return call


def attention(batch: tuple[int, ...], T: int, S: int, D: int, E: int, **options: Any) -> Call:
    return lambda t: F.scaled_dot_product_attention(t(*batch, T, D), t(*batch, S, D), t(*batch, S, E), **options)


def packed_attention(D: int) -> Call:
    def call(t: Inputs) -> minillm.Tensor:
        qkv = t(2, 17, 3, 4, D)  # (B, T, 3, H, D)
        q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 17, 4 * D)

    return call


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
    "Add": [
        *((lambda t, s=s: t(*s) + t(*s)) for s in [(1,), (2, 3, 8), (41, 33)]),
        lambda t: minillm.add(t(9), t(9), alpha=2),
        lambda t: t(9)[1:] + t(8),
        lambda t: (lambda x: x + x)(t(5, 4)),
    ],
    "Attention": [
        attention((2, 3), 5, 5, 8, 8, is_causal=True),
        attention((2, 3), 33, 33, 8, 8, is_causal=True),
        attention((1, 2), 4, 7, 3, 5),
        attention((1, 2), 7, 4, 3, 5, is_causal=True),
        attention((1, 2), 4, 7, 3, 5, is_causal=True, scale=0.3),
        attention((3,), 1, 9, 4, 4),
        attention((), 6, 6, 4, 4, is_causal=True),
        attention((1, 1), 2, 1000, 4, 4),
        packed_attention(8),
        # In 16 bits these go to the kernels of flash.cu: tiles of 64 and fewer, cut off and hidden.
        packed_attention(16),
        attention((1, 2), 130, 130, 16, 16, is_causal=True),
        attention((2,), 33, 100, 32, 32),
        attention((1, 1), 100, 70, 64, 64, is_causal=True, scale=-0.2),
        attention((1, 1), 70, 100, 64, 64, is_causal=True),
        attention((1, 1), 40, 70, 96, 96, is_causal=True),
        attention((), 70, 40, 128, 128),
        lambda t: F.scaled_dot_product_attention(t(16, 40).T, t(40, 17)[:, 1:], t(40, 16)[::2][:, :].repeat(2, 1)),
        # 64 x 40 x 40 is more than float16 holds
        lambda t: F.scaled_dot_product_attention(*(t.of(np.full((3, 64), x), grad=False) for x in (40, 40, 1))),
    ],
    "EmbeddingGrad": [
        *(
            (lambda t, s=s: F.embedding(t.ids(s[0], s[1]), t(s[0], s[2])))
            for s in [(1, 1, 1), (5, 40, 33), (9, 3, 700)]
        ),
        lambda t: F.embedding(t.ids(7, 2, 3), t(7, 8), padding_idx=2),
        lambda t: F.embedding(t.ids(7, 30).reshape(5, 6).T, t(7, 8)),
        lambda t: F.embedding(minillm.full((300,), 3, device=t.device), t(5, 8)),  # one long run
        lambda t: F.embedding(t.ids(2600, 2300), t(2600, 2)),  # several tiles of ids, several blocks
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
        *(residual(F.layer_norm, *shape) for shape in [(3, 4), (5, 33), (4, 768)]),
    ],
    "RMSNorm": [
        *((lambda t, s=shape: F.rms_norm(t(*s), s[-1:], t(s[-1]), eps=1e-5)) for shape in ROWS),
        lambda t: F.rms_norm(t(3, 8), (8,), None, eps=0.5),
        lambda t: F.rms_norm(t(3, 8), (8,), t(8, grad=False), eps=1e-5),
        residual(functools.partial(F.rms_norm, eps=1e-5), 5, 33),
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

PRIMITIVES = {"EmbeddingGrad": "embedding_gradient"}  # used inside a Function of another name

# The distance to the exact result, in shares of its largest element: a few roundings of the type.
TOLERANCE = {"float64": 1e-13, "float32": 3e-6, "float16": 3e-3, "bfloat16": 2e-2}


def dtype_of(name: str) -> np.dtype:
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
        return bfloat16()
    return np.dtype(name)


def run(call: Any, device: str, dtype: np.dtype, in_type: np.dtype) -> tuple[minillm.Tensor, list[minillm.Tensor]]:
    """Return the result of a case, with its graph, and all that it computes: results and gradients."""
    minillm.manual_seed(0)
    t = Inputs(device, dtype, in_type)
    y = call(t)
    dy = t(*y.shape, grad=False)
    if y.requires_grad:
        y.backward(dy, retain_graph=True)
        y.backward(dy)  # the first pass must not have spent what the second needs
    return y, [y.detach(), *(leaf.grad for leaf in t.leaves)]


def compare_kernel(name: str, dtype: str) -> None:
    """Compare all cases of a kernel, on whatever "cuda" is, with its ``Function`` on the host in float64."""
    for i, call in enumerate(CASES[name]):
        y, got = run(call, "cuda", dtype_of(dtype), dtype_of(dtype))
        if y.requires_grad and name not in PRIMITIVES:
            assert KERNELS[name] in kernels_behind(y), f"case {i} was computed without the kernel"
        if name in PRIMITIVES:
            launched = {kernel for _, kernel, *_ in minillm.backend.get_backend("cuda").launch._functions}
            assert PRIMITIVES[name] in launched, f"case {i} was computed without the kernel"
        _, expected = run(call, "cpu", dtype_of(dtype), np.dtype(np.float64))
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype_of(dtype) and a.shape == b.shape
            close(host(a), b.numpy(), TOLERANCE[dtype], f"case {i}")


def kernels_behind(y: minillm.Tensor) -> list[Any]:
    found, nodes = [], [y.grad_fn]
    while nodes:
        node = nodes.pop()
        if hasattr(node, "kernel"):
            found.append(node.kernel)
            nodes += [edge[0] for edge in node.edges if edge is not None]
    return found


def close(a: np.ndarray, b: np.ndarray, tolerance: float, what: str) -> None:
    a = a.astype(np.float64)
    np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b), err_msg=what)
    kept = np.isfinite(b)
    np.testing.assert_array_equal(a[~kept], b[~kept], err_msg=what)  # the same inf, or both NaN
    scale = np.abs(b[kept]).max(initial=0.1)
    assert np.abs(a[kept] - b[kept]).max(initial=0.0) <= tolerance * scale, (what, a, b)
