"""What is compared does the same: the first steps of every library that is installed."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.bench import generating, process, training
from tests.bench.peers import PEERS, left_out
from tests.bench.process import Process, once
from tests.bench.workloads import Workload, workload


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Workload], Any]]:
    """A function that makes a peer; PyTorch is compiled only as far as needs no C++, which takes half a minute."""
    opened = []

    def peer_of(peer: str, w: Workload) -> Any:
        if PEERS[peer].lacks() and (peer != "torch.compile" or PEERS["torch eager"].lacks()):
            pytest.skip(f"needs {PEERS[peer].lacks()}")
        if peer == "torch.compile":
            monkeypatch.setattr(PEERS[peer].load(), "backend", "aot_eager")
        state = np.random.get_state()  # noqa: NPY002 (importing JAX draws from the global generator)
        opened.append(PEERS[peer].make(w))
        np.random.set_state(state)  # noqa: NPY002
        return opened[-1]

    yield peer_of
    for peer in opened:
        if hasattr(peer, "close"):
            peer.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("peer", list(PEERS))
def test_the_first_steps_have_the_losses_of_the_plain_loop(peer: str, make: Callable[[str, Workload], Any]) -> None:
    w = workload("XS17")
    plain, other = make("minillm plain loop", w), make(peer, w)
    losses = {"plain": [plain.step(b) for b in w.batches(3)], peer: [other.step(b) for b in w.batches(3)]}
    assert training.gap(losses) <= 1e-5
    assert losses[peer][0] != losses[peer][2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("peer", [peer for peer in PEERS if not PEERS[peer].slow and peer != "torch.compile"])
def test_dropout_drops(peer: str, make: Callable[[str, Workload], Any]) -> None:
    w = workload("XS17")
    batch = w.batches(1)[0]
    without = make("minillm plain loop", w).step(batch)
    with_half = make(peer, replace(w, config=replace(w.config, dropout=0.5))).step(batch)
    assert 1e-4 < abs(with_half - without) < 1


def test_losses_that_differ_are_noticed() -> None:
    assert training.gap({"a": [2.0, 1.0], "b": [2.0, 1.5], "c": [2.0, 1.2]}) == 0.5
    assert np.isnan(training.gap({"a": [2.0, 1.0], "b": [2.0, float("nan")]}))


def test_a_run_in_two_processes_takes_turns_and_compares_losses() -> None:
    peers = ["minillm Trainer", "minillm plain loop"]
    result = training.time_steps("XS17", peers, "installed", dropout=0.0, seconds=0.0, rounds=2)
    assert set(result["ms"]) == set(result["peak_mb"]) == set(peers)
    assert 0 <= result["loss_gap"] <= 1e-5
    assert all(0 < result["loaded_mb"][p] <= result["peak_mb"][p] for p in peers if result["peak_mb"][p] is not None)
    assert all(0 < ms["low"] <= ms["median"] <= ms["high"] and ms["ratio"] is None for ms in result["ms"].values())


def test_generation_is_timed_with_the_threads_that_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating.importlib.util, "find_spec", lambda name: None)  # PyTorch starts slowly
    case = generating.time_tokens("XS17", "installed", seconds=0.0, rounds=1, batches=(2,))["cases"][0]
    assert case["same"] == 1 and case["minillm"]["median"] > 0 and case["minillm"]["ratio"] is None
    assert 1 <= case["minillm"]["threads"] <= os.cpu_count()


def test_slow_peers_are_timed_at_s_without_dropout_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(PEERS["MyGrad"]), "lacks", lambda entry: "a part" if entry.library == "jax" else "")
    everybody = list(PEERS)
    assert set(training.taking_part("S65", everybody, 0.0)) == set(everybody) - {"JAX jit"}
    assert "MyGrad" not in training.taking_part("S65", everybody, 0.1)
    assert "HIPS autograd" not in training.taking_part("M65", everybody, 0.0)
    assert left_out(everybody) == {"JAX jit": "a part"}


def test_flops_are_six_for_each_weight_and_token_and_half_the_square_of_attention() -> None:
    w = workload("S65")
    weights = 4 * (4 + 8) * 128 * 128 + 65 * 128
    one_way = 4 * 2 * 64 * 64 * 128 / 2  # multiplications of q k^T and P v of one text, all layers, half of them hidden
    assert w.flops() == 6 * (12 * 64 * weights + 12 * one_way)
    assert workload("M8192").tokens == 2048


@pytest.mark.parametrize("name", ["S", "65", "L65", "s65", ""])
def test_an_unknown_workload_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of XS, S, M and a vocabulary"):
        workload(name)


def test_a_process_that_ends_is_named() -> None:
    arguments = {"name": "XS17", "peer": "nobody", "dropout": 0.0}
    served = Process("tests.bench.training:trainer", dict(os.environ), **arguments)
    with served, pytest.raises(RuntimeError, match=r"training:trainer .*'peer': 'nobody'.* ended with status 1"):
        served.ask(1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of another process")
def test_memory_of_other_processes_is_added() -> None:
    memory = mmap.mmap(-1, 50_000_000)  # which processes can share
    memory.write(bytes(50_000_000))
    alone, twice = process.peak_mb(), process.peak_mb([os.getpid()])
    assert alone is not None and twice is not None
    assert alone < twice < 2 * alone - 49, "what both map counts once"
    memory.close()
    assert process.peak_mb([2**30]) is None


def test_a_process_has_the_environment_it_was_given() -> None:
    assert once("os:getenv", {**os.environ, "BENCH_SAYS": "hello"}, key="BENCH_SAYS") == "hello"
