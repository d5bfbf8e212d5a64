"""Several workers train one model: each does the forward and backward pass of its share of a batch.

A chain of NumPy calls leaves one core idle whenever BLAS is not at work. Two workers with one BLAS thread each keep
both busy. All of them see the same weights (their models are copies that share the parameters' memory), each
collects its own gradients, and the sum of the shares, in a fixed order, is the gradient of the batch.

Workers are threads at first; ``start_processes`` makes them processes, where a run is long enough to pay for it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm import ops
from minillm.amp import autocast
from minillm.autograd import detect_anomaly, is_anomaly_enabled
from minillm.backend.device import bfloat16, float16
from minillm.backend.random import lane
from minillm.backend.threads import alone, single_blas_thread
from minillm.cuda import graphed
from minillm.nn.parameter import Parameter
from minillm.optim.optimizer import SHARE_FROM
from minillm.tensor import Tensor
from minillm.training.blocks import Blocks
from minillm.training.processes import Process, SharedBlock, in_order

__all__ = ["Workers", "default_workers", "share_of_gradients", "split_rows"]

THREAD_NAMES = "minillm-worker"


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


@dataclass(frozen=True)
class Step:
    """What every worker knows of a step.

    Attributes:
        total: predictions of all workers, of whose losses the mean is taken.
        precision: of matrix products: "float32", "bfloat16" or "float16".
        scale: what the gradient, but not the loss that is returned, is multiplied by.
    """

    total: int
    precision: str = "float32"
    scale: float = 1.0

    def low_precision(self) -> Any:
        """Return the 16-bit type, ``None`` for float32.

        Raises:
            RuntimeError: for bfloat16 without the package ml_dtypes.
        """
        return {"float32": lambda: None, "bfloat16": bfloat16, "float16": lambda: float16}[self.precision]()


class Workers:
    """Threads that compute gradients together.

    Args:
        model: the model that is trained.
        task: says how a batch is split (``split``) and what the loss of a share is.
        count: how many threads; 1 computes in this thread alone.
        precision: of matrix products, see ``Step``.

    Raises:
        RuntimeError: for bfloat16 without the package ml_dtypes.
    """

    def __init__(self, model: Any, task: Any, count: int, precision: str = "float32") -> None:
        Step(0, precision).low_precision()
        self.task, self.precision = task, precision
        self.models = [model, *(replica(model) for _ in range(count - 1))]
        self._pool: ThreadPoolExecutor | None = None
        self._on_card: Any = None  # False if there is no card
        self.blocks: Blocks | None = None
        self._processes: list[Process] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the threads live; after Ctrl-C, until each has finished what it is at."""
        if len(self.models) == 1 or self._pool is not None:
            yield
            return
        self._pool = ThreadPoolExecutor(len(self.models) - 1, THREAD_NAMES)
        self.blocks = Blocks.of(self.models[0])
        patient = True
        try:
            yield
        except KeyboardInterrupt:
            patient = False
            raise
        finally:
            self._pool.shutdown(wait=patient, cancel_futures=True)
            self._pool = None
            self._stop_processes()
            if self.blocks is not None:
                self.blocks.leave()
                self.blocks = None

    def start_processes(self) -> None:
        """Let processes take the place of the threads, as soon as they have started; the results stay the same.

        Nothing happens where that cannot be: outside ``running()``, on Windows, with a model that has buffers or
        parameters of several types, or with a model or task that cannot be sent to another process. Then threads go on.
        """
        model, blocks = self.models[0], self.blocks
        if self._processes or blocks is None or not isinstance(blocks.weights, SharedBlock) or any(model.buffers()):
            return
        blocks.gather()
        try:
            for i in range(1, len(self.models)):
                self._processes.append(Process(i, model, self.task, blocks.weights))
        except Exception:  # what cannot be pickled says so in many ways
            self._stop_processes()

    def _stop_processes(self) -> None:
        for process in self._processes:
            process.close()
        self._processes = []

    def gradients(self, batches: Sequence[Any], counts: Sequence[int], scale: float = 1.0) -> float | Tensor:
        """Put the gradient of the mean loss over all predictions of some batches into ``.grad``; return that loss.

        On a card it is returned as a tensor, for which nobody has waited.

        Args:
            batches: micro-batches, each split among the threads.
            counts: the number of predictions of each; one without any is left out.
            scale: what the gradient is multiplied by.
        """
        step = Step(sum(counts), self.precision, scale)
        used = [b for b, n in zip(batches, counts, strict=True) if n]
        if self._pool is None:
            if self._on_card is None:
                self._on_card = graphed_gradients(self.models[0], self.task, self.precision) or False
            return share_of_gradients(self.models[0], self.task, 0, used, step, self._on_card or None)
        shares = [self.task.split(batch, len(self.models)) for batch in used]
        mine = [[s[i] for s in shares if i < len(s)] for i in range(len(self.models))]
        if self.blocks is not None:
            self.blocks.gather()
        with single_blas_thread():
            return sum(self._with_processes(mine, step) or self._with_threads(mine, step))

    def _with_threads(self, mine: Sequence[Sequence[Any]], step: Step) -> list[float]:
        """Return the part of each worker in the mean loss; their gradients are added up."""
        self._follow()
        means = self.map(
            lambda i: share_of_gradients(self.models[i], self.task, i, mine[i], step), range(len(self.models))
        )
        self._add_up([_gradients(m) for m in self.models[1:]])
        return means

    def _with_processes(self, mine: Sequence[Sequence[Any]], step: Step) -> list[float] | None:
        """Do the same, each worker in its own process; ``None`` if the processes are not there (any more)."""
        try:
            if not self._processes or not all(p.is_ready() for p in self._processes):
                return None
        except (RuntimeError, EOFError, ConnectionError):  # a class that only the first process has, for example
            self._stop_processes()
            return None
        means, gradients, lost = [0.0] * len(mine), [], []
        error: Exception | None = None
        try:
            for process, share in zip(self._processes, mine[1:], strict=True):
                process.begin(share, step, self.models[0])
        except Exception:  # a batch that cannot be sent; nothing was drawn for it here
            self._stop_processes()
            return None
        try:
            with alone():
                means[0] = share_of_gradients(self.models[0], self.task, 0, mine[0], step)
        except Exception as raised:  # Ctrl-C is none: it waits for nobody
            error = raised
        for process in self._processes:  # all of them, so that none has an answer left for the next step
            try:
                means[process.number], found = process.result()
                gradients.append(found)
            except (EOFError, ConnectionError):
                lost.append(process.number)
            except Exception as raised:
                error = error or raised
        if error is not None:
            raise error
        if lost:
            warnings.warn("a process that trained along has ended; threads take its place", stacklevel=5)
            self._stop_processes()
            self._follow()
            for i in lost:
                means[i] = share_of_gradients(self.models[i], self.task, i, mine[i], step)
                gradients.append(_gradients(self.models[i]))
        self._add_up(gradients)
        return means

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return the function's results for each item, one thread an item; the first is done by this thread."""
        if self._pool is None:
            return [function(item) for item in items]
        anomaly = is_anomaly_enabled()

        def run(item: Any) -> Any:
            with alone(), detect_anomaly() if anomaly else contextlib.nullcontext():
                return function(item)

        waiting = [self._pool.submit(run, item) for item in items[1:]]
        try:
            first = [run(item) for item in items[:1]]
        except Exception:  # nobody works on when this returns, but for Ctrl-C, which waits for nobody
            wait(waiting)
            raise
        done = [w.exception() for w in waiting]
        for error in done:
            if error is not None:
                raise error
        return [*first, *(w.result() for w in waiting)]

    def spread(self, jobs: Sequence[tuple[int, Callable[[], None]]]) -> None:
        """Do jobs, given with their sizes; every thread gets about as much."""
        parts: list[list[Any]] = [[] for _ in self.models]
        sizes = [0] * len(parts)
        for size, job in sorted(jobs, key=lambda job: -job[0]):
            lightest = sizes.index(min(sizes))
            parts[lightest].append(job)
            sizes[lightest] += size

        def work(part: list[Any]) -> None:
            for job in part:
                job()

        self.map(work, parts)

    def stretch(self, params: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return weights and gradients of parameters as two flat arrays, if they lie side by side; see ``Blocks``."""
        return None if self.blocks is None else self.blocks.stretch(params)

    def as_one(self, params: Sequence[Any]) -> Sequence[Any]:
        """Return parameters as one, whose gradient is all of theirs, if they lie side by side; else themselves."""
        found = self.stretch(params) if params else None
        if found is None:
            return params
        one = Tensor._wrap(found[0])
        one.grad = Tensor._wrap(found[1])
        return [one]

    def _follow(self) -> None:
        """Let the copies follow what the owner of the model did to it between two steps."""
        original = self.models[0]
        for copied in self.models[1:]:
            copied.train(original.training)
            for p, twin in zip(original.parameters(), copied.parameters(), strict=True):
                twin.array, twin.requires_grad, twin.grad = p.array, p.requires_grad, None

    def _add_up(self, others: Sequence[Sequence[np.ndarray | None]]) -> None:
        """Add the gradients of the other workers to the model's own, each thread a part of the parameters."""
        model, own = self.models[0], None if self.blocks is None else self.blocks.gradients
        flats = [p.gradients.flat for p, found in zip(self._processes, others) if p.gradients.holds(found)]
        if own is not None and own.holds(_gradients(model)) and len(flats) == len(others):
            # All of them lie side by side: one call instead of one a parameter (0.8 million: 1.0 to 0.25 ms).
            self._add_flats(own.flat, flats)
            return
        parameters = in_order(model)
        places = [None] * len(parameters) if own is None else own.arrays
        groups = list(zip(parameters, places, *others, strict=True))

        def add(part: int) -> None:
            for p, place, *gradients in groups[part :: len(self.models)]:
                total = None if p.grad is None else p.grad.array
                for g in gradients:
                    if g is not None:
                        total = g if total is None else np.add(total, g, out=place)
                if total is not None and place is not None and total is not place:
                    place[...] = total
                    total = place
                p.grad = None if total is None else Tensor._wrap(total)

        self.map(add, range(len(self.models)))

    def _add_flats(self, total: np.ndarray, others: Sequence[np.ndarray]) -> None:
        parts = len(self.models) if total.size >= SHARE_FROM else 1
        edges = [total.size * i // parts for i in range(parts + 1)]

        def add(part: int) -> None:
            stretch = slice(edges[part], edges[part + 1])
            for other in others:
                np.add(total[stretch], other[stretch], out=total[stretch])

        self.map(add, range(parts))


def _gradients(model: Any) -> list[np.ndarray | None]:
    return [None if p.grad is None else p.grad.array for p in in_order(model)]


def share_of_gradients(
    model: Any, task: Any, worker: int, batches: Sequence[Any], step: Step, on_card: Callable[..., Any] | None = None
) -> Any:
    """Add the gradients of a worker's share to ``.grad``; return its part in the mean loss of all predictions.

    That is a number, or a tensor on a card: nobody waits for it here.

    Args:
        on_card: what ``graphed_gradients`` returned, to be used instead.
    """
    mean: Any = 0.0
    low = step.low_precision()
    device = next((p.device.type for p in model.parameters()), "cpu")
    # One region for all batches: weights are cast once a step.
    with lane(worker), autocast(device, low, enabled=low is not None):
        for batch in batches:
            n = task.count(batch)
            if n and on_card is not None and not _is_watched(model):
                arrays = (*batch, np.float32(n / step.total), np.float32(step.scale))
                mean = mean + on_card(*(ops.as_tensor(np.asarray(a), device=device) for a in arrays))
            elif n:
                # Weighted by the number of predictions: the mean over all of them, not the mean of means.
                loss = task.loss(model, batch) * (n / step.total)
                (loss if step.scale == 1 else loss * step.scale).backward()
                mean = mean + (loss.item() if device == "cpu" else loss.detach())
    return mean


def _is_watched(model: Any) -> bool:
    """Tell whether hooks want to see every step: a recording would call them no more."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()) or any(
        p._hooks for p in model.parameters()
    )


def graphed_gradients(model: Any, task: Any, precision: str) -> Callable[..., Any] | None:
    """Return a function that a card repeats as a whole, from the tensors of a batch, weight and scale to the loss.

    ``None`` if the model is not on a card, if it has buffers, which it may replace, or if the task does not say that
    tensors are as good as arrays to it.
    """
    parameters = list(model.parameters())
    own = next(cls for cls in type(task).__mro__ if "loss" in cls.__dict__)  # a subclass may have another loss
    on_card = bool(parameters) and parameters[0].device.type == "cuda"
    if not on_card or not own.__dict__.get("takes_tensors") or any(True for _ in model.buffers()):
        return None
    low = Step(0, precision).low_precision()

    def gradients(*given: Tensor) -> Tensor:
        *batch, weight, scale = given
        with autocast("cuda", low, enabled=low is not None):  # a recording casts the weights each time
            loss = task.loss(model, batch) * weight
        (loss * scale if precision == "float16" else loss).backward()
        return loss.detach()

    return graphed(gradients, parameters)
