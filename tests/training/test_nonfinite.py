"""Numbers that go wrong: the op is named, the step is refused or skipped, and no such state is ever saved."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn as nn
from lessons.l11_gpt import GPT, GPTConfig
from minillm.autograd import AnomalyError, is_anomaly_enabled
from minillm.datasets import IGNORE_INDEX
from minillm.training import Checkpoints, Interrupted, LanguageTask, NonFiniteLoss, Trainer, TrainingConfig
from tests.training.test_resume import plain

Loss = Callable[[minillm.Tensor, minillm.Tensor], minillm.Tensor]


def mean_square(y: minillm.Tensor, target: minillm.Tensor) -> minillm.Tensor:
    return ((y - target) ** 2).mean()


def log_of_negative(y: minillm.Tensor, target: minillm.Tensor) -> minillm.Tensor:
    return minillm.log(-(y**2) - 1.0).mean()


def log_of_zero(y: minillm.Tensor, target: minillm.Tensor) -> minillm.Tensor:
    return minillm.log(y * 0.0).mean()  # -inf, which is no NaN


def root_of_zero(y: minillm.Tensor, target: minillm.Tensor) -> minillm.Tensor:
    return (
        (y * 0.0).sqrt().mean()
    )  # the value is 0; its gradient 1/0 times 0 is a NaN in the backward pass of the product


class Spoiled:
    """Fit a line; from one batch on, with another loss; and do something when a batch is asked for."""

    def __init__(self, bad: Loss = mean_square, at: int = 10**9, ends: int = 10**9) -> None:
        self.bad, self.at, self.ends = bad, at, ends
        self.then: dict[int, Callable[[], Any]] = {}

    def batch(self, number: int) -> tuple[int, minillm.Tensor, minillm.Tensor]:
        self.then.get(number, lambda: None)()
        x = np.random.default_rng(number).standard_normal((4, 3))
        return number, minillm.tensor(x), minillm.tensor(x @ [1.0, -2.0, 0.5])

    def count(self, batch: Any) -> int:
        return 4

    def loss(self, model: Any, batch: Any) -> minillm.Tensor:
        number, x, target = batch
        return (self.bad if self.at <= number < self.ends else mean_square)(model(x)[:, 0], target)

    def evaluate(self, model: Any) -> dict[str, float]:
        _, x, target = self.batch(10**9)
        with minillm.no_grad():
            return {"loss": mean_square(model(x)[:, 0], target).item()}

    def sample(self, model: Any) -> None:
        return None


def trainer_for(task: Any, folder: Path | None, **settings: Any) -> Trainer:
    minillm.manual_seed(0)
    usual = {"steps": 12, "eval_every": 4, "log_every": 1, "lr": 0.01, "warmup_steps": 2, "accumulate": 2}
    return Trainer(nn.Linear(3, 1).double(), task, TrainingConfig(**{**usual, **settings}), folder)


def assert_all_finite(folder: Path) -> None:
    checkpoints = Checkpoints(folder / "checkpoints")
    assert checkpoints.paths()
    for path in checkpoints.paths():
        state = checkpoints.load(path)
        for tensor in [*state["model"].values(), *_tensors(state["optimizer"])]:
            assert np.isfinite(tensor.numpy()).all()


def _tensors(tree: Any) -> list[minillm.Tensor]:
    if isinstance(tree, minillm.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [t for part in parts for t in _tensors(part)]


# --- named -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("bad", "op"), [(log_of_negative, "Log"), (root_of_zero, "Mul")], ids=["forward", "backward"])
@pytest.mark.parametrize("skip", [False, True])
def test_anomaly_names_the_step_the_op_and_the_line(tmp_path: Path, bad: Loss, op: str, skip: bool) -> None:
    trainer = trainer_for(Spoiled(bad, at=11), tmp_path, anomaly=True, skip_nonfinite=skip)
    with pytest.raises(NonFiniteLoss) as error:
        trainer.fit()
    assert str(error.value).startswith("step 6: ") and op.lower() in str(error.value).lower()
    assert "made a NaN" in str(error.value) and f"in {bad.__name__}" in str(error.value)
    assert trainer.step == 5 and not is_anomaly_enabled()
    assert_all_finite(tmp_path)


def test_anomaly_changes_no_number_and_other_errors_keep_their_name() -> None:
    ends = []
    for anomaly in (False, True):
        trainer = trainer_for(Spoiled(), None, anomaly=anomaly)
        trainer.fit()
        ends.append(plain(trainer.model.state_dict()))
    assert ends[0] == ends[1]

    def broken(y: minillm.Tensor, target: minillm.Tensor) -> minillm.Tensor:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else") as error:
        trainer_for(Spoiled(broken, at=3), None, anomaly=True).fit()
    assert not isinstance(error.value, (NonFiniteLoss, AnomalyError)) and not is_anomaly_enabled()


# --- stopped, or skipped ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [log_of_negative, log_of_zero, root_of_zero], ids=["nan", "inf", "gradient"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("at", [10, 11], ids=["first half of a step", "second half"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights_change(
    tmp_path: Path, bad: Loss, clip: float | None, at: int
) -> None:
    trainer = trainer_for(Spoiled(bad, at), tmp_path, clip=clip)
    with pytest.raises(NonFiniteLoss, match=r"^step 6: loss .*, gradient norm .*--anomaly"):
        trainer.fit()
    twin, before = trainer_for(Spoiled(), None, clip=clip), []
    twin.task.then[10] = lambda: before.append(plain(twin.model.state_dict()))  # type: ignore[attr-defined]
    twin.fit()
    assert [plain(trainer.model.state_dict())] == before
    assert_all_finite(tmp_path)


def warned(action: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        action()
    return [str(w.message) for w in said]


def test_skipped_steps_are_counted_also_over_a_stop_and_leave_no_trace_in_the_optimizer(tmp_path: Path) -> None:
    def skipping(name: str) -> Trainer:  # steps 5, 6 and 7
        return trainer_for(Spoiled(log_of_negative, at=8, ends=14), tmp_path / name, skip_nonfinite=True)

    whole = skipping("whole")
    said = warned(whole.fit)
    assert [w.split(":")[0] for w in said] == ["step 5", "step 6", "step 7"] and "skipped (3 so far)" in said[-1]
    part = skipping("part")
    part.task.then[11] = lambda: signal.raise_signal(signal.SIGINT)  # type: ignore[attr-defined]

    def stopped() -> None:
        with pytest.raises(Interrupted, match="after step 6"):
            part.fit()

    said = warned(stopped)
    part = skipping("part")
    part.resume()
    assert part.skipped == 2
    said += warned(part.fit)
    assert len(said) == 3 and said[-1].startswith("step 7: loss nan") and "skipped (3 so far)" in said[-1]
    assert part.skipped == whole.skipped == 3
    assert plain(part.state_dict()) == plain(whole.state_dict())
    logs = [(tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8") for name in ("whole", "part")]
    assert logs[0] == logs[1] and "NaN" not in logs[0]  # which is no JSON
    assert_all_finite(tmp_path / "part")


# --- never saved -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["look", "stop"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, end: str, value: float) -> None:
    trainer = trainer_for(Spoiled(), tmp_path)

    def spoil() -> None:
        trainer.model.bias.data.array[...] = value
        if end == "stop":
            signal.raise_signal(signal.SIGTERM)

    trainer.task.then[11] = spoil  # type: ignore[attr-defined]
    trainer.task.loss = lambda model, batch: mean_square(model.weight @ batch[1].T, batch[2])  # type: ignore[method-assign]
    trainer.task.evaluate = lambda model: {"loss": -float(trainer.step)}  # type: ignore[method-assign]
    trainer.model.bias.requires_grad_(False)
    with pytest.raises(
        NonFiniteLoss, match=rf"step {8 if end == 'look' else 6}: bias is no longer finite; .*not saved"
    ):
        trainer.fit()
    assert_all_finite(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").load_best()[0].name == "step-00000004.safetensors"


def test_a_look_that_is_not_finite_is_neither_newest_nor_best(tmp_path: Path) -> None:
    trainer = trainer_for(Spoiled(), tmp_path)
    trainer.task.evaluate = lambda model: {"loss": math.nan if trainer.step == 8 else 1.0}  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss, match="step 8: validation loss nan"):
        trainer.fit()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert [p.name for p in checkpoints.paths()] == ["step-00000000.safetensors", "step-00000004.safetensors"]


# --- batches without targets -----------------------------------------------------------------------------------------
def test_a_batch_whose_targets_are_all_ignored_is_skipped_with_a_warning(tmp_path: Path) -> None:
    ids = np.arange(400) % 7

    class Ignoring(LanguageTask):
        empty: tuple[int, ...] = ()

        def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            x, y = super().batch(number)
            return x, np.full_like(y, IGNORE_INDEX) if number in self.empty else y

    ends = []
    for empty in ((), (4, 5), (5,)):  # none; all of step 3; half of step 3
        minillm.manual_seed(0)
        model = GPT(GPTConfig(7, block_size=4, n_layer=1, n_head=1, n_embd=8))
        task = Ignoring(ids, ids[:50], 50, block_size=4, batch_size=2)
        task.empty = empty
        settings = TrainingConfig(steps=3, eval_every=3, accumulate=2, warmup_steps=1)
        trainer = Trainer(model, task, settings, tmp_path / str(len(ends)))
        words = ["step 3: every target of the batch is ignored; skipped"] if len(empty) == 2 else []
        assert warned(trainer.fit) == words
        assert_all_finite(tmp_path / str(len(ends)))
        ends.append(plain(trainer.model.state_dict()))
    assert ends[0] != ends[1] != ends[2] != ends[0]


def test_the_progress_bar_shows_a_loss_again_after_a_skipped_step(capsys: pytest.CaptureFixture) -> None:
    from minillm.training.progress import Progress

    with Progress("training", 3) as bar:
        bar.update(1, 3, math.nan, 1)
        bar.update(2, 3, 2.0, 1)
        assert bar._loss == 2.0
        bar.update(3, 3, math.inf, 1)
        assert bar._loss == 2.0
    assert "training" in capsys.readouterr().err
