"""Every optimizer takes the same steps as PyTorch's, and its state survives saving."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import optim
from minillm.optim import adam, optimizer

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "maximize": True, "betas": (0.0, 0.5)}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.1, "amsgrad": True}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "centered": True, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
]


def make_pair(name, options, seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(shape) for shape in [(3, 4), (5,), ()]]
    ours = [minillm.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    return ours, theirs, getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)


def step(params, opt, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else (minillm.tensor(g) if isinstance(p, minillm.Tensor) else torch.tensor(g))
    opt.step()


def grads_of(rng):
    grads = [rng.standard_normal(shape) for shape in [(3, 4), (5,), ()]]
    if rng.random() < 0.3:
        grads[int(rng.integers(3))] = None  # a parameter that took no part keeps its value and its state
    return grads


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_twenty_steps_equal_pytorch(name, options):
    ours, theirs, mine, oracle = make_pair(name, options)
    rng = np.random.default_rng(1)
    for _ in range(20):
        grads = grads_of(rng)
        step(ours, mine, grads)
        step(theirs, oracle, grads)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_state_dict_continues_exactly(name, options):
    ours, _, mine, _ = make_pair(name, options)
    rng = np.random.default_rng(2)
    for _ in range(3):
        step(ours, mine, grads_of(rng))
    twins = [minillm.tensor(p.detach().numpy(), requires_grad=True) for p in ours]
    twin = getattr(optim, name)(twins, lr=123.0)
    twin.load_state_dict(copy.deepcopy(mine.state_dict()))
    for _ in range(3):
        grads = grads_of(rng)
        step(ours, mine, grads)
        step(twins, twin, grads)
    for a, b in zip(ours, twins, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_state_dict_from_pytorch_can_be_read():
    ours, theirs, mine, oracle = make_pair("Adam", {"lr": 0.1})
    rng = np.random.default_rng(3)
    grads = [rng.standard_normal(shape) for shape in [(3, 4), (5,), ()]]
    step(theirs, oracle, grads)
    state = oracle.state_dict()
    state["state"] = {
        i: {k: float(v) if k == "step" else minillm.tensor(v.numpy()) for k, v in s.items()}
        for i, s in state["state"].items()
    }
    mine.load_state_dict(state)
    for a, b in zip(ours, theirs, strict=True):
        a.data.copy_(minillm.tensor(b.detach().numpy()))
    step(ours, mine, grads)
    step(theirs, oracle, grads)
    np.testing.assert_allclose(ours[0].detach().numpy(), theirs[0].detach().numpy(), rtol=1e-9)


@given(st.integers(1, 50), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.9, 0.999]))
def test_adam_in_tiles_equals_its_formula(t, beta1, beta2):
    rng = np.random.default_rng(t)
    n = optimizer.TILE + 7  # more than one tile
    w, g, m = rng.standard_normal((3, n))
    v = rng.random(n)
    expected = adam.adam_formula(np, w, g, m, v, step=t, lr=0.01, beta1=beta1, beta2=beta2, eps=1e-8)
    p = minillm.tensor(w, requires_grad=True)
    p.grad = minillm.tensor(g)
    opt = optim.Adam([p], lr=0.01, betas=(beta1, beta2))
    opt.state[p] = {"step": t - 1, "exp_avg": minillm.tensor(m), "exp_avg_sq": minillm.tensor(v)}
    opt.step()
    for got, want in zip([p, opt.state[p]["exp_avg"], opt.state[p]["exp_avg_sq"]], expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


def test_a_transposed_parameter_is_updated_in_its_own_memory():
    base = np.ones((300, 400))
    p = minillm.from_numpy(base.T)
    p.requires_grad_()
    p.grad = minillm.ones(400, 300, dtype=minillm.float64)
    optim.AdamW([p], lr=0.5, weight_decay=0.0).step()
    np.testing.assert_allclose(base, 0.5, rtol=1e-6)


def test_parameter_groups_have_their_own_settings():
    a, b = minillm.ones(2, requires_grad=True), minillm.ones(2, requires_grad=True)
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad = b.grad = minillm.ones(2)
    opt.step()
    assert a.tolist() == pytest.approx([0.9, 0.9]) and b.tolist() == pytest.approx([0.5, 0.5])


def test_zero_grad_and_closure():
    p = minillm.ones(2, requires_grad=True)
    opt = optim.SGD([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert float(opt.step(closure)) == 2.0
    assert p.tolist() == pytest.approx([0.8, 0.8])
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    opt.zero_grad()
    assert p.grad is None


def test_step_between_forward_and_backward_is_noticed():
    w = minillm.ones(2, requires_grad=True)
    opt = optim.SGD([w], lr=0.1)
    w.grad = minillm.ones(2)
    loss = (w * w).sum()
    opt.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_user_can_write_an_optimizer():
    class SignSGD(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @minillm.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.data.add_(p.grad.sign(), alpha=-group["lr"])

    p = minillm.tensor([1.0, -1.0], requires_grad=True)
    (p * p).sum().backward()
    SignSGD([p]).step()
    assert p.tolist() == pytest.approx([0.9, -0.9])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "no parameters"),
        (lambda p: optim.SGD(p, lr=0.1), TypeError, "iterable"),
        (lambda p: optim.SGD([p, p], lr=0.1), ValueError, "more than one place"),
        (lambda p: optim.SGD([p], lr=-1.0), ValueError, "lr=-1.0"),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "lr=nan"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda p: optim.Adam([p], capturable=True), NotImplementedError, "capturable"),
        (lambda p: optim.SGD([p * 2], lr=0.1), ValueError, "leaf"),
        (lambda p: optim.SGD([3.0], lr=0.1), TypeError, "float"),
    ],
)
def test_bad_arguments_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make(minillm.ones(2, requires_grad=True))


def test_a_state_of_another_shape_is_refused_and_changes_nothing():
    p = minillm.ones(2, requires_grad=True)
    opt = optim.Adam([p])
    p.grad = minillm.ones(2)
    opt.step()
    state = opt.state_dict()
    state["state"][0]["exp_avg"] = minillm.ones(3)
    before = opt.state[p]["exp_avg"].tolist()
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(3,\), the parameter \(2,\)"):
        opt.load_state_dict(state)
    assert opt.state[p]["exp_avg"].tolist() == before
    with pytest.raises(ValueError, match="sizes"):
        optim.Adam([p, minillm.ones(1, requires_grad=True)]).load_state_dict(state)


def test_settings_survive_json():
    p = minillm.ones(2, requires_grad=True)
    p.grad = minillm.ones(2)
    opt = optim.SGD([p], lr=0.25)
    state = json.loads(json.dumps(opt.state_dict()))
    other = optim.SGD([p], lr=0.5)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.25


@given(st.floats(0.0, 2.0))
def test_penalties_are_their_formulas(weight):
    p = minillm.tensor([1.0, -2.0, 0.0], dtype=minillm.float64, requires_grad=True)
    loss = optim.l1_penalty([p], weight) + optim.l2_penalty([p], weight)
    loss.backward()
    assert loss.item() == pytest.approx(3 * weight + 2.5 * weight)
    np.testing.assert_allclose(p.grad.numpy(), weight * np.array([1 + 1, -1 - 2, 0.0]), atol=1e-12)
