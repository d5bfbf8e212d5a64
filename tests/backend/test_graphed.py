"""Steps that a card repeats as a whole give what they give launch by launch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm.autograd import modes
from minillm.backend.cuda import CuPyBackend
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training.parallel import graphed_gradients
from tests import cuda_on_cpu
from tests.backend.recording_on_host import HostRecording
from tests.backend.small_gpt import make, task
from tests.backend.twins import host
from tests.standin import standin

made: list[HostRecording] = []
parameters: list[minillm.Tensor] = []


@pytest.fixture(params=["standin", pytest.param("card", marks=pytest.mark.gpu)], autouse=True)
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "card":
        yield "card"
        return

    def start(backend: CuPyBackend) -> HostRecording:
        made.append(HostRecording(backend, parameters))
        return made[-1]

    made.clear()
    with standin(kernels=not cuda_on_cpu.why_not(), recording=start):
        yield "standin"


def step_of(model: minillm.nn.Module) -> minillm.Tensor:
    parameters[:] = model.parameters()

    def gradients(x: minillm.Tensor, y: minillm.Tensor) -> minillm.Tensor:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        return loss.detach()

    return gradients


def tensors(number: int) -> list[minillm.Tensor]:
    return [minillm.tensor(ids, device="cuda") for ids in task().batch(number)]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_is_the_same(dropout: float, accumulate: int, cuda: str) -> None:
    if dropout and cuda == "standin" and cuda_on_cpu.why_not():
        pytest.skip(cuda_on_cpu.why_not())
    found = {}
    for way in ("launch by launch", "graphed"):
        minillm.manual_seed(3)
        model = make("cuda", dropout=dropout)
        optimizer = minillm.optim.AdamW(model.parameters(), lr=1e-2)
        gradients = step_of(model)
        call = minillm.cuda.graphed(gradients, list(model.parameters())) if way == "graphed" else gradients
        losses = []
        for i in range(6):
            optimizer.zero_grad()
            for j in range(accumulate):
                losses.append(call(*tensors(accumulate * i + j)))
            optimizer.step()
        found[way] = [host(t) for t in (*losses, *(p.detach() for p in model.parameters()))]
    assert len({y.tobytes() for y in found["graphed"][: 6 * accumulate]}) == 6 * accumulate  # each has its own array
    for a, b in zip(found["graphed"], found["launch by launch"], strict=True):
        if accumulate == 1:
            assert a.tobytes() == b.tobytes()
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)  # a sum is made in another order
    assert cuda == "card" or len(made) == 1


def test_ids_out_of_range_are_refused_each_time() -> None:
    model = make("cuda")
    call = minillm.cuda.graphed(step_of(model), list(model.parameters()))
    x, y = tensors(0)
    for _ in range(4):
        call(x, y)
    ids = host(x).copy()
    ids[0, 0] = 10_000
    bad = minillm.tensor(ids, device="cuda")
    with pytest.raises(IndexError, match="embedding: id 10000"):
        call(bad, y)
    with pytest.raises(IndexError, match="target"):
        call(x, bad)
    with pytest.raises(IndexError, match="embedding: id 10000"):
        call(bad + 0, y)  # of which the host knows nothing
    call(x, y)


def test_what_cannot_be_recorded_is_called_as_usual() -> None:
    w = minillm.ones(3, device="cuda", requires_grad=True)
    parameters[:] = [w]
    seen = []

    def looks(x: minillm.Tensor) -> minillm.Tensor:
        y = (w * x).sum()
        seen.append(y.item())
        y.backward()
        return y.detach()

    call = minillm.cuda.graphed(looks, [w])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for i in range(5):
            assert call(minillm.full((3,), float(i), device="cuda")).item() == 3.0 * i
    assert ["graphed: not recorded" in str(w.message) for w in said] == [True]
    assert host(w.grad).tolist() == [10.0] * 3
    assert seen[-2:] == [9.0, 12.0]


def test_the_real_error_is_raised_where_the_function_is_wrong() -> None:
    parameters.clear()
    call = minillm.cuda.graphed(lambda x: x.reshape(7))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"reshape|view"):
            call(minillm.ones(3, device="cuda"))


def test_shapes_types_and_arrays_of_parameters_are_kinds_of_their_own(cuda: str) -> None:
    w = minillm.ones(1, device="cuda", requires_grad=True)
    parameters[:] = [w]
    call = minillm.cuda.graphed(lambda x: (x * w).detach() + 1, [w])
    for n in (2, 3, 2, 3, 2, 3, 2, 3):
        assert host(call(minillm.ones(n, device="cuda"))).tolist() == [2.0] * n
    w.data = minillm.full((1,), 5.0, device="cuda")
    for _ in range(4):
        assert host(call(minillm.ones(2, device="cuda"))).tolist() == [6.0] * 2
    assert cuda == "card" or len(made) == 3  # the stand-in calls the function again, and it sees the new array anyway
    with minillm.no_grad():
        w.mul_(2)
    assert host(call(minillm.ones(2, device="cuda"))).tolist() == [11.0] * 2


@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-12), ("bfloat16", 2e-3), ("float16", 2e-3)])
def test_a_trainer_on_a_card_gives_what_it_gives_without_recordings(
    precision: str, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    found = {}
    for takes in (False, True):
        monkeypatch.setattr(LanguageTask, "takes_tensors", takes)
        minillm.manual_seed(0)
        model = make("cuda")
        if precision != "float32":
            model.float()
        parameters[:] = model.parameters()
        config = TrainingConfig(steps=6, lr=1e-2, warmup_steps=1, eval_every=6, log_every=1, accumulate=2, workers=1,
                                precision=precision)  # fmt: skip
        trainer = Trainer(model, task(), config)
        trainer.fit()
        found[takes] = copy.deepcopy(trainer.history)
    for one, other in zip(found[False], found[True], strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=apart)


def test_a_region_of_autocast_around_it_is_part_of_the_kind() -> None:
    w = minillm.full((2, 2), 1.01, device="cuda", requires_grad=True)
    parameters[:] = [w]
    casts_before = set()  # those of before would not be recorded

    def product(x: minillm.Tensor) -> minillm.Tensor:
        casts_before.add(None if modes.autocast is None else len(modes.autocast.casts))
        return (x @ w).detach()

    call = minillm.cuda.graphed(product, [w])
    x = minillm.ones(2, 2, device="cuda")
    for _ in range(4):
        assert call(x).dtype == np.float32
        with minillm.autocast("cuda", minillm.float16):
            (x @ w).sum()  # w is cast here
            assert call(x).dtype == np.float16
            with minillm.no_grad():
                w.add_(1)
            wanted = (x @ w).detach()
            np.testing.assert_array_equal(host(call(x)), host(wanted))
    assert casts_before == {None, 0}


def test_a_setting_of_products_is_part_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    parameters.clear()

    def f(x: minillm.Tensor) -> minillm.Tensor:
        seen.append(minillm.backends.cuda.matmul.allow_tf32)
        return x * 2

    call = minillm.cuda.graphed(f)
    for tf32 in (False, True):
        monkeypatch.setattr(minillm.backends.cuda.matmul, "allow_tf32", tf32)
        for _ in range(2):
            call(minillm.ones(3, device="cuda"))
    assert seen == [False, False, True, True]


def test_inputs_that_need_a_gradient_are_refused() -> None:
    with pytest.raises(ValueError, match="graphed: expected inputs that need no gradient"):
        minillm.cuda.graphed(lambda x: x.detach())(minillm.ones(2, device="cuda", requires_grad=True))


def test_hooks_see_every_step_of_a_trainer() -> None:
    seen: list[str] = []
    model = make("cuda")
    parameters[:] = model.parameters()
    model.norm.register_forward_hook(lambda module, given, result: seen.append("result"))
    model.norm.weight.register_hook(lambda dw: seen.append("gradient"))
    config = TrainingConfig(steps=6, lr=1e-2, warmup_steps=1, eval_every=9, workers=1)
    trainer = Trainer(model, task(), config)
    for _ in range(6):
        trainer.train_step()
    assert seen.count("gradient") == 6 and seen.count("result") == 6


def test_a_model_with_buffers_is_not_recorded() -> None:
    model = make("cuda")
    assert graphed_gradients(model, task(), "float32") is not None
    model.register_buffer("counts", minillm.zeros(2, device="cuda"))
    assert graphed_gradients(model, task(), "float32") is None
    assert graphed_gradients(make("cpu"), task(), "float32") is None
