"""Several threads for one op: the results of one thread, errors that arrive, no threads within threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.backend import get_backend, threads
from minillm.ops import attention, rows
from minillm.optim import optimizer


@pytest.fixture(autouse=True)
def small_arrays_are_shared(monkeypatch):
    monkeypatch.setattr(rows, "SHARE_FROM", 8)
    monkeypatch.setattr(attention, "SHARE_FROM", 8)
    monkeypatch.setattr(optimizer, "SHARE_FROM", 8)
    before = threads.get_num_threads()
    yield
    minillm.set_num_threads(before)


def with_gradients(op, *inputs):
    tensors = [minillm.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    minillm.manual_seed(3)
    y = op(*tensors)
    (y * minillm.arange(y.numel()).reshape(y.shape).cos()).sum().backward()
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors if t.requires_grad)]


OPS = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "softmax": lambda x: F.softmax(x, dim=-1),
    "log_softmax": lambda x: F.log_softmax(x, dim=-1),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "rms_norm": lambda x: F.rms_norm(x, (x.shape[-1],)),
    "cross_entropy": lambda x: F.cross_entropy(x, minillm.arange(len(x)) % x.shape[1], reduction="none"),
    "attention": lambda x: F.scaled_dot_product_attention(*[x.reshape(-1, 1, 1, x.shape[1])] * 3),
    "attention, dropout": lambda x: F.scaled_dot_product_attention(*[x.expand(3, 2, *x.shape)] * 3, dropout_p=0.3),
}


@pytest.mark.parametrize("name", OPS)
@given(rows_=st.integers(1, 9), width=st.integers(1, 6), count=st.integers(2, 4))
def test_every_thread_does_its_part_and_no_other(name, rows_, width, count):
    x = np.random.default_rng(rows_ * 7 + width).standard_normal((rows_, width))
    found = []
    for n in (1, count):
        minillm.set_num_threads(n)
        found.append(with_gradients(OPS[name], x))
    for one, several in zip(*found, strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-12, atol=1e-14)  # BLAS rounds a sum by how many rows it gets


def test_the_weights_gradient_of_a_norm_is_added_up_in_order():
    x, w = np.random.default_rng(0).standard_normal((40, 5)), np.ones(5)
    minillm.set_num_threads(3)
    first = with_gradients(lambda x, w: F.layer_norm(x, (5,), w), x, w)
    for _ in range(20):
        for a, b in zip(first, with_gradients(lambda x, w: F.layer_norm(x, (5,), w), x, w), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_threads_share_the_step_of_an_optimizer(kind):
    found = []
    for n in (1, 3):
        minillm.set_num_threads(n)
        minillm.manual_seed(0)
        parameters = [minillm.nn.Parameter(minillm.randn(*shape)) for shape in ((5, 7), (3,), (2, 2, 2), (1,), (40,))]
        one = getattr(minillm.optim, kind)(parameters, lr=0.1, weight_decay=0.01)
        for _ in range(3):
            for p in parameters:
                p.grad = minillm.randn(*p.shape)
            one.step()
        state = [v.numpy() for s in one.state_dict()["state"].values() for v in s.values() if hasattr(v, "numpy")]
        found.append([*(p.detach().numpy() for p in parameters), *state])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_of_another_thread_is_raised_here():
    minillm.set_num_threads(2)

    def fail(item):
        if item == 1:
            raise ZeroDivisionError("in the other thread")

    with pytest.raises(ZeroDivisionError, match="other thread"):
        threads.share(fail, [0, 1])


def test_a_thread_that_is_one_of_many_starts_no_others():
    minillm.set_num_threads(3)

    def note(_):
        used = set()
        threads.share(lambda _: used.add(threading.get_ident()), range(5))
        assert used == {threading.get_ident()}

    threads.share(note, range(3))
    with threads.alone():
        note(None)


def test_blas_has_as_many_threads_afterwards_as_before():
    minillm.set_num_threads(2)
    before = [library.get_num_threads() for library in threads._blas()]
    threads.share(lambda _: None, range(4))
    assert [library.get_num_threads() for library in threads._blas()] == before == [2] * len(before)


def test_tiles_of_small_arrays_stay_in_one_thread_which_makes_its_products_alone(monkeypatch):
    minillm.set_num_threads(2)
    monkeypatch.setattr(rows, "SHARE_FROM", 100)
    monkeypatch.setattr(rows, "TILE", 10)
    monkeypatch.setattr(rows, "SHARED_TILE", 10)
    backend, seen = get_backend("cpu"), []

    def note(part):
        seen.append((threading.get_ident(), {library.get_num_threads() for library in threads._blas()}))

    rows.in_tiles(backend, (9, 10), note)
    assert len(seen) == 9 and {thread for thread, _ in seen} == {threading.get_ident()}
    assert all(counts <= {1} for _, counts in seen)
    seen.clear()
    rows.in_tiles(backend, (10, 10), note)
    assert len(seen) == 10 and len({thread for thread, _ in seen}) == 2


def test_the_blas_of_numpy_is_found():
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    if "openblas" not in built:
        pytest.skip(f"NumPy uses {built}, whose threads are its own business")
    assert threads._blas(), "threadpoolctl knows nothing of this OpenBLAS: products cannot be held to one thread"


IDLE = """
import os, threading, time
import numpy as np
if OTHER_THREAD:
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
if MINILLM:
    import minillm
a = np.ones((600, 600), np.float32)
a @ a
before = time.process_time()
time.sleep(0.2)
print(time.process_time() - before, os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
"""


@pytest.mark.parametrize("given", [None, "26"])
def test_blas_does_not_keep_a_core_busy_with_nothing(given):
    """NumPy was there first; and who has said how long BLAS may wait for work is obeyed."""
    pthreads = any(getattr(library, "threading_layer", "") == "pthreads" for library in threads._blas())
    if os.name != "posix" or not pthreads:
        pytest.skip("this BLAS is not an OpenBLAS with threads of its own")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment.pop("OPENBLAS_THREAD_TIMEOUT", None)
    if given is not None:
        environment["OPENBLAS_THREAD_TIMEOUT"] = given

    def idle(with_minillm: bool, other_thread: bool = False) -> tuple[float, str]:
        code = IDLE.replace("MINILLM", str(with_minillm)).replace("OTHER_THREAD", str(other_thread))
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        seconds, timeout = run.stdout.split()
        return float(seconds), timeout

    alone, ours = idle(False), idle(True)
    assert ours[1] == (given or "20")
    can_be_told = all(hasattr(library.dynlib, "openblas_read_env") for library in threads._blas())
    if given is None and can_be_told and alone[0] > 0.02:  # one that spins; on one core they do not
        assert ours[0] < alone[0] / 2
    if given is None and alone[0] > 0.02:
        environment["OPENBLAS_THREAD_TIMEOUT"] = "20"
        assert idle(False)[0] < alone[0] / 2  # what the command relies on, with any OpenBLAS
        del environment["OPENBLAS_THREAD_TIMEOUT"]
    assert idle(True, other_thread=True)[1] == str(given)  # that thread may be at a product


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_the_environment_sets_the_number(monkeypatch, name):
    monkeypatch.setattr(threads, "_count", None)
    for other in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "5")
    assert minillm.get_num_threads() == 5


def test_less_than_one_thread_is_refused():
    with pytest.raises(RuntimeError, match="one thread or more, got 0"):
        minillm.set_num_threads(0)
