"""The command ``minillm``: what the course builds, from the shell. ``minillm --help`` lists the commands.

Nothing heavy is imported before a command is known to be right, so that every ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lessons.console import harmless_output, say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minillm", description="Train, fine-tune and run small language models.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, *, device: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(parser=made)
        made.add_argument("--debug", action="store_true", help="show where in the program an error came from")
        if device:
            made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute")
            made.add_argument("--seed", type=int, default=0, help="of everything random")
        return made

    def run_options(made: argparse.ArgumentParser, minutes: float | None = None) -> None:
        made.add_argument("--out", type=_path, metavar="FOLDER", help="folder of the run (default: a new one in runs/)")
        made.add_argument("--force", action="store_true", help="start anew in a folder that holds an earlier run")
        made.add_argument("--minutes", type=float, default=minutes, help="time budget")
        made.add_argument("--quiet", action="store_true", help="no progress bar")

    demo = command("demo", "Pretrain, fine-tune both ways, generate, evaluate and plot: the whole course in one run.")
    run_options(demo, 5.0)

    pretrain = command("pretrain", "Pretrain a GPT on a text.")
    run_options(pretrain)
    pretrain.add_argument(
        "--text", metavar="PATH", type=_given, help="text file, or folder of .txt files (default: Python's own)"
    )
    pretrain.add_argument("--size", choices=("tiny", "small", "base"), default="small", help="of the model")
    pretrain.add_argument("--vocab-size", type=int, default=4096, help="tokens in the vocabulary")
    pretrain.add_argument("--dropout", type=float, default=0.0, help="share of activations set to 0 in training")
    for name, what in (
        ("n-layer", "blocks"),
        ("n-head", "attention heads"),
        ("n-embd", "width"),
        ("block-size", "context"),
    ):
        pretrain.add_argument(f"--{name}", type=int, help=f"{what}, instead of what --size says")
    _training_options(pretrain)

    finetune = command("finetune", "Fine-tune a pretrained model with labels: to classify, or to write from a label.")
    finetune.add_argument("run", metavar="RUN", type=_path, help="folder of the pretraining run")
    run_options(finetune)
    finetune.add_argument("--task", choices=("classify", "generate"), default="classify", help="which way")
    finetune.add_argument("--method", choices=("full", "frozen", "scratch"), default="full", help="what learns")
    finetune.add_argument(
        "--data", metavar="FILE", type=_given, help=".csv, .tsv or .jsonl (default: Python's docstrings by topic)"
    )
    finetune.add_argument("--text-column", default="text", help="column of the text")
    finetune.add_argument("--label-column", default="label", help="column of the label")
    finetune.add_argument("--validation", metavar="FILE", type=_given, help="a table to validate on")
    _training_options(finetune)

    generate = command("generate", "Continue a prompt, or write from a label.")
    generate.add_argument("run", metavar="RUN", type=_path, help="folder of a run")
    generate.add_argument("--prompt", action="append", metavar="TEXT", help="what to continue; may be repeated")
    generate.add_argument("--label", help="label to write from (a run fine-tuned to generate)")
    generate.add_argument("--max-new-tokens", type=int, default=100, help="tokens to add")
    generate.add_argument("--temperature", type=float, help="0 takes the likeliest token (default: 0.8)")
    generate.add_argument("--top-k", type=int, help="draw among the k likeliest")
    generate.add_argument("--top-p", type=float, help="draw among the likeliest that make up this share")
    generate.add_argument("--repetition-penalty", type=float, help="above 1 discourages repetition")
    generate.add_argument("--beams", type=int, default=1, help="search for the likeliest text with so many beams")
    generate.add_argument("--stop", metavar="TEXT", help="end before this text")
    generate.add_argument("--no-cache", action="store_true", help="compute everything anew for each token")

    evaluate = command("evaluate", "Measure a model beside its baselines.")
    evaluate.add_argument("run", metavar="RUN", type=_path, help="folder of a run")
    evaluate.add_argument("--text", metavar="PATH", type=_given, help="text to judge a language model on")
    evaluate.add_argument("--data", metavar="FILE", type=_given, help="table to judge a classifier on")
    evaluate.add_argument("--text-column", default="text", help="column of the text")
    evaluate.add_argument("--label-column", default="label", help="column of the label")

    plot = command("plot", "Lay the learning curves of runs over each other.", device=False)
    plot.add_argument("runs", metavar="RUN", nargs="+", type=_path, help="folders of runs")
    plot.add_argument("--metric", default="", help="bits_per_byte, loss or accuracy (default: what the runs have)")
    plot.add_argument("--out", type=_path, default=Path("curves"), help="where to (.png, .svg and .json are made)")

    resume = command("resume", "Go on with a run that was interrupted.", device=False)
    resume.add_argument("run", metavar="RUN", type=_path, help="folder of the run")
    resume.add_argument("--quiet", action="store_true", help="no progress bar")
    resume.add_argument("--minutes", type=float, help="another time budget for the whole run")
    for name, what in (
        ("text", "the text"),
        ("data", "the table"),
        ("validation", "the table to validate on"),
        ("pretrained", "the run that it was fine-tuned from"),
    ):
        resume.add_argument(f"--{name}", metavar="PATH", type=_given, help=f"where {what} lies now, if it was moved")
    _training_options(resume)

    command("lessons", "List the lessons, and which of their exercises are done.", device=False)
    run = command("run", "Run a lesson.", device=False)
    run.add_argument("number", metavar="NN", help="number of the lesson")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the lesson (--fast, --out FOLDER)")

    check = command("check", "Check the answers to the exercises of a lesson.", device=False)
    check.add_argument("number", metavar="NN", help="number of the lesson")
    check.add_argument("--file", type=_path, help="your answers (default: the file in lessons/exercises)")

    quiz = command("quiz", "Show the questions of a lesson.", device=False)
    quiz.add_argument("number", metavar="NN", help="number of the lesson")
    quiz.add_argument("--answers", action="store_true", help="and what is right, and why")

    notebook = command("notebook", "Write a lesson as a Jupyter notebook.", device=False)
    notebook.add_argument("number", metavar="NN", help="number of the lesson")
    notebook.add_argument("--out", type=_path, metavar="FILE", help="where to (default: here, under the lesson's name)")
    notebook.add_argument("--force", action="store_true", help="write over a file that is there")

    course = command("course", "For teachers: export the course, measure it, or make a site of it.", device=False)
    whats = course.add_subparsers(dest="what", metavar="WHAT", required=True)
    export = whats.add_parser("export", help="copy the course into a folder")
    export.add_argument("folder", type=_path, metavar="DIR", help="a new folder")
    export.add_argument("--without-solutions", action="store_true", help="leave the solutions out")
    measure = whats.add_parser("measure", help="run the lessons; print time, memory and result of each")
    measure.add_argument("numbers", nargs="*", metavar="NN", help="lessons (default: all that have exercises)")
    measure.add_argument("--fast", action="store_true", help="in their fast form, which is not judged")
    measure.add_argument("--write", action="store_true", help="also write lessons/README.md and the README's pictures")
    site = whats.add_parser("site", help="run the lessons and make a site of them; needs the extra site")
    site.add_argument("numbers", nargs="*", metavar="NN", help="lessons (default: all that have exercises)")
    site.add_argument("--out", type=_path, default=Path("runs/site"), metavar="DIR", help="default: runs/site")
    site.add_argument("--fast", action="store_true", help="with the lessons in their fast form: worse results")
    return parser


def _given(text: str) -> str:
    """Return the name of a file or folder; an empty one, an unset variable of a shell, is not the folder one is in."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a file or folder, got an empty text")
    return text


def _path(text: str) -> Path:
    return Path(_given(text))


def _training_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--steps", type=int, help="optimizer steps")
    made.add_argument("--lr", type=float, help="largest step size")
    made.add_argument("--batch-size", type=int, help="sequences in a batch")
    made.add_argument("--accumulate", type=int, help="batches before one step")
    made.add_argument("--eval-every", type=int, help="steps between two looks at the validation set")
    made.add_argument("--patience", type=int, help="looks without a better loss before the run stops")
    made.add_argument("--precision", help="of matrix products: float32, bfloat16 or float16 (for GPUs; slower on CPUs)")
    for name, what in (
        ("skip-nonfinite", "skip steps whose loss or gradient is not finite, instead of stopping"),
        ("anomaly", "name the op that makes the first NaN (slow)"),
    ):
        made.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=what)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 (training failed), 2 (bad input), 129, 130 or 143 (stopped)."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        _refuse(arguments.parser, unknown)
    if "numpy" not in sys.modules:  # see backend/threads.py; OpenBLAS reads it when NumPy is loaded
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    try:
        with harmless_output():
            status = _run(arguments)
            if sys.stdout is not None:  # closed before the program began
                sys.stdout.flush()
        _leave_threads(status)
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        print("minillm: stopped", file=sys.stderr)
        status = getattr(stop, "status", 130)
        _leave_threads(status)
        return status


def _refuse(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> None:
    """End with the usage of the command that was asked for, and the options whose names are nearest."""
    known = re.findall(r"--[a-z][a-z-]*", parser.format_help())
    near = [name for word in unknown for name in difflib.get_close_matches(word.split("=")[0], known, 1)]
    hint = f" (did you mean {' '.join(near)}?)" if near else ""
    parser.error(f"expected none of: {' '.join(unknown)}{hint}")


def _leave_threads(status: int) -> None:
    """End the process where a second Ctrl-C left a thread at its share of a step: Python would wait for it."""
    for thread in threading.enumerate():
        if thread.name.startswith("minillm-worker"):
            thread.join(0.1)  # one without work ends by itself
            if thread.is_alive():
                sys.stderr.flush()
                os._exit(status)


def _run(arguments: argparse.Namespace) -> int:
    from lessons import command, course, using

    name = "do_" + arguments.command
    rooms = (command, using, course)
    handler: Callable[[Any], int] = next(getattr(room, name) for room in rooms if hasattr(room, name))
    try:
        return handler(arguments)
    except BrokenPipeError:
        raise
    except command.Stopped as stop:
        say(str(stop))
        return stop.status
    except Exception as error:
        status, text = command.verdict(error)
        say(f"minillm {arguments.command}: {traceback.format_exc() if arguments.debug else text}")
        return status


if __name__ == "__main__":
    sys.exit(main())
