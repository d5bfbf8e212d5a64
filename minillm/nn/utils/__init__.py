"""Gradients and parameters as one long vector: clipping, norms, flattening."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minillm import ops
from minillm.autograd import no_grad
from minillm.nn.utils import rnn
from minillm.tensor import Tensor

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]


PIECE = 1 << 16
"""Elements that are summed up in their own type; what comes of them is added up in float64."""


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]


def _kernel(tensors: list[Tensor]) -> Any:
    """Return the backend's kernels for the norm of all tensors, if it has them and they can work on these."""
    kernel = tensors[0].backend.kernels.get("GradientNorm") if tensors else None
    if kernel is None or any(t.backend is not tensors[0].backend for t in tensors):
        return None
    return kernel if kernel.fits(*(t.array for t in tensors)) else None


def _squared(x: np.ndarray) -> float:
    """Return the sum of squares, piece by piece: a float32 sum of 124 million is off by a thousandth (BLAS's dot)."""
    pieces = (x[i : i + PIECE] for i in range(0, x.size, PIECE))
    return sum(float(np.dot(piece, piece)) for piece in pieces)


def get_total_norm(
    tensors: Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """Return the norm of all tensors as one vector, a 0-d tensor.

    Raises:
        RuntimeError: if it is NaN or infinite and ``error_if_nonfinite``.
    """
    given = [t for t in tensors if t.numel()]  # nothing has no largest element
    if given and norm_type == 2 and all(t.device.type == "cpu" and t.itemsize > 2 for t in given):
        # Dot products, without building tensors: a tenth of the time on a small GPT.
        with np.errstate(over="ignore", invalid="ignore"):
            total = ops.tensor(math.sqrt(sum(_squared(t.array.reshape(-1)) for t in given)), dtype=given[0].dtype)
    elif norm_type == 2 and (kernel := _kernel(given)):
        total = Tensor._wrap(kernel.norm(given[0].backend, [t.array for t in given]))
    else:
        norms = [ops.norm(t.detach(), norm_type) for t in given]
        total = ops.norm(ops.stack(norms), norm_type) if norms else ops.tensor(0.0)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"the norm of the gradients is {total.item()}; nothing was clipped")
    return total


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together so that their norm is at most ``max_norm``; return what it was.

    Where a gradient is NaN or infinite, PyTorch multiplies all of them by NaN or 0. Here they stay as they are, and the
    returned norm says what happened; ``error_if_nonfinite`` raises instead.

    Raises:
        ValueError: if ``max_norm`` is negative or NaN.
        RuntimeError: if the norm is NaN or infinite and ``error_if_nonfinite``.

    Source: Pascanu, Mikolov and Bengio, 2013.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected a max_norm of 0 or more, got {max_norm}")
    gradients = _gradients(parameters)
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    kernel = _kernel(gradients)
    if kernel is not None:  # the norm stays on the device, and nobody waits for it
        kernel.clip(total.backend, [g.array for g in gradients], total.array, float(max_norm))
        for g in gradients:
            g._version[0] += 1
        return total
    norm = total.item()
    factor = float(max_norm) / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        with no_grad():
            for g in gradients:
                g.array *= factor
                g._version[0] += 1
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Keep every element of every gradient between ``-clip_value`` and ``clip_value``."""
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all parameters one after another, as one vector."""
    return ops.cat([p.reshape((-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a vector back into the parameters.

    Raises:
        ValueError: if it is not as long as all of them together.
    """
    given = list(parameters)
    if vec.numel() != sum(p.numel() for p in given):
        raise ValueError(f"vector_to_parameters: {vec.numel()} numbers for {sum(p.numel() for p in given)} places")
    start = 0
    with no_grad():
        for p in given:
            p.copy_(vec[start : start + p.numel()].reshape(p.shape))
            start += p.numel()
