"""What conftest.py promises for every test, seen from outside: a test that leaves a mess fails and says which."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TESTS = """
import random, socket, warnings
import numpy as np, pytest, minillm
from hypothesis import given, strategies as st

def test_tidy():
    with minillm.no_grad():
        minillm.randn(3)
def test_grad_mode():
    minillm.set_grad_enabled(False)
def test_dtype():
    minillm.set_default_dtype(minillm.float64)
def test_numpy_random():
    np.random.rand()
def test_random():
    random.random()
def test_network():
    socket.create_connection(("192.0.2.1", 80), timeout=1)
def test_warning():
    warnings.warn("careless")
drawn, examples = set(), set()
@pytest.mark.parametrize("again", [0, 1])
def test_own_generator_starts_anew(again):
    drawn.add(minillm.rand(1).item())
    assert len(drawn) == 1
@given(st.integers())
def test_examples_repeat(x):
    examples.add(minillm.rand(1).item())
    assert len(examples) == 1
@pytest.mark.gpu
def test_gpu():
    pass
"""


OUTCOMES = [
    ("test_tidy", "PASSED", ""),
    ("test_grad_mode", "ERROR", "left the grad mode changed"),
    ("test_dtype", "ERROR", "left the default dtype changed"),
    ("test_numpy_random", "ERROR", "left the global state of np.random changed"),
    ("test_random", "ERROR", "left the global state of random changed"),
    ("test_network", "FAILED", "tests use no network"),
    ("test_warning", "FAILED", "UserWarning: careless"),
    ("test_own_generator_starts_anew[0]", "PASSED", ""),
    ("test_own_generator_starts_anew[1]", "PASSED", ""),
    ("test_examples_repeat", "PASSED", ""),
    ("test_gpu", "SKIPPED", "needs a GPU"),
]


def test_a_mess_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "test_mess.py"
    file.write_text(TESTS, encoding="utf-8")
    options = ["-c", str(ROOT / "setup.cfg"), "-p", "tests.conftest", "-p", "no:cacheprovider", "-rA", "-n", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    summary = done.stdout.partition("short test summary info")[2]
    without_cupy = importlib.util.find_spec("cupy") is None
    for name, outcome, reason in OUTCOMES if without_cupy else OUTCOMES[:-1]:
        wanted = f"{outcome} .*" + ("" if outcome == "SKIPPED" else re.escape(name) + r"(?!\w).*") + re.escape(reason)
        assert re.search(wanted, summary), f"expected {wanted!r} in\n{done.stdout}"
    assert "\nERROR" not in re.sub("ERROR .* left .* changed", "", summary), done.stdout
