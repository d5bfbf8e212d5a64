"""The commands of the course: list and run lessons, check answers, ask the quiz, make notebooks, export, measure."""

from __future__ import annotations

import argparse
import ast
import errno
import importlib
import importlib.machinery
import importlib.util
import json
import os
import re
import runpy
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROGRESS = ".minillm-progress.json"
SECONDS = 120.0  # for one check; why: all checks of a lesson take 1 to 4 s; a slow answer is no mistake


# --- what lessons there are ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Lesson:
    """A lesson as its first docstring describes it; what the header does not say is an empty text."""

    number: int
    name: str
    title: str
    question: str
    needs: str
    time: str
    corpus: str
    band: str

    @property
    def exercise(self) -> Path:
        """The file of its exercises, which may not exist."""
        return HERE / "exercises" / f"{self.name}.py"


def read_header(path: Path) -> Lesson:
    """Read number, title, question and the list of facts from a lesson's file, without running it."""
    keep: dict[str, Any] = {"optimize": 0} if sys.version_info >= (3, 13) else {}  # also under -OO
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), **keep)) or ""
    title = next((line for line in text.splitlines() if line.strip()), "")
    question = re.search(r"^\*([^*]+\?)\*$", text, re.MULTILINE)
    # An item of the list, with the lines that continue it.
    facts = {
        m[1]: " ".join(m[2].split()) for m in re.finditer(r"^- ([A-Z][a-z ]+): ((?:.+\n?)(?: +.+\n?)*)", text, re.M)
    }
    said = (facts.get(key, "") for key in ("You need", "Time", "Corpus", "Band"))
    return Lesson(int(path.stem[1:3]), path.stem, title, question[1] if question else "", *said)


def lessons() -> dict[int, Lesson]:
    """Return every lesson by its number."""
    return {lesson.number: lesson for lesson in map(read_header, sorted(HERE.glob("l[0-9][0-9]_*.py")))}


def find(number: str, *, with_exercises: bool = False) -> Lesson:
    """Return the lesson of a number as the user wrote it.

    Raises:
        ValueError: naming the lessons that there are.
    """
    known = {n: lesson for n, lesson in lessons().items() if not with_exercises or lesson.exercise.exists()}
    if not number.isdecimal() or int(number) not in known:
        what = "lesson with exercises" if with_exercises else "lesson"
        raise ValueError(f"{number}: no such {what}; there are {', '.join(f'{n:02d}' for n in known)}")
    return known[int(number)]


def do_lessons(arguments: argparse.Namespace) -> int:
    """List the lessons: number, title, time, whether the exercises are done, and the question."""
    done = read_progress()
    for lesson in lessons().values():
        state = "done" if lesson.name in done else "open" if lesson.exercise.exists() else ""
        time = lesson.time.split(",")[0].split(" on ")[0]
        print(f"{lesson.number:02d}  {lesson.title:<34}  {time:>6}  {state:<4}  {lesson.question}")
    return 0


def do_run(arguments: argparse.Namespace) -> int:
    """Run a lesson."""
    lesson = find(arguments.number)
    if lesson.time:
        print(f"lesson {lesson.number:02d}, on the CPU; about {lesson.time}", flush=True)
    sys.argv = [lesson.name, *arguments.arguments]
    # The commands have imported some lessons; that such a one now runs once more, as the main program, is meant.
    warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
    runpy.run_module(f"lessons.{lesson.name}", run_name="__main__", alter_sys=True)
    return 0


# --- progress, in a file of the learner's folder ---------------------------------------------------------------------
def read_progress() -> dict[str, Any]:
    """Return what was checked with success in this folder: the name of each lesson with the file that passed."""
    path = Path(PROGRESS)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("done"), dict):
        raise ValueError(f"{path}: expected what `minillm check` writes; delete the file, and check again")
    return found["done"]


def note_progress(lesson: Lesson, path: Path) -> None:
    """Note that a lesson's exercises are done."""
    from minillm.training import write_atomically

    done = {**read_progress(), lesson.name: str(path)}
    text = json.dumps({"version": 1, "done": dict(sorted(done.items()))}, indent=1, ensure_ascii=False)
    write_atomically(Path(PROGRESS), text + "\n")


# --- checking an answer ----------------------------------------------------------------------------------------------
def load_answer(path: Path) -> types.ModuleType:
    """Run a file of answers and return it as a module; nothing is cached, so the file is always the one on the disk."""
    name = f"answer_{path.stem}"
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, str(path)))
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]  # with a spec, which Python 3.15 asks for
    sys.modules[name] = module  # dataclasses look their module up
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


def check_answer(lesson: str, path: Path) -> Iterator[Any]:
    """Run the checks of a lesson, such as ``l01_counting``, on a file of answers; yield their outcomes one by one.

    Raises:
        RuntimeError: if hypothesis is not installed, or assertions are switched off.
    """
    if not __debug__:
        raise RuntimeError(
            "Python runs with -O, which leaves out the assertions that checks consist of; run it without"
        )
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "minillm-hypothesis"))
    try:
        from minillm.testing.properties import Outcome, checks_of, run_check, time_limit
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise RuntimeError('needs the package hypothesis, which is not installed: pip install -e ".[test]"') from None
    checks = checks_of(importlib.import_module(f"lessons.checks.{lesson}"))
    try:
        with time_limit(SECONDS):
            answer = load_answer(path)
    except (Exception, SystemExit) as error:  # somebody's file may fail in any way
        line = getattr(error, "lineno", None)
        where = f"{path.name}:{line}" if line else path.name
        yield Outcome(f"{path.name} can be imported", 1, f"{where}: {type(error).__name__}: {error}", "", "")
        return
    yield from (run_check(one, answer, seconds=SECONDS) for one in checks)


def do_check(arguments: argparse.Namespace) -> int:
    """Check the answers to the exercises of a lesson; 0 if all of them are right, 1 otherwise."""
    lesson = find(arguments.number, with_exercises=True)
    path = (arguments.file or lesson.exercise).resolve()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    print(f"checking {path}")
    outcomes = []
    for outcome in check_answer(lesson.name, path):
        outcomes.append(outcome)
        print(f"{'ok  ' if outcome.passed else 'FAIL'}  {outcome.name} ({inputs(outcome.examples)})", flush=True)
        if not outcome.passed:
            print(f"      {outcome.error or 'it was never run'}".replace("\n", "\n      "))
            print(f"      smallest failing input: {outcome.failing}\n" if outcome.failing else "", end="")
            print(f"      hint: {outcome.hint}\n" if outcome.hint else "", end="")
    failed = sum(not outcome.passed for outcome in outcomes)
    print(f"{len(outcomes)} checks ran, {failed} failed" + ("" if outcomes else ": no checks is a failure too"))
    if failed or not outcomes:
        return 1
    try:
        note_progress(lesson, path)
    except OSError as error:
        print(f"the success could not be noted: {PROGRESS}: {error.strerror}", file=sys.stderr)
    return 0


def inputs(n: int) -> str:
    """Return a number of inputs in words."""
    return f"{n} input" + ("" if n == 1 else "s")


# --- quiz and notebook -----------------------------------------------------------------------------------------------
def do_quiz(arguments: argparse.Namespace) -> int:
    """Show the questions of a lesson, with ``--answers`` also what is right and why."""
    from lessons.frame import ask

    lesson = find(arguments.number)
    quiz = getattr(importlib.import_module(f"lessons.{lesson.name}"), "QUIZ", ())
    if not quiz:
        raise ValueError(f"lesson {lesson.number:02d} has no quiz")
    ask(lesson.number, quiz, arguments.answers)
    return 0


def do_notebook(arguments: argparse.Namespace) -> int:
    """Write a lesson as a Jupyter notebook."""
    from lessons.notebook import to_notebook
    from minillm.training import write_atomically

    lesson = find(arguments.number)
    path = arguments.out or Path(f"{lesson.name}.ipynb")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if path.exists() and not arguments.force:
        raise FileExistsError(errno.EEXIST, "exists already; --force writes over it, --out names another", str(path))
    quiz = getattr(importlib.import_module(f"lessons.{lesson.name}"), "QUIZ", ())
    content = to_notebook((HERE / f"{lesson.name}.py").read_text(encoding="utf-8"), quiz)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(path)
    return 0


# --- for teachers ----------------------------------------------------------------------------------------------------
def do_course(arguments: argparse.Namespace) -> int:
    """Export the course, measure it, or make a site of it."""
    if arguments.what == "export":
        export(arguments.folder, solutions=not arguments.without_solutions)
        print(f"{arguments.folder}: run `python -m lessons check 01` in it")
        return 0
    wanted = [find(n, with_exercises=True) for n in arguments.numbers]
    wanted = wanted or [one for one in lessons().values() if one.exercise.exists()]
    if arguments.what == "site":
        from lessons.site.build import build

        print(build(wanted, arguments.out, fast=arguments.fast))
        return 0
    from lessons.measure import measure

    return measure(wanted, fast=arguments.fast, write=arguments.write)


def export(folder: Path, *, solutions: bool) -> None:
    """Copy the lessons, exercises and checks into a new folder, and the rest of the checkout if there is one.

    Args:
        folder: must not exist yet, or be empty.
        solutions: whether the solutions go along.

    Raises:
        FileExistsError: if there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(errno.EEXIST, "exists already; give a new or an empty folder", str(folder))
    left_out = ["__pycache__", *([] if solutions else ["solutions"])]
    root = HERE.parent
    if any(folder.resolve().is_relative_to(root / name) for name in ("lessons", "minillm")):
        raise FileExistsError(errno.EEXIST, "lies in what is copied; give a folder elsewhere", str(folder))
    try:
        for name in ("lessons", "minillm"):  # both, so that the copy is whole: what is run in it is what is in it
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns(*left_out))
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            if (root / name).is_file():
                shutil.copy(root / name, folder / name)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # half a course is none
        if isinstance(error, shutil.Error):  # one line for every file
            raise OSError(errno.EIO, f"not copied: {error.args[0][0][2]}", str(folder)) from None
        raise
