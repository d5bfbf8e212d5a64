"""Windows cover the text as they promise; order and windows are functions of seed and position."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets import IGNORE_INDEX, batches, epoch_order, pad_batch, random_windows, sequential_windows


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 30), st.integers(0, 5), st.integers(0, 10**9))
def test_random_windows_are_windows_and_repeat(block: int, batch: int, extra: int, seed: int, step: int) -> None:
    tokens = np.arange(100, 100 + block + 1 + extra, dtype=np.uint16)
    x, y = random_windows(tokens, block, batch, seed=seed, step=step)
    assert x.shape == y.shape == (batch, block) and x.dtype == y.dtype == np.int64
    assert (y == x + 1).all() and (np.diff(x, axis=1) == 1).all()
    assert x.min() >= 100 and y.max() < 100 + len(tokens)
    again = random_windows(tokens, block, batch, seed=seed, step=step)
    assert (x == again[0]).all() and (y == again[1]).all()


def test_random_windows_reach_the_first_and_the_last_token() -> None:
    tokens = np.arange(6)
    seen = [random_windows(tokens, 3, 4, seed=0, step=step) for step in range(50)]
    assert {int(x[0]) for batch, _ in seen for x in batch} == {0, 1, 2}
    assert max(y.max() for _, y in seen) == 5


def test_random_windows_differ_from_step_to_step_and_seed_to_seed() -> None:
    tokens = np.arange(10_000)
    first = random_windows(tokens, 4, 8, seed=0, step=0)[0]
    assert (first != random_windows(tokens, 4, 8, seed=0, step=1)[0]).any()
    assert (first != random_windows(tokens, 4, 8, seed=1, step=0)[0]).any()


def test_random_windows_read_a_memory_map(tmp_path) -> None:
    path = tmp_path / "tokens.bin"
    np.arange(1000, dtype=np.uint16).tofile(path)
    tokens = np.memmap(path, dtype=np.uint16, mode="r")
    x, _ = random_windows(tokens, 16, 3, seed=0, step=0)
    assert (x == random_windows(np.arange(1000), 16, 3, seed=0, step=0)[0]).all()


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 4), st.data())
def test_each_token_but_the_first_is_a_target_exactly_once(n: int, block: int, batch: int, data: st.DataObject) -> None:
    stride = data.draw(st.none() | st.integers(1, block))
    tokens = np.random.default_rng(0).permutation(n) + 1000
    seen = []
    for x, y in sequential_windows(tokens, block, batch, stride=stride, pad_id=-7):
        assert x.shape == y.shape and x.shape[1] == block and 1 <= len(x) <= batch
        for row_x, row_y in zip(x, y, strict=True):
            real = row_x != -7
            place = int(np.flatnonzero(tokens == row_x[0])[0])
            assert (row_x[real] == tokens[place : place + real.sum()]).all()  # the window is a piece of the text
            counted = row_y != IGNORE_INDEX
            assert not (counted & ~real).any()
            for t in np.flatnonzero(counted):
                assert row_y[t] == tokens[place + t + 1]
                if stride is not None and place > 0:
                    assert t >= block - stride  # the context that the stride promises
            seen += row_y[counted].tolist()
    assert sorted(seen) == sorted(tokens[1:].tolist())


def test_epoch_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    for n in (0, 1, 2, 50):
        for seed, epoch in ((0, 0), (3, 9)):
            order = epoch_order(n, seed, epoch)
            assert sorted(order.tolist()) == list(range(n))
            assert (order == epoch_order(n, seed, epoch)).all()
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 30), st.integers(0, 5), st.booleans(), st.booleans())
def test_batches_resume_where_they_stopped(n: int, size: int, k: int, seed: int, shuffle: bool, drop: bool) -> None:
    if drop and size > n:
        with pytest.raises(ValueError, match="larger than the"):
            batches(n, size, drop_last=True)
        return
    options = {"seed": seed, "shuffle": shuffle, "drop_last": drop}
    whole = list(islice(batches(n, size, **options), k + 10))
    rest = list(islice(batches(n, size, step=k, **options), 10))
    for one, two in zip(whole[k:], rest, strict=True):
        assert one.step == two.step and one.epoch == two.epoch and (one.indices == two.indices).all()
    assert [batch.step for batch in whole] == list(range(k + 10))


@given(st.integers(1, 20), st.integers(1, 8), st.booleans())
def test_an_epoch_visits_every_example_once(n: int, size: int, shuffle: bool) -> None:
    found = list(batches(n, size, seed=3, epochs=2, shuffle=shuffle))
    for epoch in (0, 1):
        visited = np.concatenate([batch.indices for batch in found if batch.epoch == epoch])
        assert sorted(visited.tolist()) == list(range(n))
        if not shuffle:
            assert visited.tolist() == list(range(n))
    assert all(1 <= len(batch.indices) <= size for batch in found)


def test_drop_last_keeps_full_batches_only() -> None:
    assert [len(batch.indices) for batch in batches(7, 3, epochs=2, drop_last=True)] == [3, 3, 3, 3]


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=5), st.integers(0, 3))
def test_pad_batch_keeps_every_token(rows: list[list[int]], more: int) -> None:
    width = max(map(len, rows)) + more
    ids, mask = pad_batch(rows, pad_id=0, length=width)
    assert ids.shape == mask.shape == (len(rows), width) and ids.dtype == np.int64 and mask.dtype == bool
    assert [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)] == rows
    assert (ids[~mask] == 0).all()
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()  # padding stands on the right


def test_pad_batch_cuts_only_when_asked() -> None:
    with pytest.raises(ValueError, match="3 tokens is longer than length 2"):
        pad_batch([[1, 2, 3]], pad_id=0, length=2)
    assert pad_batch([[1, 2, 3]], pad_id=0, length=2, truncate=True)[0].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (
            lambda: random_windows(range(4), 4, 1, seed=0, step=0),
            "4 tokens are too few for block_size 4, which needs 5",
        ),
        (lambda: random_windows(range(9), 0, 1, seed=0, step=0), "block_size must be >= 1, got 0"),
        (lambda: random_windows(range(9), 2, 0, seed=0, step=0), "batch_size must be >= 1, got 0"),
        (lambda: random_windows([0.5, 1.5], 1, 1, seed=0, step=0), "one row of integers"),
        (lambda: random_windows([[1, 2], [3, 4]], 1, 1, seed=0, step=0), "one row of integers"),
        (lambda: sequential_windows([1], 4, 1), "nothing to predict"),
        (lambda: sequential_windows([1, 2, 3], 4, 1, stride=5), "stride must be 1 to block_size"),
        (lambda: sequential_windows([1, 2, 3], 4, 0), "batch_size must be >= 1"),
        (lambda: epoch_order(-1, 0, 0), "n must be >= 0"),
        (lambda: batches(0, 1), "need n >= 1"),
        (lambda: batches(3, 1, step=-1), "need n >= 1"),
        (lambda: pad_batch([], pad_id=0), "no sequence in the batch"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(call, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        call()


def test_unsigned_tokens_are_padded_with_the_ignored_target():
    ((_, y),) = sequential_windows(np.array([1, 2, 3], dtype=np.uint16), block_size=4, batch_size=8)
    assert y.tolist() == [[2, 3, IGNORE_INDEX, IGNORE_INDEX]]
