"""The list of faults fits the code, and the runner tells what is noticed from what is not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, main
from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_can_be_put_in(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.old) == 1, f"{fault.file}: this must stand there exactly once:\n{fault.old}"
    changed = text.replace(fault.old, fault.new)
    if fault.file.endswith(".py"):
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    assert all((ROOT / tests.partition("::")[0]).is_file() for tests in fault.tests.split())


def test_there_are_enough_of_them_and_none_is_there_twice() -> None:
    assert len(FAULTS) >= 40
    assert len({(f.file, f.old, f.new) for f in FAULTS}) == len({f.what for f in FAULTS}) == len(FAULTS)


def test_the_runner_tells_what_is_noticed_from_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "minillm").mkdir()
    code = "def area(a, b):\n    return a * b\n\n\ndef edge(a, b):\n    return 2 * (a + b)\n"
    test = "from minillm.shapes import area\n\n\ndef test_area():\n    assert area(2, 3) == 6\n"
    (tmp_path / "minillm/shapes.py").write_text(code, encoding="utf-8")
    (tmp_path / "tests/test_shapes.py").write_text(test, encoding="utf-8")
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\npythonpath = .\n", encoding="utf-8")
    faults = [
        Fault("adds", "minillm/shapes.py", "a * b", "a + b", "tests/test_shapes.py"),
        Fault("halves", "minillm/shapes.py", "2 * (a + b)", "a + b", "tests/test_shapes.py"),
        Fault("is gone", "minillm/shapes.py", "a - b", "a + b", "tests/test_shapes.py"),
    ]
    assert main([], faults, tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:2]] == ["caught", "survived"] and "stands 0 times" in said[2]
    assert said[3].startswith("1 of 3 caught")
    assert main(["--only", "adds"], faults, tmp_path) == 0
    assert (tmp_path / "minillm/shapes.py").read_text(encoding="utf-8") == code  # only the copy is changed
