"""Random ops."""

__all__: list[str] = []
