"""Checks of the answers to lesson 09."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minillm
import minillm.nn.functional as F
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays, shapes, token_ids


class Case(NamedTuple):
    """Ids, the gradient of what was looked up, and the number of rows."""

    ids: np.ndarray
    dx: np.ndarray
    v: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few words, so that they come again."""
    v, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    shape = draw(shapes(1, 2, 4))
    return Case(draw(token_ids(v, shape)), draw(arrays((*shape, d))), v)


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A table whose rows have different lengths and none of them is zero, and a row of it."""
    v = draw(st.integers(2, 6))
    # Small whole numbers: their cosines are equal or clearly different.
    table = draw(arrays((v, 3), low=-3, high=3)).round()
    table[~table.any(axis=1)] = 1
    return table, draw(st.integers(0, v - 1))


@check("one_hot: a 1 in the place of the id, and nothing else", "compare ids[..., None] with np.arange(v)",
       case=cases())  # fmt: skip
def one_hot_is_one_in_its_place(answer: Any, case: Case) -> None:
    """Place by place."""
    found = np.asarray(answer.one_hot(case.ids, case.v))
    wanted = np.zeros((*case.ids.shape, case.v))
    for place in np.ndindex(case.ids.shape):
        wanted[(*place, case.ids[place])] = 1
    assert found.shape == wanted.shape, f"expected shape {wanted.shape}, got {found.shape}"
    assert (found == wanted).all(), f"expected {wanted.tolist()}, got {found.tolist()}"


@check("embedding_backward: it is that of the library", "each place adds its dx to the row of its word",
       case=cases())  # fmt: skip
def backward_equals_the_library(answer: Any, case: Case) -> None:
    """minillm's own gradient."""
    table = minillm.zeros(case.v, case.dx.shape[-1], dtype=minillm.float64, requires_grad=True)
    F.embedding(minillm.tensor(case.ids), table).backward(minillm.tensor(case.dx))
    compare(answer.embedding_backward(case.ids, case.dx, case.v), table.grad.numpy())


@check("embedding_backward: it equals the transposed one-hot rows times dx", "equal ids add up",
       case=cases())  # fmt: skip
def backward_equals_the_one_hot_product(answer: Any, case: Case) -> None:
    """The formula, with rows made here."""
    rows = np.eye(case.v)[case.ids.reshape(-1)]
    compare(answer.embedding_backward(case.ids, case.dx, case.v), rows.T @ case.dx.reshape(-1, case.dx.shape[-1]))


@check("embedding_backward: a word that stands n times gets n times the gradient of one",
       "table[ids] += dx keeps one of several equal ids", n=st.integers(1, 6), v=st.integers(1, 3))  # fmt: skip
def repeated_ids_add(answer: Any, n: int, v: int) -> None:
    """The classic mistake, alone; words that did not occur get 0."""
    wanted = np.zeros((v + 1, 2))
    wanted[v] = n
    compare(answer.embedding_backward(np.full(n, v), np.ones((n, 2)), v + 1), wanted)


def compare(found: Any, wanted: np.ndarray) -> None:
    """An answer has the right shape and numbers."""
    assert np.shape(found) == wanted.shape, f"expected shape {wanted.shape}, got {np.shape(found)}"
    assert np.allclose(found, wanted, rtol=0, atol=1e-9), (
        f"expected {wanted.tolist()}, got {np.asarray(found).tolist()}"
    )


@check("nearest: no row that was left out is more similar", "divide each row by its own length; sort downwards",
       case=tables(), n=st.integers(0, 5))  # fmt: skip
def nearest_are_the_nearest(answer: Any, case: tuple[np.ndarray, int], n: int) -> None:
    """Cosine by cosine, the first at least as large as the next."""
    table, id = case
    n = min(n, len(table) - 1)
    found = [int(i) for i in answer.nearest(table, id, n)]
    assert id not in found, f"{id} is no neighbour of itself: {found}"
    assert len(found) == n == len(set(found)), f"expected {n} different ids, got {found}"
    lengths = np.sqrt((table * table).sum(axis=1))
    cosines = (table @ table[id] / (lengths * lengths[id])).tolist()
    rest = [i for i in range(len(table)) if i not in (id, *found)]
    row = [cosines[i] for i in found] + ([max(cosines[i] for i in rest)] if rest else [])
    assert all(a >= b - 1e-9 for a, b in zip(row, row[1:])), f"{found}: their cosines, and the best left out, are {row}"


@check("nearest: how long a row is does not matter", "the cosine, not the dot product, nor the distance",
       case=tables(), factor=st.sampled_from([0.1, 10.0]))  # fmt: skip
def length_does_not_matter(answer: Any, case: tuple[np.ndarray, int], factor: float) -> None:
    """A row that points as the asked one does is nearest, however long it is."""
    table, id = case
    longer = np.concatenate([-np.abs(table), factor * np.abs(table[id])[None], np.abs(table[id])[None]])
    found = list(answer.nearest(longer, len(longer) - 1, 1))
    assert found == [len(longer) - 2], f"expected row {len(longer) - 2}, which points the same way, got {found}"
