"""``python -m tests.fuzz --minutes 5``: change files at random and see whether any of them gets a reader to misbehave.

With the package atheris the changes follow the lines of code that they reach; without it they are random.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import SLOW, TARGETS, memory, seeds


@dataclass
class Finding:
    """A file that a reader could not deal with."""

    data: bytes
    what: str


def attempt(target: str, data: bytes) -> Finding | None:
    """Give one file to one target."""
    began = time.process_time()
    try:
        TARGETS[target](data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of safetensors is no Exception
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Finding(data, f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})")
    spent = time.process_time() - began
    return Finding(data, f"took {spent:.1f} s") if spent > SLOW else None


def fuzz(target: str, seconds: float, seed: int) -> tuple[int, list[Finding]]:
    """Change the seeds at random for a while; return the number of files that were tried, and the findings."""
    rng, begin = random.Random(f"{seed} {target}"), seeds(target)
    executions, findings = 0, {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = attempt(target, mutate(rng.choice(begin), begin, rng))
        executions += 1
        if found:
            findings.setdefault(found.what, found)  # one of each kind
    return executions, list(findings.values())


def fuzz_with_atheris(target: str, seconds: float, seed: int) -> tuple[int, list[Finding]]:
    """The same, guided by coverage. The fuzzer ends its process at the first finding, so it has one of its own."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        corpus, work = Path(folder, "corpus"), Path(folder, "work")
        corpus.mkdir()
        work.mkdir()
        for i, data in enumerate(seeds(target)):
            (corpus / str(i)).write_bytes(data)
        flags = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed + 1}", "-print_final_stats=1"]
        # why 300: for what never ends. This clock runs on where a process is held up; ``SLOW`` is of the processor.
        flags += [f"-artifact_prefix={folder}/finding-", "-max_len=20000", "-timeout=300", "-report_slow_units=300"]
        run = [sys.executable, "-m", "tests.fuzz.guided", target, *flags, str(corpus)]
        environment = {**os.environ, "FUZZ_FOLDER": str(work)}  # that process never cleans up
        done = subprocess.run(run, capture_output=True, encoding="utf-8", errors="replace", env=environment)
        found = [Finding(path.read_bytes(), done.stderr[-600:]) for path in Path(folder).glob("finding-*")]
    numbers = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    if not numbers and not found:
        raise RuntimeError(f"atheris did not run: {done.stderr[-400:]}")
    return int(numbers[0]) if numbers else 0, found


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "random"), help="default: atheris where it is installed")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"), help="folder for files that were found")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give one file to the target instead")
    options = parser.parse_args(argv)
    targets = options.target or list(TARGETS)
    if options.replay:
        found = attempt(targets[0], options.replay.read_bytes())
        print(found.what if found else "no finding")
        return 1 if found else 0
    engine = options.engine or ("atheris" if importlib.util.find_spec("atheris") else "random")
    total = 0
    for target in targets:
        seconds = options.minutes * 60 / len(targets)
        if engine == "atheris":
            executions, findings = fuzz_with_atheris(target, seconds, options.seed)
        else:
            executions, findings = fuzz(target, seconds, options.seed)
        print(f"{target:>10}: {executions:,} executions, {len(findings)} findings ({engine})", flush=True)
        for found in findings:
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"{target}-{hashlib.sha256(found.data).hexdigest()[:12]}"
            path.write_bytes(found.data)
            print(f"  {path}: {found.what}")
        total += len(findings)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
