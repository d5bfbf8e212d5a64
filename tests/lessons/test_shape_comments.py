"""Shape comments are held against arrays, and a comment that lies, or is never reached, is named."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.lessons.shape_comments import promises, run, shapes_in


@pytest.mark.parametrize(
    ("comment", "shapes"),
    [
        ("# (B, T, C)", [["B", "T", "C"]]),
        ("# (N,), (N, 1) and so on", [["N"], ["N", "1"]]),
        ("# (order + 1, 2 * C): a table", [["order + 1", "2 * C"]]),
        ("# ()", [[]]),
        ("# (see above)", []),
        ("# (V)", []),
        ("# why 3: (B, T)", []),
    ],
)
def test_what_counts_as_a_shape(comment: str, shapes: list[list[str]]) -> None:
    assert shapes_in(comment) == shapes


def complaints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Run a program of some lines and return what is wrong with its shape comments."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.argv", ["pytest"])
    # Another name for each program: modules of one name would be found in the cache.
    name = f"program_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text("import numpy as np\n" + textwrap.dedent(text), encoding="utf-8")
    return run(name, [])


TRUE = [
    "x = np.ones((2, 3))  # (B, T)\ny = x[0]  # (T,)",
    "def f(n):\n    return np.ones((n, n + 1))  # (n, n + 1)\nf(2)\nf(3)",
    "def f():\n    return np.ones(2), np.ones((2, 3))  # (B,), (B, T)\nf()",
    "for n in (2, 3):\n    x = np.ones(n)  # (B,)\n    y = x + 1  # (B,)",
    "a, b = np.ones((2, 3)), np.ones((2, 3))  # (B, T)",
    "a, b = np.ones(2), np.ones(())  # (B,), ()",
    "x = np.ones(\n    (2, 3),\n)  # (B, T)",
    "T = 4\nx = np.ones((2, T))  # (B, T)",
    "T = 4\ndef f():\n    x = np.ones((2, 3))  # (B, T)\nf()",  # a global T is another T
    "class A:\n    def __init__(self):\n        self.x = np.ones(3)  # (C,)\nA()",
    "def f(x):\n    y = x  # (N,)\n    return [v for v in y]\nf(np.ones(2))\nf(np.ones(3))",
    "x = np.ones(2)  # (N,)\n\ndef f():\n    pass\ny = np.ones(3)  # (N,)",
]
FALSE = [
    ("x = np.ones((2, 3))  # (B, T, C)", "has shape (2, 3)"),
    ("x = np.ones((2, 3))  # (B, B)", "has shape (2, 3)"),
    ("def f():\n    x = np.ones(2)  # (N,)\n    y = np.ones(3)  # (N,)\nf()", "y has shape (3,)"),
    ("T = 5\nx = np.ones((2, 4))  # (B, T)", "the comment says (B, T)"),
    ("def f():\n    return np.ones(3)  # (2,)\nf()", "the result has shape (3,)"),
    ("def f():\n    x = np.ones(3)  # (2,)\nf()", "x has shape (3,)"),
    ("a, b = 1, 2  # (), (), ()", "3 shapes for 2 values"),
    ("def f():\n    x = np.ones(3)  # (3,)", "never run"),
    ("try:\n    x = np.ones(-1)  # (3,)\nexcept ValueError:\n    pass", "never run"),
]


@pytest.mark.parametrize("text", TRUE)
def test_true_comments_pass(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(tmp_path, monkeypatch, text) == []


@pytest.mark.parametrize(("text", "say"), FALSE)
def test_lies_are_named(text: str, say: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = complaints(tmp_path, monkeypatch, text)
    assert len(found) == 1 and say in found[0]


def test_a_shape_stands_where_something_is_assigned() -> None:
    with pytest.raises(ValueError, match=r"line 1.*assigns or returns"):
        promises("print(3)  # (B, T)\n")
