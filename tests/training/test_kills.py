"""A real training process is killed again and again, and ends with the bytes of one that nobody disturbed.

So does one that has a share of the training done in another process, and that other process never outlives it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from minillm.training import Checkpoints
from tests.training.test_resume import plain

ROOT = Path(__file__).parents[2]
KILLS = 30
PROGRAM = """
import math, shutil, sys, time
from pathlib import Path
import numpy as np
import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.training import CheckpointError, Interrupted, LanguageTask, Trainer, TrainingConfig
from minillm.training import trainer as loop

folder, steps, together = Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
loop.PROCESSES_PAY = 0.0 if together else math.inf
minillm.manual_seed(3)
ids = np.random.default_rng(0).integers(0, 11, 4000)
model = GPT(GPTConfig(11, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.2))
task = LanguageTask(
    ids, ids[:100], 100, block_size=8, batch_size=4, sampler=lambda model: str(minillm.rand(2).tolist())
)
settings = TrainingConfig(
    steps=steps, eval_every=4, log_every=3, accumulate=2, warmup_steps=20, schedule="cosine", workers=2
)
trainer = Trainer(model, task, settings, folder)
begin, work = trainer.workers.start_processes, trainer.workers._with_processes

def start_and_wait():  # so that no steps go by until they are at work
    begin()
    Path(sys.argv[3]).write_text("they start")
    while not all(p.is_ready() for p in trainer.workers._processes):
        time.sleep(0.001)

def tell(*share):
    means = work(*share)
    if means is not None:
        Path(sys.argv[3]).write_text("they work")
    return means

if together:
    trainer.workers.start_processes, trainer.workers._with_processes = start_and_wait, tell
try:
    trainer.resume()
except CheckpointError:
    if trainer.checkpoints.paths():
        raise
    shutil.rmtree(folder, ignore_errors=True)  # killed before its first checkpoint
try:
    trainer.fit()
except Interrupted as stop:
    sys.exit(128 + stop.signal)
"""


def start(folder: Path, steps: int = 600, together: Path | None = None) -> subprocess.Popen:
    """Train in a process; with ``together`` also in another one, and write into that file how far both are."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(steps), *([] if together is None else [str(together)])]
    group = {} if os.name == "nt" else {"start_new_session": True}  # what is sent to the group spares the tests
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**environment, "TMPDIR": str(folder.parent)}, **group)


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, by names alone."""
    return max((int(p.stem[5:]) for p in (folder / "checkpoints").glob("step-*.json")), default=-1)


def reached(folder: Path, step: int) -> bool:
    return newest(folder) >= step


def is_saving(folder: Path) -> bool:
    return bool(list((folder / "checkpoints").glob("*.tmp")))


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.0005)


def end(folder: Path) -> list[Any]:
    """All that a run leaves, without what the clock decides."""
    checkpoints = Checkpoints(folder / "checkpoints")
    (last, state), (best, best_state) = checkpoints.load_latest(), checkpoints.load_best()
    logs = [(folder / name).read_bytes() for name in ("metrics.jsonl", "samples.txt")]
    return [last.name, plain(state), best.name, plain(best_state), logs]


def test_thirty_kills_change_no_bit(tmp_path: Path) -> None:
    begun = time.monotonic()
    whole = start(tmp_path / "whole")
    wait_for(whole, partial(reached, tmp_path / "whole", 0))
    until_first_save = min(1.0, time.monotonic() - begun)
    rng, folder, during_a_save = random.Random(0), tmp_path / "part", 0
    for _ in range(KILLS):
        process = start(folder)
        saves, step = rng.choice([0, 0, 1, 1, 2]), newest(folder)
        if saves == 0:
            time.sleep(rng.uniform(0, until_first_save))  # while it starts, or goes back to its checkpoint
        else:
            wait_for(process, partial(reached, folder, step + 4 * saves))
            if rng.random() < 0.5:
                wait_for(process, partial(is_saving, folder))
            else:
                time.sleep(rng.uniform(0, 0.02))
        assert process.poll() is None, process.communicate()[1].decode()  # so it is killed in the middle of its work
        process.kill()
        process.communicate()
        during_a_save += is_saving(folder)
    again = start(folder)
    for process in (whole, again):
        said = process.communicate()[1]
        assert process.returncode == 0 and said == b"", said.decode()
    assert end(folder) == end(tmp_path / "whole")
    assert during_a_save > 0
    assert not [p for p in folder.rglob("*") if p.suffix in (".tmp", ".lock")]


@pytest.mark.skipif(sys.platform == "win32", reason="no files are passed on to processes there")
def test_no_process_outlives_a_kill_and_no_bit_changes(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", 300)  # by threads alone
    rng, folder, note = random.Random(1), tmp_path / "part", tmp_path / "note"
    numbers = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL]
    for number, moment in zip(numbers, ["they start", "they work"] * 3, strict=True):
        note.write_text("", encoding="utf-8")
        process = start(folder, 300, note)
        wait_for(process, lambda moment=moment: note.read_text(encoding="utf-8") == moment)
        time.sleep(rng.uniform(0, 0.3 if moment == "they start" else 0.02))
        assert process.poll() is None, process.communicate()[1].decode()
        # A terminal sends Ctrl-C, and `timeout` what it sends, to all processes of a program.
        (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        said = process.communicate(timeout=30)[1]  # ends when the other process is gone, too: it holds the same pipe
        assert said == b"", said.decode()
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    again = start(folder, 300, note)
    for process in (whole, again):
        said = process.communicate()[1]
        assert process.returncode == 0 and said == b"", said.decode()
    assert end(folder) == end(tmp_path / "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"whole", "part", "note"}  # files of shared memory are gone
