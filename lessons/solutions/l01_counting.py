"""Solutions of lesson 01."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence


def add_k(counts: Mapping[str, int], alphabet: str, k: float) -> dict[str, float]:
    """Return (C(c) + k) / (N + k V) for every character of the alphabet."""
    total = sum(counts.values()) + k * len(alphabet)
    return {c: (counts.get(c, 0) + k) / total for c in alphabet}


def witten_bell(text: str, context: str, alphabet: str) -> dict[str, float]:
    """Return Witten and Bell's probability of every character after a context."""
    n = len(context)
    lower = witten_bell(text, context[1:], alphabet) if context else dict.fromkeys(alphabet, 1 / len(alphabet))
    counts = Counter(text[i + n] for i in range(len(text) - n) if text[i : i + n] == context)
    if not counts:
        return lower
    kinds, total = len(counts), counts.total()
    return {c: (counts[c] + kinds * lower[c]) / (total + kinds) for c in alphabet}


def bits_per_character(probabilities: Sequence[float]) -> float:
    """Return the mean of -log2 p."""
    if not probabilities:
        return 0.0
    if 0 in probabilities:
        return math.inf
    return -sum(math.log2(p) for p in probabilities) / len(probabilities)
