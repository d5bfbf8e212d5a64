"""Checks of the answers to lesson 15."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays

texts = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4)


class Case(NamedTuple):
    """Hidden states of a batch, and what is text in it."""

    h: np.ndarray  # (B, T, C)
    mask: np.ndarray  # (B, T)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some positions of each row are text, one at least, anywhere."""
    b, t, c = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    mask = np.array(draw(st.lists(st.booleans(), min_size=b * t, max_size=b * t))).reshape(b, t)
    mask[np.arange(b), [draw(st.integers(0, t - 1)) for _ in range(b)]] = True
    return Case(draw(arrays((b, t, c))), mask)


def shaped(found: Any, wanted: tuple[int, ...]) -> np.ndarray:
    """An answer as an array, if it has the right shape."""
    assert np.shape(found) == wanted, f"expected shape {wanted}, got {np.shape(found)}"
    return np.asarray(found)


def padded(case: Case, more: int) -> Case:
    """The same texts with other numbers where there is none, and with more filling on the right."""
    h = np.where(case.mask[:, :, None], case.h, 1000 - 3 * case.h)
    b, _, c = h.shape
    filling = np.full((b, more, c), -77.0)
    return Case(np.concatenate([h, filling], axis=1), np.pad(case.mask, ((0, 0), (0, more))))


@check("pad_right: every text stands in front of its row, and the mask says where it ends",
       "fill may occur in a text: the mask comes from the lengths", rows=texts, fill=st.integers(0, 9))  # fmt: skip
def rectangle(answer: Any, rows: list[list[int]], fill: int) -> None:
    """What is masked is the text, what is not is filling."""
    width = max(map(len, rows))
    ids, mask = answer.pad_right(rows, fill)
    ids, mask = shaped(ids, (len(rows), width)), shaped(mask, (len(rows), width))
    assert mask.dtype == bool, f"expected truth values, got {mask.dtype}"
    for row, found, text in zip(rows, ids.tolist(), mask.tolist()):
        assert text == [True] * len(row) + [False] * (width - len(row)), f"mask {text} for a text of {len(row)}"
        assert found == row + [fill] * (width - len(row)), f"expected {row} and then {fill}s, got {found}"


@check("mean_pool: padding never changes the output", "both the sum and the divisor count text only",
       case=cases(), more=st.integers(0, 4))  # fmt: skip
def mean_ignores_padding(answer: Any, case: Case, more: int) -> None:
    """Other filling, and more of it."""
    b, _, c = case.h.shape
    before, after = (shaped(answer.mean_pool(*one), (b, c)) for one in (case, padded(case, more)))
    assert np.allclose(before, after, rtol=0, atol=1e-9), f"{before.tolist()} became {after.tolist()}"


@check("mean_pool: it is the mean of the text", "sum over T, divided by the number of True", case=cases())  # fmt: skip
def mean_is_the_mean(answer: Any, case: Case) -> None:
    """Row by row, without padding."""
    found = shaped(answer.mean_pool(*case), (len(case.h), case.h.shape[2]))
    for h, mask, mean in zip(*case, found):
        assert np.allclose(mean, h[mask].mean(axis=0), rtol=0, atol=1e-9), f"of {h[mask].tolist()} got {mean.tolist()}"


@check("last_pool: padding never changes the output", "the last True, not the last position",
       case=cases(), more=st.integers(0, 4))  # fmt: skip
def last_ignores_padding(answer: Any, case: Case, more: int) -> None:
    """Other filling, and more of it."""
    b, _, c = case.h.shape
    before, after = (shaped(answer.last_pool(*one), (b, c)) for one in (case, padded(case, more)))
    assert (before == after).all(), f"{before.tolist()} became {after.tolist()}"


@check("last_pool: it is the state of the last token", "read the mask backwards", case=cases())  # fmt: skip
def last_is_the_last(answer: Any, case: Case) -> None:
    """Row by row, without padding."""
    found = shaped(answer.last_pool(*case), (len(case.h), case.h.shape[2]))
    for h, mask, last in zip(*case, found):
        assert (last == h[mask][-1]).all(), f"expected {h[mask][-1].tolist()}, got {last.tolist()}"


@check("mean_pool: with a GPT under it, a text in a batch gets the vector that it gets alone",
       "run each of the three functions on a batch by hand", rows=texts)  # fmt: skip
def alone_or_together(answer: Any, rows: list[list[int]]) -> None:
    """All parts together: your rectangle through a causal model, then your mean."""
    minillm.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=10, block_size=6, n_layer=1, n_head=1, n_embd=4))
    model.eval()

    def pooled(texts: list[list[int]]) -> np.ndarray:
        ids, mask = answer.pad_right(texts, 0)
        with minillm.no_grad():
            return np.asarray(answer.mean_pool(model.features(minillm.tensor(ids)).numpy(), mask))

    together = shaped(pooled(rows), (len(rows), 4))
    for row, found in zip(rows, together):
        alone = pooled([row])[0]
        assert np.allclose(alone, found, rtol=0, atol=1e-5), f"{row}: alone {alone.tolist()}, got {found.tolist()}"
