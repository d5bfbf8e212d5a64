"""``python -m tests.everywhere``: the suite on several Pythons, with the oldest and the newest packages.

The oldest Python that is found gets the oldest packages that setup.cfg admits, the others the newest. Packages come
from the index; then the tests run in random order, without a network if the system has ``unshare``.
"""

from __future__ import annotations

import argparse
import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = range(11, 30)  # of Python 3


def pythons() -> list[str]:
    """Return the Pythons on the path that can run minillm, oldest first."""
    found = [shutil.which(f"python3.{minor}") for minor in VERSIONS]
    return [path for path in found if path] or [sys.executable]


def requirements(oldest: bool) -> list[str]:
    """Return what setup.cfg asks for to run the tests, as pip takes it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    wanted = [line for line in lines.split("\n") if ">=" in line]
    return [f"{line.replace('>=', '==')}.*" for line in wanted] if oldest else wanted


def without_network() -> list[str]:
    """Return the command that runs another one without a network; nothing if there is none."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):  # for the superuser; for others, where they may
        try:
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
        except OSError:
            break
    return []


def suite(python: str, oldest: bool, more: Sequence[str], tests: Sequence[str], folder: Path) -> int:
    """Make an environment in a folder and run tests in it; return the exit status."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements(oldest), *more], check=True)
    versions = "import platform, numpy; print('Python', platform.python_version(), ' NumPy', numpy.__version__)"
    subprocess.run([inside, "-c", versions], check=True)
    run = [*without_network(), inside, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", *tests]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(run, cwd=ROOT, env=environment).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite everywhere; return 1 if it fails anywhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.everywhere", description=__doc__)
    parser.add_argument("--python", action="append", metavar="PATH", help="oldest first (default: all on the path)")
    parser.add_argument("--also", action="append", default=[], metavar="PACKAGE", help="such as torch==2.13.0")
    parser.add_argument("tests", nargs="*", help="a part of the tests, and options of pytest after --")
    options = parser.parse_args(argv)
    status = {}
    print("without a network" if without_network() else "this system cannot take the network away", flush=True)
    for number, python in enumerate(options.python or pythons()):
        with tempfile.TemporaryDirectory() as folder:
            status[python] = suite(python, number == 0, options.also, options.tests, Path(folder))
    for python, code in status.items():
        print(f"{python}: {'passed' if code == 0 else f'pytest ended with {code}'}")
    return int(any(status.values()))


if __name__ == "__main__":
    sys.exit(main())
