"""A stream is a function of seed and name, and of nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets import stream

names = st.lists(st.one_of(st.text(max_size=8), st.integers(-(2**70), 2**70)), max_size=3)


@given(st.integers(0, 2**80), names)
def test_same_seed_and_names_give_the_same_numbers(seed: int, key: list[str | int]) -> None:
    assert (stream(seed, *key).random(4) == stream(seed, *key).random(4)).all()


@given(st.integers(0, 100), names, names)
def test_different_names_give_different_numbers(seed: int, one: list[str | int], two: list[str | int]) -> None:
    same = [(type(a), a) for a in one] == [(type(b), b) for b in two]
    assert (stream(seed, *one).random(4) == stream(seed, *two).random(4)).all() == same


def test_numbers_are_uniform_and_streams_uncorrelated() -> None:
    table = np.stack([stream(0, "shuffle", epoch).random(4000) for epoch in range(20)])
    assert abs(table.mean() - 0.5) < 0.01
    correlation = np.corrcoef(table) - np.eye(20)
    assert abs(correlation).max() < 0.08


def test_another_process_sees_the_same_stream() -> None:
    code = "from minillm.datasets import stream; print(stream(7, 'shuffle', 3).integers(10**9))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == stream(7, "shuffle", 3).integers(10**9)


def test_numpy_integers_are_integers() -> None:
    assert stream(np.int64(3), "a", np.int32(4)).random() == stream(3, "a", 4).random()


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    stream(0, "x").random(10)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_bad_seed_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        stream(seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [1.5, None, True, ("a",)])
def test_bad_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="a name must be"):
        stream(0, name)  # type: ignore[arg-type]
