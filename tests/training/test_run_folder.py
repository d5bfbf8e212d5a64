"""The folder of a run: made whole or not at all, and read back with a clear word where there is none."""

from __future__ import annotations

import builtins
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minillm
from minillm.training import RunError, create_run, environment, read_config
from minillm.training.run_folder import _KINDS

CONFIG = {"kind": "pretrain", "text": "Grüße, 猫", "training": {"lr": 0.1, "clip": None}}
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder: bytes of files, ``None`` for folders."""
    return {p.relative_to(folder).as_posix(): None if p.is_dir() else p.read_bytes() for p in sorted(folder.rglob("*"))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text().filter(lambda name: name not in _KINDS), plain, max_size=4))
def test_what_was_asked_for_is_read_back(tmp_path: Path, more: dict[str, Any]) -> None:
    config = {**more, "kind": "pretrain"}
    create_run(tmp_path / "run", config, force=True)
    assert read_config(tmp_path / "run") == config


def test_the_manifest_says_on_what(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "a" / "run", CONFIG, {"corpus": {"name": "stdlib-en"}})
    assert folder == tmp_path / "a" / "run" and set(tree(folder)) == {"config.json", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == {**environment(), "corpus": {"name": "stdlib-en"}}
    assert manifest["minillm"] == minillm.__version__ and manifest["cpus"] == os.cpu_count()
    for name in ("python", "numpy", "blas", "platform"):
        assert manifest[name]
    assert "Grüße, 猫" in (folder / "config.json").read_text(encoding="utf-8")  # readable for people, too


def test_an_empty_folder_will_do_and_a_full_one_is_left_alone(tmp_path: Path) -> None:
    create_run(tmp_path, CONFIG)
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"not empty; give another --out, resume the run in it, or pass --force"):
        create_run(tmp_path, {"kind": "other"})
    assert tree(tmp_path) == before


def test_force_starts_anew_and_spares_what_is_not_the_runs(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", CONFIG)
    (folder / "checkpoints").mkdir()
    for name in ("metrics.jsonl", "samples.txt", "curves.svg", "checkpoints/best.json", "notes of mine.txt"):
        (folder / name).write_text("old", encoding="utf-8")
    create_run(folder, {"kind": "other"}, force=True)
    assert set(tree(folder)) == {"config.json", "manifest.json", "notes of mine.txt"}
    assert read_config(folder) == {"kind": "other"}


def test_force_spares_what_no_run_has_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.bin").write_bytes(b"another program's")
    for others in ("no json", "[1]", '{"name": "another program\'s"}'):
        (tmp_path / "config.json").write_text(others, encoding="utf-8")
        before = tree(tmp_path)
        with pytest.raises(RunError, match=r"holds config\.json, but no run has written it; give another --out"):
            create_run(tmp_path, CONFIG, force=True)
        assert tree(tmp_path) == before


@pytest.mark.parametrize("lost", ["config.json", "manifest.json"])
def test_force_starts_anew_where_a_start_was_interrupted(tmp_path: Path, lost: str) -> None:
    folder = create_run(tmp_path / "run", CONFIG)
    (folder / lost).unlink()
    create_run(folder, {"kind": "other"}, force=True)
    assert read_config(folder) == {"kind": "other"}


def test_force_spares_what_the_new_run_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(tmp_path / "run", CONFIG)
    (folder / "samples.txt").write_text("a text", encoding="utf-8")
    (folder / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    for read in (
        {"pretrained": "run"},
        {"pretrained": str(folder / ".." / "run")},
        {"text": "run/samples.txt"},
        {"table": {"data": str(folder / "checkpoints" / "labels.csv")}},
        {"table": {"data": "labels.csv", "validation": "run/metrics.jsonl/../samples.txt"}},
    ):
        with pytest.raises(RunError, match=r"run: the new run reads .*, which would be removed; give another --out"):
            create_run(folder, {"kind": "classifier", **read}, force=True)
    assert tree(tmp_path) == before


def test_a_run_does_not_lie_in_the_folder_of_its_text(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"so its samples would be read as text; give an --out elsewhere"):
        create_run(tmp_path / "runs" / "new", {"kind": "pretrain", "text": str(tmp_path)})
    assert tree(tmp_path) == {}
    (tmp_path / "text.txt").write_text("a text", encoding="utf-8")
    create_run(tmp_path / "runs" / "new", {"kind": "pretrain", "text": str(tmp_path / "text.txt")})


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="file: is a file; give another --out"):
        create_run(file, CONFIG, force=True)
    with pytest.raises(RunError, match="cannot be written to"):
        create_run(file / "below" / "it", CONFIG)
    with pytest.raises(RunError, match="is a file; give the folder of a run"):
        read_config(file)
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("old", ["no folder", "an empty folder", "an earlier run"])
def test_a_disk_that_refuses_leaves_nothing_half_made(tmp_path: Path, old: str) -> None:
    folder = tmp_path / "runs" / "new"
    if old != "no folder":
        folder.mkdir(parents=True)
    for n in range(1, 100):
        if old == "an earlier run":
            create_run(folder, CONFIG, force=True)
        before, tried = tree(tmp_path), 0

        def watched(real: Callable, n: int = n) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal tried
                tried += 1
                if tried >= n:  # once full, the disk stays full; what is there can still be removed
                    raise OSError(errno.ENOSPC, "No space left on device")
                return real(*args, **kwargs)

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builtins, "open", watched(open))
            patch.setattr(Path, "write_text", watched(Path.write_text))
            for name in ("mkdir", "fsync", "replace"):
                patch.setattr(os, name, watched(getattr(os, name)))
            try:
                create_run(folder, {"kind": "other"}, force=old == "an earlier run")
            except RunError as error:
                assert "cannot be written to (No space left on device)" in str(error)
            else:
                break
        after = tree(tmp_path)
        if old != "an earlier run":
            assert after == before
        else:  # either the earlier run as it was, or nothing of it: never a mixture
            assert after == before or not any(after.values())
    assert n > 6 and read_config(folder) == {"kind": "other"}


def test_settings_that_json_cannot_hold_make_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        create_run(tmp_path / "run", {"kind": object()})
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b'{"kind": "pretr', "cannot be read"),
        (b"\xff\xfe{", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "not the config of a run"),
        (b'{"model": {}}', "it has no 'kind'"),
    ],
    ids=["empty", "torn", "no UTF-8", "deep", "list", "foreign"],
)
def test_what_is_no_config_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=words) as error:
        read_config(tmp_path)
    assert str(tmp_path / "config.json") in str(error.value)


def test_no_run_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match=r"no config\.json in it, so it is not the folder of a run"):
            read_config(folder)
