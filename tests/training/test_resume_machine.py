"""A run that is saved, stopped, killed, damaged, looked at and written from, against one that nobody disturbed.

The machine chooses what happens next. Before every step the trainer must hold the very state, bit for bit, that the
undisturbed run held there; at the end both have left the same files.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.generation import Sampling, generate
from minillm.training import Checkpoints, Interrupted, LanguageTask, Trainer, TrainingConfig
from tests.training.test_resume import Gone, Watched, fingerprint, is_whole, plain

IDS = np.random.default_rng(0).integers(0, 9, 500)
SETTINGS = TrainingConfig(steps=16, eval_every=4, log_every=3, accumulate=2, lr=0.01, warmup_steps=3, schedule="cosine")


class Words(LanguageTask, Watched):
    """Language, watched: what a sample draws must not change the run."""

    def __init__(self, seen: dict[int, Any]) -> None:
        LanguageTask.__init__(self, IDS, IDS[:60], 60, block_size=6, batch_size=2, sampler=self.text)
        Watched.__init__(self, seen)

    def text(self, model: GPT) -> str:
        return str(generate(model, [[1, 2]], 4, Sampling(temperature=0.9)))  # from the streams of the run itself

    def batch(self, number: int) -> Any:
        Watched.batch(self, number)  # compares, and stops or crashes
        return LanguageTask.batch(self, number)

    count, loss, evaluate, sample = LanguageTask.count, LanguageTask.loss, LanguageTask.evaluate, LanguageTask.sample


def trainer_in(folder: Path, seen: dict[int, Any], seed: int) -> Trainer:
    minillm.manual_seed(seed)
    task = Words(seen)
    task.trainer = Trainer(
        GPT(GPTConfig(9, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=0.2)), task, SETTINGS, folder
    )
    return task.trainer


def left_by(folder: Path) -> list[Any]:
    """What a complete run leaves behind."""
    checkpoints = Checkpoints(folder / "checkpoints")
    (best, state), (_, newest) = checkpoints.load_best(), checkpoints.load_latest()
    logs = [(folder / name).read_bytes() for name in ("metrics.jsonl", "samples.txt")]
    # A run that was stopped where a look was due saved before it, and looks when it goes on: only the logs differ.
    return [best.name, plain(state["model"]), plain(newest["model"]), logs]


@functools.cache
def undisturbed() -> tuple[dict[int, Any], Any, list[Any]]:
    """The state before every step of a run that nothing disturbs, at its end, and what it leaves behind."""
    seen: dict[int, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_in(Path(folder), seen, 0)
        trainer.task.ends_at = None  # type: ignore[attr-defined]
        trainer.fit()
        seen[SETTINGS.steps] = end = fingerprint(trainer)
        return seen, end, left_by(Path(folder))


class Run(RuleBasedStateMachine):
    """The system under test is a folder and the trainer that is at work in it."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda file: None)  # waiting for the disk proves nothing here
        self.seen, self.end, self.left = undisturbed()
        self.folder = Path(tempfile.mkdtemp())
        self.trainer = trainer_in(self.folder, self.seen, 0)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.train(("stop", 1))  # so that there is something to go back to

    # --- what may happen
    @rule(end=st.tuples(st.sampled_from(["stop", "crash"]), st.integers(1, 12)))
    def train(self, end: tuple[str, int]) -> None:
        """Train until a stop or a crash in the middle of a step; or to the end, if that comes first."""
        how, batches = end
        self.trainer.task.ends_at = (how, self.trainer.step * SETTINGS.accumulate + batches)  # type: ignore[attr-defined]
        try:
            self.trainer.fit()
        except Interrupted:
            pass
        except Gone:
            self.resume()

    @rule()
    def resume(self) -> None:
        """A new process: other weights, other random numbers, until it has gone back to the newest whole checkpoint."""
        whole = [path for path in self.checkpoints.paths() if is_whole(self.checkpoints, path)]
        damaged = [path for path in self.checkpoints.paths() if path > whole[-1]]
        self.trainer.lock.__exit__()  # what happens when a process ends
        self.trainer = trainer_in(self.folder, self.seen, 99)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert self.trainer.resume() == whole[-1]
        assert [path.name in str(w.message) for path, w in zip(reversed(damaged), said, strict=True)] == [True] * len(
            said
        )

    @rule()
    def save(self) -> None:
        """At any time, also twice at the same step."""
        self.checkpoints.save(self.trainer.step, self.trainer.state_dict())

    @rule()
    def evaluate(self) -> None:
        self.trainer.model.eval()
        assert self.trainer.task.evaluate(self.trainer.model)["loss"] > 0

    @rule()
    def write(self) -> None:
        generator = minillm.Generator().manual_seed(1)
        generate(self.trainer.model, [[3]], 5, Sampling(temperature=1.0), generator=generator)

    @precondition(lambda self: len([p for p in self.checkpoints.paths() if is_whole(self.checkpoints, p)]) > 1)
    @rule(place=st.floats(0, 1, exclude_max=True), how=st.sampled_from(["flip", "cut", "lose"]))
    def damage_the_newest_and_resume(self, place: float, how: str) -> None:
        path = [p for p in self.checkpoints.paths() if is_whole(self.checkpoints, p)][-1]
        data = bytearray(path.read_bytes())
        at = int(place * len(data))
        data[at] ^= 1
        path.write_bytes(data if how == "flip" else data[:at])
        if how == "lose":
            path.with_suffix(".json").unlink()
        self.resume()

    @rule(content=st.sampled_from([b"", b'{"st', b'{"step": 999}\n']))
    def lose_the_log_and_resume(self, content: bytes) -> None:
        (self.folder / "metrics.jsonl").write_bytes(content)
        self.resume()

    @rule()
    def leave_rubbish(self) -> None:
        """What a killed process leaves: half a save, and its lock."""
        for name in ("step-00000999.safetensors", "step-00000999.safetensors.tmp", "best.json.tmp"):
            (self.checkpoints.folder / name).write_bytes(b"half")
        if not (self.folder / "run.lock").exists():
            (self.folder / "run.lock").write_text("{", encoding="utf-8")

    # --- what must hold
    @invariant()
    def weights_optimizer_and_random_streams_are_those_of_the_whole_run(self) -> None:
        self.trainer._started = 0.0
        found, expected = fingerprint(self.trainer), self.seen[self.trainer.step]
        for part in ("model", "optimizer", "random"):  # a stop saves before the look that is due, so logs may differ
            if part != "random" or self.looked():
                assert found[part] == expected[part]

    def looked(self) -> bool:
        """Whether the look that is due at this step has been made; a sample of the model opens a stream."""
        return self.trainer.step % SETTINGS.eval_every != 0 or self.trainer._evaluated()

    def teardown(self) -> None:
        if not hasattr(self, "checkpoints"):
            return
        try:
            self.resume()
            self.trainer.task.ends_at = None  # type: ignore[attr-defined]
            self.trainer.fit()
            assert fingerprint(self.trainer) == self.end and left_by(self.folder) == self.left
            rubbish = [p.name for p in self.folder.rglob("*") if p.suffix in (".tmp", ".lock") or "999" in p.name]
            assert rubbish == []
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)


Run.TestCase.settings = settings(stateful_step_count=12)
TestRun = Run.TestCase
