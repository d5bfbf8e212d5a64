"""Datasets, samplers and the loader: every row once, in PyTorch's batches."""

from __future__ import annotations

import math
from collections import Counter, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")


class Squares(Dataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[int, float]:
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i, i * 0.5


class Stream(IterableDataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))


def seeded(seed: int) -> minillm.Generator:
    return minillm.Generator().manual_seed(seed)


# --- order -----------------------------------------------------------------------------------------------------------
@given(st.integers(0, 20), st.integers(1, 7), st.booleans())
def test_batches_are_pytorchs(n: int, batch_size: int, drop_last: bool) -> None:
    ours = DataLoader(Squares(n), batch_size, drop_last=drop_last)
    theirs = torch.utils.data.DataLoader(Squares(n), batch_size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.tolist() == y.tolist() and str(x.dtype) == str(y.dtype).removeprefix("torch.")
    stream = [b.tolist() for b in DataLoader(Stream(n), batch_size, drop_last=drop_last)]

    class TheirStream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[int]:
            return iter(range(n))

    assert stream == [b.tolist() for b in torch.utils.data.DataLoader(TheirStream(), batch_size, drop_last=drop_last)]


@given(st.integers(0, 20), st.integers(0, 99))
def test_shuffling_takes_every_row_once_and_follows_the_seed(n: int, seed: int) -> None:
    loader = DataLoader(Squares(n), 3, shuffle=True, generator=seeded(seed))
    first = [i for rows, _ in loader for i in rows.tolist()]
    second = [i for rows, _ in loader for i in rows.tolist()]
    assert sorted(first) == sorted(second) == list(range(n))
    assert n < 12 or first != second  # every epoch has an order of its own
    again = DataLoader(Squares(n), 3, shuffle=True, generator=seeded(seed))
    assert first == [i for rows, _ in again for i in rows.tolist()]


def test_every_order_is_as_likely() -> None:
    sampler = RandomSampler(range(3), generator=seeded(1))
    counts = Counter(tuple(sampler) for _ in range(3000))
    assert len(counts) == 6
    assert sum((n - 500) ** 2 / 500 for n in counts.values()) < 20.5  # chi-square, 5 degrees of freedom: 1 in 1,000


@given(st.integers(1, 10), st.integers(0, 25), st.booleans())
def test_random_samplers_give_as_many_as_asked(n: int, wanted: int, replacement: bool) -> None:
    drawn = list(RandomSampler(range(n), replacement, wanted, seeded(0)))
    assert len(drawn) == wanted and set(drawn) <= set(range(n))
    if not replacement and wanted:
        assert max(Counter(drawn).values()) <= math.ceil(wanted / n)


def test_other_samplers() -> None:
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert sorted(SubsetRandomSampler([5, 7, 9], seeded(0))) == [5, 7, 9]
    assert list(BatchSampler(range(5), 2, drop_last=False)) == [[0, 1], [2, 3], [4]]
    assert len(BatchSampler(range(5), 2, drop_last=True)) == 2
    counts = Counter(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded(0)))
    assert counts[0] == 0 and abs(counts[2] - 3000) < 5 * math.sqrt(750)
    assert sorted(WeightedRandomSampler(minillm.tensor([1.0, 2.0, 0.1]), 3, False, seeded(0))) == [0, 1, 2]


# --- datasets --------------------------------------------------------------------------------------------------------
def test_rows_of_tensors() -> None:
    x, y = minillm.arange(6).reshape(3, 2), minillm.tensor([7, 8, 9])
    data = TensorDataset(x, y)
    assert len(data) == 3 and [t.tolist() for t in data[1]] == [[2, 3], 8]
    with pytest.raises(ValueError, match=r"one length, got \[3, 2\]"):
        TensorDataset(x, y[:2])


def test_joined_and_partial_datasets() -> None:
    both = ConcatDataset([Squares(2), Squares(0), Squares(3)])
    assert [both[i][0] for i in range(5)] == [0, 1, 0, 1, 2] and both[-1][0] == 2 and len(both) == 5
    assert len(Squares(2) + Squares(2)) == 4
    for index in (5, -6):
        with pytest.raises(IndexError, match="out of range for 5 rows"):
            both[index]
    assert [Subset(Squares(9), [4, 2])[i][0] for i in range(2)] == [4, 2]
    for base, call in ((Dataset(), lambda d: d[0]), (IterableDataset(), iter)):
        with pytest.raises(NotImplementedError, match="must define"):
            call(base)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 9))
def test_a_split_loses_nothing(lengths: list[int], seed: int) -> None:
    parts = random_split(range(sum(lengths)), lengths, seeded(seed))
    assert [len(p) for p in parts] == lengths
    assert sorted(i for p in parts for i in p.indices) == list(range(sum(lengths)))
    assert [[p[k] for k in range(len(p))] for p in parts] == [p.indices for p in parts]  # each row of range is itself


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.3, 0.3, 0.4], [0.9, 0.1], [1.0]])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 10])
def test_shares_are_rounded_as_in_pytorch(shares: list[float], n: int) -> None:
    if n == 0 and len(shares) == 1:
        return  # PyTorch warns about an empty part
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.utils.data.random_split(range(n), shares)
    assert [len(p) for p in random_split(range(n), shares)] == [len(p) for p in theirs]


def test_a_split_must_add_up() -> None:
    with pytest.raises(ValueError, match="sum to 5, the dataset has 6 rows"):
        random_split(range(6), [2, 3])


# --- batches ---------------------------------------------------------------------------------------------------------
Pair = namedtuple("Pair", "a b")
ROWS: list[list[Any]] = [
    [1, 2], [1.5, 2.5], [True, False], ["a", "b"], [b"a", b"b"], [(1, 2.0), (3, 4.0)], [[1], [2]],
    [{"x": 1, "y": [2]}, {"x": 3, "y": [4]}], [Pair(1, 2), Pair(3, 4)], [np.float32(1), np.float32(2)],
    [np.arange(3), np.arange(3)], [1, 2.5], [True, 2],
]  # fmt: skip


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_collating_is_pytorchs(rows: list[Any]) -> None:
    def plain(x: Any) -> Any:
        if hasattr(x, "tolist"):
            return str(x.dtype).removeprefix("torch."), x.tolist()
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return type(x).__name__, [plain(v) for v in x]
        return x

    assert plain(default_collate(rows)) == plain(torch.utils.data.default_collate(rows))


def test_what_cannot_be_collated_and_what_can_be_left_alone() -> None:
    with pytest.raises(TypeError, match="expected tensors, arrays"):
        default_collate([object(), object()])
    assert list(DataLoader(Squares(2), batch_size=None)) == [(0, 0.0), (1, 0.5)]
    assert list(DataLoader(Squares(3), 2, collate_fn=len)) == [2, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": [0], "shuffle": True}, "either sampler or shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_size": 0}, "batch_size: expected a positive"),
        ({"batch_size": 2.5}, "batch_size: expected a positive"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None makes no batches"),
        ({"num_workers": -1}, "num_workers of 0 or more"),
    ],
    ids=str,
)
def test_settings_that_exclude_each_other(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataLoader(Squares(3), **options)
    with pytest.raises(ValueError, match="takes no shuffle"):
        DataLoader(Stream(3), shuffle=True)


def test_single_rows_are_tensors_where_they_were_arrays() -> None:
    rows = [(np.arange(2), "a", {"x": np.float32(1)}, [np.ones(1)], Pair(1, np.ones(1)))]
    (ours,), (theirs,) = DataLoader(rows, batch_size=None), torch.utils.data.DataLoader(rows, batch_size=None)
    for a, b in [(ours[0], theirs[0]), (ours[2]["x"], theirs[2]["x"]), (ours[3][0], theirs[3][0])]:
        assert isinstance(a, minillm.Tensor) and a.tolist() == b.tolist() and str(b.dtype) == f"torch.{a.dtype}"
    assert ours[1] == "a" and ours[4].a == 1 and ours[4].b.tolist() == [1.0]


def test_a_subset_hands_a_list_of_rows_on() -> None:
    assert Subset(TensorDataset(minillm.arange(5)), [1, 3])[[1, 0]][0].tolist() == [3, 1]
    with pytest.raises(ValueError, match="at least one dataset"):
        ConcatDataset([])


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows of one length, got \[1, 2\]; pad them"):
        default_collate([[1], [1, 2]])
