"""Random numbers: one seed, several named streams, all drawn on the host.

Initial weights, shuffles and samples must be equal on every device, so they are drawn here with NumPy and moved.
Each use has a stream of its own ("init", "dropout", "sampling", ...): drawing more dropout masks does not change which
tokens are sampled. NumPy's global random state is never touched.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np


class _Lane(threading.local):
    suffix = ""


_lane = _Lane()


@contextlib.contextmanager
def lane(number: int) -> Iterator[None]:
    """Inside, this thread draws from streams of its own; lane 0 has the usual ones.

    So that threads which draw at the same time do not take numbers from each other: which thread was first would
    decide what each of them gets.
    """
    before, _lane.suffix = _lane.suffix, f"#{number}" if number else ""
    try:
        yield
    finally:
        _lane.suffix = before


class Generator:
    """A source of random numbers with a seed and a state (PyTorch's ``torch.Generator``).

    Args:
        device: accepted for PyTorch's sake; numbers are drawn on the host on every device.

    >>> g = Generator().manual_seed(0)
    >>> first = g.stream().random(); g.manual_seed(0).stream().random() == first
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device
        self.manual_seed(67280421310721)  # PyTorch's default seed: two fresh generators draw the same numbers

    def manual_seed(self, seed: int) -> Generator:
        """Set the seed; every stream starts anew. Returns the generator."""
        self._seed = int(seed)
        self._streams: dict[str, np.random.Generator] = {}
        return self

    def seed(self) -> int:
        """Set a seed that nobody can foresee and return it."""
        self.manual_seed(secrets.randbits(63))
        return self._seed

    def initial_seed(self) -> int:
        """Return the seed that was set last."""
        return self._seed

    def stream(self, name: str = "default") -> np.random.Generator:
        """Return the stream called ``name``; it depends on the seed and the name alone (and on the ``lane``)."""
        name += _lane.suffix
        found = self._streams.get(name)
        if found is None:
            # crc32 is the same on every machine and Python; hash() is not.
            words = np.random.SeedSequence([self._seed % 2**64, zlib.crc32(name.encode("utf-8"))])
            found = self._streams[name] = np.random.Generator(np.random.PCG64(words))
        return found

    def get_state(self) -> dict[str, Any]:
        """Return the seed and the state of every stream as a dictionary that JSON can hold."""
        streams = {name: copy.deepcopy(s.bit_generator.state) for name, s in self._streams.items()}
        return {"seed": self._seed, "streams": streams}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        self.manual_seed(state["seed"])
        for name, value in state["streams"].items():
            self.stream(name).bit_generator.state = copy.deepcopy(value)


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the generator that is used where none is given, and return it."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """Return the seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> dict[str, Any]:
    """Return the state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the state of the default generator."""
    default_generator.set_state(state)
