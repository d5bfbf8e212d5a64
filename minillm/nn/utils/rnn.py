"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

from minillm import ops
from minillm.tensor import Tensor

__all__ = ["pad_sequence"]


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Put sequences (T_i, ...) side by side, filled up to the longest: (T, B, ...), or (B, T, ...) if batch first.

    Raises:
        ValueError: if there is no sequence, or ``padding_side`` is neither "right" nor "left".
    """
    if not sequences or padding_side not in ("right", "left"):
        raise ValueError(
            f"pad_sequence: expected sequences and a side 'right' or 'left', got {len(sequences)} and {padding_side!r}"
        )
    longest = max(len(s) for s in sequences)
    rows = []
    for s in sequences:
        missing = longest - len(s)
        widths = [0, 0] * (s.ndim - 1) + ([0, missing] if padding_side == "right" else [missing, 0])
        rows.append(ops.pad(s, widths, value=padding_value))
    return ops.stack(rows, 0 if batch_first else 1)
