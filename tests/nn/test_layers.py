"""Layers compute what PyTorch's compute, forward and backward, in every shape, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from tests.nn.twins import array, compare, torch, twins

SHAPES = [(), (0,), (1,), (3,), (2, 0), (2, 3), (2, 1, 3)]  # what may stand before the last axis

LAYERS = [
    ("Linear", (4, 3), {}, 4),
    ("Linear", (4, 3), {"bias": False}, 4),
    ("Linear", (4, 1), {}, 4),
    ("LayerNorm", (5,), {}, 5),
    ("LayerNorm", (5,), {"bias": False}, 5),
    ("LayerNorm", (5,), {"elementwise_affine": False, "eps": 0.1}, 5),
    ("LayerNorm", (1,), {}, 1),
    ("RMSNorm", (5,), {}, 5),
    ("RMSNorm", (5,), {"eps": 0.1}, 5),
    ("RMSNorm", (5,), {"elementwise_affine": False}, 5),
    ("Identity", (1, "anything"), {"unused": 2}, 3),
]


def scramble(pair):
    """Give both the same random weights; norms start with 1 and 0, which would hide mistakes."""
    rng = np.random.default_rng(5)
    for p, q in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        values = rng.standard_normal(tuple(q.shape))
        p.detach().copy_(minillm.tensor(values))
        q.detach().copy_(torch.tensor(values))
    return pair


@pytest.mark.parametrize("lead", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "args", "options", "width"), LAYERS, ids=str)
def test_values_and_gradients_equal_pytorch(name, args, options, width, lead):
    x = np.random.default_rng(1).standard_normal((*lead, width))
    compare(scramble(twins(name, *args, **options)), x)


@pytest.mark.parametrize("shape", [(2, 3), [2, 3], (1, 1), (3,)], ids=str)
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_norms_over_several_axes(name, shape):
    pair = scramble(twins(name, shape))
    compare(pair, np.random.default_rng(2).standard_normal((4, *shape)))
    assert pair[0].normalized_shape == tuple(shape)


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)], ids=str)
def test_linear_without_inputs_or_outputs(sizes):
    ours = nn.Linear(*sizes)
    y = ours(minillm.zeros(2, sizes[0]))
    assert y.shape == (2, sizes[1])
    y.sum().backward()
    assert ours.weight.grad.shape == ours.weight.shape
    if not sizes[0]:
        np.testing.assert_array_equal(array(y), np.zeros((2, 4)))  # the bias is drawn from +-0


def test_layers_refuse_a_wrong_width():
    for layer, words in [
        (nn.Linear(3, 4), "last dim 5.*3"),
        (nn.LayerNorm(3), r"\(3,\).*\(2, 5\)"),
        (nn.RMSNorm(3), r"\(3,\).*\(2, 5\)"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            layer(minillm.zeros(2, 5))


# --- Embedding --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("padding", [None, 0, 2, -1], ids=str)
@pytest.mark.parametrize("ids", [[], [0], [3, 3, 3], [[0, 2], [2, 3]], [[], []], 2], ids=str)
def test_embedding_equals_pytorch(ids, padding):
    pair = twins("Embedding", 4, 3, padding_idx=padding)
    compare(pair, np.array(ids, dtype=np.int64))
    assert pair[0].padding_idx == pair[1].padding_idx


@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_embedding_rows_are_what_the_ids_say(rows, width, data):
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    ids = data.draw(st.lists(st.integers(0, rows - 1), max_size=8))
    layer = nn.Embedding(rows, width, padding_idx=padding)
    y = layer(minillm.tensor(ids, dtype=minillm.int64))
    np.testing.assert_array_equal(array(y), array(layer.weight)[ids] if ids else np.zeros((0, width)))
    y.sum().backward()
    counts = np.bincount(ids, minlength=rows).astype(float) if ids else np.zeros(rows)
    if padding is not None:
        assert not array(layer.weight)[padding].any()
        counts[padding] = 0
    np.testing.assert_array_equal(array(layer.weight.grad), np.repeat(counts[:, None], width, 1))


@pytest.mark.parametrize("bad", [4, -1, 10**9])
def test_embedding_names_the_id_and_the_table(bad):
    with pytest.raises(IndexError, match=f"{bad}.*4"):
        nn.Embedding(4, 2)(minillm.tensor([0, bad]))


def test_embedding_refuses_what_it_does_not_offer():
    with pytest.raises(TypeError, match="integers"):
        nn.Embedding(4, 2)(minillm.tensor([1.0]))
    for bad in (4, -5):
        with pytest.raises(ValueError, match=f"{bad}.*4"):
            nn.Embedding(4, 2, padding_idx=bad)
    for option in ({"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}):
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            nn.Embedding(4, 2, **option)


@pytest.mark.parametrize("freeze", [True, False])
def test_embedding_from_pretrained(freeze):
    table = np.arange(6.0).reshape(3, 2)
    ours = nn.Embedding.from_pretrained(minillm.tensor(table), freeze=freeze, padding_idx=1)
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(table), freeze=freeze, padding_idx=1)
    compare((ours, theirs), np.array([0, 1, 2]))
    assert ours.weight.requires_grad is not freeze


# --- Dropout ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_dropout_does_nothing_in_evaluation(p):
    compare(tuple(layer.eval() for layer in twins("Dropout", p)), np.random.default_rng(1).standard_normal((3, 4)))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything_equals_pytorch(p):
    compare(twins("Dropout", p), np.random.default_rng(1).standard_normal((3, 4)))


@given(st.floats(0.02, 0.98), st.integers(0, 2**32))
def test_dropout_scales_what_it_keeps_and_sends_the_gradient_through_the_same_holes(p, seed):
    layer, x = nn.Dropout(p), minillm.ones(50, 40, dtype=minillm.float64, requires_grad=True)
    minillm.manual_seed(seed)
    y = layer(x)
    y.sum().backward()
    np.testing.assert_array_equal(array(x.grad), array(y))
    kept = array(y) != 0
    np.testing.assert_allclose(array(y)[kept], 1 / (1 - p), rtol=1e-12)
    # 2,000 draws: six standard deviations of the share that is kept
    assert abs(kept.mean() - (1 - p)) < 6 * np.sqrt(p * (1 - p) / kept.size)
    minillm.manual_seed(seed)
    np.testing.assert_array_equal(array(layer(x)), array(y))
    assert not np.array_equal(array(layer(x)), array(y)), "each call has a mask of its own"


def test_dropout_keeps_the_expectation():
    x = minillm.full((200, 1000), 3.0, dtype=minillm.float64)
    assert nn.Dropout(0.25)(x).mean().item() == pytest.approx(3.0, abs=6 * 3 * np.sqrt(1 / 3 / 200_000))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=f"{p}"):
        nn.Dropout(p)


# --- shapes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Flatten", ()),
        ("Flatten", (0,)),
        ("Flatten", (1, 2)),
        ("Flatten", (-2, -1)),
        ("Unflatten", (1, (3, 1))),
        ("Unflatten", (-1, (2, -1))),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [0, 2])
def test_flatten_and_unflatten(name, args, rows):
    compare(twins(name, *args), np.random.default_rng(3).standard_normal((rows, 3, 1, 4)))


def test_linear_starts_as_pytorch_starts():
    layer = nn.Linear(64, 500, dtype=minillm.float64)
    for values in (array(layer.weight), array(layer.bias)):
        assert np.abs(values).max() <= 1 / 8
        assert values.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.1)
    assert array(nn.Embedding(200, 100, dtype=minillm.float64).weight).std() == pytest.approx(1, rel=0.05)
