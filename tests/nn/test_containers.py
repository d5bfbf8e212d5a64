"""Lists, dictionaries and sequences of modules behave as Python's own, and number and name their parts as PyTorch's."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from minillm.training.blocks import Blocks
from tests.nn.twins import array, compare, torch, twins

LISTS = [nn.ModuleList, lambda modules=(): nn.Sequential(*modules)]
steps = st.lists(
    st.one_of(
        st.just(("append",)),
        st.tuples(st.sampled_from(["extend", "+", "+="]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["insert", "set", "delete", "get", "pop"]), st.integers(-3, 3)),
        st.tuples(st.sampled_from(["delete slice", "get slice"]), st.slices(4)),
    ),
    max_size=8,
)


def parts(n):
    return [nn.Linear(1, 1) for _ in range(n)]


@pytest.mark.parametrize("make", LISTS, ids=["ModuleList", "Sequential"])
@given(program=steps)
def test_lists_behave_as_lists(make, program):
    """The model is a list of Python; names are "0", "1", ... at all times."""
    ours, model = make(), []
    for step, *rest in program:
        new = parts(rest[0] if step in ("extend", "+", "+=") else 1)
        if step == "append":
            assert ours.append(new[0]) is ours
            model.append(new[0])
        elif step == "extend":
            assert ours.extend(new) is ours
            model.extend(new)
        elif step == "+":
            before, longer = list(ours), ours + new
            assert type(longer) is type(ours) and list(longer) == model + new and list(ours) == before
        elif step == "+=":
            same = ours
            ours += new
            model += new
            assert ours is same
        elif step == "insert":
            ours.insert(rest[0], new[0])
            model.insert(rest[0], new[0])
        elif step.endswith("slice"):
            found = ours[rest[0]]
            assert type(found) is type(ours) and list(found) == model[rest[0]]
            if step == "delete slice":
                del ours[rest[0]]
                del model[rest[0]]
        elif -len(model) <= rest[0] < len(model):
            assert ours[rest[0]] is model[rest[0]]
            if step == "set":
                ours[rest[0]] = new[0]
                model[rest[0]] = new[0]
            elif step == "delete":
                del ours[rest[0]]
                del model[rest[0]]
            elif step == "pop":
                assert ours.pop(rest[0]) is model.pop(rest[0])
        else:
            with pytest.raises(IndexError):
                if step == "set":
                    ours[rest[0]] = new[0]
                elif step == "delete":
                    del ours[rest[0]]
                elif step == "pop":
                    ours.pop(rest[0])
                else:
                    ours[rest[0]]
        assert list(ours) == model and len(ours) == len(model)
        assert [name for name, _ in ours.named_children()] == [str(i) for i in range(len(model))]


def test_an_index_out_of_range_is_named():
    with pytest.raises(IndexError, match=r"index 2 is out of range for 2"):
        nn.ModuleList(parts(2))[2]
    with pytest.raises(IndexError, match=r"index -1 is out of range for 0"):
        nn.Sequential()[-1]
    with pytest.raises(TypeError, match="str"):
        nn.Sequential(*parts(1))["0"]
    with pytest.raises(TypeError, match="expected a Module"):
        nn.ModuleList([3])


def test_named_sequential_slices_and_deletes_as_pytorch():
    listed = []
    for net in (nn, torch.nn):

        def make(net=net):
            return net.Sequential(OrderedDict(a=net.Linear(1, 2), b=net.ReLU(), c=net.Linear(2, 1)))

        shorter = make()
        del shorter[1]
        longer = make().append(net.Tanh())
        replaced = make()
        replaced[1] = net.Tanh()
        all_of_them = [make(), make()[:2], make()[1:], make()[::2], shorter, longer, replaced]
        listed.append([[name for name, _ in s.named_children()] for s in all_of_them])
        assert make().c.out_features == 1
    assert listed[0] == listed[1]


def test_sequential_computes_one_after_another():
    x = np.random.default_rng(0).standard_normal((2, 3))
    pair = twins("Linear", 3, 3)
    chains = tuple(
        net.Sequential(layer, net.Tanh(), net.Sequential(layer, net.Identity()))
        for net, layer in zip((nn, torch.nn), pair)
    )
    compare(chains, x)  # the same layer twice: its gradients add up
    compare((nn.Sequential(), torch.nn.Sequential()), x)


def feed_forward(**options):
    up, down = twins("Linear", 3, 8, **options), twins("Linear", 8, 2, **options)
    return tuple(net.Sequential(up[i], net.GELU("tanh"), down[i]) for i, net in enumerate((nn, torch.nn)))


def ops_behind(y):
    return [y.grad_fn.name(), *(edge[0].name() for edge in y.grad_fn.edges if edge and edge[1] >= 0)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (0, 3)])
def test_two_layers_with_gelu_between_them_are_one_op(shape, bias):
    pair = feed_forward(bias=bias)
    compare(pair, np.random.default_rng(0).standard_normal(shape))
    x = minillm.randn(*shape, dtype=minillm.float64)
    assert ops_behind(pair[0](x)) == ["MLPBackward"]
    assert minillm.equal(pair[0](x), pair[0][2](pair[0][1](pair[0][0](x))))
    longer = nn.Sequential(nn.Linear(3, 3).double(), *pair[0], nn.Tanh())
    assert ops_behind(longer(x)) == ["TanhBackward", "MLPBackward"]


def test_one_layer_in_both_places_gets_the_gradients_of_both():
    """Also where gradients of weights are written straight to where they lie together, as the trainer has it."""
    grads = []
    for one_op in (True, False):
        minillm.manual_seed(0)
        layer, gelu = nn.Linear(5, 5), nn.GELU("tanh")
        chain = nn.Sequential(layer, gelu, layer)
        Blocks.of(chain)
        x = minillm.randn(4, 5)
        y = chain(x) if one_op else layer(gelu(layer(x)))
        y.square().sum().backward()
        grads.append([layer.weight.grad.numpy().copy(), layer.bias.grad.numpy().copy()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class Half(nn.Linear):
    def forward(self, input):
        return super().forward(input) / 2


def halving(chain, where, change, called):
    """Make one module of a chain give half of what it gave, in one of many ways; note its calls if that can be done."""
    module = chain[where]
    if change == "hook":
        module.register_forward_hook(lambda module, args, result: called.append(1) or result / 2)
    elif change == "pre-hook":
        module.register_forward_pre_hook(lambda module, args: called.append(1) or (args[0] / 2,))
    elif change == "forward":
        usual = module.forward
        module.forward = lambda x: called.append(1) or usual(x) / 2
    elif where == 1:
        chain[1] = nn.GELU()
    else:
        module.__class__ = Half  # as a layer of LoRA may be one


@pytest.mark.parametrize("change", ["hook", "pre-hook", "forward", "class"])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_is_put_between_the_layers_is_not_passed_over(where, change):
    x, called = minillm.randn(4, 3), []
    chain = nn.Sequential(nn.Linear(3, 8), nn.GELU("tanh"), nn.Linear(8, 2))
    halving(chain, where, change, called)
    one_by_one = x
    for module in chain:
        one_by_one = module(one_by_one)
    called.clear()
    y = chain(x)
    assert minillm.equal(y, one_by_one) and "MLPBackward" not in ops_behind(y)
    assert bool(called) == (change != "class")


@pytest.mark.parametrize("cls", [nn.Linear, nn.GELU])
def test_another_forward_of_a_whole_class_is_not_passed_over(cls, monkeypatch):
    usual, called = cls.forward, []
    monkeypatch.setattr(cls, "forward", lambda self, x: called.append(1) or usual(self, x))
    nn.Sequential(nn.Linear(3, 8), nn.GELU("tanh"), nn.Linear(8, 2))(minillm.ones(4, 3))
    assert len(called) == (2 if cls is nn.Linear else 1)


@pytest.mark.parametrize(
    ("up", "down", "said"),
    [((3, 8), (7, 2), "last dim 8, weight expects 7"), ((4, 8), (8, 2), "last dim 3, weight expects 4")],
)
def test_layers_that_do_not_fit_are_refused_as_one_by_one(up, down, said):
    chain = nn.Sequential(nn.Linear(*up), nn.GELU("tanh"), nn.Linear(*down))
    with pytest.raises(RuntimeError, match=said):
        chain(minillm.ones(2, 3))
    for what in (np.ones((2, 3)), [1.0, 2.0, 3.0], None):
        with pytest.raises(TypeError, match="linear: expected Tensors, got " + type(what).__name__):
            chain(what)
    with pytest.raises(RuntimeError, match="expected one dtype"):
        nn.Sequential(nn.Linear(3, 8), nn.GELU("tanh"), nn.Linear(8, 2).double())(minillm.ones(2, 3))


class Branches:
    """A model of its own with modules in every kind of container."""

    @staticmethod
    def build(net, make):
        class Model(net.Module):
            def __init__(self):
                super().__init__()
                self.layers = net.ModuleList([net.Linear(2, 2), net.Linear(2, 2)])
                self.named = net.ModuleDict({"up": net.Linear(2, 3), "none": net.Identity()})
                self.scales = net.ParameterList([make.full((2,), 2.0), net.Parameter(make.full((2,), 3.0))])
                self.shifts = net.ParameterDict({"x": make.full((2,), 0.5)})

            def forward(self, x):
                for layer, scale in zip(self.layers, self.scales):
                    x = layer(x) * scale + self.shifts["x"]
                return self.named["up"](self.named["none"](x))

        return Model()


def test_containers_in_a_model_have_pytorchs_names_values_and_gradients():
    ours, theirs = Branches.build(nn, minillm).double(), Branches.build(torch.nn, torch).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: minillm.tensor(t.numpy()) for k, t in theirs.state_dict().items()})
    compare((ours, theirs), np.random.default_rng(1).standard_normal((3, 2)))


keys = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(st.sampled_from(["set", "delete", "pop", "update"]), keys)))
def test_module_dicts_behave_as_dictionaries(program):
    ours, model = nn.ModuleDict(), {}
    for step, key in program:
        new = nn.Identity()
        if step == "set":
            ours[key] = new
            model[key] = new
        elif step == "update":
            given_ = {key: new, "d": new}
            ours.update(given_ if key == "a" else list(given_.items()))
            model.update(given_)
        elif key not in model:
            with pytest.raises(KeyError, match=key):
                {"delete": ours.__delitem__, "pop": ours.pop}[step](key)
        elif step == "pop":
            assert ours.pop(key) is model.pop(key)
        else:
            del ours[key]
            del model[key]
        assert list(ours) == list(model) == list(ours.keys()) and len(ours) == len(model)
        assert list(ours.items()) == list(model.items()) and list(ours.values()) == list(model.values())
        assert [k in ours for k in "abcd"] == [k in model for k in "abcd"]
    twin = nn.ModuleDict(ours)
    assert list(twin.items()) == list(model.items())


@pytest.mark.parametrize("name", ["", "a.b", "keys"])
def test_module_dicts_refuse_names_that_cannot_be_attributes(name):
    with pytest.raises(KeyError):
        nn.ModuleDict({name: nn.Identity()})


def test_parameter_lists_and_dicts_hold_parameters():
    listed = nn.ParameterList([minillm.ones(1), nn.Parameter(minillm.zeros(2))])
    assert listed.append(minillm.ones(3)) is listed and len(listed) == 3
    assert [type(p) for p in listed] == [nn.Parameter] * 3
    assert listed[-1] is listed[2] and listed[-1].shape == (3,)
    named = nn.ParameterDict({"a": minillm.ones(1)})
    named["b"] = listed[0]
    assert named["b"] is listed[0] and list(named) == ["a", "b"] and len(named) == 2
    assert [k for k, _ in named.items()] == ["a", "b"]
    assert [k for k, _ in named.named_parameters()] == ["a", "b"]
    assert array(named["a"]).tolist() == [1.0]
    with pytest.raises(IndexError):
        listed[3]
    with pytest.raises(KeyError):
        named["c"]


def test_parameters_in_lists_and_dictionaries_are_handled_as_pytorchs():
    found = []
    for net, make in ((nn, minillm), (torch.nn, torch)):
        listed = net.ParameterList([make.zeros(1)])
        listed += [make.zeros(2), net.Parameter(make.zeros(3))]
        listed.extend(listed[:1])
        listed[1] = make.ones(4)
        named = net.ParameterDict({"a": make.zeros(1), "b": make.zeros(2)})
        named.update({"c": make.zeros(3), "a": make.ones(5)})
        taken = named.pop("b")
        del named["c"]
        named.update([("d", make.zeros(6))])
        found.append(
            [
                [(name, tuple(p.shape), type(p) is net.Parameter) for name, p in m.named_parameters()]
                for m in (net.ModuleList([listed]), named, listed[1:3])
            ]
            + [list(named.keys()), [len(p) for p in named.values()], len(taken), "b" in named, "a" in named]
            + [named.get("b"), len(named.get("d"))]
        )
        named.clear()
        assert len(named) == 0
        modules = net.ModuleDict({"x": net.Identity()})
        modules.clear()
        assert not list(modules.keys())
    assert found[0] == found[1]
