"""What holds for every test: hypothesis profiles, the `gpu` marker, no network, and no state left behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import register_random, settings

from minillm.autograd import is_grad_enabled, modes, set_grad_enabled
from minillm.backend.device import get_default_dtype, set_default_dtype
from minillm.backend.random import get_rng_state, manual_seed, set_rng_state

os.environ["MPLBACKEND"] = "Agg"  # figures go to files; child processes inherit it

# `deadline` is off everywhere: on a shared machine a slow example says nothing about the code.
settings.register_profile("dev", max_examples=15, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", max_examples=2000, stateful_step_count=80, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle the tests, but not seed the global generators; let Ctrl-C be heard."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False
    # A shell starts what it puts into the background deaf to Ctrl-C, and so would be every program that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


class MinillmRandom:
    """minillm's own generator, as hypothesis wants it: every example of a property starts from the same numbers."""

    seed = staticmethod(manual_seed)
    getstate = staticmethod(get_rng_state)
    setstate = staticmethod(set_rng_state)


MINILLM_RANDOM = MinillmRandom()  # hypothesis itself keeps only a weak reference
register_random(MINILLM_RANDOM)


def numpy_state() -> tuple[bytes, int, int, float]:
    """The state of np.random as values that `==` compares."""
    _, key, *rest = np.random.get_state()  # noqa: NPY002 (the legacy state is what is watched)
    return key.tobytes(), *rest


def set_numpy_state(state: tuple[bytes, int, int, float]) -> None:
    key, *rest = state
    np.random.set_state(("MT19937", np.frombuffer(key, np.uint32), *rest))  # noqa: NPY002


# What a test must leave as it was: name, how to read it, how to put it back.
WATCHED: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
    ("the grad mode", is_grad_enabled, set_grad_enabled),
    ("the default dtype", get_default_dtype, set_default_dtype),
    ("autocast", lambda: modes.autocast, lambda casting: setattr(modes, "autocast", casting)),
    ("the global state of np.random", numpy_state, set_numpy_state),
    ("the global state of random", random.getstate, random.setstate),
]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a mode or a foreign random state changed.

    minillm's own generator is there to be drawn from; each test finds it freshly seeded, in whatever order they run.
    """
    manual_seed(0)
    before = [read() for _, read, _ in WATCHED]
    yield
    changed = [(*watched, old) for watched, old in zip(WATCHED, before, strict=True) if watched[1]() != old]
    for _, _, put_back, old in changed:
        put_back(old)  # the tests that follow are not to blame
    assert not changed, f"the test left {' and '.join(name for name, *_ in changed)} changed"
