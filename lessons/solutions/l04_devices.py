"""Solutions of lesson 04."""

from __future__ import annotations

from typing import Any


def standardize(xp: Any, x: Any, eps: float) -> Any:
    """All functions are xp's, or methods of x."""
    away = x - x.mean(axis=-1, keepdims=True)
    variance = (away * away).mean(axis=-1, keepdims=True)
    return away / xp.sqrt(variance + eps)


def one_hot(xp: Any, ids: Any, classes: int, dtype: Any) -> Any:
    """Every id is compared with every class."""
    return (ids[..., None] == xp.arange(classes)).astype(dtype)


def shorten(xp: Any, g: Any, longest: float) -> Any:
    """The choice is made over there."""
    length = xp.sqrt((g * g).sum())
    return g * (longest / xp.maximum(length, longest))


def all_finite(xp: Any, arrays: list[Any]) -> bool:
    """The claims are joined over there; one of them comes home."""
    fine = xp.isfinite(arrays[0]).all()
    for array in arrays[1:]:
        fine = fine & xp.isfinite(array).all()
    return bool(fine)
