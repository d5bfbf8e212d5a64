"""Comparison ops."""

__all__: list[str] = []
