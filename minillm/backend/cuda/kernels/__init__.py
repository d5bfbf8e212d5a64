"""The kernels of the CUDA backend: ops in one pass over memory where their formula takes several.

How a kernel is put together, with layer norm as the example:

- ``normalization.cu`` holds the formula and the CUDA source, for any element type; ``prelude.cu``, which is put in
  front of it, has what all files share: loads of 16 bytes and sums over a block.
- ``normalization.py`` has a class of the same name as the ``Function`` in ``minillm/ops``, with the same ``forward``
  and ``backward``. It decides whether the kernel can do it (``NotImplemented`` otherwise, and the ``Function`` does
  it), makes the arrays for the results and launches.
- ``KERNELS`` below is what ``Function.apply`` looks at. Without any entry of it everything works, slower.

All of them compute and add up in float32 (float64 for float64), whatever the arrays hold, and in an order that depends
on the shapes alone: the same input gives the same bits, every time and on every card.
"""

from __future__ import annotations

from typing import Any

from minillm.backend.cuda.kernels.activation import GELU, GELUTanh, ReLU, SiLU
from minillm.backend.cuda.kernels.attention import Attention
from minillm.backend.cuda.kernels.cross_entropy import CrossEntropy
from minillm.backend.cuda.kernels.dropout import Dropout
from minillm.backend.cuda.kernels.embedding import EmbeddingGrad
from minillm.backend.cuda.kernels.normalization import LayerNorm, RMSNorm
from minillm.backend.cuda.kernels.optim import Adam, GradientNorm
from minillm.backend.cuda.kernels.softmax import LogSoftmax, Softmax

_OPS = (GELU, GELUTanh, ReLU, SiLU, Attention, CrossEntropy, Dropout, LayerNorm, RMSNorm, LogSoftmax, Softmax)
_BESIDE = (Adam, EmbeddingGrad, GradientNorm)  # what minillm.optim, the backend and minillm.nn.utils ask for
KERNELS: dict[str, Any] = {kernel.__name__: kernel for kernel in (*_OPS, *_BESIDE)}
