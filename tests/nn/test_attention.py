"""MultiheadAttention equals PyTorch's in every mode, never looks where a mask forbids, and never makes NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from tests.nn.twins import array, compare, same, torch, twins


def scrambled(*args, seed=0, **options):
    """Return twins with random biases too; they start with 0, which would hide mistakes."""
    pair = twins("MultiheadAttention", *args, **options)
    rng = np.random.default_rng(seed)
    for p, q in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        values = rng.standard_normal(tuple(q.shape))
        p.detach().copy_(minillm.tensor(values))
        q.detach().copy_(torch.tensor(values))
    return pair


@st.composite
def cases(draw):
    """Return (constructor options, query, key, value, call options): one valid call of MultiheadAttention."""
    heads, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    C, B, T, S = heads * width, draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    made = {"bias": draw(st.booleans()), "batch_first": draw(st.booleans())}
    if draw(st.booleans()):
        made |= {"kdim": draw(st.integers(1, 4)), "vdim": draw(st.integers(1, 4))}
    batched = draw(st.booleans())
    B = B if batched else 1
    rng = np.random.default_rng(draw(st.integers(0, 999)))

    def tensor(length, n):
        shape = (length, n) if not batched else (B, length, n) if made["batch_first"] else (length, B, n)
        return rng.standard_normal(shape)

    call = {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    kind = draw(st.sampled_from(["none", "bool", "float"]))
    if kind != "none":
        shape = draw(st.sampled_from([(T, S), (B * heads, T, S)]))
        hidden = rng.random(shape) < 0.4
        hidden[..., 0] = False  # every query sees the first key; rows that see nothing have a test of their own
        call["attn_mask"] = hidden if kind == "bool" else np.where(hidden, -math.inf, rng.standard_normal(shape))
    if draw(st.booleans()):
        padding = rng.random((B, S)) < 0.4
        padding[:, 0] = False
        # PyTorch warns where the two masks are of different kinds.
        as_float = np.where(padding, -math.inf, 0.0)
        call["key_padding_mask"] = (as_float if kind == "float" else padding)[slice(None) if batched else 0]
    key_width, value_width = made.get("kdim", C), made.get("vdim", C)
    return (C, heads), made, (tensor(T, C), tensor(S, key_width), tensor(S, value_width)), call


def without_gradient(options):
    """PyTorch's masks want no gradient in this comparison: infinities in them have none."""
    return {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}, {
        k: v for k, v in options.items() if isinstance(v, np.ndarray)
    }


class Masked:
    """A module called with fixed masks, so that `compare` differentiates all but them."""

    def __init__(self, module, masks, make):
        self.module, self.masks = module, {k: make(v) for k, v in masks.items()}
        self.named_parameters = module.named_parameters

    def __call__(self, *args, **options):
        return self.module(*args, **self.masks, **options)


@given(cases())
def test_values_weights_and_gradients_equal_pytorch(case):
    args, made, inputs, call = case
    options, masks = without_gradient(call)
    ours, theirs = scrambled(*args, **made)
    y, _ = compare((Masked(ours, masks, minillm.tensor), Masked(theirs, masks, torch.tensor)), *inputs, **options)
    assert (y[1] is None) == (not call["need_weights"])


@pytest.mark.parametrize("need_weights", [True, False])
def test_self_attention_takes_one_tensor_three_times(need_weights):
    x = np.random.default_rng(3).standard_normal((4, 2, 6))
    future = np.triu(np.ones((4, 4), dtype=bool), 1)

    def to_itself(module):
        call = lambda x, mask: module(x, x, x, attn_mask=mask, is_causal=True, need_weights=need_weights)
        call.named_parameters = module.named_parameters
        return call

    compare(tuple(to_itself(m) for m in scrambled(6, 3)), x, future)


@pytest.mark.parametrize("shape", [(0, 2, 4), (3, 0, 4), (0, 4)], ids=str)
def test_no_queries_or_no_batch(shape):
    x = np.zeros(shape)
    rest = np.zeros((3, *shape[1:]))
    compare(scrambled(4, 2), x, rest, rest)


# --- rows that see nothing --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("kind", ["bool", "float", "padding"])
def test_a_query_that_sees_nothing_gives_the_bias_and_gradient_0(kind, need_weights):
    ours, _ = scrambled(4, 2, batch_first=True)
    x = minillm.tensor(np.random.default_rng(1).standard_normal((2, 3, 4)), requires_grad=True)
    rest = minillm.tensor(np.random.default_rng(2).standard_normal((2, 3, 4)), requires_grad=True)
    blind = np.zeros((3, 3), dtype=bool)
    blind[1] = True
    masks = {
        "bool": {"attn_mask": minillm.tensor(blind)},
        "float": {"attn_mask": minillm.tensor(np.where(blind, -math.inf, 0.0))},
        "padding": {"key_padding_mask": minillm.tensor(np.array([[True] * 3, [False] * 3]))},
    }[kind]
    rows = (0, slice(None)) if kind == "padding" else (slice(None), 1)
    y, weights = ours(x, rest, rest, need_weights=need_weights, **masks)
    np.testing.assert_array_equal(array(y)[rows], np.broadcast_to(array(ours.out_proj.bias), array(y)[rows].shape))
    if need_weights:
        assert not array(weights)[rows].any()
        np.testing.assert_allclose(array(weights).sum(-1), (array(weights) != 0).any(-1), rtol=1e-12)
    (y * y).sum().backward()
    assert not array(x.grad)[rows].any()
    for name, t in [("query", x), ("key", rest), *ours.named_parameters()]:
        assert np.isfinite(array(t.grad)).all(), name


@given(st.integers(1, 5), st.data())
def test_what_comes_later_changes_nothing_before(T, data):
    j = data.draw(st.integers(0, T - 1))
    need_weights = data.draw(st.booleans())
    ours, _ = scrambled(4, 2, batch_first=True)
    mask = minillm.tensor(np.triu(np.ones((T, T), dtype=bool), 1))
    x = np.random.default_rng(4).standard_normal((2, T, 4))
    changed = x.copy()
    changed[:, j] += data.draw(st.sampled_from([1.0, 1e6]))
    results = []
    for values in (x, changed):
        t = minillm.tensor(values)
        results.append(array(ours(t, t, t, attn_mask=mask, is_causal=True, need_weights=need_weights)[0]))
    assert results[0][:, :j].tobytes() == results[1][:, :j].tobytes()
    assert (results[0][:, j:] != results[1][:, j:]).any(-1).all()


def test_padding_is_as_if_it_were_not_there():
    ours, _ = scrambled(4, 2, batch_first=True)
    x = np.random.default_rng(5).standard_normal((1, 5, 4))
    padding = np.array([[False, False, False, True, True]])
    t, short = minillm.tensor(x), minillm.tensor(x[:, :3])
    y, weights = ours(t, t, t, key_padding_mask=minillm.tensor(padding))
    np.testing.assert_allclose(array(y)[:, :3], array(ours(short, short, short)[0]), rtol=1e-12)
    assert not array(weights)[..., 3:].any()


def test_both_ways_of_computing_agree_and_bool_masks_may_meet_float_ones():
    ours, _ = scrambled(6, 3)
    rng = np.random.default_rng(6)
    q, k = (minillm.tensor(rng.standard_normal((n, 2, 6))) for n in (3, 4))
    padding = np.array([[False, True, False, True], [False] * 4])
    scores = minillm.tensor(rng.standard_normal((3, 4)))
    results = []
    for mask in (padding, np.where(padding, -math.inf, 0.0)):
        for need in (True, False):
            masks = {"attn_mask": scores, "key_padding_mask": minillm.tensor(mask)}
            results.append(array(ours(q, k, k, need_weights=need, **masks)[0]))
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-12)


def test_dropout_of_weights_happens_in_training_only_and_follows_the_seed():
    ours, _ = scrambled(4, 2, dropout=0.5)
    x = minillm.tensor(np.random.default_rng(7).standard_normal((6, 2, 4)))
    for need_weights in (True, False):
        results = []
        for seed in (1, 1, 2):
            minillm.manual_seed(seed)
            results.append(array(ours(x, x, x, need_weights=need_weights)[0]))
        np.testing.assert_array_equal(results[0], results[1])
        assert not np.array_equal(results[0], results[2])
    _, weights = ours(x, x, x, average_attn_weights=False)
    exact = array(ours.eval()(x, x, x, average_attn_weights=False)[1])
    kept = array(weights) != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(array(weights)[kept], 2 * exact[kept], rtol=1e-12)
    np.testing.assert_allclose(exact.sum(-1), 1, rtol=1e-12)


# --- what is refused --------------------------------------------------------------------------------------------------
def zeros(*shape, dtype=None):
    return minillm.zeros(*shape, dtype=dtype or minillm.float32)


CALLS = [
    ((zeros(3, 1, 1, 4),) * 3, {}, r"3 axes.*\(3, 1, 1, 4\)"),
    ((zeros(3, 4), zeros(3, 1, 4), zeros(3, 1, 4)), {}, r"\(3, 4\), \(3, 1, 4\)"),
    ((zeros(3, 5),) * 3, {}, "last dim 5.*4"),
    ((zeros(3, 4),) * 3, {"attn_mask": zeros(1, 3)}, r"attn_mask.*\(3, 3\) or \(2, 3, 3\).*\(1, 3\)"),
    ((zeros(3, 4),) * 3, {"attn_mask": zeros(1, 3, 3)}, r"attn_mask.*\(1, 3, 3\)"),
    ((zeros(3, 4),) * 3, {"attn_mask": zeros(3, 3, dtype=minillm.int64)}, "bools or floats.*int64"),
    ((zeros(3, 2, 4),) * 3, {"key_padding_mask": zeros(3, 2, dtype=minillm.bool)}, r"key_padding_mask.*\(2, 3\)"),
    ((zeros(3, 4),) * 3, {"is_causal": True}, "needs attn_mask"),
]


@pytest.mark.parametrize(("inputs", "options", "words"), CALLS, ids=[words for *_, words in CALLS])
def test_calls_that_do_not_fit_are_refused(inputs, options, words):
    with pytest.raises(RuntimeError, match=words):
        nn.MultiheadAttention(4, 2)(*inputs, **options)


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        ((4, 3), {}, ValueError, "4.*3"),
        ((4, 0), {}, ValueError, "num_heads 0"),
        ((4, -2), {}, ValueError, "num_heads -2"),
        ((4, 2), {"dropout": 1.5}, ValueError, "1.5"),
        ((4, 2), {"add_bias_kv": True}, NotImplementedError, "add_bias_kv"),
        ((4, 2), {"add_zero_attn": True}, NotImplementedError, "add_zero_attn"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(args, options, error, words):
    with pytest.raises(error, match=words):
        nn.MultiheadAttention(*args, **options)


def test_first_values_are_those_of_pytorch():
    ours = nn.MultiheadAttention(40, 4, dtype=minillm.float64)
    bound = math.sqrt(6 / (4 * 40))
    weights = array(ours.in_proj_weight)
    assert 0.98 * bound < np.abs(weights).max() <= bound
    assert weights.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    for bias in (ours.in_proj_bias, ours.out_proj.bias):
        same(bias, torch.zeros(bias.shape, dtype=torch.float64))
