"""Generation with a cache computes what one pass over the whole text computes, whatever happened in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm import nn
from tests.nn.twins import array, torch

VOCABULARY = 7


def gpt(heads, layers, context, seed=0):
    minillm.manual_seed(seed)
    model = GPT(GPTConfig(VOCABULARY, context, layers, heads, 4 * heads)).double().eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)  # far from the even first values, so that every position matters
    return model


class CachedModel(RuleBasedStateMachine):
    """A GPT that reads with a cache. The model of it: the ids themselves, read anew each time."""

    @initialize(heads=st.integers(1, 3), layers=st.integers(1, 3), context=st.integers(2, 12), rows=st.integers(1, 3))
    def start(self, heads, layers, context, rows):
        self.model, self.context = gpt(heads, layers, context), context
        self.cache = self.model.make_cache(rows)
        self.ids = np.zeros((rows, 0), dtype=np.int64)
        self.last = None  # logits of what was fed last

    @property
    def room(self):
        return self.context - self.ids.shape[1]

    def read(self, new):
        with minillm.no_grad():
            return array(self.model(minillm.tensor(new), cache=self.cache))

    @precondition(lambda self: self.room)
    @rule(data=st.data(), whole=st.booleans())
    def feed(self, data, whole):
        n = self.room if whole else data.draw(st.integers(1, min(4, self.room)))
        drawn = data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=n, max_size=n))
        new = (np.array(drawn) + np.arange(len(self.ids))[:, None]) % VOCABULARY  # rows differ
        self.last = self.read(new)
        self.ids = np.concatenate([self.ids, new], axis=1)

    @rule(more=st.integers(1, 3))
    def feed_past_the_context(self, more):
        new = np.zeros((len(self.ids), self.room + more), dtype=np.int64)
        with pytest.raises(ValueError, match=rf"{self.context + more} tokens.*block_size={self.context}"):
            self.read(new)

    @precondition(lambda self: self.ids.shape[1])
    @rule(data=st.data())
    def rewind(self, data):
        length = data.draw(st.integers(0, self.ids.shape[1]))
        for layer in self.cache.layers:
            layer.rewind(length)
        self.ids, self.last = self.ids[:, :length], None

    @rule(data=st.data(), as_tensor=st.booleans())
    def reorder(self, data, as_tensor):
        n = len(self.ids)
        rows = data.draw(st.permutations(range(n)) | st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
        self.cache.reorder(minillm.tensor(rows) if as_tensor else rows)
        self.ids = self.ids[list(rows)]
        self.last = None if self.last is None else self.last[list(rows)]

    @rule()
    def reset(self):
        self.cache = self.model.make_cache(len(self.ids))
        self.ids, self.last = self.ids[:, :0], None

    @invariant()
    def the_logits_equal_a_full_pass(self):
        if not hasattr(self, "model"):
            return
        assert self.cache.length == self.ids.shape[1] <= self.context
        assert [len(layer) for layer in self.cache.layers] == [self.cache.length] * len(self.cache.layers)
        if self.last is not None:
            with minillm.no_grad():
                full = array(self.model(minillm.tensor(self.ids)))
            np.testing.assert_allclose(self.last, full[:, -self.last.shape[1] :], rtol=1e-9, atol=1e-9)


TestCachedModel = CachedModel.TestCase


@given(st.data())
def test_attention_reads_in_pieces_what_pytorch_reads_at_once(data):
    """MultiheadAttention with a cache; the oracle sees the whole text and the causal mask."""
    heads, T, B = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8)), data.draw(st.integers(1, 2))
    need_weights, batch_first = data.draw(st.booleans()), data.draw(st.booleans())
    theirs = torch.nn.MultiheadAttention(4 * heads, heads, batch_first=True).double()
    ours = nn.MultiheadAttention(4 * heads, heads, batch_first=batch_first).double()
    ours.load_state_dict({k: minillm.tensor(t.numpy()) for k, t in theirs.state_dict().items()})
    x = np.random.default_rng(T).standard_normal((B, T, 4 * heads))
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    t = torch.tensor(x)
    expected = theirs(t, t, t, attn_mask=future, is_causal=True, need_weights=False)[0].detach().numpy()
    cache = nn.KVCache(B, heads, T, 4, dtype=minillm.float64)
    start = 0
    while start < T:
        n = data.draw(st.integers(1, T - start))
        piece = minillm.tensor(x[:, start : start + n] if batch_first else x[:, start : start + n].swapaxes(0, 1))
        with minillm.no_grad():
            y, weights = ours(piece, piece, piece, is_causal=True, cache=cache, need_weights=need_weights)
        got = array(y) if batch_first else array(y).swapaxes(0, 1)
        np.testing.assert_allclose(got, expected[:, start : start + n], rtol=1e-9, atol=1e-9)
        start += n
        assert len(cache) == start
        assert not need_weights or weights.shape == (B, n, start)


# --- the cache alone --------------------------------------------------------------------------------------------------
def filled(length=2, rows=2, capacity=3):
    cache = nn.KVCache(rows, 1, capacity, 2)
    if length:
        values = minillm.tensor(np.arange(rows * length * 2).reshape(rows, 1, length, 2), dtype=minillm.float32)
        cache.append(values, -values)
    return cache


def test_append_returns_all_so_far():
    cache = filled()
    keys, values = cache.append(minillm.full((2, 1, 1, 2), 9.0), minillm.full((2, 1, 1, 2), 8.0))
    assert len(cache) == cache.capacity == 3
    assert array(keys)[:, 0].tolist() == [[[0, 1], [2, 3], [9, 9]], [[4, 5], [6, 7], [9, 9]]]
    assert array(values)[0, 0].tolist() == [[0, -1], [-2, -3], [8, 8]]


def test_one_position_too_many_is_refused_and_changes_nothing():
    cache = filled(3)
    with pytest.raises(ValueError, match="4 positions do not fit into 3"):
        cache.append(minillm.ones(2, 1, 1, 2), minillm.ones(2, 1, 1, 2))
    assert len(cache) == 3
    cache.rewind(2)
    keys, _ = cache.append(minillm.ones(2, 1, 1, 2), minillm.ones(2, 1, 1, 2))
    assert array(keys)[0, 0].tolist() == [[0, 1], [2, 3], [1, 1]]


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 2, 1, 2), (2, 1, 1, 1), (2, 1, 2), (1, 2)], ids=str)
def test_keys_of_another_shape_are_refused_instead_of_broadcast(shape):
    cache, right = filled(), minillm.ones(2, 1, 1, 2)
    for key, value in [(minillm.ones(*shape), right), (right, minillm.ones(*shape))]:
        with pytest.raises(ValueError, match=r"\(2, 1, T, 2\)"):
            cache.append(key, value)
    assert len(cache) == 2


@pytest.mark.parametrize("length", [-1, 3])
def test_rewinding_to_what_was_not_is_refused(length):
    cache = filled()
    with pytest.raises(ValueError, match=f"{length} of 2"):
        cache.rewind(length)
    assert len(cache) == 2


@pytest.mark.parametrize("rows", [[1, 1, 0], [1], [0, 0]], ids=str)
def test_reordering_may_grow_or_shrink_the_batch(rows):
    cache = filled()
    cache.reorder(rows)
    n = len(rows)
    keys, _ = cache.append(minillm.zeros(n, 1, 1, 2), minillm.zeros(n, 1, 1, 2))
    assert array(keys)[:, 0, 0, 0].tolist() == [4 * r for r in rows]
    with pytest.raises(IndexError):
        cache.reorder([n])


def test_what_the_cache_returns_has_no_graph():
    key = minillm.ones(2, 1, 1, 2, requires_grad=True)
    assert not any(t.requires_grad for t in filled().append(key * 2, key * 3))
