"""RNN, LSTM, GRU and their cells equal PyTorch's, values and gradients, in every arrangement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from tests.nn.twins import array, compare, twins

KINDS = ["RNN", "LSTM", "GRU"]


@st.composite
def cases(draw, name):
    """Return (constructor options, input, first states or None)."""
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if name == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    T, B, C, H = (draw(st.integers(1, 3)) for _ in range(4))
    B = draw(st.sampled_from([0, B, B, B]))
    batched = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = (T, C) if not batched else (B, T, C) if options["batch_first"] else (T, B, C)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    states = None
    if draw(st.booleans()):
        state_shape = (rows, B, H) if batched else (rows, H)
        states = tuple(rng.standard_normal(state_shape) for _ in range(2 if name == "LSTM" else 1))
        states = states if name == "LSTM" else states[0]
    return (C, H), options, rng.standard_normal(shape), states


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_values_states_and_gradients_equal_pytorch(name, data):
    sizes, options, x, states = data.draw(cases(name))
    pair = twins(name, *sizes, **options)
    compare(pair, x) if states is None else compare(pair, x, states)


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (3,)], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RNNCell", {}),
        ("RNNCell", {"nonlinearity": "relu", "bias": False}),
        ("LSTMCell", {}),
        ("LSTMCell", {"bias": False}),
        ("GRUCell", {}),
        ("GRUCell", {"bias": False}),
    ],
    ids=str,
)
def test_cells_equal_pytorch(name, options, shape, given_state):
    rng = np.random.default_rng(2)
    state = [rng.standard_normal((*shape[:-1], 4)) for _ in range(2)]
    hx = [tuple(state) if name == "LSTMCell" else state[0]] if given_state else []
    compare(twins(name, 3, 4, **options), rng.standard_normal(shape), *hx)


@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_is_its_cell_step_by_step(name):
    layer, cell = getattr(nn, name)(3, 4).double(), getattr(nn, name + "Cell")(3, 4).double()
    cell.load_state_dict({k.removesuffix("_l0"): t for k, t in layer.state_dict().items()})
    x = minillm.tensor(np.random.default_rng(3).standard_normal((5, 2, 3)))
    y, last = layer(x)
    state = None
    for t in range(5):
        state = cell(x[t], state)
        h = state[0] if name == "LSTM" else state
        np.testing.assert_allclose(array(y)[t], array(h), rtol=1e-12)
    for a, b in zip(last, state) if name == "LSTM" else [(last, state)]:
        np.testing.assert_allclose(array(a)[0], array(b), rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_reading_in_two_parts_is_reading_at_once(name):
    layer = getattr(nn, name)(3, 4, num_layers=2).double()
    x = minillm.tensor(np.random.default_rng(4).standard_normal((5, 2, 3)))
    whole, _ = layer(x)
    first, state = layer(x[:2])
    second, _ = layer(x[2:], state)
    np.testing.assert_allclose(array(whole), np.concatenate([array(first), array(second)]), rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_dropout_is_between_layers_in_training_only(name):
    x = minillm.tensor(np.random.default_rng(5).standard_normal((4, 2, 3)))
    layer = getattr(nn, name)(3, 6, num_layers=2, dropout=0.5).double()
    results = []
    for seed in (1, 1, 2):
        minillm.manual_seed(seed)
        results.append(array(layer(x)[0]))
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    np.testing.assert_array_equal(array(layer.eval()(x)[0]), array(layer(x)[0]))
    pair = twins(name, 3, 6, num_layers=2, dropout=1.0)  # nothing of the first layer is left
    compare(pair, array(x))
    single = getattr(nn, name)(3, 6, dropout=0.5).double()
    np.testing.assert_array_equal(array(single(x)[0]), array(single.eval()(x)[0]))


@pytest.mark.parametrize("name", [*KINDS, "RNNCell", "LSTMCell", "GRUCell"])
def test_first_values_are_those_of_pytorch(name):
    for p in getattr(nn, name)(9, 16).parameters():
        values = array(p)
        assert np.abs(values).max() <= 0.25 and abs(values.mean()) < 0.25 / np.sqrt(3) * 6 / np.sqrt(values.size)


# --- what is refused --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", KINDS)
def test_settings_that_cannot_be_are_refused(name):
    make = getattr(nn, name)
    for options, words in [
        ({"hidden_size": 0}, "hidden_size.* 0"),
        ({"hidden_size": 2, "num_layers": 0}, "num_layers.* 0"),
        ({"hidden_size": 2, "dropout": 1.5}, r"dropout.* 1\.5"),
    ]:
        with pytest.raises(ValueError, match=rf"{name}.*{words}"):
            make(3, **options)
    with pytest.raises(TypeError, match="proj_size"):
        make(3, 4, proj_size=2)


def test_only_known_nonlinearities():
    for make in (nn.RNN, nn.RNNCell):
        with pytest.raises(ValueError, match=rf"{make.__name__}.*'gelu'"):
            make(3, 4, nonlinearity="gelu")
    for make in (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell):
        with pytest.raises(TypeError, match="nonlinearity"):
            make(3, 4, nonlinearity="relu")


@pytest.mark.parametrize("name", KINDS)
def test_inputs_and_states_of_another_shape_are_refused(name):
    layer, pairs = getattr(nn, name)(3, 4, num_layers=2), name == "LSTM"

    def states(*shape):
        return (minillm.zeros(*shape),) * 2 if pairs else minillm.zeros(*shape)

    for x, hx, error, words in [
        ((3,), None, ValueError, r"2 or 3 axes.*\(3,\)"),
        ((1, 2, 2, 3), None, ValueError, r"2 or 3 axes"),
        ((2, 2, 5), None, RuntimeError, "last dim 5.*3"),
        ((0, 2, 3), None, RuntimeError, r"one time step.*\(0, 2, 3\)"),
        ((2, 2, 3), (2, 1, 4), RuntimeError, r"\(2, 2, 4\), got \(2, 1, 4\)"),
        ((2, 2, 3), (3, 2, 4), RuntimeError, r"\(2, 2, 4\), got \(3, 2, 4\)"),
        ((2, 2, 3), (2, 2, 1), RuntimeError, r"\(2, 2, 4\), got \(2, 2, 1\)"),
    ]:
        with pytest.raises(error, match=words):
            layer(minillm.zeros(*x), None if hx is None else states(*hx))
    with pytest.raises(NotImplementedError, match=rf"{name}.*packed sequences"):
        layer(object())


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_refuses_a_state_that_would_broadcast(name):
    h = minillm.zeros(1, 4)
    with pytest.raises(RuntimeError, match=r"\(2, 4\), got \(1, 4\)"):
        getattr(nn, name)(3, 4)(minillm.zeros(2, 3), (h, h) if name == "LSTMCell" else h)


@pytest.mark.parametrize(
    ("name", "sizes"), [("RNNCell", (0, 4)), ("RNNCell", (3, 0)), ("GRUCell", (0, 4)), ("LSTMCell", (0, 4))]
)
def test_cells_without_inputs_or_states(name, sizes):
    compare(twins(name, *sizes), np.zeros((2, sizes[0])))
