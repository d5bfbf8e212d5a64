"""Helpers with PyTorch's names: ``data`` (datasets and loaders) and ``checkpoint`` (recompute instead of store)."""

from minillm.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
