"""Faults in what a card is given to do; the tests notice them on the stand-in for CuPy, with kernels on the CPU."""

from __future__ import annotations

from tests.mutants.fault import Fault

KERNELS = "tests/backend/test_kernels.py"
GRAPHED = "tests/backend/test_graphed.py"
WRITER = "tests/lessons/test_writer_cuda.py"

FAULTS_ON_CARDS = [
    Fault(
        "a power of 0 has the slope 0 times infinity",
        "minillm/ops/arithmetic.py",
        "slope = y * _power(x, y - 1) if y else xp.zeros_like(x)",
        "slope = y * _power(x, y - 1)",
        "tests/ops/test_table.py",
    ),
    # --- recordings
    Fault(
        "the next repetition writes over the gradient that it should be added to",
        "minillm/autograd/graphed.py",
        "p._grad = wrap(dw.copy())",
        "p._grad = wrap(dw)",
        GRAPHED,
    ),
    Fault(
        "ids are checked while a recording is made, and then no more",
        "minillm/autograd/graphed.py",
        "        for i, check in self.recording.checks:\n            check(inputs[i].array)\n",
        "",
        GRAPHED,
    ),
    Fault(
        "all losses are one array",
        "minillm/autograd/graphed.py",
        "[wrap(y.copy()) for y in self.results]",
        "[wrap(y) for y in self.results]",
        GRAPHED,
    ),
    Fault(
        "a recording is repeated with parameters that have other arrays",
        "minillm/autograd/graphed.py",
        "for a in arrays), state, settings)",
        "for a in arrays), settings)",
        GRAPHED,
    ),
    Fault(
        "a recording goes on with weights that were cast before it was made",
        "minillm/autograd/graphed.py",
        "modes.autocast = around.anew()",
        "modes.autocast = around",
        GRAPHED,
    ),
    Fault(
        "all dropouts of a recording have one seed",
        "minillm/backend/cuda/graph.py",
        "return self._seeds[self._drawn - 1 : self._drawn]",
        "return self._seeds[:1]",
        GRAPHED,
    ),
    Fault(
        "the memory of a recording is lost with it",
        "minillm/backend/cuda/graph.py",
        "        weakref.finalize(self, backend.idle_pools.append, self._pool).atexit = False\n",
        "",
        "tests/backend/test_recording.py",
    ),
    Fault(
        "a writer repeats what it recorded for weights that have been replaced",
        "lessons/parts/l11_writer_cuda.py",
        "if settings != self._settings or any(a is not b for a, b in zip(given, self._given, strict=True)):",
        "if settings != self._settings:",
        WRITER,
    ),
    # --- gradients of 16 bits
    Fault(
        "gradients of several branches are added in 16 bits",
        "minillm/autograd/engine.py",
        "if before.dtype != target.outputs[index][1]:",
        "if False:",
        f"{KERNELS}::norm_takes",
    ),
    Fault(
        "a hook sees a gradient of another type than the result",
        "minillm/autograd/engine.py",
        "            dys = [_typed(node, i, dy) for i, dy in enumerate(dys)]\n",
        "            pass\n",
        f"{KERNELS}::norm_takes",
    ),
    Fault(
        "under autocast a loss has the type of its logits",
        "minillm/ops/cross_entropy.py",
        "dtype=wide(x.array.dtype) if widened else x.array.dtype",
        "dtype=x.array.dtype",
        "tests/amp/test_autocast.py",
    ),
    # --- kernels
    Fault(
        "attention forgets the sum that its weights are divided by",
        "minillm/backend/cuda/kernels/flash.cu",
        "m[half] + log2(l[half])",
        "m[half]",
        f"{KERNELS}::Attention",
    ),
    Fault(
        "delta is not there for the gradients of keys",
        "minillm/backend/cuda/kernels/flash.cu",
        "statistics[all_heads * queries + query] = delta[half]",
        "statistics[all_heads * queries + query] = 0",
        f"{KERNELS}::Attention",
    ),
    Fault(
        "a copy begins where others still read",
        "minillm/backend/cuda/kernels/flash.cu",
        "constexpr int SLOTS = 3;",
        "constexpr int SLOTS = 2;",
        f"{KERNELS}::Attention",
    ),
    Fault(
        "a row counts among those before it",
        "minillm/backend/cuda/kernels/embedding.cu",
        "int(i - first) : TILE;",
        "int(i - first) + 1 : TILE;",
        f"{KERNELS}::EmbeddingGrad",
    ),
    Fault(
        "sums of several warps are added as if all had the same largest score",
        "minillm/backend/cuda/kernels/decode.cu",
        "weights += weight * s_of[w];",
        "weights += s_of[w];",
        "tests/backend/test_decode.py",
    ),
    Fault(
        "a residual of 16 bits gives the sum its type",
        "minillm/backend/cuda/kernels/add.py",
        "            x, y = y, x\n",
        "            pass\n",
        f"{KERNELS}::residual",
    ),
]
