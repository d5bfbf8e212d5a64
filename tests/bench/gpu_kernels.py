"""Every kernel of a backend, forward and backward: time, bytes a second beside a copy's, error of the result."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from minillm.backend import get_backend
from minillm.ops.mlp import mlp
from tests.bench.gpu_device import PRECISIONS, emit, free, guarded, seconds
from tests.bench.gpu_training import GPT2_124M, TINY

Work = tuple[Callable[..., minillm.Tensor], list[Any]]


def works(size: str) -> dict[str, Callable[[Any], Work]]:
    """Return, by the name of a kernel, a maker of its call and inputs in the shapes of GPT-2 124M.

    A maker gets ``make(*shape)``, which draws a tensor; ``make.ids(n, below)`` draws class numbers.
    """
    N, C, V, (B, T, H, D) = (24, 16, 40, (2, 8, 2, 8)) if size == "tiny" else (32768, 768, 50304, (8, 1024, 12, 64))

    def heads(make: Any) -> list[Any]:
        packed = make(B, T, 3, H, D).detach()
        return [t.transpose(1, 2).detach().requires_grad_() for t in packed.unbind(2)]

    return {
        "Add": lambda make: (lambda x, y: x + y, [make(N, C), make(N, C)]),
        "Attention": lambda make: (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), heads(make)
        ),
        "Cast": lambda make: (
            lambda x: x.to(minillm.bfloat16 if x.dtype == np.float32 else minillm.float32), [make(N, 4 * C)]
        ),
        "CrossEntropy": lambda make: (F.cross_entropy, [make(N // 4, V), make.ids(N // 4, V)]),
        "Dropout": lambda make: (lambda x: F.dropout(x, 0.1), [make(N, C)]),
        "Embedding": lambda make: (lambda w: F.embedding(make.ids(N, V), w), [make(V, C)]),
        "GELU": lambda make: (F.gelu, [make(N, 4 * C)]),
        "GELUTanh": lambda make: (lambda x: F.gelu(x, approximate="tanh"), [make(N, 4 * C)]),
        "LayerNorm": lambda make: (lambda x, w, b: F.layer_norm(x, (C,), w, b), [make(N, C), make(C), make(C)]),
        "Linear": lambda make: (F.linear, [make(N, C), make(4 * C, C), make(4 * C)]),
        "MLP": lambda make: (mlp, [make(N, C), make(4 * C, C), make(4 * C), make(C, 4 * C), make(C)]),
        "LogSoftmax": lambda make: (lambda x: F.log_softmax(x, -1), [make(N // 4, V)]),
        "RMSNorm": lambda make: (lambda x, w: F.rms_norm(x, (C,), w), [make(N, C), make(C)]),
        "ReLU": lambda make: (F.relu, [make(N, 4 * C)]),
        "SiLU": lambda make: (F.silu, [make(N, 4 * C)]),
        "Softmax": lambda make: (lambda x: F.softmax(x, -1), [make(N // 4, V)]),
    }  # fmt: skip


class Maker:
    """Draws inputs on a device, the same every time."""

    def __init__(self, device: str, dtype: Any) -> None:
        self.device, self.dtype = device, dtype
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape: int) -> minillm.Tensor:
        # A few are drawn and repeated: a hundred million would take longer than what is measured.
        backend, size = get_backend(self.device), math.prod(shape)
        few = backend.from_host(self.rng.standard_normal(min(1 << 20, size)).astype(self.dtype))
        array = backend.xp.tile(few, -(-size // len(few)))[:size].reshape(shape)
        return minillm.Tensor._wrap(array).requires_grad_()

    def ids(self, n: int, below: int) -> minillm.Tensor:
        """Draw class numbers."""
        return minillm.tensor(self.rng.integers(0, below, n), device=self.device)


def nbytes(*tensors: Any) -> int:
    """Return the bytes of all tensors."""
    return sum(t.array.nbytes for t in tensors if isinstance(t, minillm.Tensor))


def one_way(device: str, name: str, work: Work) -> dict[str, Any]:
    """Return times, bytes moved at least, and results of an op, by whatever computes it now."""
    backend: Any = get_backend(device)
    call, inputs = work
    y = call(*inputs)
    node = y.grad_fn
    while node.name() != name + "Backward":  # a reshape or a cast may stand behind it
        node = node.next_functions[0][0]
    wanted = [t for t in inputs if t.requires_grad]
    make = Maker(device, y.dtype)
    grads = minillm.autograd.grad(y, wanted, make(*y.shape).detach(), retain_graph=True)
    dys = [make(*shape).array.astype(dtype, copy=False) for shape, dtype in node.outputs]
    step_back = (node.kernel or node.function).backward
    return {
        "used": node.kernel is not None,
        "seconds": [
            seconds(lambda: call(*inputs), backend.synchronize),
            seconds(lambda: step_back(node, *dys), backend.synchronize),
        ],
        # Inputs and result; gradients on both sides, and one input.
        "bytes": [nbytes(*inputs, y), nbytes(y, *grads, inputs[0])],
        "results": [t.array for t in (y, *grads)],
    }


def measure_one(device: str, name: str, precision: str, make: Callable[[Any], Work]) -> dict[str, Any]:
    """Return times of a kernel, of its ``Function`` without kernel, and how far their results lie apart."""
    backend: Any = get_backend(device)
    kept, ways = backend.kernels, {}
    for way in ("kernel", "function"):
        try:
            backend.kernels = kept if way == "kernel" else {}
            minillm.manual_seed(0)  # dropout draws the same mask
            ways[way] = one_way(device, name, make(Maker(device, PRECISIONS[precision]())))
        finally:
            backend.kernels = kept
        free(device)
    fast, plain = ways["kernel"], ways["function"]
    return {
        "used": fast["used"],
        "kernel_us": [1e6 * s for s in fast["seconds"]],
        "function_us": [1e6 * s for s in plain["seconds"]],
        "gb_s": [b / s / 1e9 for b, s in zip(fast["bytes"], fast["seconds"], strict=True)],
        # Dropout without the kernel draws other numbers.
        "apart": None if name == "Dropout" else apart(backend.xp, fast["results"], plain["results"]),
    }


def apart(xp: Any, found: list[Any], wanted: list[Any]) -> float:
    """Return the largest difference of arrays, as a share of the largest number of each."""
    gaps = []
    for a, b in zip(found, wanted, strict=True):
        a, b = a.astype(np.float32), b.astype(np.float32)
        gaps.append(float(xp.abs(a - b).max()) / max(float(xp.abs(b).max()), 1e-30))
    return max(gaps)


def steps(size: str) -> dict[str, Callable[[str], tuple[Callable[[], Any], list[minillm.Tensor], int]]]:
    """Return, by the name of a kernel that is no op, a maker of a call, of what it changes, and of the bytes it moves.

    Each works on as many numbers as GPT-2 124M has parameters, in arrays of the sizes that these have.
    """
    config = TINY if size == "tiny" else GPT2_124M

    def parameters(device: str) -> list[minillm.Tensor]:
        C, made = config.n_embd, []
        blocks = [(3 * C, C), (3 * C,), (C, C), (C,), (4 * C, C), (4 * C,), (C, 4 * C), (C,), *[(C,)] * 4]
        for shape in [(config.vocab_size, C), (config.block_size, C), (C,), (C,), *blocks * config.n_layer]:
            p = minillm.full(shape, 0.5, device=device).requires_grad_()
            p.grad = minillm.full(shape, 0.25, device=device)
            made.append(p)
        return made

    def adam(device: str) -> tuple[Callable[[], Any], list[minillm.Tensor], int]:
        made = parameters(device)
        return minillm.optim.AdamW(made, lr=1e-3).step, made, 7 * nbytes(*made)  # reads w, g, m, v; writes w, m, v

    def clip(device: str) -> tuple[Callable[[], Any], list[minillm.Tensor], int]:
        made = parameters(device)
        grads = [p.grad for p in made]
        return (lambda: minillm.nn.utils.clip_grad_norm_(made, 1.0)), grads, 3 * nbytes(*made)  # reads twice, writes

    def embedding_grad(device: str) -> tuple[Callable[[], Any], list[minillm.Tensor], int]:
        make, N = Maker(device, np.float32), 24 if size == "tiny" else 32768
        # Skewed as words are, so that one id has many rows.
        ids = np.minimum(make.rng.zipf(1.2, N) - 1, config.vocab_size - 1)
        dy, backend = make(N, config.n_embd), get_backend(device)
        run = functools.partial(backend.embedding_grad, backend.from_host(ids), dy.array, config.vocab_size)
        dw = minillm.Tensor._wrap(run())
        return run, [dw], nbytes(dy, dw)

    def decode(device: str) -> tuple[Callable[[], Any], list[minillm.Tensor], int]:
        make, backend = Maker(device, np.float32), get_backend(device)
        B, H, S, D = (2, 2, 8, 4) if size == "tiny" else (64, 12, 1024, 64)
        qkv, keys, values, y = (make(*shape).array for shape in [(B, 3 * H * D), *[(B, H, S, D)] * 2, (B, H * D)])
        last = S - 2
        place = backend.from_host(np.array([last]))

        def run() -> None:
            kernel = backend.kernels.get("Decode")
            if kernel is not None:
                kernel.attention(backend, qkv, keys, values, place, y)
                return
            q, keys[:, :, last], values[:, :, last] = (qkv.reshape(B, 3, H, D)[:, i] for i in range(3))
            scores = (keys[:, :, : last + 1] * q[:, :, None]).sum(-1) * D**-0.5  # (B, H, n)
            p = backend.xp.exp(scores - scores.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            y[...] = (p[..., None] * values[:, :, : last + 1]).sum(2).reshape(B, H * D)

        return run, [minillm.Tensor._wrap(y)], int(2 * keys.nbytes * (last + 1) / S)

    return {"Adam": adam, "Decode": decode, "EmbeddingGrad": embedding_grad, "GradientNorm": clip}


def measure_step(device: str, make: Callable[[str], Any]) -> dict[str, Any]:
    """Return the same for what is no op: it has no backward pass, and changes arrays in place."""
    backend: Any = get_backend(device)
    kept, times, results, moved = backend.kernels, [], [], 0
    for way in ("kernel", "function"):
        try:
            backend.kernels = kept if way == "kernel" else {}
            run, changed, moved = make(device)
            run()
            results.append([t.array.copy() for t in changed])
            times.append(seconds(run, backend.synchronize))
        finally:
            backend.kernels = kept
        free(device)
    return {
        "used": bool(kept),
        "kernel_us": [1e6 * times[0]],
        "function_us": [1e6 * times[1]],
        "gb_s": [moved / times[0] / 1e9],
        "apart": apart(backend.xp, *results),
    }


def kernels(device: str, size: str) -> None:
    """Emit a result for every kernel of the backend in bfloat16 and float32; a kernel without workload is named."""
    known, no_ops = works(size), steps(size)
    for name in sorted(get_backend(device).kernels):
        if name in no_ops:
            with guarded("kernel", name=name, precision="float32"):
                emit(part="kernel", name=name, precision="float32", **measure_step(device, no_ops[name]))
            continue
        for precision in ("bfloat16", "float32"):
            with guarded("kernel", name=name, precision=precision):
                if name not in known:
                    raise KeyError(f"no workload for it in {__name__}")
                emit(part="kernel", name=name, precision=precision, **measure_one(device, name, precision, known[name]))
        free(device)
