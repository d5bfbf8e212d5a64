"""How long each lesson takes, how much memory, and whether its result lies in its band."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lessons.course import HERE, Lesson

MAX_SECONDS, MAX_MB = 120, 1000  # why: a lesson is run while one reads on, and on the smallest computer of a class


def run_and_watch(command: Sequence[str], log: Path) -> tuple[int, float, float | None]:
    """Run a program; return its exit status, seconds, and peak memory in MB (None where the system does not tell)."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    # Trap: to Linux the peak of a process includes what its parent held when it began. So a small one is its parent.
    watched = [sys.executable, "-c", _WATCH, *command] if sys.platform != "win32" else command
    start = time.perf_counter()
    with open(log, "w", encoding="utf-8") as f:
        status = subprocess.run(watched, stdout=f, stderr=subprocess.STDOUT, env=environment).returncode
    seconds = time.perf_counter() - start
    if sys.platform == "win32":
        return status, seconds, None
    text, _, peak = log.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")
    log.write_text(text + "\n", encoding="utf-8")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kilobytes elsewhere
    return status, seconds, int(peak) * unit / 1e6


_WATCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print("\\n%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(status if status >= 0 else 128 - status)
"""


def verdict(status: int, seconds: float, mb: float | None, band: dict[str, Any] | None) -> str:
    """Return "ok", or what is wrong with a lesson."""
    wrong = [f"exit status {status}"] if status else []
    wrong += [f"over {MAX_SECONDS} s"] if seconds > MAX_SECONDS else []
    wrong += [f"over {MAX_MB} MB"] if mb is not None and mb > MAX_MB else []
    wrong += ["no figure"] if band is None else ["outside its band"] if band["verdict"] == "outside" else []
    return ", ".join(wrong) or "ok"


def measure(lessons: Sequence[Lesson], *, fast: bool = False) -> int:
    """Run lessons one after the other and print a table; return 1 if one of them is not ok."""
    print(f"{'lesson':<22} {'time':>8} {'memory':>8}  {'result':>8}  {'band':<16} verdict")
    bad = 0
    for lesson in lessons:
        with tempfile.TemporaryDirectory() as folder:
            log, figure = Path(folder) / "log", Path(folder) / f"{lesson.name}.json"
            command = [sys.executable, "-m", f"lessons.{lesson.name}", "--out", folder, *(["--fast"] * fast)]
            status, seconds, mb = run_and_watch(command, log)
            band = json.loads(figure.read_text(encoding="utf-8"))["band"] if figure.exists() else None
            found = verdict(status, seconds, mb, band)
            value, ends = (f"{band['value']:.4g}", f"{band['low']:g} to {band['high']:g}") if band else ("", "")
            memory = "" if mb is None else f"{mb:.0f} MB"
            print(f"{lesson.name:<22} {seconds:>6.1f} s {memory:>8}  {value:>8}  {ends:<16} {found}", flush=True)
            if found != "ok":
                bad += 1
                print("".join(f"    {line}\n" for line in log.read_text(encoding="utf-8").splitlines()[-8:]), end="")
    return 1 if bad else 0
