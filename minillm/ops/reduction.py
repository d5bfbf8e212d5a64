"""Reduction ops."""

__all__: list[str] = []
