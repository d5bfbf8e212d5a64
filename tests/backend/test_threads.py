"""Several threads for one op: the results of one thread, errors that arrive, no threads within threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.backend import threads
from minillm.ops import attention, rows


@pytest.fixture(autouse=True)
def small_arrays_are_shared(monkeypatch):
    monkeypatch.setattr(rows, "SHARE_FROM", 8)
    monkeypatch.setattr(attention, "SHARE_FROM", 8)
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
