"""A lesson as a Jupyter notebook: cells of the percent format become cells of the format's JSON."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Sequence
from typing import Any

from lessons.frame import Question


def cells(source: str) -> list[tuple[str, str]]:
    """Return the cells of a percent file: ("markdown" or "code", text).

    >>> cells('# %% [markdown]\\n\"\"\"Text.\"\"\"\\n\\n# %%\\nx = 1\\n')
    [('markdown', 'Text.'), ('code', 'x = 1')]
    """
    found = []
    for part in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        mark, _, text = part.partition("\n")
        if mark.strip() == "[markdown]":
            found.append(("markdown", str(ast.literal_eval(text.strip())).strip()))
        elif text.strip():
            found.append(("code", text.strip()))
    return found


def folded(quiz: Sequence[Question]) -> str:
    """Return a quiz in Markdown; each answer shows when it is opened."""
    parts = []
    for number, question in enumerate(quiz, start=1):
        choices = "\n".join(f"- {letter}) {choice}" for letter, choice in zip("abcdefgh", question.choices))
        answer = f"{'abcdefgh'[question.answer]}: {html.escape(question.why, quote=False)}"
        parts.append(
            f"**{number}.** {question.ask}\n\n{choices}\n\n<details><summary>Answer</summary>{answer}</details>"
        )
    return "\n\n".join(parts)


def to_notebook(source: str, quiz: Sequence[Question] = ()) -> dict[str, Any]:
    """Return a percent file as a notebook of nbformat 4.5, ready for ``json.dumps``.

    The cell that defines ``QUIZ`` would show the answers; the questions with folded answers stand in its place, and a
    cell that prints the questions is left out.
    """
    made: list[dict[str, Any]] = []
    for kind, text in cells(source):
        if kind == "code" and text.startswith("QUIZ = "):
            kind, text = "markdown", folded(quiz)
        elif kind == "code" and re.search(r"\bQUIZ\b", text):
            continue
        cell = {"cell_type": kind, "id": f"cell-{len(made):02d}", "metadata": {}, "source": text.splitlines(True)}
        made.append({**cell, "execution_count": None, "outputs": []} if kind == "code" else cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
