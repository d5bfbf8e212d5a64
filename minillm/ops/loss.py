"""Loss ops."""

__all__: list[str] = []
