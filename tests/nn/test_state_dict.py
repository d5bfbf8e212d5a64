"""States: the same names as PyTorch's for every layer; loaded as a whole or not at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from tests.nn.twins import array, torch

LAYERS = [
    ("Linear", (2, 3), {}),
    ("Linear", (2, 3), {"bias": False}),
    ("Embedding", (4, 3), {"padding_idx": 1}),
    ("LayerNorm", ((2, 3),), {}),
    ("LayerNorm", (3,), {"bias": False}),
    ("LayerNorm", (3,), {"elementwise_affine": False}),
    ("RMSNorm", (3,), {}),
    ("Dropout", (), {}),
    ("MultiheadAttention", (4, 2), {}),
    ("MultiheadAttention", (4, 2), {"bias": False}),
    ("MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 5}),
    ("RNN", (2, 3), {"num_layers": 2, "nonlinearity": "relu"}),
    ("LSTM", (2, 3), {"num_layers": 2, "bidirectional": True}),
    ("GRU", (2, 3), {"bias": False}),
    ("RNNCell", (2, 3), {}),
    ("LSTMCell", (2, 3), {"bias": False}),
    ("GRUCell", (2, 3), {}),
    ("CrossEntropyLoss", (), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), LAYERS, ids=str)
def test_names_order_and_shapes_equal_pytorch(name, args, options):
    states = [getattr(net, name)(*args, **options).state_dict() for net in (nn, torch.nn)]
    mine, oracle = ([(k, tuple(t.shape)) for k, t in state.items()] for state in states)
    assert mine == oracle
    mine, oracle = (
        [k for k, p in getattr(net, name)(*args, **options).named_parameters() if p.requires_grad]
        for net in (nn, torch.nn)
    )
    assert mine == oracle


def test_a_loss_with_weights_saves_them_as_pytorch_does():
    mine = nn.CrossEntropyLoss(weight=minillm.ones(3)).state_dict()
    assert list(mine) == list(torch.nn.CrossEntropyLoss(weight=torch.ones(3)).state_dict()) == ["weight"]


def model():
    """Two layers tied to each other, a norm and buffers of both kinds."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), nn.LayerNorm(2))
    net[1].weight = net[0].weight
    net.register_buffer("seen", minillm.arange(3))
    net.register_buffer("scratch", minillm.ones(2), persistent=False)
    return net


def bytes_of(net):
    return [(k, array(t).tobytes()) for k, t in [*net.named_parameters(), *net.named_buffers()]]


def other_state(net, seed=0):
    """Return a state of the same shapes with other numbers; a tied one has one value under all its names."""
    rng = np.random.default_rng(seed)
    values = {}
    state = {}
    for k, t in net.state_dict(keep_vars=True).items():
        drawn = values.setdefault(id(t), rng.integers(1, 100, tuple(t.shape)))
        state[k] = minillm.tensor(drawn, dtype=t.dtype)
    return state


def test_a_tied_weight_is_learned_once_and_saved_under_each_name():
    net = model()
    assert [k for k, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(net.state_dict()) == ["seen", "0.weight", "0.bias", "1.weight", "2.weight", "2.bias"]
    state = net.state_dict()
    assert np.shares_memory(array(state["0.weight"]), array(state["1.weight"]))


def test_a_state_shares_memory_and_has_no_graph():
    net = model()
    state = net.state_dict()
    assert not any(t.requires_grad for t in state.values())
    state["0.bias"].fill_(7)
    assert (array(net[0].bias) == 7).all()
    kept = net.state_dict(keep_vars=True)
    assert kept["0.bias"] is net[0].bias and kept["seen"] is net.seen


@given(st.booleans(), st.booleans())
def test_a_complete_state_loads(strict, assign):
    net, before = model(), model()
    state = other_state(net)
    parameters = list(net.parameters())
    result = net.load_state_dict(state, strict=strict, assign=assign)
    assert result == ([], []) and repr(result) == "<All keys matched successfully>"
    assert [id(p) for p in net.parameters()] == [id(p) for p in parameters], "an optimizer keeps what it holds"
    assert all(p.requires_grad for p in parameters) and net[1].weight is net[0].weight
    for k, t in net.state_dict().items():
        np.testing.assert_array_equal(array(t), array(state[k]))
        if not assign:
            assert not np.shares_memory(array(t), array(state[k]))
    np.testing.assert_array_equal(array(net.scratch), array(before.scratch))


def test_numbers_are_cast_to_the_types_of_the_module():
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": minillm.tensor([[1, 2]]), "bias": minillm.tensor([0.5], dtype=minillm.float64)})
    assert net.weight.dtype == net.bias.dtype == minillm.float32
    assert net(minillm.ones(1, 2)).item() == 3.5


# What breaks a state, each at another name, and what is said about it.
BREAKS = {
    "missing": (lambda s: s.pop("2.bias"), "missing: 2.bias"),
    "unexpected": (lambda s: s.update({"3.x": minillm.ones(1)}), "unexpected: 3.x"),
    "shape": (lambda s: s.update({"0.weight": minillm.ones(5)}), r"0.weight.*\(2, 2\).*\(5,\)"),
    "broadcastable": (lambda s: s.update({"0.bias": minillm.ones(1)}), r"0.bias.*\(2,\).*\(1,\)"),
    "row": (lambda s: s.update({"2.weight": minillm.ones(1, 2)}), r"2.weight.*\(2,\).*\(1, 2\)"),
    "none": (lambda s: s.update({"1.weight": None}), "1.weight.*Tensor.*NoneType"),
    "list": (lambda s: s.update({"seen": [1, 2, 3]}), "seen.*Tensor.*list"),
}


@given(st.sets(st.sampled_from(sorted(BREAKS)), min_size=1), st.booleans())
def test_a_failed_load_names_every_problem_and_changes_nothing(breaks, assign):
    net = model()
    state, before = other_state(net), bytes_of(net)
    for b in breaks:
        BREAKS[b][0](state)
    with pytest.raises(RuntimeError, match="load_state_dict of Sequential") as error:
        net.load_state_dict(state, assign=assign)
    for b, (_, words) in BREAKS.items():
        assert bool(re.search(words, str(error.value))) == (b in breaks), (words, error.value)
    assert bytes_of(net) == before


def test_not_strict_returns_what_did_not_fit_and_loads_the_rest():
    results = []
    for net, make in ((nn, minillm), (torch.nn, torch)):
        layer = net.Linear(2, 1)
        old = layer.bias.item()
        result = layer.load_state_dict({"weight": make.ones(1, 2), "x": make.ones(1)}, strict=False)
        results.append((list(result.missing_keys), list(result.unexpected_keys)))
        assert layer.weight.sum().item() == 2 and layer.bias.item() == old
    assert results[0] == results[1] == (["bias"], ["x"])
    with pytest.raises(RuntimeError, match=r"weight.*\(1, 2\).*\(2, 1\)"):
        nn.Linear(2, 1).load_state_dict({"weight": minillm.ones(2, 1)}, strict=False)


@pytest.mark.parametrize("state", [[], None, "state.bin", 3], ids=str)
def test_only_a_dictionary_is_a_state(state):
    with pytest.raises(TypeError, match=f"dictionary.*{type(state).__name__}"):
        nn.Linear(1, 1).load_state_dict(state)


def test_buffers_are_saved_if_they_are_persistent():
    module = nn.Module()
    module.register_buffer("b", minillm.ones(1), persistent=False)
    module.register_buffer("absent", None)
    assert list(module.state_dict()) == []
    module.register_buffer("b", minillm.zeros(1))  # registered again, now to be saved
    assert list(module.state_dict()) == ["b"]
    module.b = minillm.full((2,), 5.0)  # assignment keeps it a buffer
    assert array(module.state_dict()["b"]).tolist() == [5.0, 5.0]
    with pytest.raises(TypeError, match="buffer"):
        module.b = 3


def test_a_load_between_forward_and_backward_is_noticed():
    layer = nn.Linear(2, 2)
    x = minillm.ones(1, 2, requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict(other_state(layer))
    with pytest.raises(RuntimeError, match=r"in.place"):
        y.backward()


def test_a_state_of_pytorch_gives_the_same_output():
    def build(net):
        return net.Sequential(net.Embedding(5, 4), net.LayerNorm(4), net.Sequential(net.Linear(4, 3), net.GELU()))

    ours, theirs = build(nn), build(torch.nn)
    ours.load_state_dict({k: minillm.tensor(t.numpy()) for k, t in theirs.state_dict().items()})
    y, z = ours(minillm.tensor([[0, 4], [2, 2]])), theirs(torch.tensor([[0, 4], [2, 2]]))
    np.testing.assert_allclose(array(y), array(z), rtol=1e-5, atol=1e-6)
