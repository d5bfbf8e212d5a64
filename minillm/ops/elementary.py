"""Elementary ops."""

__all__: list[str] = []
