"""Sorting ops."""

__all__: list[str] = []
