"""Several threads train one model: each does the forward and backward pass of its share of a batch.

A chain of NumPy calls leaves one core idle whenever BLAS is not at work. Two threads with one BLAS thread each keep
both busy. All of them see the same weights (their models are copies that share the parameters' memory), each
collects its own gradients, and the sum of the shares, in a fixed order, is the gradient of the batch.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minillm.autograd import detect_anomaly, is_anomaly_enabled
from minillm.backend.random import lane
from minillm.nn.parameter import Parameter

__all__ = ["Workers", "default_workers", "split_rows"]


def default_workers() -> int:
    """Return how many threads pay: one a core, at most 4."""
    # why 4: the windows of a small batch are few. Measured on two cores only; where there are many more, compare with
    # workers=1, which leaves all of them to BLAS.
    return max(1, min(4, os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1))


def split_rows(batch: Sequence[np.ndarray], n: int) -> list[tuple[np.ndarray, ...]]:
    """Cut the arrays of a batch along their first axis into n shares; shares without rows are left out.

    >>> [x.tolist() for x, in split_rows((np.arange(5),), 2)]
    [[0, 1, 2], [3, 4]]
    """
    parts = [np.array_split(array, n) for array in batch]
    return [share for share in zip(*parts, strict=True) if len(share[0])]


def replica(model: Any) -> Any:
    """Return a copy of a model that shares the memory of its parameters and buffers, but not the gradients."""
    memo: dict[int, Any] = {}
    for p in model.parameters():
        memo[id(p)] = twin = Parameter(p.detach(), p.requires_grad)
        twin._version = p._version
    for b in model.buffers():
        memo[id(b)] = b
    return copy.deepcopy(model, memo)


class Workers:
    """Threads that compute gradients together.

    Args:
        model: the model that is trained.
        task: says how a batch is split (``split``) and what the loss of a share is.
        count: how many threads; 1 computes in this thread alone.
    """

    def __init__(self, model: Any, task: Any, count: int) -> None:
        self.task = task
        self.models = [model, *(replica(model) for _ in range(count - 1))]
        self._pool: ThreadPoolExecutor | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the threads live."""
        if len(self.models) == 1 or self._pool is not None:
            yield
            return
        with ThreadPoolExecutor(len(self.models) - 1, "minillm") as self._pool:
            try:
                yield
            finally:
                self._pool = None

    def gradients(self, batches: Sequence[Any], counts: Sequence[int]) -> float:
        """Put the gradient of the mean loss over all predictions of some batches into ``.grad``; return that loss.

        Args:
            batches: micro-batches, each split among the threads.
            counts: the number of predictions of each; one without any is left out.
        """
        total = sum(counts)
        used = [b for b, n in zip(batches, counts, strict=True) if n]
        if self._pool is None:
            return self._backward(0, used, total)
        self._follow()
        shares = [self.task.split(batch, len(self.models)) for batch in used]
        mine = [[s[i] for s in shares if i < len(s)] for i in range(len(self.models))]
        with single_blas_thread():
            means = self.map(lambda i: self._backward(i, mine[i], total), range(len(self.models)))
        self._add_up()
        return sum(means)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return the function's results for each item, one thread an item; the first is done by this thread."""
        if self._pool is None:
            return [function(item) for item in items]
        anomaly = is_anomaly_enabled()

        def run(item: Any) -> Any:
            with detect_anomaly() if anomaly else contextlib.nullcontext():
                return function(item)

        waiting = [self._pool.submit(run, item) for item in items[1:]]
        try:
            first = [function(item) for item in items[:1]]
        finally:
            done = [w.exception() for w in waiting]  # nobody works on when this returns
        for error in done:
            if error is not None:
                raise error
        return [*first, *(w.result() for w in waiting)]

    def spread(self, function: Callable[[Any], None], items: Sequence[tuple[Any, Any]]) -> None:
        """Call a function for each (parameter, more), every thread for about as many numbers."""
        parts: list[list[Any]] = [[] for _ in self.models]
        sizes = [0] * len(parts)
        for item in sorted(items, key=lambda item: -item[0].numel()):
            lightest = sizes.index(min(sizes))
            parts[lightest].append(item)
            sizes[lightest] += item[0].numel()

        def work(part: list[Any]) -> None:
            for item in part:
                function(item)

        self.map(work, parts)

    def _backward(self, worker: int, batches: Sequence[Any], total: int) -> float:
        model, mean = self.models[worker], 0.0
        with lane(worker):
            for batch in batches:
                n = self.task.count(batch)
                if n:
                    # Weighted by the number of predictions: the mean over all of them, not the mean of means.
                    loss = self.task.loss(model, batch) * (n / total)
                    loss.backward()
                    mean += loss.item()
        return mean

    def _follow(self) -> None:
        """Let the copies follow what the owner of the model did to it between two steps."""
        original = self.models[0]
        for copied in self.models[1:]:
            copied.train(original.training)
            for p, twin in zip(original.parameters(), copied.parameters(), strict=True):
                twin.array, twin.requires_grad, twin.grad = p.array, p.requires_grad, None

    def _add_up(self) -> None:
        """Add the gradients of all threads into the model's own, each thread a part of the parameters."""
        groups = list(zip(*(list(m.parameters()) for m in self.models), strict=True))

        def add(part: int) -> None:
            for p, *twins in groups[part :: len(self.models)]:
                for twin in twins:
                    if twin.grad is not None:
                        if p.grad is None:
                            p.grad = twin.grad
                        else:
                            p.grad.array += twin.grad.array

        self.map(add, range(len(self.models)))


@functools.cache
def _thread_pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through all loaded libraries, which takes milliseconds: once is enough


def single_blas_thread() -> contextlib.AbstractContextManager:
    """Inside, every matrix product runs in the thread that asks for it."""
    return _thread_pools().limit(limits=1, user_api="blas")
