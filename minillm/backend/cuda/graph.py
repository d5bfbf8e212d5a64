"""Work that the card is given once and repeats as a whole: a CUDA graph.

Launching kernels from Python can take longer than the card needs to run them. What is recorded is launched by one
call, whatever it consists of; but every number and every address that a launch was given is part of the recording. So:

- all that it computes lies in memory of its own, which nothing else is given while the recording lives; then another
  recording gets it, less what is still in use;
- arrays that come from main memory while it is made (positions, masks) become constants;
- ids are not looked at by the host while the card repeats: what was asked of the inputs is noted in ``checks``;
- dropout gets its seeds from an array, which is filled before each repetition, in the order in which seeds are drawn
  without a recording.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.random import default_generator

MOST_SEEDS = 4096


def draw_seed() -> np.uint64:
    """Draw a seed from the host's stream "dropout"."""
    return np.uint64(default_generator.stream("dropout").integers(2**63))


class Recording:
    """What a function does on the card.

    Args:
        backend: the CUDA backend.

    Attributes:
        inputs: arrays that will be written anew before each repetition.
        checks: for each time that ids were to be checked, the number of the input that they are, and the check.
    """

    def __init__(self, backend: Any) -> None:
        self._backend, self._stream = backend, backend.recording_stream
        # Trap: with a pool CuPy frees its memory, even where arrays in it are alive, and leaks what was split. So pools
        # are never given up.
        self._pool = backend.idle_pools.pop() if backend.idle_pools else backend.new_pool()
        weakref.finalize(self, backend.idle_pools.append, self._pool).atexit = False
        self._graph: Any = None
        self._constants: list[Array] = []
        self._seeds: Array | None = None
        self._drawn = 0
        self.inputs: Sequence[Array] = ()
        self.checks: list[tuple[int, Callable[[Array], None]]] = []

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Work with the memory of the recording, on its stream, in turn with what was begun before and comes after."""
        cuda = self._backend.xp.cuda
        around = cuda.get_current_stream()
        self._stream.wait_event(around.record())
        with cuda.using_allocator(self._pool.malloc), self._stream:
            yield
        around.wait_event(self._stream.record())

    def record(self, function: Callable[[], Any], inputs: Sequence[Array] = ()) -> Any:
        """Record what a function gives the card to do, and return what it returns; nothing is computed yet.

        It must have run once before, ``apart``: kernels are compiled then, and memory is taken. Where it reads what
        changes from one repetition to the next, that must lie in ``inputs``.

        Raises:
            RuntimeError: if it does what cannot be recorded, such as looking at a result.
        """
        with self.apart():
            self._seeds = self._backend.xp.zeros(MOST_SEEDS, dtype=np.uint64)
            self.checks, self._constants, self._drawn = [], [], 0  # an attempt may have been interrupted
            self.inputs, self._backend.recording = inputs, self
            self._stream.begin_capture()
            try:
                results = function()
            except BaseException:
                with contextlib.suppress(Exception):  # what went wrong has been said
                    self._stream.end_capture()
                raise
            finally:
                self._backend.recording = None
            self._graph = self._stream.end_capture()
        return results

    def repeat(self) -> None:
        """Let the card do it again, after what it was given before."""
        if self._drawn:
            seeds = np.array([draw_seed() for _ in range(self._drawn)], dtype=np.uint64)
            self._seeds[: self._drawn] = self._backend.from_host(seeds)  # type: ignore[index]
        self._graph.launch()

    def constant(self, array: np.ndarray) -> Array:
        """Move an array to the card now, beside the recording."""
        stream = self._backend.xp.cuda.Stream(non_blocking=True)
        with stream:
            moved = self._backend.xp.asarray(array)
        stream.synchronize()
        self._constants.append(moved)
        return moved

    def seed(self) -> Array:
        """Return where the next seed will lie.

        Raises:
            RuntimeError: if there are too many.
        """
        if self._drawn == MOST_SEEDS:
            raise RuntimeError(f"a recording has room for {MOST_SEEDS} seeds of dropout")
        self._drawn += 1
        return self._seeds[self._drawn - 1 : self._drawn]  # type: ignore[index]

    def note_check(self, array: Array, check: Callable[[Array], None]) -> None:
        """Note that the numbers of an input must be checked before each repetition.

        Raises:
            RuntimeError: if the array is no input: only the card knows what it holds.
        """
        owner = array if array.base is None else array.base
        for i, one in enumerate(self.inputs):
            if one is owner:
                self.checks.append((i, check))
                return
        raise RuntimeError("ids that are computed on the card cannot be checked while a recording is made")
