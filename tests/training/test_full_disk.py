"""A disk that refuses: training stops with what is needed and what is free, and nothing that was saved is lost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from minillm.training import (
    CheckpointError,
    Checkpoints,
    RunError,
    SaveError,
    Trainer,
    TrainingConfig,
    write_atomically,
)
from tests.training.test_checkpoints import Gone, failing_at
from tests.training.test_resume import fingerprint, trainer_in

SHORT = TrainingConfig(steps=6, eval_every=2, log_every=1, accumulate=2, lr=0.01, warmup_steps=2)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.training.test_resume.SETTINGS", SHORT)
    monkeypatch.setattr("os.fsync", lambda file: None)  # waiting for the disk proves nothing here


def going_on(folder: Path, seen: dict[int, Any]) -> Trainer:
    """What a user does next: resume; or start anew where nothing had been saved."""
    trainer = trainer_in(folder, seen, 99)
    try:
        trainer.resume()
    except CheckpointError:
        assert not Checkpoints(folder / "checkpoints").paths()
        shutil.rmtree(folder, ignore_errors=True)
        trainer = trainer_in(folder, seen, 0)
    return trainer


@pytest.mark.parametrize("how", ["once", "for good", "killed"])
def test_whichever_operation_of_a_training_fails_it_goes_on_bit_for_bit(tmp_path: Path, how: str) -> None:
    seen: dict[int, Any] = {}  # before every step the state is compared with that of the first run
    whole = trainer_in(tmp_path / "whole", seen, 0)
    whole.fit()
    end = fingerprint(whole)
    for n in range(1, 1000):
        folder = tmp_path / str(n)
        trainer = trainer_in(folder, seen, 0)
        with failing_at(n, how) as tried:
            try:
                trainer.fit()
            except (SaveError, RunError) as error:  # RunError: the lock itself could not be written
                assert how != "killed" and str(folder) in str(error) and "\n" not in str(error)
                assert "No space left on device" in str(error)
                if isinstance(error, SaveError):
                    assert re.search(r"needs about [\d,]+ bytes, [\d,]+ are free\. .*resume", str(error))
                    assert error.needed > 0 and error.free > 0
            except Gone:
                assert how == "killed"
            else:
                if how == "once" and len(tried) >= n:  # giving the lock back is the last operation, and may fail
                    continue
                break
        trainer = going_on(folder, seen)
        trainer.fit()
        assert fingerprint(trainer) == end
        for name in ("metrics.jsonl", "samples.txt"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not list(folder.rglob("*.tmp"))
    assert n > 60


def test_a_torn_line_is_not_what_a_reader_finds(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_atomically(file, "old")
    for n in range(1, 20):
        with failing_at(n, "once") as tried:
            try:
                write_atomically(file, "new")
            except SaveError as error:
                assert error.filename == str(file) and error.needed == 3
            else:
                break
        assert file.read_text(encoding="utf-8") in ("old", "new")
        assert not (tmp_path / "result.json.tmp").exists() or tried[-1] == "unlink"
        file.write_text("old", encoding="utf-8")
    assert n > 3 and file.read_text(encoding="utf-8") == "new"


def test_a_folder_that_may_not_be_written_to_needs_no_room(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"not written \(No such file or directory\): its folder must be there") as info:
        write_atomically(tmp_path / "no folder" / "file", "text")
    assert "make room" not in str(info.value)
