"""A module finds its parts: names and order as in PyTorch, ties counted once, attributes set, replaced and deleted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minillm
from minillm import nn
from tests.nn.twins import array, torch

BOTH = [(nn, minillm), (torch.nn, torch)]


def tree(net, plan, shared):
    """Build the same tree of modules in either library from a drawn plan; ``shared`` modules occur in many places."""
    node = net.Module()
    for i, part in enumerate(plan):
        name = f"n{i}"
        if isinstance(part, list):
            setattr(node, name, tree(net, part, shared))
        elif part == "none":
            node.register_parameter(name, None)
        elif part == "shared":
            setattr(node, name, shared[0])
        elif part == "tied":
            setattr(node, name, shared[0].weight)
        elif part == "buffer":
            node.register_buffer(name, shared[1](2), persistent=i % 2 == 0)
        else:
            setattr(node, name, net.Linear(2, 3, bias=part == "bias"))
    return node


plans = st.recursive(
    st.sampled_from(["none", "shared", "tied", "buffer", "bias", "no bias"]),
    lambda parts: st.lists(parts, max_size=4),
    max_leaves=12,
).map(lambda plan: plan if isinstance(plan, list) else [plan])


def pair(plan):
    return [tree(net, plan, (net.Linear(2, 2), make.zeros)) for net, make in BOTH]


def names(items):
    return [name for name, _ in items]


@example([["shared", "tied"], "shared", "shared", "tied", "buffer", ["buffer"]])
@given(plans)
def test_names_and_order_equal_pytorch(plan):
    ours, theirs = pair(plan)
    assert names(ours.named_modules()) == names(theirs.named_modules())
    assert names(ours.named_children()) == names(theirs.named_children())
    for listing in ("named_parameters", "named_buffers"):
        for options in ({}, {"recurse": False}, {"remove_duplicate": False}, {"prefix": "a.b"}):
            mine, oracle = getattr(ours, listing)(**options), getattr(theirs, listing)(**options)
            assert names(mine) == names(oracle), (listing, options)
    mine, oracle = (m.named_modules(remove_duplicate=False) for m in (ours, theirs))
    assert names(mine) == names(oracle)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    assert [id(m) for m in ours.modules()] == [id(m) for _, m in ours.named_modules()]
    assert [id(m) for m in ours.children()] == [id(m) for _, m in ours.named_children()]
    assert [id(p) for p in ours.parameters()] == [id(p) for _, p in ours.named_parameters()]
    assert [id(b) for b in ours.buffers()] == [id(b) for _, b in ours.named_buffers()]


@given(plans)
def test_every_listed_name_can_be_fetched(plan):
    ours, _ = pair(plan)
    for name, module in ours.named_modules(remove_duplicate=False):
        assert ours.get_submodule(name) is module
    for name, p in ours.named_parameters(remove_duplicate=False):
        assert ours.get_parameter(name) is p
    for name, b in ours.named_buffers(remove_duplicate=False):
        assert ours.get_buffer(name) is b


@given(plans)
def test_modes_and_apply_reach_every_module(plan):
    ours, theirs = pair(plan)
    assert ours.eval() is ours and not any(m.training for m in ours.modules())
    assert ours.train() is ours and all(m.training for m in ours.modules())
    for model in (ours, theirs):
        model.names = {id(m): name for name, m in model.named_modules()}
    visits = [[], []]
    for model, seen in zip((ours, theirs), visits):
        assert model.apply(lambda m, model=model, seen=seen: seen.append(model.names[id(m)])) is model
    assert visits[0] == visits[1]
    ours.requires_grad_(False)
    assert not any(p.requires_grad for p in ours.parameters())
    ours.requires_grad_()
    assert all(p.requires_grad for p in ours.parameters())


def test_train_wants_a_bool():
    with pytest.raises(ValueError, match="True or False"):
        nn.Module().train("yes")


@pytest.mark.parametrize("what", ["get_submodule", "get_parameter", "get_buffer"])
@pytest.mark.parametrize("name", ["0.missing", "7", "0.weight.deeper"])
def test_an_unknown_name_is_named(what, name):
    with pytest.raises(AttributeError, match=name.rpartition(".")[0] or name):
        getattr(nn.Sequential(nn.Linear(2, 2)), what)(name)


# --- attributes -------------------------------------------------------------------------------------------------------
VALUES = {
    "parameter": lambda net, make: net.Parameter(make.ones(2)),
    "module": lambda net, make: net.Linear(1, 1, bias=False),
    "tensor": lambda net, make: make.ones(1),
    "number": lambda net, make: 3,
    "none": lambda net, make: None,
}
steps = st.lists(st.tuples(st.sampled_from([*VALUES, "delete", "buffer", "transient"]), st.sampled_from("ab")))


def play(net, make, program):
    """Do the steps and return, after each, what the module holds, or the error's type."""
    module, seen = net.Module(), []
    for step, name in program:
        try:
            if step == "delete":
                delattr(module, name)
            elif step in ("buffer", "transient"):
                module.register_buffer(name, make.zeros(1), persistent=step == "buffer")
            else:
                setattr(module, name, VALUES[step](net, make))
            problem = None
        except (AttributeError, KeyError, TypeError) as error:
            problem = type(error).__name__
        plain = [n for n in "ab" if n in module.__dict__]
        listed = [names(f()) for f in (module.named_parameters, module.named_buffers, module.named_children)]
        # A non-persistent buffer that is set to None stays known; only what holds a value is compared.
        seen.append((problem, plain, listed, list(module.state_dict()), [n for n in "ab" if hasattr(module, n)]))
    return seen


@given(steps)
def test_attributes_are_set_replaced_and_deleted_as_in_pytorch(program):
    mine, oracle = (play(net, make, program) for net, make in BOTH)
    assert mine == oracle


@pytest.mark.parametrize("name", ["", "a.b"])
@pytest.mark.parametrize("register", ["register_parameter", "register_buffer", "register_module", "add_module"])
def test_registering_checks_the_name_and_the_type(register, name):
    call = getattr(nn.Linear(1, 1), register)
    with pytest.raises(KeyError, match="name without dots"):
        call(name, None)
    with pytest.raises(TypeError, match="3"):
        call(3, None)
    with pytest.raises(KeyError, match="forward"):
        call("forward", None)
    with pytest.raises(TypeError, match=r"expected a .* or None, got int"):
        call("x", 3)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: setattr(m, "p", nn.Parameter(minillm.ones(1))),
        lambda m: setattr(m, "m", nn.Identity()),
        lambda m: m.register_buffer("b", minillm.ones(1)),
        lambda m: m.register_parameter("p", None),
        lambda m: m(1),
        lambda m: list(m.parameters()),
        lambda m: m.state_dict(),
        lambda m: m.train(),
        repr,
    ],
)
def test_forgetting_super_init_is_explained(use):
    class Forgetful(nn.Module):
        def __init__(self):
            self.number = 1  # a plain attribute may come first, as in PyTorch

    with pytest.raises(AttributeError, match=r"Forgetful.*call super\(\).__init__\(\)"):
        use(Forgetful())


def test_members_are_found_by_dir_and_a_missing_forward_is_named():
    layer = nn.Linear(1, 1)
    assert {"weight", "bias", "forward", "in_features"} <= set(dir(layer))
    with pytest.raises(NotImplementedError, match=r"Module.*forward"):
        nn.Module()(1)
    with pytest.raises(AttributeError, match=r"'Linear'.*'wieght'"):
        layer.wieght


# --- gradients, hooks, types, text ------------------------------------------------------------------------------------
def test_zero_grad():
    layer = nn.Linear(2, 2)
    layer(minillm.ones(1, 2)).sum().backward()
    kept = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is kept and not array(kept).any()
    layer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None
    layer.zero_grad(set_to_none=False)  # nothing to fill


def test_hooks_see_and_replace_and_can_be_removed():
    results = []
    for net, make in BOTH:
        layer, seen = net.Identity(), []
        handles = [
            layer.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(("pre", args[0].item()))),
            layer.register_forward_pre_hook(lambda m, args: args[0] + 1),
            layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,)),
            layer.register_forward_hook(lambda m, a, y, seen=seen: seen.append((a[0].item(), y.item()))),
            layer.register_forward_hook(lambda m, a, y: y + 0.5),
        ]
        seen.append(layer(make.tensor(3.0)).item())
        for handle in handles[1:]:
            handle.remove()
            handle.remove()  # twice is no error
        seen.append(layer(make.tensor(3.0)).item())
        results.append(seen)
    assert results[0] == results[1] == [("pre", 3.0), (8.0, 8.0), 8.5, ("pre", 3.0), 3.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_to_another_type(dtype):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.register_buffer("counts", minillm.arange(3))
    model.register_buffer("mean", minillm.ones(2))
    model(minillm.ones(1, 2)).sum().backward()
    before = list(model.parameters())
    values = [array(p) for p in before]
    assert model.to(getattr(minillm, dtype)) is model
    assert [id(p) for p in model.parameters()] == [id(p) for p in before], "optimizers keep what they hold"
    assert model[1].weight is model[0].weight
    for p, v in zip(model.parameters(), values):
        assert str(array(p).dtype) == str(array(p.grad).dtype) == dtype
        np.testing.assert_array_equal(array(p), v.astype(dtype))
    assert str(array(model.mean).dtype) == dtype and model.counts.dtype == minillm.int64
    short = {"float16": model.half, "float32": model.float, "float64": model.double}[dtype]
    assert short() is model and model.cpu() is model and model.to("cpu") is model
    with pytest.raises(TypeError, match="floating type"):
        model.to(minillm.int64)


REPRS = [
    ("Linear", (2, 3), {"bias": False}),
    ("Embedding", (4, 3), {}),
    ("Embedding", (4, 3, -1), {}),
    ("LayerNorm", ((2, 3),), {"bias": False}),
    ("LayerNorm", (3,), {"elementwise_affine": False}),
    ("RMSNorm", (3,), {"eps": 1e-6}),
    ("Dropout", (0.1,), {}),
    ("Flatten", (), {}),
    ("Unflatten", (1, (2, 3)), {}),
    ("Identity", (1,), {}),
    ("RNN", (2, 3), {"nonlinearity": "relu", "bias": False}),
    ("LSTM", (2, 3, 2), {"dropout": 0.5, "bidirectional": True, "batch_first": True}),
    ("GRUCell", (2, 3), {"bias": False}),
    ("RNNCell", (2, 3), {"nonlinearity": "relu"}),
]


@pytest.mark.parametrize(("name", "args", "options"), REPRS, ids=str)
def test_text_equals_pytorch(name, args, options):
    assert repr(getattr(nn, name)(*args, **options)) == repr(getattr(torch.nn, name)(*args, **options))


def test_text_of_nested_modules_equals_pytorch():
    def nested(net):
        inner = net.Sequential(net.Linear(2, 2), net.ReLU())
        return net.Sequential(inner, net.ModuleDict({"a": net.Dropout(0.1), "b": inner}), net.ModuleList([net.Tanh()]))

    assert repr(nested(nn)) == repr(nested(torch.nn))
    assert repr(nn.Sequential()) == "Sequential()"


def test_a_shallow_copy_of_a_tensor_shares_its_memory():
    for make in (lambda t: t.zeros(2), lambda t: t.zeros(2, requires_grad=True), lambda t: t.nn.Parameter(t.zeros(2))):
        ours, theirs = make(minillm), make(torch)
        for x in (ours, theirs):
            twin = copy.copy(x)
            assert type(twin) is type(x) and twin.requires_grad == x.requires_grad and twin.grad is None
            twin.detach()[0] = 3
            assert x[0].item() == 3 and twin is not x
    x = minillm.ones(2, requires_grad=True)
    y = (x * x).sum()
    copy.copy(x).detach()[0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_deep_copy_is_its_own_module_with_the_same_ties():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    twin = copy.deepcopy(model)
    assert twin[1].weight is twin[0].weight is not model[0].weight
    assert not any(np.shares_memory(array(p), array(q)) for p, q in zip(model.parameters(), twin.parameters()))
    for (a, p), (b, q) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        assert a == b
        np.testing.assert_array_equal(array(p), array(q))
