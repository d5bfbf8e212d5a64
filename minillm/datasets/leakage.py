"""How much of the held-out text a model has already read: overlap in shingles of 50 characters.

A shingle is a run of 50 characters; a text of n characters has n - 49 of them. Two texts that share one share a
sentence or more by copying, not by chance. All shingles of a text are hashed at once with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHINGLE = 50
_SEPARATOR = "\n\n"
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, bits well spread: 2**64 divided by the golden ratio


def shingle_hashes(text: str, size: int = SHINGLE) -> np.ndarray:
    """Return one 64-bit hash for each run of ``size`` characters, in the order of the text.

    The hash of a run is the polynomial ``sum_i f(c_i) m**(size-1-i)`` modulo 2**64. Runs of length 2k are put together
    from two of length k, ``h_2k[i] = h_k[i] m**k + h_k[i + k]``, so all runs cost about 2 log2(size) array operations.

    Shape:
        (max(len(text) - size + 1, 0),), uint64.

    >>> h = shingle_hashes("abcabc", size=3)
    >>> len(h), bool(h[0] == h[3]), bool(h[0] == h[1])
    (4, True, False)
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    if len(codes) < size:
        return np.empty(0, dtype=np.uint64)
    power = (codes + np.uint64(1)) * _MIX
    power ^= power >> np.uint64(31)
    multiplier = 0xD6E8FEB86659FD93
    length, done, result = 1, 0, np.zeros(len(codes) + 1, dtype=np.uint64)
    # Binary powers: `power` holds the hashes of runs of `length`, `result` those of the `done` characters taken so far.
    while True:
        if size & length:
            front = result[: len(codes) - done - length + 1]
            result = front * np.uint64(multiplier) + power[done : done + len(front)]
            done += length
        if done == size:
            return result
        power = power[:-length] * np.uint64(multiplier) + power[length:]
        multiplier = multiplier * multiplier % 2**64
        length *= 2


def leak(train: str, heldout: str, size: int = SHINGLE) -> float:
    """Return the share of the held-out text's shingles that occur in the training text, 0 to 1.

    >>> leak("x" * 100, "x" * 60), leak("x" * 100, "y" * 60)
    (1.0, 0.0)
    """
    wanted, counts = np.unique(shingle_hashes(heldout, size), return_counts=True)
    if len(wanted) == 0:
        return 0.0
    found = np.zeros(len(wanted), dtype=bool)
    found[_look_up(shingle_hashes(train, size), wanted)[1]] = True
    return float(counts[found].sum() / counts.sum())


def _look_up(hashes: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the hashes that are among the sorted `wanted` ones, and where they stand there."""
    # Most hashes are not wanted, and a table of their upper 22 bits says so sooner than a binary search.
    shift = np.uint64(64 - 22)
    table = np.zeros(1 << 22, dtype=bool)
    table[wanted >> shift] = True
    maybe = np.flatnonzero(table[hashes >> shift])
    place = np.searchsorted(wanted, hashes[maybe])
    found = wanted[np.minimum(place, len(wanted) - 1)] == hashes[maybe] if len(wanted) else place < 0
    return maybe[found], place[found]


def purge(texts: Sequence[str], heldout: str, size: int = SHINGLE) -> list[bool]:
    """Say for each training text whether it may stay: it shares no shingle or paragraph with the held-out text.

    The texts are looked at as they will stand, joined by blank lines, because a shingle may reach from one into the
    next; and again after each removal, which makes new neighbours.

    Returns:
        One bool per text, True where the text stays.
    """
    wanted = np.unique(shingle_hashes(heldout, size))
    paragraphs = {_plain(p) for p in heldout.split(_SEPARATOR)}
    stays = np.array([_plain(t) not in paragraphs for t in texts], dtype=bool)
    while True:
        numbers = np.flatnonzero(stays)
        left = [texts[i] for i in numbers.tolist()]
        joined = _SEPARATOR.join(left)
        hits, _ = _look_up(shingle_hashes(joined, size), wanted)
        if len(hits) == 0:
            return stays.tolist()
        lengths = np.array([len(text) + len(_SEPARATOR) for text in left])
        starts = np.cumsum(lengths) - lengths  # of each text in `joined`
        first = np.searchsorted(starts, hits, side="right") - 1
        last = np.searchsorted(starts, hits + size - 1, side="right") - 1
        stays[numbers[first]] = False
        stays[numbers[last]] = False


def _plain(text: str) -> str:
    """The text with runs of white space made one space."""
    return " ".join(text.split())
