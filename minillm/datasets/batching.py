"""Batches of token ids: random windows to train on, windows in order to evaluate on, padding, epochs.

Everything random here is a pure function of ``(seed, step)`` or ``(seed, epoch)``. So a run that stops at step k and
goes on later sees exactly the batches that it would have seen, and nothing but the step has to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .streams import stream

IGNORE_INDEX = -100  # the target that cross_entropy leaves out of the mean


def _tokens(tokens: object, block_size: int, caller: str) -> np.ndarray:
    """Check a stream of tokens, and that it is long enough for one window and the token after it."""
    ids = np.asarray(tokens)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"{caller}: tokens must be one row of integers, got shape {ids.shape} of {ids.dtype}")
    if block_size < 1:
        raise ValueError(f"{caller}: block_size must be >= 1, got {block_size}")
    return ids


def random_windows(
    tokens: Sequence[int] | np.ndarray, block_size: int, batch_size: int, *, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the batch of random windows that belongs to ``(seed, step)``, and the same windows one token later.

    ``x[b, t] = tokens[s_b + t]`` and ``y[b, t] = tokens[s_b + t + 1]`` with starts ``s_b`` drawn uniformly.

    Args:
        tokens: N token ids in one row; a memory map works, only the windows are read.
        block_size: tokens per window, T.
        batch_size: windows per batch, B.
        seed: the seed of the run.
        step: the number of the batch, from 0.

    Shape:
        x and y: (B, T), int64.

    Raises:
        ValueError: if there are fewer than block_size + 1 tokens.

    >>> x, y = random_windows(range(100), block_size=4, batch_size=2, seed=0, step=7)
    >>> bool((y == x + 1).all()), x.shape
    (True, (2, 4))
    """
    ids = _tokens(tokens, block_size, "random_windows")
    if len(ids) < block_size + 1:
        raise ValueError(
            f"random_windows: {len(ids)} tokens are too few for block_size {block_size}, which needs "
            f"{block_size + 1}; give more text or a smaller block_size"
        )
    if batch_size < 1:
        raise ValueError(f"random_windows: batch_size must be >= 1, got {batch_size}")
    starts = stream(seed, "windows", step).integers(len(ids) - block_size, size=batch_size)
    windows = ids[starts[:, None] + np.arange(block_size + 1)].astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def sequential_windows(
    tokens: Sequence[int] | np.ndarray,
    block_size: int,
    batch_size: int,
    *,
    stride: int | None = None,
    pad_id: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield windows in order so that every token but the first is a target exactly once.

    Targets that are padding, or that an earlier window has predicted already, are -100, which ``cross_entropy``
    ignores: the mean over all batches, weighted with the number of other targets, is the mean over the text.

    Args:
        tokens: N token ids in one row.
        block_size: tokens per window, T.
        batch_size: windows per batch, B; the last batch may hold fewer.
        stride: tokens from one window to the next, 1 to T; T when None. A smaller stride costs more windows and gives
            each target at least T - stride tokens of context (except near the start of the text).
        pad_id: the id written into ``x`` where the text has ended.

    Shape:
        x and y: (B, T), int64; the last batch (b, T) with 1 <= b <= B.

    Raises:
        ValueError: if there are fewer than 2 tokens (nothing to predict).

    >>> for x, y in sequential_windows([1, 2, 3, 4, 5, 6], block_size=4, batch_size=8):
    ...     print(x.tolist(), y.tolist())
    [[1, 2, 3, 4], [5, 0, 0, 0]] [[2, 3, 4, 5], [6, -100, -100, -100]]
    """
    ids = _tokens(tokens, block_size, "sequential_windows")
    stride = block_size if stride is None else stride
    if not 1 <= stride <= block_size:
        raise ValueError(f"sequential_windows: stride must be 1 to block_size ({block_size}), got {stride}")
    if batch_size < 1:
        raise ValueError(f"sequential_windows: batch_size must be >= 1, got {batch_size}")
    if len(ids) < 2:
        raise ValueError(f"sequential_windows: {len(ids)} token(s) leave nothing to predict; at least 2 are needed")
    return _windows(ids, block_size, batch_size, stride, pad_id)


def _windows(
    ids: np.ndarray, block_size: int, batch_size: int, stride: int, pad_id: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The generator behind `sequential_windows`, apart so that bad arguments raise at the call."""
    targets = len(ids) - 1
    starts = np.arange(0, max(targets - (block_size - stride), 1), stride)
    for first in range(0, len(starts), batch_size):
        start = starts[first : first + batch_size, None]
        at = start + np.arange(block_size)  # (B, T): where each input token stands in the text
        # int64 first: an unsigned type has no place for IGNORE_INDEX.
        x = np.where(at < targets, ids[np.minimum(at, targets)].astype(np.int64), pad_id)
        y = np.where(at < targets, ids[np.minimum(at + 1, targets)].astype(np.int64), IGNORE_INDEX)
        seen = (start > 0) & (np.arange(block_size) < block_size - stride)  # an earlier window predicted these
        yield x, np.where(seen, IGNORE_INDEX, y)


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order in which an epoch visits n examples: a permutation of 0..n-1, a function of (seed, epoch).

    >>> sorted(epoch_order(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    if n < 0:
        raise ValueError(f"epoch_order: n must be >= 0, got {n}")
    return stream(seed, "shuffle", epoch).permutation(n)


class Batch(NamedTuple):
    """One batch of example numbers: which step and epoch it belongs to, and the examples."""

    step: int
    epoch: int
    indices: np.ndarray


def batches(
    n: int,
    batch_size: int,
    *,
    seed: int = 0,
    step: int = 0,
    epochs: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Yield batches of example numbers, epoch after epoch, from batch number ``step`` on.

    The step is the whole position: ``batches(..., step=k)`` yields what a run from 0 yields after its first k batches.

    Args:
        n: number of examples.
        batch_size: examples per batch; the last batch of an epoch may hold fewer, unless ``drop_last``.
        seed: the seed of the order.
        step: the number of the first batch to yield, counted from 0 over all epochs.
        epochs: stop after so many epochs; None goes on for ever.
        shuffle: a new order each epoch (`epoch_order`); otherwise 0..n-1.
        drop_last: leave out a last batch that is not full.

    Raises:
        ValueError: if there are no examples, or if ``drop_last`` leaves no batch.

    >>> [b.indices.tolist() for b in batches(5, 2, shuffle=False, epochs=1, step=1)]
    [[2, 3], [4]]
    """
    if n < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"batches: need n >= 1, batch_size >= 1, step >= 0; got {n}, {batch_size}, {step}")
    per_epoch = n // batch_size if drop_last else -(-n // batch_size)
    if per_epoch == 0:
        raise ValueError(f"batches: batch_size {batch_size} is larger than the {n} examples and drop_last leaves none")
    return _batches(n, batch_size, seed, step, epochs, shuffle, per_epoch)


def _batches(
    n: int, batch_size: int, seed: int, step: int, epochs: int | None, shuffle: bool, per_epoch: int
) -> Iterator[Batch]:
    """The generator behind `batches`."""
    epoch, first = divmod(step, per_epoch)
    while epochs is None or epoch < epochs:
        order = epoch_order(n, seed, epoch) if shuffle else np.arange(n)
        for k in range(first, per_epoch):
            yield Batch(epoch * per_epoch + k, epoch, order[k * batch_size : (k + 1) * batch_size])
        epoch, first = epoch + 1, 0


def pad_batch(
    sequences: Sequence[Sequence[int] | np.ndarray], pad_id: int, length: int | None = None, *, truncate: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Put sequences of different lengths into one array, padded on the right.

    Args:
        sequences: B rows of token ids; a row may be empty.
        pad_id: the id written behind the end of a row.
        length: the width T; the longest row when None.
        truncate: cut rows that are longer than ``length`` (the beginning stays); otherwise they are refused.

    Shape:
        ids: (B, T), int64; mask: (B, T), bool, True where a token is real.

    Raises:
        ValueError: if there is no row, or a row is longer than ``length`` and ``truncate`` is False.

    >>> ids, mask = pad_batch([[5, 6, 7], [8]], pad_id=0)
    >>> ids.tolist(), mask.sum(axis=1).tolist()
    ([[5, 6, 7], [8, 0, 0]], [3, 1])
    """
    if len(sequences) == 0:
        raise ValueError("pad_batch: there is no sequence in the batch")
    longest = max(len(s) for s in sequences)
    width = longest if length is None else length
    if longest > width and not truncate:
        raise ValueError(f"pad_batch: a sequence of {longest} tokens is longer than length {width}; or truncate=True")
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(sequences), width), dtype=bool)
    for row, sequence in enumerate(sequences):
        n = min(len(sequence), width)
        ids[row, :n] = sequence[:n]
        mask[row, :n] = True
    return ids, mask
