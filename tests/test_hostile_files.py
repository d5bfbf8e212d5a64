"""Nothing let in: no file that somebody was sent runs code, kills the program, or is half believed."""

from __future__ import annotations

import ast
import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minillm
from minillm.datasets import from_folder, read_table
from minillm.text import Tokenizer
from minillm.training import (
    CheckpointError,
    Checkpoints,
    read_config,
    read_metrics,
)
from tests.hostile_safetensors import STRICTER, corpus, header, holes, large
from tests.house_rules import called, calls, sources

ROOT = Path(__file__).resolve().parents[1]
FILES = corpus()


# --- safetensors -----------------------------------------------------------------------------------------------------
def reference_reads(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(ImportError):
        import ml_dtypes  # noqa: F401 (makes bfloat16 known to NumPy)
    try:
        with safe_open(path, framework="np") as file:
            [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, AttributeError):
        return False
    return True


def test_what_the_reference_refuses_is_refused_and_only_that(tmp_path: Path) -> None:
    verdicts: dict[str, bool] = {}
    path = tmp_path / "x.safetensors"
    for name, data in FILES.items():
        path.write_bytes(data)
        verdicts[name] = reference_reads(path)
        if verdicts[name] and name not in STRICTER:
            minillm.load(path)
        else:
            with pytest.raises(ValueError) as error:
                minillm.load(path)
            assert type(error.value) is ValueError and str(path) in str(error.value), name
    assert len(FILES) > 200 and 30 < sum(verdicts.values()) < 100
    assert all(verdicts[name] for name in STRICTER)  # or there would be nothing to be stricter about
    assert os.listdir(tmp_path) == ["x.safetensors"]  # names in the files are only names


def test_tensors_are_those_that_the_reference_reads(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "x.safetensors"
    for name, data in FILES.items():
        path.write_bytes(data)
        if reference_reads(path) and name not in STRICTER and "BF16" not in name:
            found, wanted = minillm.load(path), load_file(path)
            assert list(found) == list(wanted) or set(found) == set(wanted)
            for key, value in wanted.items():
                assert (found[key].shape, found[key].dtype) == (value.shape, value.dtype), name
                assert np.array_equal(found[key].numpy(), value, equal_nan=value.dtype.kind in "fc"), name


def test_a_bool_is_one_of_two(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(FILES["bools that are none"])
    assert minillm.load(tmp_path / "x")["w"].numpy().tobytes() == b"\0" + b"\1" * 7


def test_every_file_is_answered_soon_and_with_little_memory(tmp_path: Path) -> None:
    small = {f"{i:04d}": data for i, data in enumerate(FILES.values())}
    for name, data in (small | large()).items():
        (tmp_path / name).write_bytes(data)
    if sys.platform == "linux":  # elsewhere a file that is a hole may take the disk that it claims
        holes(tmp_path)
    run = [sys.executable, "-m", "tests.hostile_safetensors", str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "panicked" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert set(found["came"].values()) == {"read", "refused"}, found["came"]
    wanted = {"100,000 tensors": "read", "250,000 tensors": "refused", "much white space": "refused"}
    wanted |= {"many lists": "read", "a deep tree": "refused", "brackets": "refused"}
    wanted |= {f"hole of 2^{e} bytes": "refused" for e in (38, 42) if sys.platform == "linux"}
    assert {name: found["came"][name] for name in wanted} == wanted
    assert found["slowest"][1] < 5, found["slowest"]
    assert found["peak"] < 400 * 2**20


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    itself: list[Any] = []
    itself.append(itself)
    for value, words in ((deep, "too deeply"), (itself, "holds itself"), ("x" * 16_000_001, "would not be read again")):
        with pytest.raises(ValueError, match=words):
            minillm.save({"x": value}, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_with_an_honest_manifest_is_still_checked(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    good = checkpoints.save(1, {"step": 1})
    for data in (FILES["place: overlap"], FILES["length 0"], header({"__metadata__": {"minillm": "[]"}}, b"")):
        path = checkpoints.save(2, {"step": 2})
        path.write_bytes(data)
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
        with pytest.raises(CheckpointError, match="step-00000002"):
            checkpoints.load(path)
        with pytest.warns(UserWarning, match=r"step-00000002.*going back"):
            assert checkpoints.load_latest() == (good, {"step": 1})
        path.unlink()


# --- pickles ---------------------------------------------------------------------------------------------------------
class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.canary,)


def packed(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(name, data)
    return out.getvalue()


def disguises(canary: Path) -> dict[str, bytes]:
    """A pickle that makes a folder, in every dress in which models, arrays and data sets are passed around."""
    found = {f"pickle{p}": pickle.dumps(Bomb(canary), protocol=p) for p in range(pickle.HIGHEST_PROTOCOL + 1)}
    bomb = found["pickle2"]
    npy = io.BytesIO()
    np.save(npy, np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    found["npy"] = npy.getvalue()
    found["npz"] = packed("weight.npy", npy.getvalue())
    found["a folder in a zip, as torch.save writes"] = packed("archive/data.pkl", bomb)
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(bomb)
        tar.addfile(entry, io.BytesIO(bomb))
    found["a tape, as torch.save once wrote"] = tape.getvalue()
    found["several pickles"] = bomb * 3
    found["compressed"] = gzip.compress(bomb, mtime=0)
    found["as a header"] = header(bomb, b"")
    found["behind a safetensors file"] = FILES["whole"] + bomb
    found["before a safetensors file"] = bomb + FILES["whole"]
    return found


READERS = {
    "load": minillm.load,
    "checkpoint": lambda path: Checkpoints(path.parent).load(path),
    "tokenizer": Tokenizer.load,
    "table": read_table,
    "text": from_folder,
    "config": lambda path: read_config(path.parent),
    "metrics": lambda path: read_metrics(path.parent),
}
ENDINGS = {
    "load": [".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz", ".pkl", ".safetensors", ""],
    "checkpoint": [".safetensors"],
    "tokenizer": [".json", ".model", ".pkl"],
    "table": [".csv", ".tsv", ".jsonl", ".parquet"],
    "text": [".txt"],
    "config": [".json"],
    "metrics": [".jsonl"],
}
NAMES = {"config": "config", "metrics": "metrics", "checkpoint": "step-00000001"}


@functools.cache
def classes_looked_up() -> list[str]:
    """A list that grows whenever a pickle looks up a class; a hook cannot be removed, so there is one."""
    seen: list[str] = []
    # Not marshal.loads: that is how Python itself reads a module that is imported late.
    sys.addaudithook(lambda event, _: seen.append(event) if event == "pickle.find_class" else None)
    return seen


def no_pickle(*_: Any, **__: Any) -> Any:
    pytest.fail("a pickle is being read")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dress", disguises(Path("canary")))
def test_no_pickle_is_opened_in_any_disguise(
    tmp_path: Path, reader: str, dress: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary, seen = tmp_path / "canary", classes_looked_up()
    before = len(seen)
    data = disguises(canary)[dress]
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, no_pickle)
    for ending in ENDINGS[reader]:
        path = tmp_path / (NAMES.get(reader, "file") + ending)
        path.write_bytes(data)
        if reader == "checkpoint":
            facts = {"sha256": hashlib.sha256(data).hexdigest()}
            path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
        try:
            READERS[reader](path)
        except (ValueError, CheckpointError) as error:
            assert str(path) in str(error)
        else:  # the first two protocols write ASCII: to a reader of texts they are texts
            assert reader == "text" and data.decode("utf-8")
    assert not canary.exists() and len(seen) == before


def test_what_to_do_with_a_pickle_is_said(tmp_path: Path) -> None:
    for dress in ("pickle2", "pickle5", "npz", "a folder in a zip, as torch.save writes"):
        (tmp_path / "model.pt").write_bytes(disguises(tmp_path / "canary")[dress])
        with pytest.raises(ValueError, match="could run code when it is read; convert it to safetensors"):
            minillm.load(tmp_path / "model.pt")


def test_a_pickle_that_is_carried_as_data_stays_data(tmp_path: Path) -> None:
    bomb = disguises(tmp_path / "canary")["pickle2"]
    text = bomb.decode("latin-1")
    minillm.save({"bytes": minillm.tensor(list(bomb), dtype=minillm.uint8), text: text}, tmp_path / "x")
    found = minillm.load(tmp_path / "x")
    assert bytes(found["bytes"].tolist()) == bomb and found[text] == text and not (tmp_path / "canary").exists()


def test_the_bomb_is_one(tmp_path: Path) -> None:
    seen = classes_looked_up()
    before = len(seen)
    pickle.loads(disguises(tmp_path / "canary")["pickle4"])
    assert (tmp_path / "canary").is_dir() and len(seen) > before  # so its absence above says something


READ_ALL = """
import sys, warnings
from pathlib import Path
import minillm
from minillm.datasets import from_folder, read_table
from minillm.text import Tokenizer
from minillm.training import Checkpoints, read_config, read_metrics
folder = Path(sys.argv[1])
readers = [
    lambda: Checkpoints(folder / "checkpoints").load_latest(), lambda: Checkpoints(folder / "checkpoints").best(),
    lambda: Tokenizer.load(folder / "tokenizer.json"), lambda: read_config(folder), lambda: read_metrics(folder),
    lambda: read_table(folder / "t.csv"), lambda: read_table(folder / "t.jsonl"), lambda: from_folder(folder / "t.txt"),
]
for read in readers:
    read()  # once, so that what is imported late is there
seen = []
BAD = ("pickle.", "marshal.", "exec", "compile", "import", "subprocess.", "os.", "shutil.", "socket.", "ctypes.")
def hook(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event.startswith(BAD) or writes:
        seen.append((event, str(arguments)[:80]))
sys.addaudithook(hook)
for read in readers:
    read()
found = [s for s in seen if s[0] not in ("os.listdir", "os.scandir")]
print(found)
"""


def test_reading_a_run_does_nothing_but_read(tmp_path: Path) -> None:
    from minillm.text import CharTokenizer

    Checkpoints(tmp_path / "checkpoints").save(1, {"w": minillm.ones(2), "step": 1}, best=True)
    CharTokenizer.train("abc").save(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text('{"kind": "pretrain"}', encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    (tmp_path / "t.csv").write_text("text,label\na,b\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": "b"}\n', encoding="utf-8")
    (tmp_path / "t.txt").write_text("Some words. " * 50, encoding="utf-8")
    run = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# What turns bytes into objects of any class, or text into code. house_rules.py forbids the imports that go with them.
OPENERS = {"eval", "exec", "compile", "loads_pickle", "fromstring", "memmap", "load_module", "exec_module"}


def test_the_library_has_no_words_for_running_what_it_reads() -> None:
    for source in sources(ROOT, "minillm"):
        for call in calls(source):
            text, name = ast.unparse(call.func), called(call)
            builtin = isinstance(call.func, ast.Name)
            assert not (name in OPENERS and (builtin or text.startswith(("builtins.", "np.", "importlib")))), (
                source.complain(call, text)
            )
            assert text not in {"np.load", "numpy.load", "yaml.load", "torch.load"}, source.complain(call, text)
