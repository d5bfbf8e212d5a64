"""Which op computes in which type: 16 bits for matrix products, float32 for sums and logarithms, the rest as it comes.

The lists are PyTorch's, one for each device, so that a program gives the same types in both. A name with a capital
letter is that of a ``Function``; the others are losses composed of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minillm.autograd import decorated, modes
from minillm.backend import backend_of
from minillm.backend.device import bfloat16, float16, float32, is_floating
from minillm.ops.common import cast
from minillm.tensor import Tensor

PRODUCTS = frozenset("Attention GRU LSTM Linear MLP MatMul RNN".split())
"""Computed in the low precision: nearly all of the arithmetic of a network. Sums inside are float32."""

# Cross-entropy with class numbers sees to it itself: it needs no copy of its logits.
LOSSES = frozenset(
    "BinaryCrossEntropy NLLLoss Prod SoftCrossEntropy binary_cross_entropy_with_logits "
    "cosine_embedding_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss "
    "multi_margin_loss smooth_l1_loss".split()
)
IN_FLOAT32 = {
    # On the CPU the others add in float32 inside and round their result, which PyTorch, too, finds enough.
    "cpu": LOSSES,
    "cuda": LOSSES
    | frozenset(
        "Acos Asin Cosh CumProd CumSum Exp Expm1 LayerNorm Log Log10 Log1p Log2 LogSoftmax LogSumExp Norm Pow RMSNorm "
        "Reciprocal Rsqrt Sinh Softmax Softplus Sum Tan cosine_similarity".split()
    ),
}


class Casting:
    """What one region does to the inputs of ops; see ``minillm.autograd.set_autocast``.

    Args:
        device_type: only tensors of this device are cast.
        dtype: the low precision.
        casts: weights that were cast already, or ``None`` to keep none.
    """

    def __init__(self, device_type: str, dtype: Any, casts: dict[tuple, tuple] | None) -> None:
        self.device_type, self.dtype, self.casts = device_type, dtype, casts

    def anew(self) -> Casting:
        """Return the same without any weights that were cast."""
        return Casting(self.device_type, self.dtype, None if self.casts is None else {})

    def covers(self, array: Any) -> bool:
        """Tell whether an array may be cast: a float of at most 32 bits on the region's device."""
        return is_floating(array.dtype) and array.dtype.itemsize <= 4 and backend_of(array).name == self.device_type

    def inputs(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        """Return the inputs of an op in the types that it computes in."""
        if name in PRODUCTS:
            wanted = self.dtype
        elif name in IN_FLOAT32[self.device_type]:
            wanted = float32
        else:
            return inputs
        return [self._cast(x, wanted) if isinstance(x, Tensor) and self.covers(x.array) else x for x in inputs]

    def _cast(self, x: Tensor, dtype: Any) -> Tensor:
        if x.array.dtype == dtype or self.casts is None or x.grad_fn is not None or not x.requires_grad:
            return cast(x, dtype)
        # A weight: cast once, however often it is used. Without a graph the cast has none, hence the mode in the key.
        key = id(x), dtype, modes.grad_enabled
        found = self.casts.get(key)
        if found is None or found[1] != x._version[0]:
            # x itself is kept with it, so that its id stays its own.
            found = self.casts[key] = x, x._version[0], cast(x, dtype)
        return found[2]


class autocast:
    """Inside, matrix products compute in 16 bits and losses, norms and softmax in float32 (PyTorch's ``autocast``).

    Weights stay as they are: a product gets a copy of them in the low precision, which is made once and forgotten
    where the outermost region ends, and their gradient comes back in their own type. So an optimizer works in float32
    all along. float64 is left alone. Thread-local; a ``with`` block or a decorator; only the forward pass needs it.

    It is made for GPUs. On the CPU it is *slower* than float32, since NumPy multiplies in float32 and has to convert: a
    step of a very small GPT takes 6.2 ms in float32, 7.0 in bfloat16 and 12.3 in float16 (``python -m
    tests.bench.gpu_precision --steps 100``, two cores). There it is for trying things out.

    Args:
        device_type: "cuda" or "cpu": the device of the tensors to be cast.
        dtype: the low precision, ``bfloat16`` or ``float16``; by default PyTorch's, bfloat16 on the CPU and float16 on
            a GPU. float16 needs a ``GradScaler``; bfloat16 has the range of float32 and does not.
        enabled: False leaves everything as it is inside.
        cache_enabled: keep the copies of weights; by default yes.

    Raises:
        RuntimeError: for an unknown device, or bfloat16 without the package ml_dtypes.
        ValueError: for another type than these two.

    >>> import minillm
    >>> with autocast("cpu", minillm.float16):
    ...     (minillm.ones(2, 2) @ minillm.ones(2, 2)).dtype
    dtype('float16')
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if device_type not in IN_FLOAT32:
            raise RuntimeError(f"autocast: expected device_type 'cuda' or 'cpu', got {device_type!r}")
        if dtype is None and enabled:
            dtype = bfloat16() if device_type == "cpu" else float16
        if enabled and getattr(dtype, "name", dtype) not in ("float16", "bfloat16"):
            raise ValueError(f"autocast: expected dtype bfloat16 or float16, got {dtype}")
        self.device_type, self.dtype, self.enabled = device_type, dtype, enabled
        self.cache_enabled = cache_enabled is None or cache_enabled
        self._before: list[Any] = []  # a stack: one object may be entered several times

    def __enter__(self) -> autocast:
        around = modes.autocast
        self._before.append(around)
        casts = None
        if self.cache_enabled:
            casts = {} if around is None or around.casts is None else around.casts
        modes.autocast = Casting(self.device_type, self.dtype, casts) if self.enabled else None
        return self

    def __exit__(self, *error: object) -> None:
        modes.autocast = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        """Return a function whose body runs inside such a region."""
        return decorated(function, lambda: autocast(self.device_type, self.dtype, self.enabled, self.cache_enabled))


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Tell whether tensors of a device are cast in this thread."""
    return modes.autocast is not None and modes.autocast.device_type == device_type
