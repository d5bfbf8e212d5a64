"""Activation ops."""

__all__: list[str] = []
