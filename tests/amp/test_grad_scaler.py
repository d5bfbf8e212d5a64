"""GradScaler: PyTorch's numbers, step by step, whatever the gradients; bad orders of calls and bad states refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.amp import GradScaler
from tests.standin import standin

# What a loss is multiplied by in each step: some overflow once they are scaled, two before.
FACTORS = st.lists(st.sampled_from([1.0, 1e-30, 1e34, math.inf, math.nan]), min_size=1, max_size=12)


def run(m: Any, scaler: Any, factors: list[float], unscale: bool) -> list[list[float]]:
    """Train one weight; return weight, scale and counter after every step."""
    w = m.tensor([0.5, -2.0], requires_grad=True)
    optimizer = m.optim.SGD([w], lr=0.1)
    found = []
    for factor in factors:
        optimizer.zero_grad()
        scaler.scale((w * w).sum() * factor).backward()
        if unscale:
            scaler.unscale_(optimizer)
            m.nn.utils.clip_grad_value_([w], 3.0)
        scaler.step(optimizer)
        scaler.update()
        state = scaler.state_dict()
        found.append([*w.detach().tolist(), state["scale"], state["_growth_tracker"]])
    return found


@given(FACTORS, st.booleans(), st.sampled_from([1.0, 2.0**16, 3.7, 2.0**120]), st.integers(1, 3))
def test_steps_are_pytorchs(factors: list[float], unscale: bool, init_scale: float, growth_interval: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    settings = {"init_scale": init_scale, "growth_interval": growth_interval}
    mine = run(minillm, GradScaler("cpu", **settings), factors, unscale)
    theirs = run(torch, torch.amp.GradScaler("cpu", **settings), factors, unscale)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_settings_and_state_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    ours, theirs = GradScaler("cpu"), torch.amp.GradScaler("cpu")
    assert ours.state_dict() == theirs.state_dict()
    for scaler in (ours, theirs):
        scaler.set_growth_factor(4.0)
        scaler.set_backoff_factor(0.25)
        scaler.set_growth_interval(7)
    names = ["get_growth_factor", "get_backoff_factor", "get_growth_interval", "get_scale", "is_enabled"]
    assert [getattr(ours, n)() for n in names] == [getattr(theirs, n)() for n in names]
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()


def test_a_state_goes_through_json_and_goes_on_as_before() -> None:
    factors = [1.0, math.inf, 1.0, 1.0, 1.0]
    scaler = GradScaler(growth_interval=2)
    run(minillm, scaler, factors[:3], False)
    other = GradScaler()
    other.load_state_dict(json.loads(json.dumps(scaler.state_dict())))
    assert run(minillm, scaler, factors[3:], False) == run(minillm, other, factors[3:], False)


def test_what_is_off_does_nothing() -> None:
    scaler = GradScaler(enabled=False)
    w = minillm.tensor([1.0], requires_grad=True)
    optimizer = minillm.optim.SGD([w], lr=1.0)
    loss = w.sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.item() == 0 and scaler.get_scale() == 1 and scaler.state_dict() == {} and not scaler.is_enabled()


def test_several_losses_and_optimizers() -> None:
    scaler = GradScaler(init_scale=8.0)
    u, v = (minillm.tensor([1.0], requires_grad=True) for _ in range(2))
    one, two = minillm.optim.SGD([u], lr=1.0), minillm.optim.SGD([v], lr=1.0)
    for scaled in scaler.scale([u.sum(), (v.sum() * 1e38 * 1e38,)]):
        (scaled[0] if isinstance(scaled, tuple) else scaled).backward()
    scaler.step(one)
    scaler.step(two)
    assert (u.item(), v.item()) == (0.0, 1.0)  # each is judged by its own gradients
    assert not scaler.overflowed(one) and scaler.overflowed(two)
    scaler.update()
    assert scaler.get_scale() == 4.0  # and the scale by all of them


def test_a_wrong_order_of_calls_is_refused() -> None:
    scaler = GradScaler()
    w = minillm.tensor([1.0], requires_grad=True)
    optimizer = minillm.optim.SGD([w], lr=1.0)
    with pytest.raises(RuntimeError, match="before step"):
        scaler.update()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="call update"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for again in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="call update"):
            again(optimizer)
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, closure=lambda: None)
    with pytest.raises(ValueError, match="iterable of Tensors, got int"):
        scaler.scale(3)


def test_weights_in_float16_are_refused() -> None:
    w = minillm.tensor([1.0], dtype=minillm.float16, requires_grad=True)
    w.sum().backward()
    with pytest.raises(ValueError, match="float32, got float16"):
        GradScaler().unscale_(minillm.optim.SGD([w], lr=1.0))


@pytest.mark.parametrize("settings", [{"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"init_scale": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected init_scale above 0"):
        GradScaler(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"scale": math.nan}, {"scale": "x"}, {"growth_interval": 0}, {"growth_factor": 1}])
def test_a_bad_state_changes_nothing(change: dict[str, Any]) -> None:
    scaler = GradScaler()
    before = scaler.state_dict()
    for state in ({**before, "scale": 2.0, **change}, {}, {"scale": 2.0}):
        with pytest.raises(ValueError, match="GradScaler: expected what state_dict"):
            scaler.load_state_dict(state)
    assert scaler.state_dict() == before


def test_a_gpu_is_asked_once_a_step() -> None:
    with standin() as to_host:
        weights = [minillm.rand(3, device="cuda").requires_grad_() for _ in range(5)]
        optimizer, scaler = minillm.optim.SGD(weights, lr=0.1), GradScaler()
        scaler.scale(sum((w * w).sum() for w in weights)).backward()
        before = to_host["count"]
        scaler.step(optimizer)
        scaler.update()
        assert to_host["count"] - before == 1
