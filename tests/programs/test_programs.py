"""Programs written for PyTorch run after a change of their imports alone, with the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import minillm

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

PROGRAMS = sorted((Path(__file__).parent / "scripts").glob("*.py"))


def load(path, package):
    """Run a program's file with ``torch`` in its import lines replaced, and return its names."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"(import|from) torch\b", line) and package != "torch":
            line = line.replace("import torch", f"import {package}", 1).replace("from torch", f"from {package}", 1)
            if line == f"import {package}":
                line += " as torch"
        lines.append(line)
    names = {"__name__": path.stem}
    exec(compile("\n".join(lines), str(path), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def default_dtypes():
    ours, theirs = minillm.get_default_dtype(), torch.get_default_dtype()
    yield
    minillm.set_default_dtype(ours)
    torch.set_default_dtype(theirs)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_program_gives_the_numbers_of_pytorch(path):
    theirs, ours = load(path, "torch"), load(path, "minillm")
    torch.manual_seed(0)
    oracle, model = theirs["make"](), ours["make"]()
    assert list(oracle.state_dict()) == list(model.state_dict())
    model.load_state_dict({k: minillm.tensor(v.numpy()) for k, v in oracle.state_dict().items()})
    expected, got = theirs["run"](oracle), ours["run"](model)
    assert len(expected) == len(got)
    for i, (a, b) in enumerate(zip(expected, got)):
        if isinstance(a, float):
            assert a == pytest.approx(b, rel=1e-8, abs=1e-10), i
        else:
            assert a == b, i
    for (k, a), b in zip(oracle.state_dict().items(), model.state_dict().values()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-7, atol=1e-9, err_msg=k)


def test_there_are_at_least_six():
    assert len(PROGRAMS) >= 6
