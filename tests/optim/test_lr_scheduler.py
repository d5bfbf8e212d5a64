"""Every schedule gives PyTorch's step sizes, and goes on where it was saved."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import optim
from minillm.optim import lr_scheduler

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

CASES = [
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.9}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("ConstantLR", {"factor": 0.3, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.1, "total_iters": 7}),
    ("PolynomialLR", {"total_iters": 6, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
]


def optimizers():
    return (
        optim.SGD(
            [
                {"params": [minillm.ones(1, requires_grad=True)]},
                {"params": [minillm.ones(1, requires_grad=True)], "lr": 2.0},
            ],
            lr=0.5,
        ),
        torch.optim.SGD(
            [
                {"params": [torch.ones(1, requires_grad=True)]},
                {"params": [torch.ones(1, requires_grad=True)], "lr": 2.0},
            ],
            lr=0.5,
        ),
    )


def lrs(opt):
    return [group["lr"] for group in opt.param_groups]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("name", "options"), CASES, ids=[c[0] for c in CASES])
def test_equals_pytorch_and_resumes(name, options):
    ours, theirs = optimizers()
    mine, oracle = (
        getattr(lr_scheduler, name)(ours, **options),
        getattr(torch.optim.lr_scheduler, name)(theirs, **options),
    )
    for t in range(10):  # a cosine is compared up to its end; after it PyTorch's recursive form goes up again
        assert lrs(ours) == pytest.approx(lrs(theirs), abs=1e-12), t
        assert mine.get_last_lr() == pytest.approx(oracle.get_last_lr(), abs=1e-12)
        ours.step()
        theirs.step()
        mine.step()
        oracle.step()
        if t == 4:
            again, _ = optimizers()
            twin = getattr(lr_scheduler, name)(again, **options)
            again.load_state_dict(ours.state_dict())
            twin.load_state_dict(mine.state_dict())
            ours, mine = again, twin


CHAINED = [case for case in CASES if case[0] not in ("LambdaLR", "MultiplicativeLR")]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("second", [*CHAINED, CASES[1]], ids=[c[0] for c in [*CHAINED, CASES[1]]])
@pytest.mark.parametrize("first", [*CHAINED, CASES[1]], ids=[c[0] for c in [*CHAINED, CASES[1]]])
def test_two_schedules_of_one_optimizer_multiply(first, second):
    ours, theirs = optimizers()
    mine = [getattr(lr_scheduler, name)(ours, **options) for name, options in (first, second)]
    oracle = [getattr(torch.optim.lr_scheduler, name)(theirs, **options) for name, options in (first, second)]
    for _ in range(14):
        for schedule in [*mine, *oracle]:
            schedule.step()
        assert lrs(ours) == pytest.approx(lrs(theirs), rel=1e-9, abs=1e-15)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("name", "options"), CASES, ids=[c[0] for c in CASES])
def test_a_step_size_that_was_set_by_hand_is_the_new_start(name, options):
    ours, theirs = optimizers()
    mine, oracle = (
        getattr(lr_scheduler, name)(ours, **options),
        getattr(torch.optim.lr_scheduler, name)(theirs, **options),
    )
    for t in range(12):
        if t == 3:
            ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.25
        mine.step()
        oracle.step()
        assert lrs(ours) == pytest.approx(lrs(theirs), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("values", [[math.nan, 1.0, math.nan, 0.5], [math.inf, math.inf, 1.0, 1.0]])
@pytest.mark.parametrize("min_lr", [0.0, [0.2, 0.1]])
def test_plateau_with_measurements_that_are_no_numbers(values, min_lr):
    ours, theirs = optimizers()
    settings = {"patience": 0, "min_lr": min_lr}
    mine = lr_scheduler.ReduceLROnPlateau(ours, **settings)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **settings)
    for value in values:
        mine.step(value)
        oracle.step(value)
        assert lrs(ours) == pytest.approx(lrs(theirs))


def test_a_schedule_that_goes_on_needs_to_know_where_it_began():
    ours, _ = optimizers()
    with pytest.raises(KeyError, match='last_epoch=4 needs an "initial_lr" in group 0'):
        lr_scheduler.StepLR(ours, 3, last_epoch=4)
    for group in ours.param_groups:
        group["initial_lr"] = 0.8
    assert lr_scheduler.StepLR(ours, 3, gamma=0.5, last_epoch=4).get_last_lr() == [0.4, 0.4]  # that of step 5


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
def test_sequential_equals_pytorch():
    pairs = []
    for opt, module in zip(optimizers(), (lr_scheduler, torch.optim.lr_scheduler), strict=True):
        warm = module.LinearLR(opt, start_factor=0.1, total_iters=3)
        rest = module.CosineAnnealingLR(opt, T_max=6)
        pairs.append((opt, module.SequentialLR(opt, [warm, rest], milestones=[3])))
    (ours, mine), (theirs, oracle) = pairs
    for t in range(9):
        assert lrs(ours) == pytest.approx(lrs(theirs), abs=1e-12), t
        mine.step()
        oracle.step()


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=40),
    st.sampled_from(["min", "max"]),
    st.sampled_from(["rel", "abs"]),
    st.integers(0, 3),
    st.integers(0, 2),
)
def test_plateau_equals_pytorch(values, mode, threshold_mode, patience, cooldown):
    options = {
        "mode": mode,
        "factor": 0.5,
        "patience": patience,
        "threshold": 0.1,
        "threshold_mode": threshold_mode,
        "cooldown": cooldown,
    }
    ours, theirs = optimizers()
    mine = lr_scheduler.ReduceLROnPlateau(ours, **options)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for value in values:
        mine.step(value)
        oracle.step(value)
        assert lrs(ours) == pytest.approx(lrs(theirs))


@given(st.integers(0, 20), st.integers(1, 100), st.floats(0, 1))
def test_warmup_cosine_rises_to_the_base_and_falls_to_the_minimum(warmup, rest, min_ratio):
    opt = optim.SGD([minillm.ones(1, requires_grad=True)], lr=0.5)
    schedule = lr_scheduler.warmup_cosine(opt, warmup, warmup + rest, min_ratio)
    seen = []
    for _ in range(warmup + rest + 3):
        seen.append(lrs(opt)[0])
        schedule.step()
    assert max(seen) <= 0.5 + 1e-12
    assert all(a <= b + 1e-12 for a, b in zip(seen[:warmup], seen[1 : warmup + 1], strict=False))
    assert all(a >= b - 1e-12 for a, b in zip(seen[warmup:], seen[warmup + 1 :], strict=False))
    assert seen[warmup] == pytest.approx(0.5)
    assert seen[-1] == pytest.approx(0.5 * min_ratio)


def test_bad_arguments_are_named():
    opt = optim.SGD([minillm.ones(1, requires_grad=True)], lr=0.5)
    with pytest.raises(ValueError, match="warmup_steps"):
        lr_scheduler.warmup_cosine(opt, 10, 5)
    with pytest.raises(ValueError, match="factor"):
        lr_scheduler.ReduceLROnPlateau(opt, factor=1.5)
    with pytest.raises(TypeError, match="Optimizer"):
        lr_scheduler.StepLR(object(), 3)
    with pytest.raises(ValueError, match="2 functions"):
        lr_scheduler.LambdaLR(optimizers()[0], [lambda t: 1.0])
    for options in ({"start_factor": 0.0}, {"start_factor": 2.0}, {"end_factor": 1.5}):
        with pytest.raises(ValueError, match="LinearLR: expected"):
            lr_scheduler.LinearLR(opt, **options)
    with pytest.raises(ValueError, match="ConstantLR: expected"):
        lr_scheduler.ConstantLR(opt, 2.0)
    with pytest.raises(ValueError, match="expected 1 min_lr"):
        lr_scheduler.ReduceLROnPlateau(opt, min_lr=[0.1, 0.2])
    assert math.isclose(lrs(opt)[0], 0.5)


def test_the_state_of_another_schedule_is_refused_and_changes_nothing():
    def made():
        optimizer = minillm.optim.SGD([minillm.zeros(1, requires_grad=True)], lr=0.1)
        lr = lr_scheduler
        parts = [lr.StepLR(optimizer, 2), lr.CosineAnnealingLR(optimizer, 9)]
        return [parts[0], lr.SequentialLR(optimizer, parts, [3])]

    for schedule in made():
        schedule.step()
        good, before = schedule.state_dict(), repr(schedule.state_dict())
        wrong = [None, [], {}, {**good, "step": 3}, {**good, "optimizer": None}, dict(list(good.items())[1:])]
        if "schedulers" in good:
            first, second = good["schedulers"]
            wrong += [
                {**good, "schedulers": s} for s in ([first], [second, first], [first, {}], [first, second, first])
            ]
        for state in wrong:
            with pytest.raises(ValueError):
                schedule.load_state_dict(state)
            assert repr(schedule.state_dict()) == before and callable(schedule.step)
        schedule.load_state_dict(good)
