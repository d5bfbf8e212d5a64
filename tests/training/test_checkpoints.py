"""Checkpoints are whole or not there: whatever a crash, a full disk or a flipped bit does."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minillm
from minillm.training import CheckpointError, Checkpoints, SaveError

reused_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def state(step: int) -> dict[Any, Any]:
    w = minillm.tensor(np.random.default_rng(step).standard_normal(4))
    return {"model": {"w": w}, "step": step, "text": "ä" * step, "none": None, "pair": (1, 2.5), 3: [True]}


def assert_whole(found: dict[str, Any], step: int) -> None:
    """The content must be that of the step, bit for bit."""
    expected = state(step)
    assert found["model"]["w"].numpy().tobytes() == expected["model"]["w"].numpy().tobytes()
    assert {**found, "model": 0} == {**expected, "model": 0}


def newest(folder: Path) -> int:
    """The step that a reader finds."""
    path, found = Checkpoints(folder).load_latest()
    assert path.name == f"step-{found['step']:08d}.safetensors"
    assert_whole(found, found["step"])
    return found["step"]


# --- crashes ---------------------------------------------------------------------------------------------------------
class Gone(BaseException):
    """The process is killed: nothing in it cleans up any more."""


def crash(name: str, killed: bool) -> BaseException:
    return Gone() if killed else OSError(errno.ENOSPC, f"No space left on device ({name})")


@contextmanager
def failing_at(n: int, how: str) -> Iterator[list[str]]:
    """Let the n-th operation that changes files fail (and all after it, "for good"); collect what was tried."""
    tried: list[str] = []
    for_good, killed = how != "once", how == "killed"

    class HalfWritten(io.FileIO):
        """A file that takes half of what it is given."""

        def write(self, data: Any) -> int:
            super().write(bytes(data)[: len(data) // 2])
            raise crash("write", killed)

    def fails(name: str) -> bool:
        tried.append(name)
        return len(tried) == n or (for_good and len(tried) > n)

    def watched(name: str, real: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            if fails(name):
                raise crash(name, killed)
            return real(*args, **kwargs)

        return call

    def open_watched(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "r" in mode:
            return real_open(path, mode, *args, **kwargs)  # reading changes nothing
        if fails("open"):
            raise crash("open", killed)
        if fails("write"):
            raw = HalfWritten(path, mode.removesuffix("b"))
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        return real_open(path, mode, *args, **kwargs)

    real_open = open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", open_watched)
        for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield tried


@pytest.mark.parametrize("how", ["once", "for good", "killed"])
def test_a_crash_at_any_operation_loses_at_most_the_step_that_is_being_saved(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # counted below; waiting for the disk proves nothing here
    best_steps = {1, 4}
    for n in range(1, 1000):
        folder = tmp_path / str(n) / "checkpoints"
        committed, under_way = 0, 0
        with failing_at(n, how) as tried, suppress(SaveError, Gone):
            for step in (1, 2, 3, 4, 5):
                under_way = step
                Checkpoints(folder, keep_last=2).save(step, state(step), best=step in best_steps)
                committed = step
        if not committed:
            with suppress(CheckpointError):
                assert newest(folder) == 1
        else:
            assert newest(folder) in (committed, under_way)
            best = Checkpoints(folder).best()
            assert best is not None
            assert_whole(Checkpoints(folder).load(best), 1 if committed < 4 and "00000001" in best.name else 4)
        # The next start cleans up and goes on as if nothing had happened.
        again = Checkpoints(folder, keep_last=2)
        again.clean()
        for step in range(max(committed, 1), 8):
            again.save(step, state(step), best=step in best_steps)
        assert newest(folder) == 7
        best_path = again.best()
        assert best_path is not None
        assert_whole(again.load(best_path), 4)
        kept = ["best.json", *(f"step-{s:08d}.{end}" for s in (4, 6, 7) for end in ("json", "safetensors"))]
        assert sorted(os.listdir(folder)) == sorted(kept)  # nothing is left over
        if len(tried) < n:
            break
    assert committed == 5 and n > 60  # the last round ran through; it counted every operation of five saves


def test_what_was_being_written_does_not_count_and_is_cleaned(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path)
    assert folder.paths() == [] and folder.best() is None
    folder.save(1, state(1))
    for name in ("step-00000002.safetensors", "step-00000003.safetensors.tmp", "best.json.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "step-00000004.json").write_text('{"sha256": ""}', encoding="utf-8")  # its large file went first
    assert [p.name for p in folder.paths()] == ["step-00000001.safetensors"] and newest(tmp_path) == 1
    folder.clean()
    assert set(os.listdir(tmp_path)) == {"step-00000001.json", "step-00000001.safetensors", "step-00000004.json"}


# --- damage ----------------------------------------------------------------------------------------------------------
def refused(checkpoints: Checkpoints, path: Path, bad: bytes, words: str = r"damaged: sha256 is .*, expected") -> None:
    """Write ``bad`` over a checkpoint: it must be named as damaged, and nothing may be read from it."""
    path.write_bytes(bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minillm.serialization.load", lambda *_: pytest.fail("read before it was checked"))
        with pytest.raises(CheckpointError, match=words) as error:
            checkpoints.load(path)
    assert str(path) in str(error.value) and f"{len(bad):,} bytes, expected" in str(error.value)


def test_a_changed_byte_anywhere_is_noticed_before_anything_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(7, {**state(7), "more": minillm.randn(100)})
    whole = path.read_bytes()
    body = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for i in [*range(body), *rng.integers(body, len(whole), 200).tolist()]:
        refused(checkpoints, path, whole[:i] + bytes([whole[i] ^ int(rng.integers(1, 256))]) + whole[i + 1 :])
    for length in [*range(0, body, 7), *rng.integers(body, len(whole), 100).tolist()]:
        refused(checkpoints, path, whole[:length])
    refused(checkpoints, path, whole + b"\0", "damaged: .* bytes, expected")
    path.write_bytes(whole)
    assert_whole({k: v for k, v in checkpoints.load(path).items() if k != "more"}, 7)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"sha256": 3}', b'{"sha256": null}', b'{"sha256": "00"}', b"null", b"\0", b"\xff",
     b"[" * 100_000],
    ids=lambda b: repr(b[:15]),
)  # fmt: skip
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    path = checkpoints.save(2, state(2))
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(CheckpointError, match="step-00000002"):
        checkpoints.load(path)
    with pytest.warns(UserWarning, match=r"step-00000002.*going back"):
        assert checkpoints.load_latest()[1]["step"] == 1


def test_a_missing_half(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(1, state(1))
    path.unlink()
    with pytest.raises(CheckpointError, match="missing, though its manifest is there"):
        checkpoints.load(path)
    path = checkpoints.save(1, state(1))
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="it was never finished"):
        checkpoints.load(path)
    with pytest.raises(CheckpointError, match="no checkpoint to load"):
        checkpoints.load_latest()


def test_a_run_that_comes_again_to_a_damaged_checkpoint_writes_it_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        path = checkpoints.save(step, state(step))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="going back"):
        assert newest(tmp_path) == 1
    checkpoints.save(2, state(2))
    assert newest(tmp_path) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"file": 3}', "\0"], ids=repr)
def test_a_mark_that_names_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "best.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"best\.json: does not name the best checkpoint"):
        Checkpoints(tmp_path).best()


def test_names_in_a_mark_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(1, state(1), best=True)
    outside = Checkpoints(tmp_path / "other")
    outside.save(1, state(1))
    for name in ("../../x", "../other/step-00000001.safetensors", "/etc/passwd", str(tmp_path / "other" / "x"), ".."):
        (tmp_path / "run/best.json").write_text(json.dumps({"file": name}), encoding="utf-8")
        best = checkpoints.best()
        assert best is not None and best.parent == tmp_path / "run"
        if "step-" not in name:
            with pytest.raises(CheckpointError):
                checkpoints.load(best)


def test_names_of_tensors_are_only_names(tmp_path: Path) -> None:
    names = ["../../x", "/abs", "..\\x", "a\0b", "", "model.w"]
    tree = {"model": {name: minillm.full((2,), float(i)) for i, name in enumerate(names)}}
    checkpoints = Checkpoints(tmp_path / "a" / "b" / "run")
    found = checkpoints.load(checkpoints.save(1, tree))["model"]
    assert [(name, t.tolist()) for name, t in found.items()] == [(n, [i, i]) for i, n in enumerate(names)]
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"step-00000001.json", "step-00000001.safetensors"}


# --- what is kept ----------------------------------------------------------------------------------------------------
saves = st.lists(st.tuples(st.integers(1, 10**9), st.booleans()), max_size=8, unique_by=lambda s: s[0])


def small(step: int) -> dict[str, Any]:
    return {"step": step}


@given(keep=st.integers(2, 4), saves=saves)
def test_the_newest_and_the_best_are_kept(
    tmp_path_factory: pytest.TempPathFactory, keep: int, saves: list[tuple[int, bool]]
) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run"), keep)
    best = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # waiting for a busy disk proves nothing here
        for step, is_best in sorted(saves):
            checkpoints.save(step, small(step), best=is_best, info={"val_loss": 1.5})
            best = step if is_best else best
    steps = sorted(step for step, _ in saves)
    expected = set(steps[-keep:]) | ({best} if best is not None else set())
    assert [int(p.stem[5:]) for p in checkpoints.paths()] == sorted(expected)  # oldest first
    found = checkpoints.best()
    assert (None if found is None else checkpoints.load(found)["step"]) == best
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not steps or checkpoints.load_latest()[1]["step"] == steps[-1]
    for path in checkpoints.paths():
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert (facts["step"], facts["bytes"], facts["val_loss"]) == (int(path.stem[5:]), path.stat().st_size, 1.5)


def test_a_committed_checkpoint_is_never_changed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(1, state(1))
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
    checkpoints.save(1, state(9))
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert_whole(checkpoints.load(path), 1)


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(file: Any) -> None:
        fsync(file)
        done.append("fsync")

    def watched_replace(old: Any, new: Any) -> None:
        replace(old, new)
        done.append(Path(new).suffix)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    Checkpoints(tmp_path).save(1, state(1))
    folder = ["fsync"] if os.name == "posix" else []
    assert done == ["fsync", ".safetensors", "fsync", ".json", *folder]
