"""Single ops beside PyTorch's, forward and backward, on arrays of a million numbers: where is one far behind?

A training step is made of few ops, which are fast; this looks at the others, which somebody else's model may be made
of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

N, C = 4096, 256
SMALLEST_SECONDS = 0.1
"""An op is repeated for so long, at least three times; the shortest time counts."""

RECURRENT = ("RNN", "GRU", "LSTM")

Op = Callable[[Any, Any], Any]

# name: what is done with a tensor x (N, C) and with g: a library (m), its functions (F), and other tensors.
OPS: dict[str, Op] = {
    "x + y": lambda x, g: x + g.y,
    "x * y": lambda x, g: x * g.y,
    "x / y": lambda x, g: x / g.y,
    "x + vector": lambda x, g: x + g.vector,
    **{f"x ** {power}": lambda x, g, power=power: g.positive_of(x) ** power for power in (2, 3, 4, 0.5)},
    **{name: lambda x, g, name=name: getattr(x, name)() for name in "exp sin tanh sigmoid erf abs".split()},
    **{name: lambda x, g, name=name: getattr(g.positive_of(x), name)() for name in "log sqrt".split()},
    **{
        name: lambda x, g, name=name: getattr(g.F, name)(x)
        for name in "relu leaky_relu elu gelu silu softplus logsigmoid".split()
    },
    "gelu, tanh": lambda x, g: g.F.gelu(x, approximate="tanh"),
    "clamp": lambda x, g: x.clamp(-1, 1),
    "maximum": lambda x, g: g.m.maximum(x, g.y),
    "where": lambda x, g: g.m.where(g.mask, x, g.y),
    "masked_fill": lambda x, g: x.masked_fill(g.mask, 0.0),
    "sum": lambda x, g: x.sum(),
    **{f"{name}, axis {d}": lambda x, g, name=name, d=d: getattr(x, name)(d)
       for name in "sum mean var logsumexp softmax cumsum".split() for d in (0, 1)},
    **{f"{name}, axis 1": lambda x, g, name=name: getattr(x, name)(1)[0] for name in "max sort median".split()},
    "topk, axis 1": lambda x, g: x.topk(10, 1)[0],
    "norm, axis 1": lambda x, g: x.norm(dim=1),
    "prod, axis 1": lambda x, g: (x * 0.01 + 1).prod(1),
    "cumprod, axis 1": lambda x, g: (x * 0.01 + 1).cumprod(1),
    "layer_norm": lambda x, g: g.F.layer_norm(x, (C,), g.vector, g.vector),
    "normalize": lambda x, g: g.F.normalize(x, dim=1),
    "cross_entropy": lambda x, g: g.F.cross_entropy(x, g.columns),
    "mse_loss": lambda x, g: g.F.mse_loss(x, g.y),
    "huber_loss": lambda x, g: g.F.huber_loss(x, g.y),
    "binary_cross_entropy_with_logits": lambda x, g: g.F.binary_cross_entropy_with_logits(x, g.y.sigmoid()),
    "cosine_similarity": lambda x, g: g.F.cosine_similarity(x, g.y),
    "matrix product": lambda x, g: x @ g.square,
    "matrix and vector": lambda x, g: x @ g.vector,
    "linear": lambda x, g: g.F.linear(x, g.square, g.vector),
    "einsum": lambda x, g: g.m.einsum("nc,kc->nk", x, g.square),
    "x[rows]": lambda x, g: x[g.rows],
    "index_select, axis 0": lambda x, g: x.index_select(0, g.rows),
    "gather, axis 1": lambda x, g: x.gather(1, g.columns.view(-1, 1)),
    "gather, axis 0": lambda x, g: x.gather(0, g.places),
    "embedding": lambda x, g: g.F.embedding(g.rows, x),
    "index_add": lambda x, g: x.index_add(0, g.rows, g.y),
    "scatter_add": lambda x, g: x.scatter_add(0, g.places, g.y),
    "x[mask]": lambda x, g: x[g.mask],
    "cat": lambda x, g: g.m.cat([x, g.y], 1),
    "stack": lambda x, g: g.m.stack([x, g.y]),
    "slice": lambda x, g: x[:, 10:100],
    "transpose, copied": lambda x, g: x.transpose(0, 1).contiguous(),
    "repeat_interleave": lambda x, g: x.repeat_interleave(2, 0),
    "unfold, 16 wide": lambda x, g: x.unfold(0, 16, 4),
    "pad": lambda x, g: g.F.pad(x, (1, 2)),
    "flip": lambda x, g: x.flip(0),
    "dropout": lambda x, g: g.F.dropout(x, 0.1),
    **{f"{name}, 64 steps": lambda x, g, name=name: g.layers[name](x.view(64, 64, C))[0] for name in RECURRENT},
    "causal attention": lambda x, g: g.F.scaled_dot_product_attention(*[x.view(16, 8, 256, 32)] * 3, is_causal=True),
}  # fmt: skip


class Given:
    """A library, its functions, and the tensors that ops take beside x."""

    def __init__(self, library: Any, functions: Any) -> None:
        rng = np.random.default_rng(0)
        self.m, self.F = library, functions
        self.x = library.tensor(rng.standard_normal((N, C), dtype=np.float32), requires_grad=True)
        self.y = library.tensor(rng.standard_normal((N, C), dtype=np.float32) + 3)
        self.vector = library.tensor(rng.standard_normal(C, dtype=np.float32))
        self.square = library.tensor(rng.standard_normal((C, C), dtype=np.float32))
        self.mask = library.tensor(rng.random((N, C)) < 0.5)
        self.rows, self.columns = (library.tensor(rng.integers(n, size=N)) for n in (N, C))
        self.places = library.tensor(rng.integers(N, size=(N, C)))
        self.layers = {name: getattr(library.nn, name)(C, C) for name in RECURRENT}
        with library.no_grad():
            for p in (p for layer in self.layers.values() for p in layer.parameters()):
                p.copy_(library.tensor(rng.standard_normal(tuple(p.shape), dtype=np.float32) / 16))

    @staticmethod
    def positive_of(x: Any) -> Any:
        """Return x with its distance from 0: numbers that have a logarithm."""
        return x.detach().abs().add(0.1).requires_grad_()


def seconds(op: Op, given: Given) -> float:
    """Return the shortest time of an op and its backward pass."""
    found, spent = [], 0.0
    while len(found) < 3 or spent < SMALLEST_SECONDS:
        start = time.perf_counter()
        y = op(given.x, given)
        y.backward(y.detach())
        found.append(time.perf_counter() - start)
        spent += found[-1]
        given.x.grad = None
    return min(found)


def measure(names: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Return milliseconds of every op, forward and backward, in both libraries in turns; nothing without PyTorch."""
    try:
        import torch
    except ImportError:
        return {}
    import minillm
    import minillm.nn.functional as F

    both = {"minillm": Given(minillm, F), "torch": Given(torch, torch.nn.functional)}
    found: dict[str, dict[str, float]] = {}
    for name in names or OPS:
        rounds = [{library: seconds(OPS[name], given) for library, given in both.items()} for _ in range(2)]
        found[name] = {library: 1e3 * min(r[library] for r in rounds) for library in both}
    return found
