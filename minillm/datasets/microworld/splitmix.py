"""Random numbers that are the same on every machine: SplitMix64 in Python's own integers.

NumPy promises the stream of a ``Generator`` for one build only (NEP 19). A corpus that is pinned by its hash needs
more, so this one draws its numbers from 64-bit integers alone.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence

_MASK = (1 << 64) - 1


class SplitMix64:
    """A stream of 64-bit integers that belongs to ``(seed, *names)``.

    The state grows by the golden ratio, and each state is mixed into an output:

    ``s = s + 0x9E3779B97F4A7C15``, ``z = (s ^ s >> 30) * 0xBF58476D1CE4E5B9``, ``z = (z ^ z >> 27) *
    0x94D049BB133111EB``, output ``z ^ z >> 31``, all modulo 2**64.

    Args:
        seed: any integer.
        names: what the numbers are for; different names give different streams.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014; the constants are those
    of Vigna's splitmix64.c.

    >>> SplitMix64.at(0).next() == 0xE220A8397B1DCDAF
    True
    """

    def __init__(self, seed: int, *names: str | int) -> None:
        key = json.dumps([int(seed), *names]).encode("ascii")
        self.state = int.from_bytes(hashlib.sha256(key).digest()[:8], "little")

    @classmethod
    def at(cls, state: int) -> SplitMix64:
        """Return the stream that starts at a given state, as the reference program does."""
        rng = cls(0)
        rng.state = state & _MASK
        return rng

    def next(self) -> int:
        """Return the next integer, 0 to 2**64 - 1."""
        self.state = s = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = ((s ^ (s >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """Return an integer from 0 to n - 1: ``next() * n / 2**64``, rounded down (its bias is under n / 2**64)."""
        return (self.next() * n) >> 64

    def pick(self, cumulative: Sequence[int]) -> int:
        """Return place i with probability proportional to ``cumulative[i] - cumulative[i - 1]``."""
        return bisect_right(cumulative, self.below(cumulative[-1]))
