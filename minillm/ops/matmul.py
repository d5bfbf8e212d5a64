"""Matmul ops."""

__all__: list[str] = []
