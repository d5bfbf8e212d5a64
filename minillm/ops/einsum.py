"""Einsum: sums of products over named axes, as transposes and one batched matrix product for each pair of operands."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from minillm.ops.matmul import matmul
from minillm.ops.reduction import sum as sum_over
from minillm.ops.shape import diagonal, expand, permute, reshape
from minillm.tensor import Tensor

__all__ = ["einsum"]


def einsum(equation: str, *operands: Any) -> Tensor:
    r"""Sum products over named axes: ``einsum("bqd,bkd->bqk", q, k)`` is $z_{bqk} = \sum_d q_{bqd} k_{bkd}$.

    Operands are combined from left to right. It is written with differentiable ops, so the gradient is theirs.

    Args:
        equation: a letter for each axis of each operand, and after ``->`` those of the result. Without ``->`` the
            result has the letters that occur once, in alphabetical order. ``...`` stands for axes without a name,
            which broadcast. A letter that stands twice in one operand takes its diagonal.
        operands: one tensor for each term, or one list of them.

    Raises:
        RuntimeError: if the equation does not fit the operands.

    >>> import minillm
    >>> einsum("ii", minillm.eye(3))
    tensor(3.)
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    tensors: list[Tensor] = list(given)
    terms, result = _parse(equation.replace(" ", ""), tensors)
    _check_lengths(terms, tensors)
    parts = [_diagonals(t, axes) for t, axes in zip(tensors, terms)]
    x, axes = parts[0]
    for i, (y, y_axes) in enumerate(parts[1:], start=2):
        wanted = set(result).union(*(later for _, later in parts[i:]))
        x, axes = _contract(x, axes, y, y_axes, wanted)
    x, axes = _sum_out(x, axes, [a for a in axes if a not in result])
    return permute(x, [axes.index(a) for a in result]) if axes != result else x


def _parse(equation: str, tensors: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """Return the names of the axes of every operand and of the result.

    Axes without a name are called "...0", "...1", counted from the right.
    """
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise RuntimeError(f"einsum: {equation!r} names {len(terms)} operands, got {len(tensors)}")
    named = []
    for term, t in zip(terms, tensors):
        letters = term.replace("...", "", 1)
        free = t.ndim - len(letters)
        if not all(a.isalpha() for a in letters):
            raise RuntimeError(f"einsum: expected letters, ',', '...' and '->' in the equation, got {equation!r}")
        if free < 0 or (free and letters == term):
            raise RuntimeError(f"einsum: {term!r} names {len(letters)} axes, its operand has {t.ndim}")
        named.append(_spelled(term, free))
    most = max(len([a for a in axes if a[0] == "."]) for axes in named)
    if arrow:
        result = _spelled(right, most)
    else:
        count = Counter(a for axes in named for a in axes if a[0] != ".")
        result = _spelled("..." + "".join(sorted(a for a in count if count[a] == 1)), most)
    known = {a for axes in named for a in axes}
    if len(set(result)) != len(result) or not known.issuperset(result):
        raise RuntimeError(f"einsum: each axis of the result must occur once, and in an operand, in {equation!r}")
    return named, result


def _spelled(term: str, free: int) -> list[str]:
    before, dots, after = term.partition("...")
    return [*before, *(f"...{i}" for i in reversed(range(free)) if dots), *after]


def _check_lengths(terms: Sequence[list[str]], tensors: Sequence[Tensor]) -> None:
    lengths: dict[str, int] = {}
    for axes, t in zip(terms, tensors):
        for a, n in zip(axes, t.shape):
            if n != 1 and lengths.setdefault(a, n) != n:
                raise RuntimeError(f"einsum: axis {a!r} has length {n} in one place and {lengths[a]} in another")


def _diagonals(t: Tensor, axes: list[str]) -> tuple[Tensor, list[str]]:
    for a in [a for a, n in Counter(axes).items() if n > 1]:
        while axes.count(a) > 1:
            i = axes.index(a)
            j = axes.index(a, i + 1)
            if t.shape[i] != t.shape[j]:
                raise RuntimeError(
                    f"einsum: axis {a!r} stands for lengths {t.shape[i]} and {t.shape[j]} of one operand"
                )
            t = diagonal(t, 0, i, j)  # the diagonal becomes the last axis
            axes = [*(b for k, b in enumerate(axes) if k not in (i, j)), a]
    return t, axes


def _sum_out(t: Tensor, axes: list[str], gone: list[str]) -> tuple[Tensor, list[str]]:
    if not gone:
        return t, axes
    return sum_over(t, [axes.index(a) for a in gone]), [a for a in axes if a not in gone]


def _contract(x: Tensor, x_axes: list[str], y: Tensor, y_axes: list[str], wanted: set[str]) -> tuple[Tensor, list[str]]:
    """Multiply two operands and sum over the axes that nobody wants later: (batch, left, k) @ (batch, k, right)."""
    x, x_axes = _sum_out(x, x_axes, [a for a in x_axes if a not in wanted and a not in y_axes])
    y, y_axes = _sum_out(y, y_axes, [a for a in y_axes if a not in wanted and a not in x_axes])
    length = {a: max(n, m) if min(n, m) else 0 for a, n, m in _lengths(x, x_axes, y, y_axes)}
    batch = [a for a in x_axes if a in y_axes and a in wanted]
    inner = [a for a in x_axes if a in y_axes and a not in wanted]
    left = [a for a in x_axes if a not in y_axes]
    right = [a for a in y_axes if a not in x_axes]

    def arranged(t: Tensor, axes: list[str], *groups: list[str]) -> Tensor:
        order = [a for group in groups for a in group]
        t = expand(permute(t, [axes.index(a) for a in order]), [length[a] for a in order])
        return reshape(t, [length[a] for a in batch] + [math.prod(length[a] for a in g) for g in groups[1:]])

    z = matmul(arranged(x, x_axes, batch, left, inner), arranged(y, y_axes, batch, inner, right))
    axes = [*batch, *left, *right]
    return reshape(z, [length[a] for a in axes]), axes


def _lengths(x: Tensor, x_axes: list[str], y: Tensor, y_axes: list[str]) -> list[tuple[str, int, int]]:
    in_x, in_y = dict(zip(x_axes, x.shape)), dict(zip(y_axes, y.shape))
    return [(a, in_x.get(a, 1), in_y.get(a, 1)) for a in dict.fromkeys(x_axes + y_axes)]
