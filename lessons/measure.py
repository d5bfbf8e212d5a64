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

TABLE, PICTURES = HERE / "README.md", HERE.parent / ".github"
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


def write_row(cells: Sequence[str], path: Path) -> None:
    """Put a row, which begins with a lesson's number, into the table of a Markdown file, in place of an older one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    rows = {row[:5]: row for row in [*lines[start:end], f"| {' | '.join(cells)} |"]}  # by "| [01"
    path.write_text("\n".join([*lines[:start], *sorted(rows.values()), *lines[end:]]) + "\n", encoding="utf-8")


def write_thumbnail(figure: Path, path: Path) -> None:
    """Write a figure as a small picture, a few kilobytes: 360 points wide, in 256 colours."""
    from PIL import Image

    with Image.open(figure) as picture:
        size = (360, round(360 * picture.height / picture.width))
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.quantize(256).save(path, optimize=True)  # why 256: with 48, thin lines of two colours became one colour


def measure(lessons: Sequence[Lesson], *, fast: bool = False, write: bool = False) -> int:
    """Run lessons one after the other and print a table; return 1 if one of them is not ok.

    Args:
        lessons: which.
        fast: in their fast form.
        write: also write what was found into the table of lessons/README.md, and the figures, made small, into .github.

    Raises:
        ValueError: if what the fast form found is to be written, or there is no checkout to write to.
    """
    if write and fast:
        raise ValueError("--write: the table holds lessons at full size; leave --fast out")
    if write and not PICTURES.is_dir():
        raise ValueError(f"--write: {PICTURES}: no such folder; it is there in a checkout only")
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
            if write and band:
                cells = [f"[{lesson.number:02d} {lesson.title}]({lesson.name}.py)", f"{seconds:.0f} s", memory]
                write_row([*cells, f"{value} {band['what']}", ends, found], TABLE)
                write_thumbnail(figure.with_suffix(".png"), PICTURES / f"{lesson.name}.png")
            print(f"{lesson.name:<22} {seconds:>6.1f} s {memory:>8}  {value:>8}  {ends:<16} {found}", flush=True)
            if found != "ok":
                bad += 1
                print("".join(f"    {line}\n" for line in log.read_text(encoding="utf-8").splitlines()[-8:]), end="")
    return 1 if bad else 0
