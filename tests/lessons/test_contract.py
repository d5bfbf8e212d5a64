"""The contract that every lesson with exercises keeps; a lesson is found by its file, and held to all of it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lessons.course import Lesson, check_answer, lessons, load_answer
from lessons.notebook import cells
from minillm.testing.properties import checks_of
from tests.lessons.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
LESSONS = [lesson for lesson in lessons().values() if lesson.exercise.exists()]
FOLDERS = ("lessons", "lessons.exercises", "lessons.solutions", "lessons.checks")
# Of the processor, not of the clock. 10 s is what a lesson may take by itself on a core; twice that, because the same
# work was charged 5.9 s on a quiet core and 10.6 s on one that shared its caches and memory with the rest of the suite.
FAST_SECONDS = 2 * 10

# The lesson as a program, without a network, and its processor time at the end.
OFFLINE = """
import runpy, socket, sys, time
def refuse(self, address): raise OSError(f"the lesson tried to reach {address!r}")
socket.socket.connect = refuse
sys.argv = ["lesson", "--fast"]
runpy.run_module(NAME, run_name="__main__", alter_sys=True)
print("processor", time.process_time())
"""

every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)


def python(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    """Run Python with warnings as errors, and with this checkout in front."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, env=environment, capture_output=True, encoding="utf-8"
    )


def module_of(lesson: Lesson) -> ModuleType:
    return importlib.import_module(f"lessons.{lesson.name}")


def path_of(lesson: Lesson, folder: str) -> Path:
    return ROOT.joinpath(*folder.split(".")) / f"{lesson.name}.py"


# --- (a) it runs, (b) it leaves one figure, (g) its shape comments are true
@every_lesson
def test_the_fast_form_runs_offline_and_twice_the_same(lesson: Lesson, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    done = python("-c", f"NAME = 'lessons.{lesson.name}'{OFFLINE}", cwd=first, PYTHONHASHSEED="1")
    assert not done.returncode, done.stderr
    assert float(done.stdout.split()[-1]) < FAST_SECONDS
    made = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert made == [f"runs/lessons/{lesson.name}.{ending}" for ending in ("json", "png", "svg")]

    # The second time in another folder, with other hashes of strings, on a console that knows only ASCII, and with an
    # eye on the shape comments.
    options = ("--fast", "--out", str(second))
    done = python(
        "-m",
        "tests.lessons.shape_comments",
        f"lessons.{lesson.name}",
        *options,
        cwd=tmp_path,
        PYTHONHASHSEED="2",
        PYTHONIOENCODING="ascii",
    )
    assert not done.returncode, done.stderr
    for ending in ("json", "png", "svg"):
        name = f"{lesson.name}.{ending}"
        assert (first / "runs/lessons" / name).read_bytes() == (second / name).read_bytes(), f"{name} differs"

    numbers = json.loads((second / f"{lesson.name}.json").read_text(encoding="utf-8"))
    alt, band = numbers.pop("alt"), numbers.pop("band")
    assert len(alt) > 60, f"the alt text says too little: {alt!r}"
    assert alt.split()[0].encode() in (second / f"{lesson.name}.png").read_bytes()
    assert alt[:40] in (second / f"{lesson.name}.svg").read_text(encoding="utf-8")
    assert numbers, "the plotted numbers are missing"
    assert {"what", "value", "low", "high", "verdict"} == set(band) and band["verdict"] == "not judged"


@every_lesson
def test_import_is_silent_and_leaves_nothing(lesson: Lesson, tmp_path: Path) -> None:
    done = python("-B", "-c", "; ".join(f"import {folder}.{lesson.name}" for folder in FOLDERS), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


# --- (c) the header
@every_lesson
def test_the_header_says_what_one_wants_to_know_first(lesson: Lesson) -> None:
    module = module_of(lesson)
    assert lesson.question == module.QUESTION
    assert lesson.needs and lesson.corpus
    assert re.match(r"\d+ s and \d+ MB on two cores", lesson.time), lesson.time
    ends = re.match(r"(\S+) to (\S+) ", lesson.band)
    assert ends and (float(ends[1]), float(ends[2])) == (module.BAND.low, module.BAND.high), lesson.band
    assert module.BAND.low < module.BAND.high and module.BAND.causes


# --- (d) what it imports
@every_lesson
@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_are_the_engine_earlier_lessons_and_the_frame(lesson: Lesson, folder: str) -> None:
    tree = ast.parse(path_of(lesson, folder).read_text(encoding="utf-8"))
    found = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    found |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    for name in found:
        top = name.partition(".")[0]
        if top == "lessons":
            other = re.fullmatch(r"lessons\.(?:parts\.)?l(\d\d)_\w+", name)
            earlier = other is not None and int(other[1]) <= lesson.number
            assert name == "lessons.frame" or earlier, f"{name} in {folder}.{lesson.name}"
        else:
            assert top in {"minillm", "numpy"} or top in sys.stdlib_module_names, f"{name} in {folder}.{lesson.name}"


# --- (e) exercises, solutions, and mistakes
def functions(module: ModuleType) -> dict[str, inspect.Signature]:
    """The public functions and classes that a module defines, with their parameters."""
    own = {name: thing for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__}
    return {name: inspect.signature(thing) for name, thing in own.items() if callable(thing) and name[0] != "_"}


@every_lesson
def test_exercise_and_solution_have_the_same_functions(lesson: Lesson) -> None:
    exercise, solution = (load_answer(path_of(lesson, f"lessons.{kind}")) for kind in ("exercises", "solutions"))
    wanted, given = ({name: str(s) for name, s in functions(m).items()} for m in (exercise, solution))
    assert wanted and wanted == given
    names = [check.name for check in checks_of(importlib.import_module(f"lessons.checks.{lesson.name}"))]
    assert all(any(n.startswith(f"{name}:") for n in names) for name in wanted), "a function without a check"
    text = path_of(lesson, "lessons.exercises").read_text(encoding="utf-8")
    assert text.count("# Hint 1:") == len(wanted), "every exercise has a ladder of hints"
    prose = path_of(lesson, "lessons").read_text(encoding="utf-8")
    assert all(f"``{name}``" in prose for name in wanted), "the lesson names its exercises"


@every_lesson
def test_the_stub_fails_every_check(lesson: Lesson) -> None:
    outcomes = list(check_answer(lesson.name, path_of(lesson, "lessons.exercises")))
    assert outcomes and [o.error for o in outcomes if not o.error.startswith("not written yet")] == []


@every_lesson
def test_the_solution_passes_every_check(lesson: Lesson) -> None:
    outcomes = list(check_answer(lesson.name, path_of(lesson, "lessons.solutions")))
    assert outcomes and [f"{o.name}: {o.error} {o.failing}" for o in outcomes if not o.passed] == []


@every_lesson
def test_there_are_three_mutants_or_more(lesson: Lesson) -> None:
    assert len(MUTANTS[lesson.name]) >= 3


@pytest.mark.parametrize(("name", "old", "new"), [(name, *pair) for name, all_ in MUTANTS.items() for pair in all_])
def test_a_mistake_is_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    text = (ROOT / "lessons" / "solutions" / f"{name}.py").read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the solution"
    wrong = tmp_path / f"{name}.py"
    wrong.write_text(text.replace(old, new), encoding="utf-8")
    load_answer(wrong)  # it can be imported: the mistake is in what it computes
    failed = next((outcome for outcome in check_answer(name, wrong) if not outcome.passed), None)
    assert failed is not None, "all checks pass"
    assert failed.hint


# --- (f) the quiz
@every_lesson
def test_the_quiz_has_three_questions_with_explained_answers(lesson: Lesson) -> None:
    quiz = module_of(lesson).QUIZ
    assert len(quiz) == 3
    for question in quiz:
        assert question.ask.endswith("?") and len(set(question.choices)) == len(question.choices) >= 2
        assert 0 <= question.answer < len(question.choices)
        assert len(question.why) > 40
    assert len({question.answer for question in quiz}) > 1, "the right answer always stands in the same place"


# --- the form: what Markdown, reStructuredText and a notebook read alike
FORBIDDEN = {"a heading with #": r"^#+ ", "a fence": r"^(```|~~~)", "a table": r"^\|", "a link in brackets": r"\]\("}


@every_lesson
def test_the_prose_is_in_the_part_that_all_readers_share(lesson: Lesson) -> None:
    found = cells((ROOT / "lessons" / f"{lesson.name}.py").read_text(encoding="utf-8"))
    for kind, text in found:
        if kind == "code":
            compile(text, lesson.name, "exec")
            assert not text.startswith("#"), "a comment right under '# %%' is prose for one reader and code for another"
            continue
        for what, pattern in FORBIDDEN.items():
            assert not re.search(pattern, text, re.MULTILINE), f"{what} in {text[:60]!r}"
        assert re.search(r"^(={3,}|-{3,})$", text, re.MULTILINE), f"no heading in {text[:60]!r}"
        for title, line in re.findall(r"^(.+)\n(={3,}|-{3,})$", text, re.MULTILINE):
            assert len(title) == len(line), f"the line under {title!r} has another length"
    titles = [text.splitlines()[0] for kind, text in found if kind == "markdown"]
    assert titles[-2:] == ["Exercises", "Sources"] and "Measure" in titles and "The figure" in titles
