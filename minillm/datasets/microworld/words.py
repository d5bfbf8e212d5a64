"""How the six languages keep their words: tables with one line per meaning, which a native speaker can check."""

from __future__ import annotations

from .grammar import Form, Value


def table(text: str) -> dict[str, tuple[str, ...]]:
    """Read lines ``meaning: word, word, ...``.

    >>> table("apple: manzana, manzanas, f")
    {'apple': ('manzana', 'manzanas', 'f')}
    """
    rows = (line.split(":", 1) for line in text.strip().splitlines())
    return {key.strip(): tuple(word.strip() for word in words.split(",")) for key, words in rows}


def column(rows: dict[str, tuple[str, ...]], number: int) -> Form:
    """Return the form that looks up one column of a table."""
    return lambda value: rows[str(value)][number]


def number_of(value: Value) -> int:
    """Return the value of a slot that holds a number."""
    if not isinstance(value, int):
        raise ValueError(f"a number was expected, got {value!r}")
    return value
