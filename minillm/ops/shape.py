"""Shape ops."""

__all__: list[str] = []
