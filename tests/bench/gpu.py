"""All that is owed on a card, in one command: ``python -m tests.bench --gpu``, under eight minutes.

Each piece runs in a process of its own, with a limit of time; what it finds arrives line by line, so that a piece that
fails, hangs or runs out of memory loses only what comes after it. After each piece everything found so far is written
to ``gpu.json``; at the end also ``gpu.md`` (tables) and ``gpu.png``/``.svg`` (a chart). What a piece says beside its
results goes to ``gpu-PIECE.log``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench import gpu_report
from tests.bench.gpu_device import MARK, ceilings, emit, environment
from tests.bench.gpu_kernels import kernels
from tests.bench.gpu_training import SHARED, generation, training

BUDGET = float(os.environ.get("MINILLM_BENCH_BUDGET", 465))
"""Seconds for all pieces together."""


@dataclass(frozen=True)
class Piece:
    """One process.

    Attributes:
        name: also of its log.
        what: the function below that it calls.
        limit: seconds, less if the budget is nearly spent.
        arguments: of the function, after device and size.
    """

    name: str
    what: str
    limit: float
    arguments: tuple[Any, ...] = ()


def pieces(size: str) -> list[Piece]:
    """Return what is measured, the most important first: where time runs out, the end is missing."""
    batches, many, new, least = ([1, 2], 3, 4, 0.0) if size == "tiny" else ([8, 32], 64, 128, 1.0)
    all_of_them, eager, compiled = ["bfloat16", "tf32", "float32"], "torch eager", "torch.compile"
    generating = ([1, many], new)
    return [
        Piece("environment", "environment", 60),
        Piece("ceilings", "ceilings", 60),
        Piece("training-minillm", "training", 110, ("minillm", all_of_them, batches, least)),
        Piece("training-eager", "training", 90, (eager, all_of_them, batches, least)),
        Piece("training-compile", "training", 120, (compiled, ["bfloat16"], batches, least)),
        Piece("generation-minillm", "generation", 60, ("minillm", *generating)),
        Piece("generation-eager", "generation", 40, (eager, *generating)),
        Piece("tests", "tests", 120, (110,)),
        Piece("kernels", "kernels", 80),
        Piece("training-compile-32", "training", 150, (compiled, ["tf32", "float32"], batches, least)),
    ]


def tests(device: str, size: str, limit: float) -> None:
    """Emit how the tests that need a card end; after ``limit`` seconds, how far they came."""
    marked = [str(p) for p in sorted(Path("tests").rglob("test_*.py")) if "mark.gpu" in p.read_text(encoding="utf-8")]
    where = ["tests/backend/test_products.py"] if size == "tiny" else marked
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider", *where]
    if size != "tiny" and importlib.util.find_spec("xdist") is not None:
        command += ["-n", str(min(12, os.cpu_count() or 1))]  # most of the time goes into compiling
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace") as process:
        late = threading.Event()
        clock = threading.Timer(limit, lambda: (late.set(), process.kill()))
        clock.start()
        assert process.stdout is not None
        lines = [print(line, end="", file=sys.stderr) or line for line in process.stdout]
        status = process.wait()
        clock.cancel()
    words = re.findall(r"(?:^tests/\S+ |%\] )(PASSED|FAILED|ERROR|SKIPPED)", "".join(lines), re.MULTILINE)
    failures = sorted({line.strip()[:200] for line in lines if line.startswith(("FAILED ", "ERROR "))})
    summary = f"stopped after {limit:.0f} s" if late.is_set() else lines[-1].strip("= \n") if lines else ""
    emit(part="tests", status=status, summary=summary, counts=Counter(words), failures=failures[:40])


def run_piece(piece: Piece, device: str, size: str, limit: float, folder: Path) -> list[dict[str, Any]]:
    """Run a piece in a process; return its results, and one more that says so if it failed or was stopped."""
    arguments = json.dumps([piece.what, device, size, *piece.arguments])
    command = [sys.executable, "-m", "tests.bench.gpu", arguments]
    found: list[dict[str, Any]] = []
    with open(folder / f"gpu-{piece.name}.log", "w", encoding="utf-8") as log:
        about = {"env": {**os.environ, "PYTHONUNBUFFERED": "1"}, "text": True, "encoding": "utf-8", "errors": "replace"}
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, **about) as process:
            clock = threading.Timer(limit, process.kill)
            clock.start()
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARK):
                    found.append(json.loads(line.removeprefix(MARK)))
                    print("  " + gpu_report.line(found[-1]), flush=True)
                else:
                    log.write(line)
            status = process.wait()
            clock.cancel()
    took = time.perf_counter() - start
    if status:
        why = f"stopped after {took:.0f} s" if took >= limit else f"ended with status {status}"
        said = (folder / f"gpu-{piece.name}.log").read_text(encoding="utf-8", errors="replace").strip()
        failed = f"{why}: {' | '.join(said.splitlines()[-3:])}"[:500]
        found.append({"part": piece.what, "piece": piece.name, "failed": failed})
        print(f"  {piece.name}: {found[-1]['failed']}", flush=True)
    return found


def main(folder: Path, device: str = "cuda", size: str = "gpt2", chosen: list[Piece] | None = None) -> int:
    """Measure, print and write; return 0, 1 if a part failed, or 2 without a card.

    Args:
        folder: of what is written.
        device, size: "cpu" and "tiny" let everything run where there is no card, which says nothing about speed.
        chosen: pieces to run instead of all.
    """
    from minillm.backend import get_backend

    try:
        get_backend(device)
    except RuntimeError as error:
        print(f"tests.bench --gpu: {error}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as shared, mock.patch.dict(os.environ, {SHARED: shared}):
        return _measure(folder, device, size, pieces(size) if chosen is None else chosen)


def _measure(folder: Path, device: str, size: str, chosen: list[Piece]) -> int:
    start, found = time.perf_counter(), []
    for piece in chosen:
        left = BUDGET - (time.perf_counter() - start)
        print(f"{piece.name} (at {BUDGET - left:.0f} s)", flush=True)
        if left < 5:
            found.append({"part": piece.what, "piece": piece.name, "failed": "left out: the time was spent"})
        else:
            found += run_piece(piece, device, size, min(piece.limit, left), folder)
        text = json.dumps({"device": device, "size": size, "results": found}, indent=1)
        (folder / "gpu.json").write_text(text + "\n", encoding="utf-8")
    report = gpu_report.tables(found)
    (folder / "gpu.md").write_text(report + "\n", encoding="utf-8")
    print("\n" + report)
    gpu_report.chart(found, folder / "gpu")
    print(f"written: {folder} ({time.perf_counter() - start:.0f} s)")
    return int(any("failed" in result or result.get("status") for result in found))


if __name__ == "__main__":
    what, *rest = json.loads(sys.argv[1])
    functions = (environment, ceilings, kernels, training, generation, tests)
    function: Any = next(f for f in functions if f.__name__ == what)
    function(*(rest[:1] if what == "environment" else rest))
