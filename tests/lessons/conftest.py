"""The course as a site, built once for all tests that look at it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lessons.site.build import NEEDED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages, with every lesson in its fast form."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'needs {", ".join(missing)}: pip install -e ".[site]"')
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder in one that they share
        folder = folder.parent
    log, out = folder / "site.log", folder / "site"
    try:
        (folder / "site.started").mkdir()
    except FileExistsError:  # another worker builds it
        while not log.exists():
            time.sleep(0.2)
    else:
        command = [sys.executable, "-m", "lessons", "course", "site", "--fast", "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
        unfinished = log.with_suffix(".part")
        unfinished.write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}", encoding="utf-8")
        unfinished.replace(log)
    status, said = log.read_text(encoding="utf-8").split("\n", 1)
    assert status == "0", said[-4000:]
    return out / "html"
