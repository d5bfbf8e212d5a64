"""What the gallery reads: lessons, quizzes and exercises in reStructuredText."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from lessons.course import HERE, Lesson
from lessons.frame import Question
from lessons.notebook import cells


def dollars(text: str) -> str:
    r"""Return prose with ``$..$`` and ``$$..$$`` as reStructuredText has them: a role, and a directive.

    What stands between double backticks, and lines of a doctest, stay as they are. A line that begins with somebody's
    initial is no list of letters.

    >>> dollars("with $x$ and ``$HOME``")
    'with :math:`x` and ``$HOME``'
    >>> print(dollars("- C. E. Shannon"))
    - \C. E. Shannon
    """

    def one(match: re.Match[str]) -> str:
        block, inline = match["block"], match["inline"]
        if block is not None:
            return f"\n\n.. math::\n\n   {' '.join(block.split())}\n\n"
        return match[0] if inline is None else f":math:`{' '.join(inline.split())}`"

    text = re.sub(r"^( *(?:- )?)([A-Z]\. )", r"\1\\\2", text, flags=re.MULTILINE)
    return re.sub(
        r"``.*?``|^ *>>>.*?$|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$]+)\$", one, text, flags=re.DOTALL | re.MULTILINE
    )


def plain(text: str) -> str:
    """Return a text in which no character has a meaning for reStructuredText."""
    return re.sub(r"([\\*`|_$<>\[\]])", r"\\\1", text)


def folded(summary: str, *body: str) -> str:
    """Return blocks of reStructuredText that show when the summary is clicked."""
    opening = f".. raw:: html\n\n   <details><summary>{summary}</summary>"
    return "\n\n".join([opening, *body, ".. raw:: html\n\n   </details>"])


def code_block(source: str) -> str:
    """Return Python source as a block of code."""
    return ".. code-block:: python\n\n" + textwrap.indent(source.rstrip(), "   ")


def heading(text: str, line: str = "-") -> str:
    """Return a heading."""
    return f"{text}\n{line * len(text)}"


def quiz_rst(quiz: Sequence[Question]) -> str:
    """Return the questions of a lesson with folded answers."""
    parts = [heading("Quiz")]
    for number, question in enumerate(quiz, start=1):
        parts.append(f"**{number}.** {plain(question.ask)}")
        parts += [f"{letter}) {plain(choice)}" for letter, choice in zip("abcdefgh", question.choices)]
        answer = f"**{'abcdefgh'[question.answer]})** {plain(question.why)}"
        parts.append(folded(f"Answer {number}", answer))
    return "\n\n".join(parts)


def exercises_rst(exercise: Path, solution: Path) -> str:
    """Return the stubs of a file of exercises, each with its hints folded, and the solutions, if there are any."""
    text = exercise.read_text(encoding="utf-8")
    parts = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        source = ast.get_source_segment(text, node) or ""
        hints = re.findall(r"^ *# Hint \d+: .*(?:\n *#   .*)*\n", source, flags=re.MULTILINE)
        for hint in hints:
            source = source.replace(hint, "")
        parts += [heading(node.name, "~"), code_block(source)]
        for number, hint in enumerate(hints, start=1):
            said = " ".join(line.strip(" #") for line in hint.splitlines()).partition(": ")[2]
            parts.append(folded(f"Hint {number}", plain(said)))
    if solution.exists():
        parts += [folded("Solutions", code_block(solution.read_text(encoding="utf-8")))]
    return "\n\n".join(parts)


def gallery_file(lesson: Lesson, quiz: Sequence[Question]) -> str:
    """Return a lesson as the gallery reads it: text in comments, without the cells that would give answers away."""
    parts: list[str] = []
    for kind, text in cells((HERE / f"{lesson.name}.py").read_text(encoding="utf-8")):
        if kind == "code" and text.startswith("QUIZ = "):
            kind, text = "markdown", quiz_rst(quiz)
        elif kind == "code" and re.search(r"\bQUIZ\b", text):
            continue
        elif kind == "markdown":
            text = dollars(text)
        if kind == "code":
            parts.append(f"# %%\n\n{text}")
            continue
        if not parts:  # the title and what one needs; behind it, what one may take home
            links = (f":download:`{what} </downloads/{lesson.name}.{end}>`" for what, end in DOWNLOADS.items())
            parts.append(f'r"""\n{text}\n\n{" · ".join(links)}\n"""')
            continue
        if text.startswith("Exercises\n") and lesson.exercise.exists():
            text += "\n\n" + exercises_rst(lesson.exercise, HERE / "solutions" / f"{lesson.name}.py")
        parts.append("# %%\n" + textwrap.indent(text, "# ", lambda line: True).replace("# \n", "#\n"))
    return "\n\n".join(parts) + "\n"


DOWNLOADS = {"Jupyter notebook": "ipynb", "Python file": "py"}


def lesson_links(text: str, lessons: Sequence[Lesson]) -> str:
    """Return a text in which ``:lesson:`NN``` is a link, or the number alone where there is no such lesson."""
    known = {lesson.number: lesson for lesson in lessons}

    def link(match: re.Match[str]) -> str:
        lesson = known.get(int(match[1]))
        return f":doc:`{match[1]} </lessons/{lesson.name}>`" if lesson else match[1]

    return re.sub(r":lesson:`(\d\d)`", link, text)


def lesson_list(lessons: Sequence[Lesson]) -> str:
    """Return the lessons as a list with their figures, and the tree from which the margin is made."""
    cards = [
        f".. container:: lesson\n\n"
        f"   .. image:: /lessons/images/sphx_glr_{one.name}_001.png\n"
        f"      :alt: The figure of lesson {one.number:02d}\n"
        f"      :target: lessons/{one.name}.html\n\n"
        f"   :doc:`{one.number:02d} {one.title} </lessons/{one.name}>`\n\n"
        f"   {plain(one.question)} · {one.time.split(' on ')[0].split(' and ')[0]}"
        for one in lessons
    ]
    tree = [".. toctree::", "   :hidden:", "   :caption: Lessons", ""]
    tree += [f"   {one.number:02d} {one.title} <lessons/{one.name}>" for one in lessons]
    wrapped = textwrap.indent("\n\n".join(cards), "   ")
    return f".. container:: lesson-list\n\n{wrapped}\n\n" + "\n".join(tree)
