"""One trainer a folder: the second is refused by name, and what a dead one left behind keeps nobody out."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minillm.backend.random import get_rng_state, set_rng_state
from minillm.training import Interrupted, NonFiniteLoss, RunError, RunLock, Trainer, change_config, create_run
from tests.training.test_resume import SETTINGS, Gone, sitting, trainer_in
from tests.training.test_run_folder import tree

ONLY_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, which only Linux has")


def says(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.lock").read_text(encoding="utf-8"))


def left_behind(folder: Path, **changes: Any) -> None:
    """Write a lock as this process would, with changes."""
    with RunLock(folder):
        said = says(folder)
    (folder / "run.lock").write_text(json.dumps({**said, **changes}), encoding="utf-8")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# --- who is kept out -------------------------------------------------------------------------------------------------
def test_while_one_trains_nobody_else_touches_the_folder(tmp_path: Path) -> None:
    create_run(tmp_path, {"kind": "pretrain", "training": SETTINGS.to_dict()})
    seen: dict[int, Any] = {}
    first = trainer_in(tmp_path, seen, 0)
    batch, tried = first.task.batch, []
    intruders: list[Callable[[], Any]] = [
        lambda: trainer_in(tmp_path, {}, 0).fit(),
        lambda: trainer_in(tmp_path, {}, 0).resume(),
        lambda: create_run(tmp_path, {"kind": "other"}, force=True),
        lambda: create_run(tmp_path.parent, {"kind": "demo"}, force=True),  # a demo has its runs in folders below
        lambda: change_config(tmp_path, {"lr": 0.5}),
    ]

    def watched(number: int) -> Any:
        if number == 20:
            assert says(tmp_path)["pid"] == os.getpid() and says(tmp_path)["computer"] == platform.node()
            before, state = tree(tmp_path), get_rng_state()
            for intrude in intruders:
                with pytest.raises(RunError, match=rf"process {os.getpid()} on .* is training in it; wait .*run\.lock"):
                    intrude()
                tried.append(intrude)
            assert tree(tmp_path) == before
            set_rng_state(state)  # the intruders drew their weights
        return batch(number)

    first.task.batch = watched  # type: ignore[method-assign]
    assert sitting(first, None)
    assert tried == intruders and not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("end", ["complete", "stop", "crash", "nan", "refused", "dropped"])
def test_every_way_out_gives_the_folder_back(tmp_path: Path, end: str) -> None:
    trainer: Trainer | None = trainer_in(tmp_path, {}, 0)
    assert trainer is not None
    if end == "complete":
        assert sitting(trainer, None)
    elif end in ("stop", "crash"):
        with pytest.raises((Interrupted, Gone)):
            trainer.task.ends_at = (end, 9)  # type: ignore[attr-defined]
            trainer.fit()
    elif end == "nan":
        trainer.task.evaluate = lambda model: {"loss": float("nan")}  # type: ignore[method-assign]
        with pytest.raises(NonFiniteLoss):
            trainer.fit()
    else:
        sitting(trainer, ("crash", 20))
        again = trainer_in(tmp_path, {}, 0)
        if end == "refused":
            (tmp_path / "checkpoints" / "step-00000006.json").write_text("{", encoding="utf-8")
            (tmp_path / "checkpoints" / "step-00000000.json").write_text("{", encoding="utf-8")
            with pytest.raises(RuntimeError, match="no checkpoint"), pytest.warns(UserWarning, match="going back"):
                again.resume()
        else:
            again.resume()
            assert says(tmp_path)["pid"] == os.getpid()  # held until it trains
            with pytest.raises(RunError, match="is training in it"):
                trainer.resume()
            del again
            gc.collect()  # a task that knows its trainer is a cycle
    assert not (tmp_path / "run.lock").exists()
    if end != "nan":
        with RunLock(tmp_path):
            pass


def test_a_lock_can_be_entered_again_and_is_given_back_once(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "new")
    with lock:
        with lock:
            assert (tmp_path / "new" / "run.lock").exists()
        assert not (tmp_path / "new" / "run.lock").exists()
    with lock, pytest.raises(RunError), RunLock(tmp_path / "new"):
        pass
    with RunLock(None):  # a trainer without a folder
        pass


# --- what is left behind ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"pid": "x", "computer": ""}'])
def test_a_torn_lock_keeps_nobody_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.lock").write_bytes(content)
    with RunLock(tmp_path):
        assert says(tmp_path)["pid"] == os.getpid()
    assert tree(tmp_path) == {}


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    for pid in (dead_process(), -1, 0, 10**30):
        left_behind(tmp_path, pid=pid)
        with RunLock(tmp_path):
            assert says(tmp_path)["pid"] == os.getpid()
    left_behind(tmp_path)  # this process, but no lock of it: in a container the next process gets the same number
    with RunLock(tmp_path):
        pass
    assert tree(tmp_path) == {}


@ONLY_LINUX
def test_another_process_with_the_same_number_and_a_dead_child_keep_nobody_out(tmp_path: Path) -> None:
    left_behind(tmp_path, pid=os.getppid(), began="1")
    with RunLock(tmp_path):
        pass
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as out:
        began = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        out.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, but nobody has taken note: a zombie
    left_behind(tmp_path, pid=child.pid, began=began)
    with RunLock(tmp_path):
        pass
    child.wait()


def test_a_living_process_keeps_others_out_and_a_killed_one_does_not(tmp_path: Path) -> None:
    code = f"from minillm.training import RunLock; l = RunLock({str(tmp_path)!r}); l.__enter__(); print(); input()"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout as out:
        out.readline()
        with pytest.raises(RunError, match=rf"process {process.pid} on"), RunLock(tmp_path):
            pass
        process.kill()
        process.wait()
    assert (tmp_path / "run.lock").exists()
    with RunLock(tmp_path):
        assert says(tmp_path)["pid"] == os.getpid()


def test_on_another_computer_nobody_can_tell(tmp_path: Path) -> None:
    left_behind(tmp_path, pid=dead_process(), computer="another")
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"on another is training in it.*if there is no such process, remove"):
        RunLock(tmp_path).__enter__()
    assert tree(tmp_path) == before
    (tmp_path / "run.lock").unlink()
    with RunLock(tmp_path):
        pass


def test_a_lock_that_somebody_else_has_by_now_is_left_to_them(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        (tmp_path / "run.lock").write_text("another", encoding="utf-8")
    assert tree(tmp_path) == {"run.lock": b"another"}


def test_of_many_who_find_a_dead_lock_one_gets_it(tmp_path: Path) -> None:
    pid = dead_process()
    for _ in range(20):
        left_behind(tmp_path, pid=pid)
        begin, got, refused = threading.Barrier(8), [], []

        def compete(begin: threading.Barrier = begin, got: list = got, refused: list = refused) -> None:
            lock = RunLock(tmp_path)
            begin.wait()
            try:
                got.append(lock.__enter__())
            except RunError as error:
                refused.append(error)

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1 and len(refused) == 7
        got.pop().__exit__()
        assert tree(tmp_path) == {}


def test_a_folder_that_cannot_be_written_to_is_found_out_before_step_0(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    trainer = trainer_in(tmp_path / "file" / "run", {}, 0)
    trainer.task.batch = lambda number: pytest.fail("a step was made")  # type: ignore[method-assign]
    with pytest.raises(RunError, match="cannot be written to"):
        trainer.fit()
