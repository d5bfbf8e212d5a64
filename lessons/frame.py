"""What every lesson is framed by: its size, the band that its result lies in, and the questions at its end.

The header of a lesson is the list in its first docstring (``You need``, ``Time``, ``Corpus``, ``Band``); the command
reads it there, without running the lesson.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Options:
    """How a lesson is run.

    Attributes:
        fast: with smaller numbers: a few seconds, to see that it works; its results are worse.
        out: folder of the figure.
    """

    fast: bool = False
    out: Path = Path("runs/lessons")


def options(arguments: Sequence[str] | None = None) -> Options:
    """Read ``--fast`` and ``--out FOLDER`` from the command line; a notebook, which has none, gets the usual.

    From here on a console that cannot show a character shows its number.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments is None and "ipykernel" in sys.modules:
        return Options()
    parser = argparse.ArgumentParser(description="Run a lesson: it prints what it measures and saves one figure.")
    parser.add_argument("--fast", action="store_true", help="smaller numbers: a few seconds, worse results")
    parser.add_argument("--out", type=Path, default=Options.out, metavar="FOLDER", help="where the figure goes")
    found = parser.parse_args(arguments)
    return Options(found.fast, found.out)


@dataclass(frozen=True)
class Band:
    """Where the result of a lesson lies: between the smallest and the largest that is to be expected anywhere.

    Attributes:
        what: the quantity, with its unit.
        low, high: the ends of the band.
        causes: what is known to move it.
    """

    what: str
    low: float
    high: float
    causes: str

    def judge(self, value: float, fast: bool = False) -> dict[str, Any]:
        """Print where a value lies, and return it with the band for the figure's JSON.

        With ``fast`` it is not judged: the band belongs to the lesson at full size.
        """
        inside = self.low <= value <= self.high
        verdict = "not judged" if fast else "inside" if inside else "outside"
        print(f"{self.what}: {value:.4g} (band {self.low:g} to {self.high:g}): {verdict}")
        if verdict == "outside":
            print(f"known causes: {self.causes}")
        return {"what": self.what, "value": value, "low": self.low, "high": self.high, "verdict": verdict}


class Question(NamedTuple):
    """A question of a quiz: ``choices[answer]`` is right, and ``why`` says why it is, and the others are not."""

    ask: str
    choices: tuple[str, ...]
    answer: int
    why: str


def bars(ax: Any, values: Mapping[str, Sequence[float]], colours: Sequence[str], start: float = 0.0) -> list[float]:
    """Draw a lying bar for each name, the first on top; return the means.

    A bar ends at the mean of its values, which stands in it as a number; a thin line goes from the smallest value to
    the largest.

    Args:
        ax: where to.
        values: for each name one number a seed.
        colours: one for each bar.
        start: where the axis begins.
    """
    means = [sum(v) / len(v) for v in values.values()]
    ends = [[m - min(v) for m, v in zip(means, values.values())], [max(v) - m for m, v in zip(means, values.values())]]
    ax.barh(range(len(means)), [m - start for m in means], xerr=ends, left=start, color=colours, height=0.65,
            ecolor="#333333")  # fmt: skip
    for i, mean in enumerate(means):
        ax.annotate(f"{mean:.2f}", (start, i), xytext=(5, 0), textcoords="offset points", va="center", color="white")
    ax.set_yticks(range(len(means)), list(values))
    ax.set_ylim(len(means) - 0.5, -0.5)
    ax.grid(visible=False)
    return means


def ask(number: int, quiz: Sequence[Question], answers: bool = False) -> None:
    """Print the questions of a lesson, and with ``answers`` what is right and why."""
    for i, question in enumerate(quiz, start=1):
        print(f"{i}. {question.ask}")
        for letter, choice in zip("abcdefgh", question.choices):
            print(f"   {letter}) {choice}")
        if answers:
            print(f"   {'abcdefgh'[question.answer]}: {question.why}")
    if not answers:
        print(f"answers: minillm quiz {number:02d} --answers")
