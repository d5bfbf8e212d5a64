"""How batches of matrices lie in memory, in the words of a GEMM: transposed or not, leading dimension, batch stride.

A GEMM reads a matrix whose rows, or whose columns, are contiguous, with any distance (the leading dimension) from one
to the next; and a batch of matrices that are equally far apart. Transposes, slices and most other views of an array are
such batches, so nothing has to be copied.

Only shapes and strides are looked at here, no numbers and no library: what this file says can be tested without a GPU.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOST_LAUNCHES = 8
"""Batches at several distances, such as heads inside a packed (B, T, 3, H, D), take several GEMMs; rather than more
than so many of them, one copies.
"""
# why 8: the five products of attention of 8 texts of 1,024 tokens with 12 heads of 64 take 538 us with 8 launches each,
# and 661 us with heads that are copied (bfloat16, an H200). More were not measured.


class View(NamedTuple):
    """Shape (..., rows, columns) of an array, and its strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Matrix(NamedTuple):
    """One operand.

    Attributes:
        transposed: its columns are contiguous, not its rows.
        ld: elements from one row (or column) to the next.
        stride: elements from one matrix of the batch to the next; 0 for the same again.
    """

    transposed: bool
    ld: int
    stride: int


@dataclass(frozen=True)
class Product:
    """``C = A B`` for a batch of C (m, n), each the product of an A (m, k) and a B (k, n).

    Attributes:
        starts: for each launch, the first element of A, B and C.
    """

    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    batch: int
    starts: tuple[tuple[int, int, int], ...]


class Copies(NamedTuple):
    """Which operands must be made contiguous first; ``whole`` if over the batch axes of C, also where broadcast."""

    a: bool
    b: bool
    c: bool
    whole: bool


def view_of(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> View | None:
    """Return a view in elements from one in bytes, or ``None`` if bytes are left over."""
    if any(s % itemsize for s in strides):
        return None
    return View(shape, tuple(s // itemsize for s in strides))


def matrix(rows: int, columns: int, row_stride: int, column_stride: int) -> tuple[bool, int] | None:
    """Return (transposed, leading dimension) of a matrix, or ``None`` if neither rows nor columns are contiguous.

    >>> matrix(3, 4, 10, 1), matrix(3, 4, 1, 3), matrix(3, 4, 8, 2)
    ((False, 10), (True, 3), None)
    """
    # The stride of an axis of length 1 says nothing.
    if (columns == 1 or column_stride == 1) and (rows == 1 or row_stride >= columns):
        return False, max(columns, 1) if rows == 1 else row_stride
    if (rows == 1 or row_stride == 1) and (columns == 1 or column_stride >= rows):
        return True, max(rows, 1) if columns == 1 else column_stride
    return None


def collapse(shape: tuple[int, ...], *strides: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """Join batch axes that all arrays walk through as if they were one; return (length, stride in each array) of each.

    >>> collapse((2, 3), (30, 10), (3, 1))
    [(6, (10, 1))]
    """
    groups: list[tuple[int, tuple[int, ...]]] = []
    for n, steps in zip(shape, zip(*strides, strict=True), strict=True):
        if n == 1:
            continue
        if groups and groups[-1][1] == tuple(n * step for step in steps):
            groups[-1] = groups[-1][0] * n, steps
        else:
            groups.append((n, steps))
    return groups


def _batch_strides(view: View, batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of the batch axes, 0 where the view is broadcast."""
    missing = len(batch) - (len(view.shape) - 2)
    own = zip(view.shape[:-2], view.strides[:-2], batch[missing:], strict=True)
    return (0,) * missing + tuple(0 if n == 1 and wanted != 1 else s for n, s, wanted in own)


def plan(a: View, b: View, c: View) -> Product | Copies:
    """Return how ``C = A B`` is made, or which operands must be copied first.

    The rows of A's matrices, and those of C's, may be walked through as one long matrix where B is the same for all of
    them: a linear layer on (B, T, C) is one product.

    Args:
        a, b, c: (..., m, k), (..., k, n) and (..., m, n); a and b broadcast over the batch axes of c, which has rows
            that are contiguous.
    """
    (m, n), k, batch = c.shape[-2:], a.shape[-1], c.shape[:-2]
    each = [_batch_strides(x, batch) for x in (a, b, c)]
    lie_a, lie_b, lie_c = (matrix(*x.shape[-2:], *x.strides[-2:]) for x in (a, b, c))
    twice = any(length > 1 and step == 0 for length, step in zip(batch, each[2], strict=True))
    if lie_a is None or lie_b is None or lie_c is None or lie_c[0] or twice:
        return Copies(lie_a is None, lie_b is None, lie_c is None or lie_c[0] or twice, False)
    (ta, lda), (tb, ldb), ldc = lie_a, lie_b, lie_c[1]
    groups = collapse(batch, *each)
    if groups and groups[-1][1][1] == 0 and not ta:
        length, (step_a, _, step_c) = groups[-1]
        if m == 1 and step_a >= k and step_c >= n:
            m, lda, ldc, groups = length, step_a, step_c, groups[:-1]
        elif step_a == m * lda and step_c == m * ldc:
            m, groups = m * length, groups[:-1]
    groups.sort(key=lambda group: group[0])
    length, inner = groups.pop() if groups else (1, (0, 0, 0))
    if math.prod(count for count, _ in groups) > MOST_LAUNCHES or min(inner) < 0:
        several = [len(collapse(batch, steps)) > 1 or min(steps) < 0 for steps in each]
        return Copies(several[0], several[1], several[2], True)
    starts = []
    for place in itertools.product(*(range(count) for count, _ in groups)):
        at = [sum(i * steps[x] for i, (_, steps) in zip(place, groups, strict=True)) for x in range(3)]
        starts.append((at[0], at[1], at[2]))
    matrices = Matrix(ta, lda, inner[0]), Matrix(tb, ldb, inner[1]), Matrix(False, ldc, inner[2])
    return Product(m, n, k, *matrices, length, tuple(starts))


def result_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of ``A B``.

    >>> result_shape((5, 1, 2, 3), (7, 3, 4))
    (5, 7, 2, 4)
    """
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
