"""Indexing ops."""

__all__: list[str] = []
