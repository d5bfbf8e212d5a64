"""Resuming: weights, optimizer, schedule, random streams and position go on bit for bit, wherever a run was cut."""

from __future__ import annotations

import dataclasses
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minillm
import minillm.nn as nn
from minillm.training import CheckpointError, Checkpoints, Interrupted, Trainer, TrainingConfig


class Gone(Exception):
    """What a killed process looks like from inside."""


class Watched:
    """Fit a line; before every step, hold the state of the trainer against that of a run that nothing disturbed."""

    def __init__(self, seen: dict[int, Any]) -> None:
        self.seen = seen
        self.trainer: Any = None
        self.ends_at: tuple[str, int] | None = None

    def batch(self, number: int) -> tuple[Any, Any]:
        step, part = divmod(number, self.trainer.config.accumulate)
        if part == 0:
            found = fingerprint(self.trainer)
            assert self.seen.setdefault(step, found) == found
        if self.ends_at == ("stop", number):
            signal.raise_signal(signal.SIGINT)
        if self.ends_at == ("crash", number):
            raise Gone
        x = np.random.default_rng(number).standard_normal((4, 3))
        return minillm.tensor(x), minillm.tensor(x @ [1.0, -2.0, 0.5])

    def count(self, batch: tuple[Any, Any]) -> int:
        return len(batch[1])

    def loss(self, model: Any, batch: tuple[Any, Any]) -> minillm.Tensor:
        return ((model(batch[0])[:, 0] - batch[1]) ** 2).mean()

    def evaluate(self, model: Any) -> dict[str, float]:
        return {"loss": abs(1.0 - 0.1 * self.trainer.step) + minillm.rand(1).item() / 100}  # falls, then rises

    def sample(self, model: Any) -> str:
        return f"sample {minillm.rand(1).item()}"


def plain(x: Any) -> Any:
    """A state as values that ``==`` compares bit for bit, without what the clock decides."""
    if isinstance(x, minillm.Tensor):
        return str(x.dtype), tuple(x.shape), x.numpy().tobytes()
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items() if k not in ("seconds", "log_sizes")}
    return [plain(v) for v in x] if isinstance(x, (list, tuple)) else x


def fingerprint(trainer: Trainer) -> Any:
    """Everything that the rest of the run depends on."""
    return plain(trainer.state_dict())


def is_whole(checkpoints: Checkpoints, path: Path) -> bool:
    try:
        checkpoints.verify(path)
    except CheckpointError:
        return False
    return True


SETTINGS = TrainingConfig(steps=18, eval_every=6, log_every=4, accumulate=2, lr=0.01, warmup_steps=3, schedule="cosine")


def trainer_in(folder: Path, seen: dict[int, Any], seed: int) -> Trainer:
    minillm.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Dropout(0.3), nn.Linear(4, 1)).double()
    task = Watched(seen)
    task.trainer = Trainer(model, task, SETTINGS, folder)
    return task.trainer


def sitting(trainer: Trainer, ends_at: tuple[str, int] | None) -> bool:
    """Train on; tell whether the run is complete."""
    trainer.task.ends_at = ends_at  # type: ignore[attr-defined]
    try:
        trainer.fit()
    except (Interrupted, Gone):
        return False
    return True


ends = st.tuples(
    st.sampled_from(["stop", "crash"]), st.integers(0, 35), st.sampled_from(["", "", "damage", "lose logs"])
)


@settings(max_examples=30)
@given(st.lists(ends, max_size=4))
def test_whatever_happens_the_run_ends_as_if_nothing_had(
    tmp_path_factory: pytest.TempPathFactory, ends: list[tuple[str, int, str]]
) -> None:
    folder, seen = tmp_path_factory.mktemp("runs"), {}  # type: ignore[var-annotated]
    trainer = trainer_in(folder / "whole", seen, 0)
    assert sitting(trainer, None) and len(seen) == SETTINGS.steps
    end = fingerprint(trainer)
    trainer = trainer_in(folder / "part", seen, 0)
    for how, batch, then in ends:
        done = sitting(trainer, (how, batch))
        checkpoints = Checkpoints(folder / "part" / "checkpoints")
        whole = [path for path in checkpoints.paths() if is_whole(checkpoints, path)]
        if then == "damage" and len(whole) > 1:
            path = whole.pop()
            data = bytearray(path.read_bytes())
            data[batch % len(data)] ^= 1
            path.write_bytes(data)
            done = False
        if then == "lose logs":
            (folder / "part" / "metrics.jsonl").write_bytes(b'{"st')
        trainer = trainer_in(folder / "part", seen, seed=99)  # a new process: other weights, other random numbers
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            path = trainer.resume()
        assert path == whole[-1]
        assert [w for w in said if "going back" not in str(w.message)] == []
        assert len(said) == sum(p > path for p in checkpoints.paths())  # each damaged one is named
        assert not done or trainer.step == SETTINGS.steps
    assert sitting(trainer, None)
    found = []
    for name in ("whole", "part"):
        checkpoints = Checkpoints(folder / name / "checkpoints")
        best = checkpoints.best()
        assert best is not None
        newest, state = checkpoints.load_latest()
        # A run that was stopped where an evaluation was due saved before it, and evaluates when it goes on.
        states = [plain([s["model"], s["optimizer"], s["random"]]) for s in (state, checkpoints.load(best))]
        found.append([best.name, newest.name, states])
    assert found[0] == found[1] and fingerprint(trainer) == end
    for name in ("metrics.jsonl", "samples.txt"):
        assert (folder / "part" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def test_a_crash_between_a_checkpoint_and_its_mark_does_not_lose_the_best(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    first = trainer_in(tmp_path, seen, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "mark_best", lambda *_: (_ for _ in ()).throw(Gone))
        assert not sitting(first, None)  # the first evaluation is the best so far
    assert first.checkpoints is not None and first.checkpoints.best() is None
    again = trainer_in(tmp_path, seen, 99)
    path = again.resume()
    assert again.checkpoints is not None and again.checkpoints.best() == path


@pytest.mark.parametrize("wide", [False, True], ids=["other keys", "other shapes"])
def test_another_architecture_is_refused_with_both_shapes_and_changes_nothing(tmp_path: Path, wide: bool) -> None:
    sitting(trainer_in(tmp_path, {}, 0), ("crash", 20))
    minillm.manual_seed(5)
    other = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Dropout(0.3), nn.Linear(6, 1)) if wide else nn.Linear(3, 1)
    trainer = Trainer(other.double(), Watched({}), SETTINGS, tmp_path)
    trainer.task.trainer = trainer  # type: ignore[attr-defined]
    trainer._started = 0.0
    before, files = fingerprint(trainer), {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RuntimeError) as error:
        trainer.resume()
    words = ["0.weight", "(4, 3)", "(6, 3)", "3.weight"] if wide else ["0.weight", "0.bias", "3.weight", "weight"]
    for word in words:
        assert word in str(error.value).replace("[", "(").replace("]", ")")
    assert fingerprint(trainer) == before and trainer.step == 0
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_looking_more_often_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for eval_every in (1, 6, 18):
        often = dataclasses.replace(SETTINGS, eval_every=eval_every)
        monkeypatch.setattr("tests.training.test_resume.SETTINGS", often)
        trainer = trainer_in(tmp_path / str(eval_every), {}, 0)
        assert sitting(trainer, None)
        state = trainer.state_dict()
        ends.append(plain([state["model"], state["optimizer"], state["random"]]))
    assert ends[0] == ends[1] == ends[2]  # although every look draws random numbers, and so does dropout
