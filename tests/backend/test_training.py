"""A GPT on the stand-in: training, generating and saving give what they give on the host, and wait for nothing.

Everything is run twice: by the ops' own formulas, and by the CUDA kernels where they can run on the CPU.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm.generation import Sampling, generate
from minillm.training import Trainer, TrainingConfig
from tests import cuda_on_cpu
from tests.backend.small_gpt import make, step, task
from tests.backend.twins import host
from tests.standin import standin

KERNELS = pytest.param(True, marks=pytest.mark.skipif(bool(cuda_on_cpu.why_not()), reason=cuda_on_cpu.why_not() or "-"))


@pytest.fixture(autouse=True, params=[False, KERNELS], ids=["formulas", "kernels"])
def transfers(request):
    with standin(kernels=request.param) as counter:
        yield counter


@pytest.fixture
def kernels(request):
    return request.node.callspec.params["transfers"] is True


@pytest.mark.parametrize("cls", [minillm.optim.SGD, minillm.optim.Adam, minillm.optim.AdamW])
def test_training_steps_equal_those_of_the_host_and_wait_for_nothing(cls, transfers, kernels):
    models = [make("cpu"), make("cuda")]
    optimizers = [cls(m.parameters(), lr=1e-2) for m in models]
    for number in range(3):
        x, y = task().batch(number)
        y = np.where(np.arange(12) < number, -100, y)
        expected = step(models[0], optimizers[0], x, y)
        transfers["count"] = 0
        got = step(models[1], optimizers[1], x, y)
        # The formula of clipping looks at the norm, and looks whether it is finite; the kernel keeps it where it is.
        assert transfers["count"] <= (0 if kernels else 1)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(host(a), b.numpy(), rtol=1e-10)
    for (name, p), q in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        np.testing.assert_allclose(host(q.detach()), p.detach().numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_model_with_dropout_trains(transfers):
    model = make("cuda", dropout=0.1)
    optimizer = minillm.optim.AdamW(model.parameters(), lr=1e-2)
    losses = [step(model, optimizer, *task().batch(0))[0] for _ in range(12)]
    assert host(losses[-1]) < host(losses[0]) - 0.2


def test_the_trainer_looks_once_a_step_at_the_loss_and_the_norm_together(transfers, kernels):
    config = TrainingConfig(steps=4, lr=1e-2, warmup_steps=1, eval_every=100, log_every=1, workers=1)
    runs = {device: Trainer(make(device), task(), config) for device in ("cpu", "cuda")}
    for trainer in runs.values():
        transfers["count"] = 0
        for _ in range(3):
            trainer.train_step()
    assert transfers["count"] <= (1 if kernels else 2) * 3  # the formula of clipping looks at the norm once more
    histories = {device: trainer.fit() and trainer.history for device, trainer in runs.items()}
    for a, b in zip(histories["cpu"], histories["cuda"], strict=True):
        assert a == pytest.approx(b, rel=1e-9)


def test_the_next_batch_is_made_before_the_card_is_waited_for(monkeypatch, transfers):
    trained = Trainer(make("cuda"), task(), TrainingConfig(steps=3, accumulate=2, warmup_steps=1, workers=1, clip=None))
    made, batch = [], trained.task.batch

    def noted(number):
        made.append((number, transfers["count"]))
        return batch(number)

    monkeypatch.setattr(trained.task, "batch", noted)
    for _ in range(3):
        transfers["count"] = 0
        trained.train_step()
        trained.step += 1
    assert [number for number, _ in made] == [0, 1, 2, 3, 4, 5, 6, 7], "each one once, one step ahead"
    assert {count for _, count in made[2:]} == {0}


def test_the_same_tokens_are_generated():
    on_host, on_device = make("cpu"), make("cuda")
    prompts = [[1, 2, 3], [4]]
    for how in (Sampling(temperature=0.0), Sampling(temperature=1.0, top_k=5)):
        for cache in (True, False):
            texts = [
                generate(m, prompts, 6, how, use_cache=cache, generator=minillm.Generator().manual_seed(1))
                for m in (on_host, on_device)
            ]
            assert texts[0] == texts[1]


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_moves_to_the_other_device_and_goes_on(first, second, tmp_path):
    config = TrainingConfig(steps=6, lr=1e-2, warmup_steps=1, schedule="constant", eval_every=3, log_every=1, workers=1)
    whole = Trainer(make("cpu"), task(), config)
    whole.fit()
    begun = Trainer(make(first), task(), config, tmp_path)
    begun.total_steps = 3
    begun.fit()
    moved = Trainer(make(second), task(), config, tmp_path)
    moved.resume()
    moved.total_steps = 6
    moved.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = [r for r in whole.history if r["step"] > 3]
    for a, b in zip([r for r in lines if r["step"] > 3], expected, strict=True):
        assert a == pytest.approx(b, rel=1e-9)


# --- ids: what is known of them, and what is not
def test_ids_are_looked_at_before_they_are_moved(transfers):
    table = minillm.ones(5, 2, device="cuda")
    ids = minillm.tensor([[0, 4], [1, 2]], device="cuda")
    for given in (ids, ids[:, 1:], ids.reshape(-1), ids.T, minillm.arange(2, 5, device="cuda")):
        F.embedding(given, table)
    F.cross_entropy(minillm.ones(3, 4, device="cuda"), minillm.tensor([-100, 3, 0], device="cuda"))
    assert transfers["count"] == 0
    F.embedding(ids + 0, table)
    assert transfers["count"] > 0  # made on the device: it has to be asked


@pytest.mark.parametrize(
    "change",
    [
        lambda ids: ids.fill_(7),
        lambda ids: ids.__setitem__((0, 1), 7),
        lambda ids: ids[1:].add_(7),
        lambda ids: ids.data.mul_(7),
        lambda ids: ids.copy_(minillm.full((2, 2), -1)),
        lambda ids: ids.T.clamp_(6, 9),
    ],
)
def test_ids_that_were_changed_are_looked_at_again(change):
    table, ids = minillm.ones(5, 2, device="cuda"), minillm.tensor([[0, 4], [1, 2]], device="cuda")
    F.embedding(ids, table)
    change(ids)
    with pytest.raises(IndexError, match=r"7|9|8|-1|28|6"):
        F.embedding(ids, table)


def test_what_is_known_of_ids_dies_with_them():
    backend = minillm.backend.get_backend("cuda")
    before = len(backend._ranges)
    ids = minillm.tensor([1, 2], device="cuda")
    assert len(backend._ranges) == before + 1
    del ids
    assert len(backend._ranges) == before


@pytest.mark.parametrize(
    ("targets", "classes", "ignored", "wrong"),
    [
        ([0, -1], 3, -100, -1),
        ([0, -100, -1], 3, -100, -1),
        ([0, 3], 3, -100, 3),
        ([0, 3], 3, 3, None),
        ([0, -100], 3, -100, None),
        ([-7, -7], 3, -7, None),
    ],
)
def test_targets_out_of_range_are_named(targets, classes, ignored, wrong):
    def loss() -> minillm.Tensor:
        y = minillm.tensor(targets, device="cuda")
        return F.cross_entropy(minillm.zeros(len(targets), classes, device="cuda"), y, ignore_index=ignored)

    if wrong is None:
        loss()
    else:
        with pytest.raises(IndexError, match=str(wrong)):
            loss()
