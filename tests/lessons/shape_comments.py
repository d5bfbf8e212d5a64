"""Run a lesson and hold every shape comment against the array that it describes.

``x = table[ids]  # (B, T, C)`` is executed: when the line is done, ``x.shape`` must have three sides. A letter stands
for one number within a call of a function (at the top level: within a cell; in a loop: within a turn), or is a local
variable of that name; anything else, such as ``n + 1``, is computed. A comment that is never reached fails too.

    python -m tests.lessons.shape_comments lessons.l01_counting --fast --out FOLDER
"""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import runpy
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

NESTED = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>"}


@dataclass
class Promise:
    """What a comment says about the line before it."""

    first: int  # lines of the statement
    last: int
    targets: list[str]  # expressions; empty for a return
    shapes: list[list[str]]
    top: int  # line of the cell, or of the definition, that the statement stands in
    checked: int = 0


def shapes_in(comment: str) -> list[list[str]]:
    """The shapes that a comment begins with: ``# (B, T), (T,) and more`` has two; ``# (a remark)`` has none.

    >>> shapes_in("# (B, n + 1), (T,)")
    [['B', 'n + 1'], ['T']]
    >>> shapes_in("# (see below)")
    []
    """
    found = []
    text = comment.lstrip("# ")
    while m := re.match(r"\(([^()]*)\)(?:,\s*)?", text):
        try:
            tree = ast.parse(m[0].rstrip(", "), mode="eval").body
        except SyntaxError:
            break
        if not isinstance(tree, ast.Tuple):
            break
        found.append([ast.unparse(side) for side in tree.elts])
        text = text[m.end() :]
    return found


def promises(source: str) -> list[Promise]:
    """The shape comments of a file.

    Raises:
        ValueError: for one on a line that neither assigns nor returns.
    """
    tree = ast.parse(source)
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        shapes = shapes_in(token.string) if token.type == tokenize.COMMENT else []
        if not shapes:
            continue
        line = token.start[0]
        inside = [s for s in ast.walk(tree) if isinstance(s, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return))
                  and s.lineno <= line <= (s.end_lineno or 0)]  # fmt: skip
        if not inside:
            raise ValueError(f"line {line}: {token.string}: a shape stands at a line that assigns or returns")
        statement = max(inside, key=lambda s: s.lineno)
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = [e for t in statement.targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
        elif not isinstance(statement, ast.Return):
            targets = [statement.target]
        top = next(s.lineno for s in tree.body if s.lineno <= line <= (s.end_lineno or 0))
        names = [ast.unparse(t) for t in targets]
        found.append(Promise(statement.lineno, statement.end_lineno or line, names, shapes, top))
    return found


@dataclass
class Place:
    """Where a frame is: its last line, the promise that is due there, and the letters with the lines that set them."""

    line: int = 0
    due: Promise | None = None
    top: int = 0
    letters: dict[str, tuple[int, int]] = field(default_factory=dict)


class Watcher:
    """A trace function that checks the promises of one file."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.promises = file, promises(source)
        self.by_line = {line: p for p in self.promises for line in range(p.first, p.last + 1)}
        self.places: dict[FrameType, Place] = {}
        self.complaints: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if event != "call" or code.co_filename != self.file or code.co_name in NESTED:
            return None
        self.places[frame] = Place()
        return self.step

    def step(self, frame: FrameType, event: str, argument: Any) -> Any:
        place = self.places[frame]
        if event == "line":
            new, due = frame.f_lineno, place.due
            if due is not None and not due.first <= new <= due.last:
                self.check(frame, place, due, None)
                place.due = None
            if new < place.line:  # another turn of a loop: its letters are free again
                place.letters = {k: v for k, v in place.letters.items() if v[1] < new}
            place.line = new
            place.due = self.by_line.get(new, place.due)
        elif event == "exception":
            place.due = None
        elif event == "return":
            if place.due is not None and (place.due.targets or argument is not None):
                self.check(frame, place, place.due, argument)
            del self.places[frame]
        return self.step

    def check(self, frame: FrameType, place: Place, promise: Promise, returned: Any) -> None:
        if place.top != promise.top:
            place.top, place.letters = promise.top, {}
        names = {**frame.f_globals, **frame.f_locals}
        if promise.targets:
            values = [(name, eval(name, names)) for name in promise.targets]
        else:
            several = isinstance(returned, tuple) and len(promise.shapes) > 1
            values = [("the result", v) for v in (returned if several else [returned])]
        shapes = promise.shapes * len(values) if len(promise.shapes) == 1 else promise.shapes
        promise.checked += 1
        where = f"{Path(self.file).name}:{promise.last}"
        if len(shapes) != len(values):
            self.complaints.append(f"{where}: {len(shapes)} shapes for {len(values)} values")
            return
        for (name, value), sides in zip(values, shapes):
            actual = tuple(np.shape(value) if not hasattr(value, "shape") else value.shape)
            wanted = []
            for side, n in zip(sides, actual):
                if side in place.letters:
                    wanted.append(place.letters[side][0])
                elif len(side) == 1 and side.isupper() and not isinstance(frame.f_locals.get(side), int):
                    place.letters[side] = n, promise.first
                    wanted.append(n)
                else:
                    wanted.append(eval(side, {**names, **{k: v for k, (v, _) in place.letters.items()}}))
            if len(sides) != len(actual) or tuple(wanted) != actual:
                known = {k: v for k, (v, _) in place.letters.items()}
                self.complaints.append(
                    f"{where}: {name} has shape {actual}, the comment says ({', '.join(sides)}) {known}"
                )


def run(module: str, arguments: list[str]) -> list[str]:
    """Run a module as a program; return the complaints about its shape comments."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    watcher = Watcher(spec.origin, Path(spec.origin).read_text(encoding="utf-8"))
    sys.argv = [module, *arguments]
    before = sys.gettrace()
    sys.settrace(watcher)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.settrace(before)
    never = [f"{Path(spec.origin).name}:{p.last}: this line was never run" for p in watcher.promises if not p.checked]
    return sorted({*watcher.complaints, *never})


if __name__ == "__main__":
    found = run(sys.argv[1], sys.argv[2:])
    print("\n".join(found), file=sys.stderr)
    sys.exit(1 if found else 0)
