"""The README's example runs, and its walk through the code leads to files and names that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minillm
from lessons.course import Lesson, lessons
from lessons.measure import MAX_MB, MAX_SECONDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
HOPS = re.findall(r"\| \d \| \[(.*?)\]\(.*?\) \| `(\w+)` \|", README)


def test_there_is_an_example_of_about_twenty_lines() -> None:
    lines = [line for line in PYTHON[0].splitlines() if line.strip() and not line.startswith("import")]
    assert len(lines) <= 22


@pytest.mark.parametrize("program", PYTHON, ids=range(len(PYTHON)))
def test_the_example_runs_and_learns(program: str) -> None:
    done = subprocess.run([sys.executable, "-"], input=program, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert not done.returncode, done.stderr
    loss, text = done.stdout.strip().split(" ", 1)
    assert float(loss) < 0.1
    assert text.startswith("the cat sat on the mat and the dog sat on the log.")


def test_the_life_of_a_product_has_six_hops_that_exist() -> None:
    assert len(HOPS) == 6
    for path, name in HOPS:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert name in defined, f"{path} has no {name}"


# --- the course
ROWS = re.findall(
    r'^\| <img src="(.+)" width="\d+" alt="(.+)"> \| \[(.+)\]\((.+)\) \| (.+) \| (.+) \| (.+) \|$', README, re.MULTILINE
)
MEASURED = (ROOT / "lessons" / "README.md").read_text(encoding="utf-8")
LESSONS = [lesson for lesson in lessons().values() if lesson.exercise.exists()]


def test_the_course_has_a_row_for_every_lesson() -> None:
    assert len(ROWS) == README.count("<img ")
    found = {path: (title, question, time, builds) for _, _, title, path, question, time, builds in ROWS}
    assert list(found) == [f"lessons/{lesson.name}.py" for lesson in LESSONS]
    for lesson in LESSONS:
        title, question, time, builds = found[f"lessons/{lesson.name}.py"]
        assert title == f"{lesson.number:02d} {lesson.title}"
        assert question == lesson.question and lesson.time.startswith(f"{time} and ") and len(builds) > 20


def test_its_pictures_are_small_and_described() -> None:
    for path, alt, *_ in ROWS:
        picture = (ROOT / path).read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) < 25_000, path
        assert len(alt) > 20


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_lesson_was_measured_and_is_ok(lesson: Lesson) -> None:
    cells = r"\[(\d\d .+)\]\((\w+)\.py\) \| (\d+) s \| (\d+) MB \| (\S+) .+ \| (\S+) to (\S+) \| ok"
    rows = {row[1]: row for row in re.findall(rf"^\| {cells} \|$", MEASURED, re.MULTILINE)}
    assert lesson.name in rows, "no row, or not ok: run `minillm course measure --write` with the lesson's number"
    title, _, seconds, mb, value, low, high = rows[lesson.name]
    ends = re.match(r"(\S+) to (\S+) ", lesson.band)
    assert ends and (float(ends[1]), float(ends[2])) == (float(low), float(high))
    assert title == f"{lesson.number:02d} {lesson.title}" and float(low) <= float(value) <= float(high)
    assert int(seconds) <= MAX_SECONDS and int(mb) <= MAX_MB


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_commands_are_known() -> None:
    import lessons.__main__ as command

    known = command._parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr, index]
    for name in re.findall(r"`minillm (\w+)", README):
        assert name in known, name
    parts = known["course"]._subparsers._group_actions[0].choices
    assert set(re.findall(r"`minillm course (\w+)", README + MEASURED)) == set(parts)


def test_deviations_are_as_the_readme_says() -> None:
    x = minillm.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="gradients of gradients"):
        (x * x).sum().backward(create_graph=True)
    y = z = x * 2
    with pytest.raises(RuntimeError, match="in place"):
        y.add_(1)
    y += 1
    assert y is not z and z.tolist() == [2.0, 4.0]
    assert minillm.float32 == "float32"
    infinite = minillm.tensor([float("-inf")] * 2, requires_grad=True)
    minillm.logsumexp(infinite, 0).backward()
    assert infinite.grad.tolist() == [0.0, 0.0]
