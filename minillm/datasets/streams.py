"""Named random streams: one seed, and a generator of its own for each purpose.

Two purposes that share one generator disturb each other: evaluate once more and the shuffling changes. Here every
purpose has a name, and its numbers are a function of the seed and the name alone.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator that belongs to ``(seed, *names)``.

    The names are hashed with SHA-256 (Python's own ``hash`` changes from run to run), and the digest becomes the spawn
    key of a ``numpy.random.SeedSequence``: different names give independent streams.

    Args:
        seed: a non-negative integer; the one number that the user chooses.
        names: what the numbers are for, for example ``"shuffle", epoch``. Strings and integers are told apart.

    Returns:
        A fresh ``numpy.random.Generator`` at the start of its stream.

    Raises:
        ValueError: if the seed is not a non-negative integer or a name is neither a string nor an integer.

    >>> int(stream(0, "shuffle", 3).integers(1000)) == int(stream(0, "shuffle", 3).integers(1000))
    True
    >>> bool(stream(0, "shuffle", 3).random() == stream(0, "shuffle", 4).random())
    False
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"stream: the seed must be an integer >= 0, got {seed!r}")
    plain: list[str | int] = []
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, int, np.integer)):
            raise ValueError(f"stream: a name must be a string or an integer, got {name!r}")
        plain.append(name if isinstance(name, str) else int(name))
    digest = hashlib.sha256(json.dumps(plain).encode("utf-8")).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=key)))
