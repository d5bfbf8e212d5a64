"""``python -m tests.mutants``: put every fault of faults.py into a copy of the tree and see whether tests notice."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]
TREE = ("minillm", "lessons", "tests", "setup.cfg", "pyproject.toml", "README.md")
PATIENCE = 600  # seconds; a fault that makes the tests run on for so long has been noticed


class Copy:
    """A copy of the tree, one file of which can be changed for a while."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        for name in TREE:
            if (root / name).is_dir():
                # Trap: compiled files are told apart by time and size; a fault of the same length would not be seen.
                shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (root / name).exists():
                shutil.copy(root / name, folder / name)

    def verdict(self, fault: Fault) -> str:
        """Return "caught", "survived", or why neither can be said."""
        path = self.folder / fault.file
        whole = path.read_text(encoding="utf-8")
        if whole.count(fault.old) != 1:
            return f"cannot be put in: its text stands {whole.count(fault.old)} times in {fault.file}"
        path.write_text(whole.replace(fault.old, fault.new), encoding="utf-8", newline="\n")
        try:
            for tests in fault.tests.split():
                status = self.run(tests)
                if status == 1:
                    return "caught"
                if status != 0:
                    return f"pytest ended with {status} on {tests}"
            return "survived"
        finally:
            path.write_text(whole, encoding="utf-8", newline="\n")

    def run(self, tests: str) -> int:
        """Run tests in the copy; return the exit status of pytest (0 all passed, 1 some failed)."""
        file, _, words = tests.partition("::")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", file]
        command += ["-k", words] if words else []
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "ci"}
        environment["TMPDIR"] = str(self.folder)
        environment = {k: v for k, v in environment.items() if k != "PYTHONPATH" and not k.startswith("PYTEST_")}
        try:
            return subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, timeout=PATIENCE
            ).returncode
        except subprocess.TimeoutExpired:
            return 1


def main(argv: Sequence[str] | None = None, faults: Sequence[Fault] = FAULTS, root: Path = ROOT) -> int:
    """Try all faults; return 1 if one survives or cannot be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="faults with a word in text or file")
    words = parser.parse_args(argv).only
    chosen = [f for f in faults if any(w in f"{f.what} {f.file}" for w in words)]
    caught, began = 0, time.monotonic()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # many tests wait for the disk
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        copy = Copy(root, Path(folder))
        for tests in sorted({t.partition("::")[0] for fault in chosen for t in fault.tests.split()}):
            if copy.run(tests):
                print(f"{tests}: does not pass before any fault is put in")
                return 1
        for number, fault in enumerate(chosen, 1):
            verdict = copy.verdict(fault)
            caught += verdict == "caught"
            print(f"{number:3} {verdict:8} {fault.file}: {fault.what}", flush=True)
    print(f"{caught} of {len(chosen)} caught in {time.monotonic() - began:.0f} s")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
