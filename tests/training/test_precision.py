"""The trainer in 16 bits: float32's loss within the spread over seeds, scales that find themselves, exact resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.training import Interrupted, LanguageTask, NonFiniteLoss, Trainer, TrainingConfig
from tests.bench.gpu_precision import compare
from tests.training.test_resume import plain

pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")

IDS = np.arange(900) * 7 % 11


def make(precision: str, task: Any = None, folder: Path | None = None, **settings: Any) -> Trainer:
    minillm.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1))
    usual = {"steps": 8, "eval_every": 4, "log_every": 1, "warmup_steps": 2, "accumulate": 2, "batch_size": 4}
    task = task or LanguageTask(IDS, IDS[:90], 90, block_size=8, batch_size=4)
    return Trainer(model, task, TrainingConfig(**{**usual, "precision": precision, **settings}), folder)


def weights(trainer: Trainer) -> np.ndarray:
    return np.concatenate([p.detach().numpy().reshape(-1) for p in trainer.model.parameters()])


def test_sixteen_bits_reach_the_loss_of_float32() -> None:
    """A period of 11 ids is learned; the larger comparison is ``python -m tests.bench.gpu_precision``."""
    found = compare((IDS, IDS[:300], 300, 11), ("float32", "bfloat16", "float16"), seeds=3, steps=40)
    exact = found.pop("float32")
    assert exact["mean"] < 0.8 * math.log(11)  # something was learned
    for one in found.values():
        assert abs(one["mean"] - exact["mean"]) < exact["spread"]
        assert one["losses"] != exact["losses"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_gradients_are_near_and_weights_and_moments_stay_float32(precision: str) -> None:
    found = []
    for name in ("float32", precision):
        trainer = make(name, workers=1)
        batches = [trainer.task.batch(i) for i in range(2)]
        scale = trainer.scaler.get_scale()
        mean = trainer.workers.gradients(batches, [32, 32], scale)
        found.append(np.concatenate([p.grad.numpy().reshape(-1) / scale for p in trainer.model.parameters()]))
        assert mean == pytest.approx(math.log(11), rel=0.1)
    assert np.linalg.norm(found[1] - found[0]) < 0.05 * np.linalg.norm(found[0])
    trainer.fit()
    tensors = [*trainer.model.parameters(), *(s["exp_avg"] for s in trainer.optimizer.state.values())]
    assert {t.dtype for t in tensors} == {minillm.float32}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_threads_share_the_work_in_their_own_regions(precision: str) -> None:
    found = []
    for workers in (1, 3):
        trainer = make(precision, workers=workers)
        trainer.model.eval()  # no dropout
        batches = [trainer.task.batch(i) for i in range(2)]
        with trainer.workers.running():
            trainer.workers.gradients(batches, [32, 32], 1024.0)
        found.append(np.concatenate([p.grad.numpy().reshape(-1) for p in trainer.model.parameters()]))
    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.05 * np.abs(found[0]).max())


# --- the scale
class Growing(LanguageTask):
    """The loss of some batches is multiplied by so much that its gradient overflows float16, not float32."""

    def __init__(self, factor: float, numbers: range) -> None:
        super().__init__(IDS, IDS[:90], 90, block_size=8, batch_size=4)
        self.factor, self.numbers, self.stop_at = factor, numbers, -1
        self.trainer: Any = None

    def batch(self, number: int) -> Any:
        if number == self.stop_at:
            self.trainer._stop_signal = 2
        return number, *super().batch(number)

    def count(self, batch: Any) -> int:
        return super().count(batch[1:])

    def split(self, batch: Any, n: int) -> Any:
        return [(batch[0], *share) for share in super().split(batch[1:], n)]

    def loss(self, model: Any, batch: Any) -> minillm.Tensor:
        return super().loss(model, batch[1:]) * (self.factor if batch[0] in self.numbers else 1.0)


def test_a_step_that_overflows_is_left_out_and_the_scale_halved() -> None:
    trainer = make("float16", Growing(1e6, range(4, 6)))
    seen = []
    step = trainer.train_step

    def watched() -> Any:
        before = weights(trainer)
        result = step()
        seen.append(((weights(trainer) != before).any(), trainer.scaler.get_scale()))
        return result

    trainer.train_step = watched  # type: ignore[method-assign]
    trainer.fit()
    assert [changed for changed, _ in seen] == [True, True, False, True, True, True, True, True]
    assert [scale for _, scale in seen] == [2.0**16] * 2 + [2.0**15] * 6
    assert trainer.skipped == 0  # that counts losses that are not finite
    assert [r["loss_scale"] for r in trainer.history if "train_loss" in r][2:4] == [2.0**15] * 2


def test_an_overflow_that_no_scale_cures_stops_the_run() -> None:
    trainer = make("float16", Growing(1e30, range(4, 10**9)), steps=40)
    with pytest.raises(NonFiniteLoss, match="gradient norm"):
        trainer.fit()
    assert trainer.scaler.get_scale() == 1.0
    assert np.isfinite(weights(trainer)).all()


@pytest.mark.parametrize("skip", [False, True])
def test_a_loss_that_is_not_finite_is_no_matter_of_scale(skip: bool) -> None:
    trainer = make("float16", Growing(math.inf, range(4, 6)), skip_nonfinite=skip)
    if not skip:
        with pytest.raises(NonFiniteLoss, match="step 3: loss inf"):
            trainer.fit()
        return
    with pytest.warns(UserWarning, match="step 3: loss inf.*skipped"):
        trainer.fit()
    assert (trainer.skipped, trainer.step) == (1, 8)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_goes_on_bit_for_bit(precision: str, tmp_path: Path) -> None:
    """It is stopped after a step that overflowed, so the scale is not the first one any more."""
    whole = make(precision, Growing(1e6, range(4, 6)), tmp_path / "whole")
    whole.fit()
    task = Growing(1e6, range(4, 6))
    task.trainer = trainer = make(precision, task, tmp_path / "part")
    task.stop_at = 8
    with pytest.raises(Interrupted):
        trainer.fit()
    again = make(precision, Growing(1e6, range(4, 6)), tmp_path / "part")
    again.resume()
    assert again.step == 5
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    assert (again.scaler.get_scale() == 2.0**15) == (precision == "float16")
    again.fit()
    assert plain(again.state_dict()) == plain(whole.state_dict())


def test_a_state_of_another_scaler_is_refused_as_a_whole(tmp_path: Path) -> None:
    trainer = make("float16", folder=tmp_path)
    trainer.fit()
    state = trainer.state_dict()
    state["trainer"]["scaler"]["scale"] = -1.0
    other = make("float16")
    before = weights(other)
    with pytest.raises(ValueError, match="not the state of a trainer"):
        other.load_state_dict(state)
    assert (weights(other) == before).all()


def test_the_precision_of_a_run_can_be_changed_where_that_is_asked_for(tmp_path: Path) -> None:
    trainer = make("float32", folder=tmp_path)
    trainer.fit()
    other = make("float16", folder=tmp_path, steps=12)
    other.about["changed"] = ["precision", "steps"]
    other.resume()
    other.fit()
    assert other.step == 12 and other.scaler.get_scale() == 2.0**16
