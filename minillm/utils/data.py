"""Datasets, samplers and the loader that makes batches of them, with PyTorch's names."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minillm import ops
from minillm.backend.random import Generator, default_generator
from minillm.tensor import Tensor

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]


class Dataset:
    """Base of datasets: a subclass defines ``__len__`` and ``__getitem__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Base of datasets that are only read from front to back: a subclass defines ``__iter__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class TensorDataset(Dataset):
    """Tensors of the same length, read row by row.

    Raises:
        ValueError: if the lengths differ.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if len({len(t) for t in tensors}) > 1:
            raise ValueError(f"TensorDataset: expected tensors of one length, got {[len(t) for t in tensors]}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """Some rows of a dataset."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """Several datasets one after another.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one dataset, got none")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} rows")
        index %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Split a dataset into parts of the given lengths, or shares that sum to 1, at random.

    Raises:
        ValueError: if the lengths do not sum to the length of the dataset.
    """
    n = len(dataset)
    if math.isclose(sum(lengths), 1) and all(0 <= share <= 1 for share in lengths):
        sizes = [math.floor(n * share) for share in lengths]
        for i in range(n - sum(sizes)):  # what rounding left over goes round, as in PyTorch
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(length) for length in lengths]
    if sum(sizes) != n:
        raise ValueError(f"random_split: the lengths sum to {sum(sizes)}, the dataset has {n} rows")
    order = (generator or default_generator).stream("shuffle").permutation(n).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


class Sampler:
    """Base of samplers: an iterable of row numbers."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Every row once in random order, or ``num_samples`` draws with ``replacement``."""

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self.num_samples = len(data_source) if num_samples is None else num_samples

    def __iter__(self) -> Iterator[int]:
        draw = (self.generator or default_generator).stream("shuffle")
        n = len(self.data_source)
        if self.replacement:
            yield from draw.integers(n, size=self.num_samples).tolist()
            return
        left = self.num_samples
        while left > 0 and n:
            yield from draw.permutation(n)[:left].tolist()
            left -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given rows once each, in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        order = (self.generator or default_generator).stream("shuffle").permutation(len(self.indices))
        return (self.indices[i] for i in order.tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Rows drawn with probabilities in proportion to ``weights``."""

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        self.weights = np.asarray(weights.tolist() if isinstance(weights, Tensor) else weights, dtype=np.float64)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        draw = (self.generator or default_generator).stream("shuffle")
        p = self.weights / self.weights.sum()
        return iter(draw.choice(len(p), size=self.num_samples, replace=self.replacement, p=p).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of ``batch_size`` row numbers; the last may be shorter unless ``drop_last``."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size: expected a positive integer, got {batch_size}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        rows = iter(self.sampler)
        while batch := list(itertools.islice(rows, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack a list of rows into one batch: tensors and arrays are stacked, numbers become a tensor, structures stay.

    Raises:
        TypeError: for rows of another kind.
        ValueError: for sequences of different lengths.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return ops.stack(list(batch))
    if isinstance(first, np.ndarray):
        return ops.tensor(np.stack(list(batch)))
    if isinstance(first, (float, np.generic)):
        # Trap: a Python float is float64 here, as in PyTorch's loader, not the default type.
        return ops.tensor(np.asarray(list(batch)))
    if isinstance(first, int):
        return ops.tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([row[key] for row in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(column) for column in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        lengths = sorted({len(row) for row in batch})
        if len(lengths) > 1:
            raise ValueError(f"default_collate: expected rows of one length, got {lengths[:5]}; pad them first")
        return [default_collate(column) for column in zip(*batch, strict=True)]
    raise TypeError(
        f"default_collate: expected tensors, arrays, numbers, strings, dicts or sequences, got {type(first)}"
    )


class DataLoader:
    """Batches of a dataset.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``, or an IterableDataset.
        batch_size: rows a batch; ``None`` gives single rows, with arrays as tensors.
        shuffle: a new random order every time the loader is iterated over.
        sampler: where row numbers come from, instead of ``shuffle``.
        batch_sampler: where lists of row numbers come from, instead of ``batch_size``, ``shuffle``, ``sampler`` and
            ``drop_last``.
        num_workers: accepted for PyTorch's sake; rows are always read in this process.
        collate_fn: makes a batch of a list of rows.
        pin_memory, timeout, worker_init_fn, prefetch_factor, persistent_workers: accepted and without effect.
        drop_last: leave out a last, shorter batch.
        generator: where the order is drawn from.

    Raises:
        ValueError: for settings that exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Any = None,
        *,
        generator: Generator | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        iterable = isinstance(dataset, IterableDataset)
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: give either sampler or shuffle=True, not both")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        if batch_size is None and drop_last:
            raise ValueError("DataLoader: batch_size=None makes no batches, so drop_last has none to leave out")
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader: an IterableDataset has no row numbers, so it takes no shuffle and no sampler")
        if num_workers < 0:
            raise ValueError(f"DataLoader: expected num_workers of 0 or more, got {num_workers}")
        self.dataset, self.batch_size, self.drop_last, self.num_workers = dataset, batch_size, drop_last, num_workers
        self.generator = generator
        self.collate_fn = collate_fn or (
            default_collate if batch_size is not None or batch_sampler is not None else _as_tensors
        )
        if sampler is None and not iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and not iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is not None:
            for rows in self.batch_sampler:
                yield self.collate_fn([self.dataset[i] for i in rows])
        elif self.sampler is not None:
            for i in self.sampler:
                yield self.collate_fn(self.dataset[i])
        elif self.batch_size is None:
            yield from map(self.collate_fn, self.dataset)
        else:
            rows = iter(self.dataset)
            while batch := list(itertools.islice(rows, self.batch_size)):
                if len(batch) == self.batch_size or not self.drop_last:
                    yield self.collate_fn(batch)

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if self.sampler is not None:
            return len(self.sampler)
        n = len(self.dataset)  # an IterableDataset that knows its length
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)


def _as_tensors(row: Any) -> Any:
    """Return a single row with the arrays in it as tensors."""
    if isinstance(row, (np.ndarray, np.generic)) and row.dtype.kind in "biuf":
        return ops.as_tensor(row)
    if isinstance(row, Mapping):
        return {key: _as_tensors(value) for key, value in row.items()}
    if isinstance(row, tuple):
        parts = map(_as_tensors, row)
        return type(row)(*parts) if hasattr(row, "_fields") else tuple(parts)
    return list(map(_as_tensors, row)) if isinstance(row, list) else row
