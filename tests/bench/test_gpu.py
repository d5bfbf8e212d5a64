"""The benchmark for a card, run where there is none: every piece, in a tiny size, and what becomes of failures."""

from __future__ import annotations

import gc
import itertools
import json
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minillm.backend import get_backend
from minillm.backend.cuda import CuPyBackend
from minillm.backend.cuda.cublaslt import Gemm
from minillm.backend.cuda.linear import Linear
from tests.standin import CuPyModule, standin

pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
pytest.importorskip("matplotlib")
gpu = pytest.importorskip("tests.bench.gpu")
gpu_device = pytest.importorskip("tests.bench.gpu_device")
gpu_kernels = pytest.importorskip("tests.bench.gpu_kernels")
gpu_report = pytest.importorskip("tests.bench.gpu_report")
gpu_training = pytest.importorskip("tests.bench.gpu_training")
HostCublasLt = pytest.importorskip("tests.backend.cublaslt_on_host").HostCublasLt


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """How long a tiny product takes is of no interest, nor is what the tests before have left to be collected."""
    monkeypatch.setattr(gpu_device, "STRETCH", 1e-4)
    gc.freeze()  # the pieces collect garbage often; all objects of a test run take a second each time
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _models_of_their_own() -> Any:
    """A model that a test has moved to the stand-in is none for the next."""
    gpu_training.model_of.cache_clear()
    yield
    gpu_training.model_of.cache_clear()


def results(capsys: Any, piece: Callable, *arguments: Any) -> list[dict[str, Any]]:
    """Run a piece in this process and return what it emits."""
    piece(*arguments)
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line.removeprefix(gpu.MARK)) for line in lines if line.startswith(gpu.MARK)]


def test_without_a_card_one_line_and_status_2(tmp_path: Path, capsys: Any) -> None:
    try:
        get_backend("cuda")
    except RuntimeError:
        assert gpu.main(tmp_path / "none") == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "device 'cuda'" in said.err
        assert not (tmp_path / "none").exists()


def test_all_pieces_in_a_tiny_size(tmp_path: Path, capsys: Any) -> None:
    """On the CPU; tables and chart are made of what they give."""
    found: list[dict[str, Any]] = []
    for piece in gpu.pieces("tiny"):
        if piece.what != "tests" and "compile" not in piece.name:
            arguments = () if piece.what == "environment" else ("tiny", *piece.arguments)
            found += results(capsys, getattr(gpu, piece.what), "cpu", *arguments)
    has_torch = gpu_report.of(found, "training", peer="torch eager") != []
    wrong = [r for r in found if "failed" in r and r["failed"] != "PyTorch is not installed"]
    assert wrong == []
    assert {r["part"] for r in found} == {"environment", "ceiling", "gemm", "heads", "training", "generation"}
    trained = gpu_report.of(found, "training", peer="minillm")
    assert {(r["precision"], r["batch_size"]) for r in trained} == {
        (p, b) for p in ("bfloat16", "tf32", "float32") for b in (1, 2)
    }
    for r in trained if has_torch else []:
        assert gpu_report.gap(found, r) < gpu_report.AGREE[r["precision"]]
    report = gpu_report.tables(found)
    assert "DIFFERS" not in report and report.count("| minillm |") == 10
    gpu_report.chart(found, tmp_path / "gpu")
    assert (tmp_path / "gpu.png").exists() and (tmp_path / "gpu.svg").exists()


class Pool:
    """CuPy's memory pool, as far as the benchmark asks it."""

    used_bytes = staticmethod(lambda: 123)
    free_all_blocks = staticmethod(lambda: None)


def test_what_runs_on_a_card_runs_on_the_stand_in(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With device "cuda", and products as cuBLASLt is told them."""
    monkeypatch.setattr(CuPyModule, "get_default_memory_pool", lambda self: Pool)
    left = itertools.count(10**9, -1000)
    runtime = types.SimpleNamespace(memGetInfo=lambda: (next(left), 2 * 10**9))
    monkeypatch.setattr(CuPyModule.cuda, "runtime", runtime, raising=False)
    with standin():
        backend: Any = get_backend("cuda")
        library = HostCublasLt()
        backend.gemm = Gemm(library, backend.xp)
        backend.kernels = {"Linear": Linear}
        found = results(capsys, gpu.ceilings, "cuda", "tiny")
        batches = {e["batch"] for e in library.log}
        found += results(capsys, gpu.training, "cuda", "tiny", "minillm", ["bfloat16", "tf32", "float32"], [2], 0.0)
        found += results(capsys, gpu.generation, "cuda", "tiny", "minillm", [1, 3], 3)
        found += results(capsys, gpu.kernels, "cuda", "tiny")
    assert [r for r in found if "failed" in r] == []
    assert batches == {1, 3, 6}  # heads: three in each of two launches, or all six, copied
    assert all(r["peak_bytes"] > 0 for r in found if r["part"] == "training")
    ours = gpu_report.of(found, "kernel", name="Linear")
    assert [r["precision"] for r in ours] == ["bfloat16", "float32"]
    assert all(r["used"] and r["apart"] < 1e-2 and min(r["gb_s"]) > 0 for r in ours)


def test_every_kernel_of_the_backend_has_a_workload() -> None:
    known, steps = gpu_kernels.works("tiny"), gpu_kernels.steps("tiny")
    with standin():
        made = CuPyBackend()
    assert set(made.kernels) - set(known) - set(steps) == set()
    for name, make in known.items():
        found = gpu_kernels.measure_one("cpu", name, "float32", make)
        assert not found["apart"] and len(found["kernel_us"]) == 2
    found = [{"part": "kernel", "name": name, "precision": "float32", **gpu_kernels.measure_step("cpu", make)}
             for name, make in steps.items()]  # fmt: skip
    assert all(r["apart"] == 0 for r in found) and gpu_report.tables(found).count("| float32 |") == len(steps)


def test_tests_that_take_too_long_are_counted_as_far_as_they_came(capsys: Any, monkeypatch: Any) -> None:
    popen = gpu.subprocess.Popen
    code = "print('tests/x.py::test_a PASSED [ 1%]\\n[gw1] [  2%] FAILED tests/x.py::b', flush=True); import time; "
    code += "time.sleep(600)"
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda command, **how: popen([sys.executable, "-c", code], **how))
    (found,) = results(capsys, gpu.tests, "cpu", "tiny", 5.0)
    assert found["counts"] == {"PASSED": 1, "FAILED": 1} and found["status"] and "stopped after 5 s" in found["summary"]
    assert "1 failed, 1 passed (stopped after 5 s)" in gpu_report.tables([found])


def test_a_loss_that_differs_is_said() -> None:
    about = {"part": "training", "precision": "float32", "batch_size": 8, "tokens": 8, "flops": 1.0, "s": 1.0}
    about |= {"low_s": 1.0, "high_s": 1.0, "pipelined_s": 1.0, "peak_bytes": 2**30}
    found = [{**about, "peer": "torch eager", "losses": [1.0]}, {**about, "peer": "minillm", "losses": [1.01]}]
    assert "1.0e-02 DIFFERS" in gpu_report.tables(found)


def test_a_piece_that_fails_or_hangs_loses_only_itself(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stands for a process; they are written here, so that they start fast."""
    code = """
import sys, time
print('RESULT {"part": "ceiling", "name": "copy", "gb_s": 7.0}', flush=True)
what = sys.argv[-1]
if "crash" in what: sys.exit("card on fire")
if "hang" in what: time.sleep(600)
"""
    script = tmp_path / "piece.py"
    script.write_text(code, encoding="utf-8")
    popen = gpu.subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda command, **how: popen([sys.executable, str(script), command[-1]], **how)
    )
    chosen = [gpu.Piece(what, what, 5) for what in ("crash", "hang", "fine")]
    start = time.perf_counter()
    assert gpu.main(tmp_path / "out", "cpu", "tiny", chosen) == 1
    assert time.perf_counter() - start < 60
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))["results"]
    assert [r.get("name", "failed") for r in found] == ["copy", "failed", "copy", "failed", "copy"]
    assert "ended with status 1: card on fire" in found[1]["failed"]
    assert "stopped after 5 s" in found[3]["failed"]
    assert "Not measured:" in (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
    monkeypatch.setattr(gpu, "BUDGET", 4.0)
    assert gpu.main(tmp_path / "late", "cpu", "tiny", chosen[2:]) == 1
    found = json.loads((tmp_path / "late" / "gpu.json").read_text(encoding="utf-8"))["results"]
    assert found[0]["failed"] == "left out: the time was spent"


def test_the_whole_takes_less_than_eight_minutes() -> None:
    assert gpu.BUDGET < 480
    order = [piece.name for piece in gpu.pieces("gpt2")]
    assert order[0] == "environment" and order[-1].startswith("training-compile")
