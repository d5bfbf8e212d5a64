"""Embedding ops."""

__all__: list[str] = []
