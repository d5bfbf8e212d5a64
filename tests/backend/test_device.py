"""The type and the place of new arrays: each thread decides for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import minillm
from minillm.backend.random import lane


def in_threads(n: int, work: Callable[[int], None]) -> None:
    """Run ``work(0)`` to ``work(n - 1)`` side by side; what one of them raises is raised here."""
    raised: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_a_thread_has_a_default_type_of_its_own() -> None:
    barrier, types = threading.Barrier(4), [minillm.float32, minillm.float64, minillm.float16, None]

    def work(i: int) -> None:
        if types[i] is not None:
            minillm.set_default_dtype(types[i])
        barrier.wait()  # all have chosen
        assert minillm.tensor(1.5).dtype == minillm.zeros(2).dtype == (types[i] or minillm.float32)

    minillm.set_default_dtype(minillm.float64)
    try:
        in_threads(4, work)
        assert minillm.get_default_dtype() == minillm.float64
    finally:
        minillm.set_default_dtype(minillm.float32)


def test_threads_in_lanes_take_no_numbers_from_each_other() -> None:
    def drawn(i: int) -> list[float]:
        with lane(i):
            return [minillm.rand(1).item() for _ in range(50)]

    minillm.manual_seed(3)
    alone = [drawn(i) for i in range(4)]
    minillm.manual_seed(3)
    together: dict[int, list[float]] = {}
    in_threads(4, lambda i: together.__setitem__(i, drawn(i)))
    assert [together[i] for i in range(4)] == alone and len({tuple(numbers) for numbers in alone}) == 4


def test_waiting_for_a_card_is_refused_where_it_must_not_happen():
    """The tests on a card rely on it; CuPy can say so without one."""
    cupyx = pytest.importorskip("cupyx", reason="needs CuPy (no card)")
    from cupy._core.syncdetect import _declare_synchronize  # what CuPy calls before it waits

    from tests.backend.test_kernels_on_a_card import no_waiting

    _declare_synchronize()
    with no_waiting(), pytest.raises(cupyx.DeviceSynchronized):
        _declare_synchronize()
    _declare_synchronize()
