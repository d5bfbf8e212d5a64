"""Checks of the answers to lesson 10."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minillm
import minillm.nn.functional as F
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays


class Case(NamedTuple):
    """Queries, keys, values, and a place in the text."""

    q: np.ndarray  # (B, T, D)
    k: np.ndarray  # (B, T, D)
    v: np.ndarray  # (B, T, E)
    place: int


library: Any = F.scaled_dot_product_attention


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two texts of T positions, and one of the positions."""
    t, d, e = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    q, k, v = (draw(arrays((2, t, n))) for n in (d, d, e))
    return Case(q, k, v, draw(st.integers(0, t - 1)))


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int]:
    """Numbers of queries and keys, not fewer keys than queries."""
    t = draw(st.integers(1, 5))
    return t, t + draw(st.integers(0, 4))


@st.composite
def masks(draw: st.DrawFn, case: st.SearchStrategy[Case]) -> tuple[Case, np.ndarray]:
    """A case and any mask for it."""
    found = draw(case)
    t = found.q.shape[1]
    seen = draw(st.lists(st.booleans(), min_size=t * t, max_size=t * t))
    return found, np.array(seen).reshape(t, t)


@st.composite
def pieces(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """(B, T, C), all numbers different, and a number of heads."""
    b, t, h, d = (draw(st.integers(1, 3)) for _ in range(4))
    return np.arange(b * t * h * d, dtype=float).reshape(b, t, h * d), h


def shaped(found: Any, wanted: tuple[int, ...]) -> np.ndarray:
    """An answer as an array, if it has the right shape."""
    assert np.shape(found) == wanted, f"expected shape {wanted}, got {np.shape(found)}"
    return np.asarray(found)


@check("causal_mask: every query sees itself and all that came before, and nothing else",
       "query i stands at position s - t + i", sizes=lengths())  # fmt: skip
def mask_is_the_past(answer: Any, sizes: tuple[int, int]) -> None:
    """Pair by pair."""
    t, s = sizes
    found = shaped(answer.causal_mask(t, s), (t, s))
    assert found.dtype == bool, f"expected truth values, got {found.dtype}"
    for i in range(t):
        for j in range(s):
            wanted = j <= s - t + i
            assert found[i, j] == wanted, f"query {i} of {t}, key {j} of {s}: expected {wanted}, got {found[i, j]}"


@check("causal_mask: changing the future never changes the past",
       "the place to look is the key behind the query: may it be seen?", case=cases())  # fmt: skip
def future_does_not_change_the_past(answer: Any, case: Case) -> None:
    """Whatever stands behind a place, the answers up to that place stay, in your mask and the library's attention."""
    q, k, v, place = case
    t = q.shape[1]
    mask = minillm.tensor(shaped(answer.causal_mask(t, t), (t, t)))

    def run(k: np.ndarray, v: np.ndarray) -> np.ndarray:
        return library(*map(minillm.tensor, (q, k, v)), attn_mask=mask).numpy()

    before, after = run(k, v), run(*(changed(x, place) for x in (k, v)))
    assert np.allclose(before[:, : place + 1], after[:, : place + 1], rtol=0, atol=1e-9), "the past has changed"


def changed(x: np.ndarray, place: int) -> np.ndarray:
    """The same array up to a place, and something else behind it."""
    return np.concatenate([x[:, : place + 1], 7 - 3 * x[:, place + 1 :]], axis=1)


@check("attention: the future does not change the past, the past does change the future",
       "hide scores before the softmax, so that hidden keys take no part in the sum", case=cases())  # fmt: skip
def attention_keeps_the_past(answer: Any, case: Case) -> None:
    """With the mask of a causal model."""
    q, k, v, place = case
    t, e = q.shape[1], v.shape[2]
    mask = np.tri(t, dtype=bool)
    before = shaped(answer.attention(q, k, v, mask), (2, t, e))
    after = answer.attention(q, *(changed(x, place) for x in (k, v)), mask)
    assert np.allclose(before[:, : place + 1], after[:, : place + 1], rtol=0, atol=1e-9), "the past has changed"
    moved = v.copy()
    moved[:, 0] += 1
    now = answer.attention(q, k, moved, mask)
    assert (now > before).all(), "adding 1 to the first value must raise every answer: all of them see it"


@check("attention: the answers are those of the library",
       "scores are divided by the root of D; softmax is over the keys, the last axis", case=masks(cases()))  # fmt: skip
def attention_equals_the_library(answer: Any, case: tuple[Case, np.ndarray]) -> None:
    """Any mask, rows that hide everything among them."""
    (q, k, v, _), mask = case
    wanted = library(*map(minillm.tensor, (q, k, v)), attn_mask=minillm.tensor(mask)).numpy()
    with np.errstate(all="ignore"):
        found = shaped(answer.attention(q, k, v, mask), wanted.shape)
    assert np.allclose(found, wanted, rtol=0, atol=1e-9), f"expected {wanted.tolist()}, got {found.tolist()}"


@check("attention: large scores do not overflow", "take the largest score of each row away before exp",
       case=cases())  # fmt: skip
def attention_does_not_overflow(answer: Any, case: Case) -> None:
    """A thousand is far beyond what exp can take."""
    q, k, v, _ = case
    mask = np.tri(q.shape[1], dtype=bool)
    with np.errstate(all="ignore"):
        found = shaped(answer.attention(1000 * np.ones_like(q), np.ones_like(k), v, mask), v.shape)
    means = np.cumsum(v, axis=1) / np.arange(1, v.shape[1] + 1)[:, None]
    assert np.allclose(found, means, rtol=0, atol=1e-9), f"equal scores: expected the mean of the past, got {found}"


@check("split_heads: head h has the h-th piece of every position", "cut the last axis first, then change places",
       case=pieces())  # fmt: skip
def heads_are_pieces(answer: Any, case: tuple[np.ndarray, int]) -> None:
    """Head by head."""
    x, h = case
    b, t, c = x.shape
    d = c // h
    found = shaped(answer.split_heads(x, h), (b, h, t, d))
    for i in range(h):
        assert (found[:, i] == x[:, :, i * d : (i + 1) * d]).all(), f"head {i} of {h} has other numbers"


@check("join_heads: what was split comes back", "first change places, then make one axis of H and D",
       case=pieces())  # fmt: skip
def heads_come_back(answer: Any, case: tuple[np.ndarray, int]) -> None:
    """Side by side again."""
    x, h = case
    heads = np.stack(np.split(x, h, axis=-1), axis=1)
    found = shaped(answer.join_heads(heads), x.shape)
    assert (found == x).all(), f"expected {x.tolist()}, got {found.tolist()}"
