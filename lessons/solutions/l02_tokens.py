"""Solutions of lesson 02."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def best_pair(words: Mapping[tuple[int, ...], int]) -> tuple[int, int] | None:
    """Return the most frequent pair of neighbours, of equals the smallest."""
    counts: Counter[tuple[int, int]] = Counter()
    for word, n in words.items():
        for pair in zip(word, word[1:]):
            counts[pair] += n
    return min(counts, key=lambda pair: (-counts[pair], pair), default=None)


def merge(ids: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """Return the ids with the pair replaced from the left."""
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def encode(data: bytes, merges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the ids of some bytes, merge after merge."""
    ids = list(data)
    for i, pair in enumerate(merges):
        ids = merge(ids, pair, 256 + i)
    return ids


def decode(ids: Sequence[int], merges: Sequence[tuple[int, int]]) -> bytes:
    """Return the bytes that ids stand for."""
    table = [bytes([b]) for b in range(256)]
    for left, right in merges:
        table.append(table[left] + table[right])
    for id in ids:
        if not 0 <= id < len(table):
            raise IndexError(f"id {id}: expected 0 to {len(table) - 1}")
    return b"".join(table[id] for id in ids)
