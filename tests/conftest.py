"""What holds for every test: hypothesis profiles, the `gpu` marker, no network, and no state left behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"  # figures go to files; child processes inherit it

# `deadline` is off everywhere: on a shared machine a slow example says nothing about the code.
settings.register_profile("dev", max_examples=15, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", max_examples=2000, stateful_step_count=80, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle the tests, but not seed the global generators: no test may need them."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


@functools.cache
def why_no_gpu() -> str:
    """The reason why tests marked `gpu` cannot run here; empty where they can."""
    if importlib.util.find_spec("cupy") is None:
        return "needs a GPU: CuPy is not installed"
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a broken driver raises many types; each of them means "no GPU"
        return f"needs a GPU: {type(error).__name__}: {error}"
    return "" if count else "needs a GPU: CuPy sees no device"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where there is none, and say why."""
    if item.get_closest_marker("gpu") is not None and why_no_gpu():
        pytest.skip(why_no_gpu())


def _is_local(address: Any) -> bool:
    return not isinstance(address, tuple) or address[0] in {"localhost", "127.0.0.1", "::1"}


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection that would leave this machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if not _is_local(address):
            raise OSError(f"tests use no network, but something tried to reach {address!r}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


def foreign_state() -> dict[str, object]:
    """The random states that belong to the user of the library: Python's and NumPy's global generators."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (the legacy state is what is watched)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tobytes()  # bytes compare with ==, arrays do not
    return {"the global state of np.random": numpy_state, "the global state of random": random.getstate()}


def modes(minillm: Any) -> dict[str, object]:
    """The switches of the library that hold for a whole thread."""
    return {
        "minillm's grad mode": minillm.is_grad_enabled(),
        "minillm's default dtype": minillm.get_default_dtype(),
    }


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a mode or a foreign random state changed.

    minillm's own generator is there to be drawn from, so it is not compared: it is put back, and no test depends on
    the tests before it.
    """
    minillm: Any = sys.modules.get("minillm")  # None: no test of this process has needed it yet
    if not hasattr(minillm, "get_rng_state"):
        minillm = None
    before = foreign_state() | (modes(minillm) if minillm else {})
    rng_state = minillm.get_rng_state() if minillm else None
    yield
    after = foreign_state() | (modes(minillm) if minillm else {})
    if minillm:
        minillm.set_rng_state(rng_state)
    changed = [name for name, value in before.items() if after[name] != value]
    assert not changed, f"the test left {' and '.join(changed)} changed"
