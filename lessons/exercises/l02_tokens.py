"""Exercises of lesson 02: a byte-level tokenizer in four functions. ``minillm check 02`` says how far you are.

Ids 0 to 255 are the bytes; merge i of a list of merges makes id 256 + i. Each function has a specification (the
docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def best_pair(words: Mapping[tuple[int, ...], int]) -> tuple[int, int] | None:
    """Return the pair of neighbours that occurs most often, or None if no word has two ids.

    Of equally frequent pairs the smaller one wins, as tuples compare. Overlapping occurrences count: (7, 7, 7) has the
    pair (7, 7) twice.

    Args:
        words: how often each word, a tuple of ids, occurs in the text.
    """
    # Hint 1: count pairs in a dictionary or a Counter; zip(word, word[1:]) gives the neighbours.
    # Hint 2: a word that occurs 5 times gives each of its pairs 5 times.
    # Hint 3: min with a key of (-count, pair) is the largest count and, among those, the smallest pair.
    raise NotImplementedError("best_pair")


def merge(ids: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """Return the ids with every occurrence of a pair of neighbours replaced by one new id, from the left.

    Occurrences do not overlap: in (7, 7, 7) the first two become the new id.
    """
    # Hint 1: go through with an index: where the pair begins, append the new id and go on two places further.
    # Hint 2: the last id has no neighbour; do not look behind the end, and do not lose it.
    raise NotImplementedError("merge")


def encode(data: bytes, merges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the ids of some bytes: first the bytes themselves, then each merge, in the order of the list."""
    # Hint 1: list(data) of a bytes object is a list of numbers from 0 to 255.
    # Hint 2: for i, pair in enumerate(merges), use your merge; merge i makes the id 256 + i.
    raise NotImplementedError("encode")


def decode(ids: Sequence[int], merges: Sequence[tuple[int, int]]) -> bytes:
    """Return the bytes that ids stand for.

    Raises:
        IndexError: for an id that is negative, or 256 plus the number of merges or more.
    """
    # Hint 1: build a table: bytes([0]) to bytes([255]), then for each merge what its two ids stand for, joined.
    # Hint 2: b"".join puts the pieces together.
    # Hint 3: a list takes negative indices without complaint; you have to look for them.
    raise NotImplementedError("decode")
