"""Memory of recordings, with pools that note what is asked of them."""

from __future__ import annotations

import gc
import types
from typing import Any

import pytest

from minillm.backend import get_backend
from minillm.backend.cuda.graph import Recording
from tests.standin import CuPyModule, standin


class Pool:
    """CuPy's memory pool."""

    def __init__(self) -> None:
        self.freed = 0

    def used_bytes(self) -> int:
        return 7

    def free_all_blocks(self) -> None:
        self.freed += 1


def test_a_pool_outlives_its_recording_and_serves_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CuPyModule.cuda, "MemoryPool", Pool, raising=False)
    monkeypatch.setattr(CuPyModule.cuda, "Stream", lambda **_: types.SimpleNamespace(), raising=False)
    with standin():
        backend: Any = get_backend("cuda")
        first, second = Recording(backend), Recording(backend)
        pools = first._pool, second._pool
        assert pools[0] is not pools[1] and backend.memory_allocated() == 14
        backend.empty_cache()
        assert [pool.freed for pool in pools] == [0, 0]  # recordings repeat what lies there
        del first
        gc.collect()
        backend.empty_cache()
        assert [pool.freed for pool in pools] == [1, 0] and backend.memory_allocated() == 14
        assert Recording(backend)._pool is pools[0]
