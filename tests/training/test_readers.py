"""Who reads checkpoints while a trainer saves and removes them finds a whole one, every time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from minillm.training import CheckpointError, Checkpoints
from tests.training.test_checkpoints import state

ROOT = Path(__file__).parents[2]
POLLS = 10_000
WRITER = """
import os, sys
os.fsync = lambda file: None  # no waiting for the disk: more saves for each poll
from minillm.training import Checkpoints
from tests.training.test_checkpoints import state

checkpoints, step = Checkpoints(sys.argv[1]), 0
while True:
    step += 1
    checkpoints.save(step, {**state(step % 50), "step": step}, best=step % 3 == 0)
"""


def assert_is_of(path: Path, found: dict[str, Any]) -> int:
    """The content must be what was saved under that name; return its step."""
    step = int(path.stem[5:])
    assert found["step"] == step
    assert found["model"]["w"].numpy().tobytes() == state(step % 50)["model"]["w"].numpy().tobytes()
    return step


def test_a_poll_never_finds_a_torn_checkpoint(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=environment)
    checkpoints, seen, polls = Checkpoints(tmp_path), 0, 0
    try:
        while not checkpoints.paths():
            assert process.poll() is None
            time.sleep(0.01)
        first = newest = assert_is_of(*checkpoints.load_latest())
        deadline = time.monotonic() + 60  # a slow machine polls less often
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing is damaged, so nothing may be passed over
            while polls < POLLS and time.monotonic() < deadline:
                step = assert_is_of(*checkpoints.load_latest())
                assert step >= newest
                seen += step > newest
                newest = step
                if polls % 10 == 0:
                    assert_is_of(*checkpoints.load_best())
                polls += 1
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert seen > 20 and newest > first + 50  # the reader and the writer did meet


def saving_in_between(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a trainer save three times, and so remove what is being read, when ``name`` is called next."""
    real, steps = getattr(Checkpoints, name), [4, 5, 6]

    def interrupted(self: Checkpoints, path: Path) -> Any:
        todo, steps[:] = list(steps), []
        for step in todo:
            Checkpoints(checkpoints.folder).save(step, state(step), best=True)
        return real(self, path)

    monkeypatch.setattr(Checkpoints, name, interrupted)


@pytest.mark.parametrize("name", ["verify", "load"])
@pytest.mark.parametrize("how", ["load_latest", "load_best"])
def test_what_is_removed_while_it_is_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, state(step), best=True)
    saving_in_between(checkpoints, monkeypatch, name)
    path, found = getattr(checkpoints, how)()
    assert assert_is_of(path, found) == 6


def test_what_is_removed_between_the_check_and_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(1, state(1))
    verify = Checkpoints.verify

    def then_removed(self: Checkpoints, path: Path) -> None:
        verify(self, path)
        path.unlink()

    monkeypatch.setattr(Checkpoints, "verify", then_removed)
    with pytest.raises(CheckpointError, match="was removed while it was read"):
        checkpoints.load(path)


def test_the_best_is_loaded_or_the_newest_or_named_as_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint to load"):
        checkpoints.load_best()
    for step in (1, 2, 3):
        checkpoints.save(step, state(step))
    assert assert_is_of(*checkpoints.load_best()) == 3
    best = checkpoints.save(4, state(4), best=True)
    checkpoints.save(5, state(5))
    assert assert_is_of(*checkpoints.load_best()) == 4
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"step-00000004.*damaged"):
        checkpoints.load_best()


def test_damaged_ones_behind_the_newest_do_not_push_out_what_is_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30):
        path = checkpoints.save(step, state(step))
        if step > 10:
            path.write_bytes(b"damaged")
        assert len(checkpoints.paths()) <= 3
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state(5))  # the run went back to its beginning, and is stopped
    with pytest.warns(UserWarning, match="going back"):
        assert assert_is_of(*checkpoints.load_latest()) == 5
