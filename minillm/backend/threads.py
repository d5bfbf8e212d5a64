"""Several threads for one op: row kernels cut their rows into tiles, and threads share the tiles.

BLAS has threads of its own; NumPy's elementwise functions have none, and in a training step they take half the time.
While tiles are computed BLAS is held to one thread, so that the two do not get in each other's way.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class _Here(threading.local):
    alone = False


_here = _Here()
_pool: ThreadPoolExecutor | None = None
_count: int | None = None


def get_num_threads() -> int:
    """Return how many threads an op may use: OMP_NUM_THREADS or OPENBLAS_NUM_THREADS, if set, or one a core."""
    global _count
    if _count is None:
        given = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _count = max(1, next((int(n) for n in given if n.isdigit()), cores))
    return _count


def set_num_threads(count: int) -> None:
    """Let an op, and a product of matrices, use so many threads.

    Raises:
        RuntimeError: if it is less than one.
    """
    global _count, _pool
    if int(count) < 1:
        raise RuntimeError(f"set_num_threads: expected one thread or more, got {count}")
    if _pool is not None:
        _pool.shutdown()
    _pool, _count = None, int(count)
    for library in _blas():
        library.set_num_threads(_count)


def available() -> int:
    """Return how many threads an op that runs in this thread may use."""
    return 1 if _here.alone else get_num_threads()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, this thread does its ops by itself: there are others that do as much."""
    before, _here.alone = _here.alone, True
    try:
        yield
    finally:
        _here.alone = before


def share(function: Callable[[Any], None], items: Sequence[Any], large: bool = True) -> None:
    """Call a function for every item, each thread every n-th; in one thread, they are done in order.

    What the calls write must not overlap, so that the result does not depend on which thread is first. If there is not
    a ``large`` number of elements this thread does all of it, the products too: a thread that has to be woken up comes
    too late.
    """
    n = min(available(), len(items))
    if n <= 1 or not large:
        with single_blas_thread() if available() > 1 and not large else contextlib.nullcontext():
            for item in items:
                function(item)
        return

    def work(first: int) -> None:
        with alone(), np.errstate(all="ignore"):
            for item in items[first::n]:
                function(item)

    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(get_num_threads() - 1, "minillm-op")
    with single_blas_thread():
        others = [_pool.submit(work, i) for i in range(1, n)]
        try:
            work(0)
        finally:
            errors = [other.exception() for other in others]  # nobody works on when this returns
    for error in errors:
        if error is not None:
            raise error


@functools.cache
def _blas() -> list[Any]:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # NumPy alone
        return []
    found = ThreadpoolController().select(user_api="blas")  # looks through all libraries: once is enough
    return list(found.lib_controllers)


def let_blas_sleep() -> None:
    """Let OpenBLAS's threads sleep after 2^20 ticks of the clock, half a millisecond, without work.

    By themselves they look for work for up to a tenth of a second and keep a core busy as long; threads that share an
    op right after a product have none (GELU of 2048 x 1536 numbers: 11 ms instead of 6). Whoever has set
    OPENBLAS_THREAD_TIMEOUT, the exponent, is left alone. OpenBLAS 0.3.34 (NumPy 2.5) cannot be told once it is loaded:
    there, set it before Python starts, as the command ``minillm`` does before NumPy is imported.
    """
    if os.name != "posix" or "OPENBLAS_THREAD_TIMEOUT" in os.environ:  # on Windows they sleep at once
        return
    # A thread that is at a product must not lose its helpers; the threads of a notebook's kernel make none.
    if threading.active_count() > 1 and "ipykernel" not in sys.modules:
        return
    for library in _blas():
        if library.internal_api == "openblas" and getattr(library, "threading_layer", "") == "pthreads":
            os.environ["OPENBLAS_THREAD_TIMEOUT"] = "20"
            with contextlib.suppress(AttributeError):  # newer ones hide these functions
                # It was read when the library was loaded, maybe long ago. The next product starts new threads.
                library.dynlib.openblas_read_env()
                library.dynlib.blas_thread_shutdown_()


@contextlib.contextmanager
def single_blas_thread() -> Iterator[None]:
    """Inside, every product of matrices runs in the thread that asks for it."""
    libraries = _blas()
    before = [library.get_num_threads() for library in libraries]
    for library in libraries:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, count in zip(libraries, before, strict=True):
            library.set_num_threads(count)
