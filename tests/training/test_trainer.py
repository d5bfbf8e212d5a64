"""The training loop: it learns, resumes bit for bit, stops when asked, and never writes a NaN."""

from __future__ import annotations

import errno
import gc
import io
import json
import math
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import minillm
import minillm.nn as nn
from minillm.training import (
    CheckpointError,
    Checkpoints,
    ConfigError,
    EarlyStopping,
    Interrupted,
    NonFiniteLoss,
    Trainer,
    TrainingConfig,
)


class Line:
    """Fit a line to noisy points; a batch is a function of its number."""

    def __init__(self, batch_size=4, spoil_at=None, dtype=np.float64):
        self.batch_size, self.spoil_at, self.dtype = batch_size, spoil_at, dtype

    def batch(self, number):
        rng = np.random.default_rng(number)
        x = rng.standard_normal((self.batch_size, 3)).astype(self.dtype)
        y = x @ np.array([1.0, -2.0, 0.5], dtype=self.dtype) + 0.1 * rng.standard_normal(self.batch_size)
        if number == self.spoil_at:
            y[0] = math.nan
        return x, y.astype(self.dtype)

    def count(self, batch):
        return len(batch[1])

    def loss(self, model, batch):
        x, y = map(minillm.tensor, batch)
        return ((model(x)[:, 0] - y) ** 2).mean()

    def evaluate(self, model):
        with minillm.no_grad():
            return {"loss": self.loss(model, self.batch(10**6)).item()}

    def sample(self, model):
        minillm.rand(3)  # a sample that draws must not change the run
        return "a sample"


def make_model(dropout=0.2):
    minillm.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 1)).double()


def config(**changes):
    return TrainingConfig(**{"steps": 30, "eval_every": 10, "log_every": 5, "lr": 0.01, "warmup_steps": 3, **changes})


def weights(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        np.testing.assert_array_equal(a[k], b[k], err_msg=k)


def test_it_learns_and_two_runs_are_equal(tmp_path):
    runs = []
    for name in ("a", "b"):
        trainer = Trainer(make_model(), Line(), config(steps=200), tmp_path / name)
        before = trainer.task.evaluate(trainer.model)["loss"]
        after = trainer.fit()["val_loss"]
        assert after < before / 3
        runs.append((weights(trainer.model), (tmp_path / name / "metrics.jsonl").read_bytes()))
    assert_same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("stop_after", [1, 7, 10, 23, 29])
def test_resume_continues_bit_for_bit(tmp_path, stop_after):
    whole = Trainer(make_model(), Line(), config(accumulate=2), tmp_path / "whole")
    whole.fit()

    class Stops(Line):
        def batch(self, number):
            if number == 2 * stop_after - 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(number)

    part = Trainer(make_model(), Stops(), config(accumulate=2), tmp_path / "part")
    with pytest.raises(Interrupted) as stop:
        part.fit()
    assert stop.value.signal == signal.SIGINT
    with open(tmp_path / "part" / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write('{"step": 999, "written": "after the checkpoint"}\n')
    minillm.manual_seed(99)  # a new process has other random numbers and other weights
    again = Trainer(make_model().double(), Line(), config(accumulate=2), tmp_path / "part")
    again.resume()
    assert again.step == stop_after
    again.fit()
    assert_same(weights(whole.model), weights(again.model))
    for name in ("metrics.jsonl", "samples.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "part" / name).read_bytes()


@pytest.mark.parametrize(
    ("schedule", "falls"),
    [
        ("constant", [1.0] * 8),
        ("linear", [1.0, 0.8875, 0.775, 0.6625, 0.55, 0.4375, 0.325, 0.2125]),  # 0.1 would come next
        ("cosine", [0.1 + 0.9 * math.cos(math.pi * k / 16) ** 2 for k in range(8)]),
    ],
)
def test_step_sizes_rise_in_a_line_and_then_fall(schedule, falls):
    settings = config(
        steps=12, warmup_steps=4, log_every=1, eval_every=12, lr=0.02, schedule=schedule, min_lr_ratio=0.1
    )
    trainer = Trainer(make_model(), Line(), settings)
    trainer.fit()
    found = [record["lr"] / 0.02 for record in trainer.history if "lr" in record]
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1.0, *falls], rtol=1e-12)


def test_accumulation_equals_one_large_batch():
    class Halves(Line):
        """Batch 8 cut into parts of 5 and 3 rows: the weighting must be by rows, not by parts."""

        def batch(self, number):
            x, y = Line(8).batch(number // 2)
            return (x[:5], y[:5]) if number % 2 == 0 else (x[5:], y[5:])

    one = Trainer(make_model(0.0), Line(8), config())
    two = Trainer(make_model(0.0), Halves(), config(accumulate=2))
    one.fit()
    two.fit()
    for k, v in weights(one.model).items():
        np.testing.assert_allclose(v, weights(two.model)[k], rtol=0, atol=1e-12)


@pytest.mark.parametrize("skip", [False, True])
def test_a_nan_never_reaches_the_weights(tmp_path, skip):
    trainer = Trainer(make_model(), Line(spoil_at=12), config(skip_nonfinite=skip), tmp_path)
    if skip:
        with pytest.warns(UserWarning, match="step 13.*skipped"):
            trainer.fit()
        assert trainer.skipped == 1
    else:
        with pytest.raises(NonFiniteLoss, match="step 13"):
            trainer.fit()
    assert all(np.isfinite(v).all() for v in weights(trainer.model).values())
    _, state = Checkpoints(tmp_path / "checkpoints").load_latest()
    assert all(np.isfinite(v.numpy()).all() for v in state["model"].values())


def test_a_nan_in_the_evaluation_is_not_saved(tmp_path):
    class Broken(Line):
        def evaluate(self, model):
            return {"loss": math.nan}

    with pytest.raises(NonFiniteLoss, match="validation loss"):
        Trainer(make_model(), Broken(), config(), tmp_path).fit()
    assert Checkpoints(tmp_path / "checkpoints").paths() == []


def test_a_batch_without_targets_is_skipped():
    class Empty(Line):
        def count(self, batch):
            return 0

    model = make_model()
    before = weights(model)
    with pytest.warns(UserWarning, match="every target of the batch is ignored"):
        Trainer(model, Empty(), config(steps=1)).fit()
    assert_same(before, weights(model))


def test_early_stopping_keeps_the_best(tmp_path):
    losses = iter([3.0, 2.0, 1.0, 1.5, 1.4, 9.0])

    class Scripted(Line):
        def evaluate(self, model):
            return {"loss": next(losses)}

    trainer = Trainer(make_model(), Scripted(), config(steps=100, patience=2), tmp_path)
    trainer.fit()
    assert trainer.step == 40 and trainer.stopper.best_step == 20
    best = Checkpoints(tmp_path / "checkpoints").load(tmp_path / "checkpoints" / "step-00000020.safetensors")["model"]
    last = weights(trainer.model)
    trainer.load_best()
    assert_same({k: v.numpy() for k, v in best.items()}, weights(trainer.model))
    assert any((last[k] != weights(trainer.model)[k]).any() for k in last)
    assert len(Checkpoints(tmp_path / "checkpoints").paths()) == 3  # the last two and the best


def test_a_time_budget_ends_the_run(monkeypatch):
    class Clock:
        """Time that passes only with training: a hundredth of a second a batch."""

        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    class Timed(Line):
        def batch(self, number):
            clock.now += 0.01
            return super().batch(number)

    clock = Clock()
    monkeypatch.setattr("minillm.training.trainer.time", clock)
    trainer = Trainer(make_model(), Timed(), config(steps=10**9, minutes=1 / 60))
    trainer.fit()
    assert 90 <= trainer.total_steps <= 100 and trainer.step >= trainer.total_steps
    assert trainer.optimizer.param_groups[0]["lr"] < 0.1 * trainer.config.lr  # the schedule reached its end


def test_only_matrices_are_decayed():
    trainer = Trainer(make_model(), Line(), config(weight_decay=0.3))
    decayed = {p.ndim for g in trainer.optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    kept = {p.ndim for g in trainer.optimizer.param_groups if not g["weight_decay"] for p in g["params"]}
    assert decayed == {2} and kept == {1}


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        TrainingConfig(lr=-1.0, batch_size=0, schedule="cosinus", minutes=math.nan, steps="3", seed=True)  # type: ignore[arg-type]
    for word in ("lr=-1.0", "batch_size=0", "schedule='cosinus'", "minutes=nan", "steps='3'", "seed=True"):
        assert word in str(error.value)
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        TrainingConfig.from_dict({"batchsize": 3})
    assert TrainingConfig.from_dict(config().to_dict()) == config()


def test_early_stopping_ignores_nan_and_survives_json():
    stopper = EarlyStopping(patience=2, min_delta=0.1)
    assert [stopper.update(i, x) for i, x in enumerate([2.0, 1.95, math.nan])] == [True, False, False]
    assert stopper.should_stop
    twin = EarlyStopping(patience=2, min_delta=0.1)
    twin.load_state_dict(json.loads(json.dumps(stopper.state_dict())))
    assert (twin.best, twin.best_step, twin.bad_looks) == (2.0, 0, 2)
    fresh = EarlyStopping(patience=None)
    fresh.load_state_dict(json.loads(json.dumps(fresh.state_dict())))
    assert fresh.best == math.inf and not fresh.should_stop


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    folder = Checkpoints(tmp_path)
    for step in (1, 2):
        folder.save(step, {"model": {"w": minillm.full((3,), float(step))}}, best=step == 1)
    newest = folder.paths()[-1]
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged: sha256"):
        folder.load(newest)
    with pytest.warns(UserWarning, match="going back"):
        path, state = folder.load_latest()
    assert path == folder.paths()[0] == folder.best() and state["model"]["w"].tolist() == [1.0, 1.0, 1.0]


def test_what_a_crash_leaves_behind_does_not_count(tmp_path):
    folder = Checkpoints(tmp_path)
    folder.save(1, {"model": {"w": minillm.ones(2)}})
    (tmp_path / "step-00000002.safetensors").write_bytes(b"half")  # no manifest: never committed
    (tmp_path / "step-00000003.safetensors.tmp").write_bytes(b"half")
    assert [p.name for p in folder.paths()] == ["step-00000001.safetensors"]
    folder.clean()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001.json", "step-00000001.safetensors"]
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Checkpoints(tmp_path / "nowhere").load_latest()


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_nobody_has_to_look_at_the_progress_bar(
    lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    class Gone(io.StringIO):
        """The standard error stream of somebody who closes the terminal, or has piped it into ``head``."""

        left = lines

        def write(self, text: str) -> int:
            self.left -= 1
            if self.left < 0:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")
            return len(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    trainer = Trainer(make_model(), Line(), TrainingConfig(steps=8, eval_every=4, workers=1), tmp_path, title="quiet")
    assert trainer.fit()["step"] == 8 and len(trainer.checkpoints.paths()) == 2
    monkeypatch.undo()
    del trainer
    gc.collect()
    assert capfd.readouterr().err == ""
