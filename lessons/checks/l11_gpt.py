"""Checks of the answers to lesson 11."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.l11_gpt import GPT, GPTConfig
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays

CONFIG = GPTConfig(vocab_size=7, block_size=10, n_layer=2, n_head=2, n_embd=8)


class Text(NamedTuple):
    """Two texts of random tokens, and the places where they are cut into pieces."""

    ids: np.ndarray  # (2, T)
    cuts: tuple[int, ...]


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """Up to block_size tokens, in up to four pieces."""
    length = draw(st.integers(1, CONFIG.block_size))
    ids = np.random.default_rng(draw(st.integers(0, 999))).integers(CONFIG.vocab_size, size=(2, length))
    cuts = draw(st.sets(st.integers(1, length - 1), max_size=3)) if length > 1 else set()
    return Text(ids, tuple(sorted(cuts)))


@st.composite
def new_positions(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Queries, keys and values of S positions, (3, B, H, S, D), and how many of them are new."""
    s = draw(st.integers(1, 5))
    return draw(arrays((3, 2, 2, s, 3))), draw(st.integers(1, s))


def a_gpt() -> GPT:
    """A small GPT whose tokens differ clearly."""
    minillm.manual_seed(3)
    return GPT(CONFIG).eval()


def uncached(model: GPT, ids: np.ndarray) -> np.ndarray:
    """The logits of the lesson's model, all positions at once."""
    with minillm.no_grad():
        return model(minillm.tensor(ids)).numpy()


@check("attend: the last T positions get the answers that they get among all",
       "query i stands at position S - T + i", case=new_positions())  # fmt: skip
def new_positions_see_the_past(answer: Any, case: tuple[np.ndarray, int]) -> None:
    """Causal attention over all positions, of which the last rows are kept."""
    (q, k, v), t = (minillm.tensor(x) for x in case[0]), case[1]
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()[:, :, -t:]
    found = answer.attend(q[:, :, -t:], k, v).numpy()
    assert found.shape == wanted.shape, f"expected shape {wanted.shape}, got {found.shape}"
    assert np.allclose(found, wanted, rtol=0, atol=1e-9), f"expected {wanted.tolist()}, got {found.tolist()}"


@check("forward_cached: however a text is cut, the logits are the uncached ones",
       "positions go on where the past ends; each block has keys and values of its own", text=texts())  # fmt: skip
def cached_equals_uncached(answer: Any, text: Text) -> None:
    """Piece by piece and all at once."""
    past: list[Any] = []
    model, found = a_gpt(), []
    with minillm.no_grad():
        for piece in np.split(text.ids, text.cuts, axis=1):
            logits, past = answer.forward_cached(model, piece, past)
            assert logits.shape == (*piece.shape, 7), f"expected shape {(*piece.shape, 7)}, got {tuple(logits.shape)}"
            found.append(logits.numpy())
    wanted = uncached(model, text.ids)
    off = float(np.abs(np.concatenate(found, axis=1) - wanted).max())
    assert off < 1e-4, f"pieces cut at {text.cuts}: the logits differ by up to {off:.3g}"


@check("forward_cached: the past is kept, and may be gone on from twice", "make new lists; change nothing in place",
       text=texts())  # fmt: skip
def past_is_not_changed(answer: Any, text: Text) -> None:
    """Two continuations of one beginning."""
    model, first = a_gpt(), text.ids[:, : max(1, text.ids.shape[1] - 1)]
    with minillm.no_grad():
        _, past = answer.forward_cached(model, first, [])
        sizes = [tuple(x.shape) for pair in past for x in pair]
        wanted = [(2, CONFIG.n_head, first.shape[1], 4)] * (2 * CONFIG.n_layer)
        assert sizes == wanted, f"expected keys and values of the shapes {wanted}, got {sizes}"
        if first.shape[1] < CONFIG.block_size:
            for token in (0, 1):
                new = np.full((2, 1), token)
                found = answer.forward_cached(model, new, past)[0].numpy()[:, -1]
                right = uncached(model, np.concatenate([first, new], axis=1))[:, -1]
                assert np.allclose(found, right, rtol=0, atol=1e-4), f"continued by {token}: other logits than uncached"


class Counter(nn.Module):
    """A table that counts how many rows were looked up for each text."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table, self.count = table, 0

    def forward(self, ids: minillm.Tensor) -> minillm.Tensor:
        """Look up, and count."""
        self.count += ids.shape[1]
        return self.table(ids)


@check("write: the likeliest token each time, and no position twice",
       "after the first call only the newest token goes in; the last token is not computed",
       text=texts(), n=st.integers(1, 4))  # fmt: skip
def writing_is_greedy(answer: Any, text: Text, n: int) -> None:
    """Each token is the argmax of the uncached logits; T + n - 1 positions are computed."""
    model: Any = a_gpt()
    start = text.ids[:, : CONFIG.block_size - n + 1]
    model.tokens = Counter(model.tokens)
    found = np.asarray(answer.write(model, start.copy(), n))
    count = model.tokens.count
    assert found.shape == (2, start.shape[1] + n), f"expected shape {(2, start.shape[1] + n)}, got {found.shape}"
    assert (found[:, : start.shape[1]] == start).all(), "the beginning has changed"
    logits = uncached(model, found[:, :-1])[:, start.shape[1] - 1 :]  # (2, n, 7)
    given = np.take_along_axis(logits, found[:, start.shape[1] :, None], axis=-1)[..., 0]
    assert (given >= logits.max(axis=-1) - 1e-4).all(), "a token was written that is not the likeliest"
    assert count == start.shape[1] + n - 1, f"{count} positions were computed, {start.shape[1] + n - 1} are enough"
