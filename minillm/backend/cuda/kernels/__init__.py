"""The kernels of the CUDA backend: ops in one pass over memory where their formula takes several.

A kernel is a function that many threads of the GPU run at the same time, each with numbers of its own. 32 threads make
a warp, whose threads can show each other a value directly; up to 32 warps make a block, whose threads share a little
memory and can wait for each other (``__syncthreads``). Blocks know nothing of each other. What these kernels cost is
nearly always the way to memory, so each reads its inputs and writes its results as few times as it can, 16 bytes at a
time.

How one is put together, with layer norm as the example:

- ``normalization.cu`` holds the formula and the CUDA source, for any element type; ``prelude.cu``, which is put in
  front of it, has what all files share: loads of 16 bytes and sums over a block.
- ``normalization.py`` has a class of the same name as the ``Function`` in ``minillm/ops``, with the same ``forward``
  and ``backward``. It decides whether the kernel can do it (``NotImplemented`` otherwise, and the ``Function`` does
  it), makes the arrays for the results and launches.
- ``KERNELS`` below is what ``Function.apply`` looks at. Without any entry of it everything works, slower.

All of them compute and add up in float32 (float64 for float64), whatever the arrays hold, and in an order that depends
on the shapes alone: the same input gives the same bits, every time and on every card.

No card is needed to work on them: the tests compile each for two generations of cards, and run the same sources on the
CPU, a fiber for every thread (``tests/cuda_on_cpu``), against the ``Function``. A new kernel needs calls to be tested
with, in ``tests/backend/kernel_cases.py``; a test fails without them.
"""

from __future__ import annotations

from typing import Any

from minillm.backend.cuda.kernels.activation import GELU, GELUTanh, ReLU, SiLU
from minillm.backend.cuda.kernels.add import Add
from minillm.backend.cuda.kernels.attention import Attention
from minillm.backend.cuda.kernels.cast import Cast
from minillm.backend.cuda.kernels.cross_entropy import CrossEntropy
from minillm.backend.cuda.kernels.decode import Decode
from minillm.backend.cuda.kernels.dropout import Dropout
from minillm.backend.cuda.kernels.embedding import EmbeddingGrad
from minillm.backend.cuda.kernels.normalization import LayerNorm, RMSNorm
from minillm.backend.cuda.kernels.optim import Adam, GradientNorm
from minillm.backend.cuda.kernels.softmax import LogSoftmax, Softmax

_OPS: tuple[Any, ...] = (Add, GELU, GELUTanh, ReLU, SiLU, Attention, Cast, CrossEntropy, Dropout)
_OPS += (LayerNorm, RMSNorm, LogSoftmax, Softmax)
# What minillm.optim, a writer of text, the backend and minillm.nn.utils ask for.
_BESIDE = (Adam, Decode, EmbeddingGrad, GradientNorm)
KERNELS: dict[str, Any] = {kernel.__name__: kernel for kernel in (*_OPS, *_BESIDE)}
