"""A real training process is killed again and again, and ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from minillm.training import Checkpoints
from tests.training.test_resume import plain

ROOT = Path(__file__).parents[2]
KILLS = 30
PROGRAM = """
import shutil, sys
from pathlib import Path
import numpy as np
import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.training import CheckpointError, LanguageTask, Trainer, TrainingConfig

folder = Path(sys.argv[1])
minillm.manual_seed(3)
ids = np.random.default_rng(0).integers(0, 11, 4000)
model = GPT(GPTConfig(11, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.2))
task = LanguageTask(
    ids, ids[:100], 100, block_size=8, batch_size=4, sampler=lambda model: str(minillm.rand(2).tolist())
)
settings = TrainingConfig(steps=600, eval_every=4, log_every=3, accumulate=2, warmup_steps=20, schedule="cosine")
trainer = Trainer(model, task, settings, folder)
try:
    trainer.resume()
except CheckpointError:
    if trainer.checkpoints.paths():
        raise
    shutil.rmtree(folder, ignore_errors=True)  # killed before its first checkpoint
trainer.fit()
"""


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stderr=subprocess.PIPE, env=environment)


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
