"""How a tensor shows itself: PyTorch's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minillm.backend.device import get_default_dtype, is_floating

if TYPE_CHECKING:
    from minillm.tensor import Tensor

__all__: list[str] = []


def tensor_repr(t: Tensor) -> str:
    """Return ``tensor([...])`` with four digits; dtype, device and grad_fn where they are not the usual ones."""
    array = t.backend.to_host(t.array)
    if is_floating(array.dtype) and array.dtype.itemsize == 2:
        array = array.astype(np.float32)  # 16 bits are too few to compare with large numbers, and to format
    whole = is_floating(array.dtype) and array.size and bool((np.isfinite(array) & (array == np.round(array))).all())
    body = np.array2string(
        array,
        separator=", ",
        prefix="tensor(",
        threshold=1000,
        max_line_width=100,
        formatter={"float_kind": (lambda v: f"{v:.0f}.")} if whole and np.abs(array).max() < 1e6 else None,
        precision=4,
        floatmode="fixed",
    )
    parts = [body]
    if t.dtype not in (get_default_dtype(), np.dtype("int64"), np.dtype("bool")) or not array.size:
        parts.append(f"dtype=minillm.{t.dtype.name}")
    if t.device.type != "cpu":
        parts.append(f"device='{t.device}'")
    if t.grad_fn is not None:
        parts.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"
