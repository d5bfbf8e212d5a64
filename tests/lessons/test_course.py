"""The commands of the course: what they print, what they leave, and how they answer what they cannot do."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lessons import course
from lessons.__main__ import main
from lessons.frame import Band, Options, Question, options
from lessons.measure import verdict, write_row, write_thumbnail
from lessons.notebook import cells, to_notebook
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = ROOT / "lessons/solutions/l01_counting.py"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test in a folder of its own, as a learner has one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, cwd: Path | None = None, path: str = str(ROOT)) -> subprocess.CompletedProcess:
    """A Python of its own, with a checkout in front of what is installed."""
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, encoding="utf-8")


# --- the list and the progress
def first_line(capsys: pytest.CaptureFixture) -> str:
    assert main(["lessons"]) == 0
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("01"))


def test_lessons_show_time_and_what_is_done(capsys: pytest.CaptureFixture) -> None:
    line = first_line(capsys)
    assert " s " in line and " open " in line and line.endswith("How can counting letters predict text?")
    assert main(["check", "01", "--file", str(SOLUTION)]) == 0
    capsys.readouterr()
    assert " done " in first_line(capsys)


def test_progress_is_one_small_file(folder: Path) -> None:
    assert main(["check", "1", "--file", str(SOLUTION)]) == 0
    assert [p.name for p in folder.iterdir()] == [course.PROGRESS]
    found = json.loads((folder / course.PROGRESS).read_text(encoding="utf-8"))
    assert found == {"version": 1, "done": {"l01_counting": str(SOLUTION)}}


@pytest.mark.parametrize("text", ["", "[]", '{"done": 3}', "{"])
def test_a_damaged_progress_file_is_named(text: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / course.PROGRESS).write_text(text, encoding="utf-8")
    assert main(["lessons"]) == 2
    said = capsys.readouterr()
    assert course.PROGRESS in said.err and said.err.count("\n") == 1 and not said.out


# --- check
def test_check_names_the_file_and_counts(capsys: pytest.CaptureFixture) -> None:
    assert main(["check", "01", "--file", str(SOLUTION)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"checking {SOLUTION}"
    n = sum(line.startswith("ok  ") for line in out)
    assert n >= 3 and out[-1] == f"{n} checks ran, 0 failed"


def test_check_looks_at_the_exercises_unless_told_otherwise(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", "01"]) == 1
    assert capsys.readouterr().out.startswith(f"checking {ROOT / 'lessons/exercises/l01_counting.py'}\n")
    assert not list(folder.iterdir())


def test_a_failure_comes_with_the_smallest_input_and_a_hint(folder: Path, capsys: pytest.CaptureFixture) -> None:
    text = SOLUTION.read_text(encoding="utf-8")
    mine = folder / "mine.py"
    mine.write_text(text.replace("+ k * len(alphabet)", "+ k * len(counts)"), encoding="utf-8")
    assert main(["check", "01", "--file", "mine.py"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"checking {mine}\n")
    assert "FAIL  add_k" in out and "smallest failing input: counts=" in out and "hint: the denominator" in out
    assert not (folder / course.PROGRESS).exists()


def test_the_file_on_the_disk_is_the_one_that_is_checked(folder: Path) -> None:
    # Versions of equal length within one second: a cached byte code would hide the second.
    text, mine = SOLUTION.read_text(encoding="utf-8"), folder / "mine.py"
    for version, status in ((text, 0), (text.replace("math.log2(p)", "math.log1(p)"), 1), (text, 0)):
        mine.write_text(version, encoding="utf-8")
        assert main(["check", "01", "--file", str(mine)]) == status


@pytest.mark.parametrize(
    ("text", "say"),
    [("def f(:\n", "mine.py:1: SyntaxError"), ("1 / 0\n", "ZeroDivisionError"), ("raise SystemExit\n", "SystemExit")],
)
def test_a_file_that_cannot_be_imported(text: str, say: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "mine.py").write_text(text, encoding="utf-8")
    assert main(["check", "01", "--file", "mine.py"]) == 1
    assert say in capsys.readouterr().out


@pytest.mark.parametrize(("place", "says"), [("import", "can be imported"), ("call", "smallest failing input: ")])
def test_a_loop_without_end_is_a_failure(
    place: str, says: str, folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "SECONDS", 1.0)
    endless = "while True:\n        pass\n"
    text = SOLUTION.read_text(encoding="utf-8")
    text += f"\nif True:\n    {endless}" if place == "import" else f"\ndef add_k(*_, **__):\n    {endless}"
    (folder / "mine.py").write_text(text, encoding="utf-8")
    assert main(["check", "01", "--file", "mine.py"]) == 1
    out = capsys.readouterr().out
    assert "not done after 1 s; is there a loop that does not end?" in out and says in out


def test_ctrl_c_ends_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "load_answer", lambda path: signal.raise_signal(signal.SIGINT))
    assert main(["check", "01", "--file", str(SOLUTION)]) == 130


def test_no_checks_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(course, "check_answer", lambda lesson, path: iter(()))
    assert main(["check", "01", "--file", str(SOLUTION)]) == 1
    assert capsys.readouterr().out.endswith("0 checks ran, 0 failed: no checks is a failure too\n")


def test_without_hypothesis_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; from lessons.__main__ import main"
    done = python("-c", f"{code}; sys.exit(main(['check', '01', '--file', {str(SOLUTION)!r}]))")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and 'pip install -e ".[test]"' in done.stderr


def test_python_that_skips_assertions_is_refused() -> None:
    done = python("-O", "-m", "lessons", "check", "01", "--file", str(SOLUTION))
    assert done.returncode == 2 and "-O" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "say"),
    [
        ("check 99", "99"),
        ("check 98", "no such lesson with exercises"),
        ("check 01 --file nothing.py", "nothing.py"),
        ("quiz 99", "99"),
        ("notebook 99", "99"),
        ("course export .", "exists already"),
        ("course measure 99", "99"),
    ],
)
def test_bad_input_is_one_line(command: str, say: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "something").touch()
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and say in said.err and not said.out
    assert [p.name for p in folder.iterdir()] == ["something"]


# --- run
def test_run_hands_its_arguments_on(folder: Path) -> None:
    done = python("-m", "lessons", "run", "01", "--fast", "--out", "figures")
    assert not done.returncode, done.stderr
    assert done.stdout.startswith("lesson 01, on the CPU; about ")
    assert (folder / "figures/l01_counting.png").exists()


def test_options_of_a_lesson() -> None:
    assert options([]) == Options(fast=False, out=Path("runs/lessons"))
    assert options(["--fast", "--out", "x"]) == Options(fast=True, out=Path("x"))
    with pytest.raises(SystemExit):
        options(["--fats"])


def test_a_notebook_has_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", course)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert options() == Options()


# --- quiz and notebook
def test_the_quiz_keeps_its_answers_until_asked(capsys: pytest.CaptureFixture) -> None:
    assert main(["quiz", "01"]) == 0
    asked = capsys.readouterr().out
    assert main(["quiz", "01", "--answers"]) == 0
    answered = capsys.readouterr().out
    assert "answers: minillm quiz 01 --answers" in asked and "-log2(1/8) = 3" not in asked
    assert "   b: -log2(1/8) = 3" in answered


def test_a_notebook_has_every_cell_and_folds_the_answers(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["notebook", "01"]) == 0
    path = folder / "l01_counting.ipynb"
    assert capsys.readouterr().out == f"{path.name}\n"
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    code = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    prose = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown"]
    # Every statement of the lesson stands in a code cell, except the docstrings of prose and what has to do with the
    # quiz: its answers are folded away, so no cell may need them.
    lesson = ast.parse((ROOT / "lessons/l01_counting.py").read_text(encoding="utf-8")).body
    left = [s for s in lesson if not isinstance(s, ast.Expr) and "QUIZ" not in ast.unparse(s)]
    assert [ast.unparse(s) for s in left] == [ast.unparse(s) for c in code for s in ast.parse(c).body]
    assert prose[0].startswith("What is a language model?\n====")
    assert sum(text.count("<details>") for text in prose) == 3 and not any("QUIZ" in c for c in code)
    assert main(["notebook", "01"]) == 2 and "exists already" in capsys.readouterr().err
    assert main(["notebook", "01", "--force"]) == 0


def test_cells_of_the_percent_format() -> None:
    text = '# %% [markdown]\nr"""\nA $\\alpha$.\n"""\n\n# %%\nx = 1\n\n\n# %%\n\n# %%\ny = 2  # %% not a mark\n'
    assert cells(text) == [("markdown", "A $\\alpha$."), ("code", "x = 1"), ("code", "y = 2  # %% not a mark")]
    book = to_notebook("# %%\nQUIZ = ()\n\n# %%\nask(1, QUIZ)\n", [Question("Why?", ("a<b", "c"), 0, "since a<b")])
    assert len(book["cells"]) == 1
    assert "a: since a&lt;b" in "".join(book["cells"][0]["source"])


# --- export and measure
@pytest.mark.parametrize("solutions", [True, False])
def test_export_is_whole_and_keeps_the_solutions_back(solutions: bool, folder: Path) -> None:
    made = folder / "class"
    assert main(["course", "export", str(made), *([] if solutions else ["--without-solutions"])]) == 0
    assert (made / "lessons/solutions").exists() is solutions
    assert (made / "lessons/checks").exists() and not list(made.rglob("__pycache__"))
    exercise = made / "lessons/exercises/l01_counting.py"
    done = python("-m", "lessons", "check", "01", cwd=made, path=".")
    assert done.returncode == 1 and done.stdout.startswith(f"checking {exercise}\n")  # the copy checks itself
    shutil.copy(SOLUTION, exercise)
    assert python("-m", "lessons", "check", "01", cwd=made, path=".").returncode == 0


def test_measure_prints_a_table(capsys: pytest.CaptureFixture) -> None:
    assert main(["course", "measure", "01", "--fast"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["lesson", "time", "memory", "result", "band", "verdict"]
    assert line.startswith("l01_counting") and line.endswith(" ok") and "1.85 to 2.15" in line


def test_what_was_measured_goes_into_the_table(folder: Path) -> None:
    path = folder / "README.md"
    path.write_text("# Title\n\n| lesson | time |\n|---|---|\n\nText.\n", encoding="utf-8")
    for cells_ in (["[02 b](b.py)", "9 s"], ["[01 a](a.py)", "5 s"], ["[02 b](b.py)", "8 s"]):
        write_row(cells_, path)
    table = "| [01 a](a.py) | 5 s |\n| [02 b](b.py) | 8 s |\n"
    assert path.read_text(encoding="utf-8") == f"# Title\n\n| lesson | time |\n|---|---|\n{table}\nText.\n"


def test_a_figure_becomes_a_small_picture(folder: Path) -> None:
    fig, ax = figure()
    for i, colour in enumerate(COLOURS[:4]):
        ax.errorbar(range(9), [i + j for j in range(9)], yerr=0.3, color=colour, capsize=2)
    save_figure(fig, folder / "x")
    write_thumbnail(folder / "x.png", folder / "small.png")
    picture = (folder / "small.png").read_bytes()
    assert picture[16:20] == (360).to_bytes(4, "big") and len(picture) < 25_000  # the width, as PNG writes it
    with Image.open(folder / "small.png") as small:
        found = np.asarray(small.convert("RGB"), dtype=int).reshape(-1, 3)
    for colour in COLOURS[:4]:  # thin lines keep the colour that tells them apart
        wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
        assert abs(found - wanted).max(axis=1).min() < 40, colour


def test_the_fast_form_is_not_written_down(capsys: pytest.CaptureFixture) -> None:
    assert main(["course", "measure", "01", "--fast", "--write"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "--fast" in said.err and not said.out


def test_what_a_verdict_says() -> None:
    good = {"verdict": "inside"}
    assert verdict(0, 1.0, 100.0, good) == verdict(0, 1.0, None, good) == "ok"
    all_wrong = verdict(3, 500.0, 2000.0, {"verdict": "outside"})
    assert all_wrong == "exit status 3, over 120 s, over 1000 MB, outside its band"
    assert verdict(0, 1.0, None, None) == "no figure"


def test_a_band_judges(capsys: pytest.CaptureFixture) -> None:
    band = Band("bits", 1.0, 2.0, "the weather")
    assert [band.judge(x)["verdict"] for x in (1.0, 1.5, 2.0, 0.9, 2.1)] == [*["inside"] * 3, *["outside"] * 2]
    assert capsys.readouterr().out.count("known causes: the weather") == 2
    judged = {"what": "bits", "value": 9.0, "low": 1.0, "high": 2.0, "verdict": "not judged"}
    assert band.judge(9.0, fast=True) == judged
    assert "known causes" not in capsys.readouterr().out


def test_the_list_is_whole_also_without_docstrings() -> None:
    done = python("-OO", "-m", "lessons", "lessons")  # since 3.14, this takes them out of parsed code, too
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == [x.title for x in course.lessons().values()]


def test_a_header_is_read_without_running_the_file(folder: Path) -> None:
    facts = "- You need: one\n  and two\n- Time: 3 s\n"
    (folder / "l77_x.py").write_text(f'"""\nTitle\n=====\n\n*What?*\n\nText.\n\n{facts}"""\n1 / 0\n', encoding="utf-8")
    found = course.read_header(folder / "l77_x.py")
    assert (found.number, found.title, found.question) == (77, "Title", "What?")
    assert (found.needs, found.time, found.corpus, found.band) == ("one and two", "3 s", "", "")


def test_an_export_is_whole_or_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lessons import course

    inside = course.HERE / "copy"
    assert main(["course", "export", str(inside)]) == 2 and not inside.exists()
    assert "copy: lies in what is copied; give a folder elsewhere" in capsys.readouterr().err

    def full(source: Path, target: Path, **_: object) -> None:
        target.mkdir(parents=True)
        raise shutil.Error([(str(source / str(n)), str(target / str(n)), "No space left on device") for n in range(99)])

    monkeypatch.setattr("shutil.copytree", full)
    assert main(["course", "export", str(tmp_path / "new")]) == 2 and not (tmp_path / "new").exists()
    said = capsys.readouterr().err
    assert "new: not copied: " in said and "No space left" in said and said.count("\n") == 1 and len(said) < 400


def test_folders_where_files_are_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in (["check", "01", "--file", "."], ["notebook", "01", "--force", "--out", str(tmp_path)]):
        assert main(argv) == 2
        assert "is a folder, expected a file" in capsys.readouterr().err
    assert main(["notebook", "01", "--out", "new/one.ipynb"]) == 0 and (tmp_path / "new" / "one.ipynb").exists()
    assert main(["quiz", "\u00b2"]) == 2 and "no such lesson; there are 01" in capsys.readouterr().err
