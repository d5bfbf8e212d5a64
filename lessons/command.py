"""The commands of ``minillm`` that make runs, and what ends them; the parser is in ``__main__.py``."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

from lessons import demo, l11_gpt, l12_pretraining, l15_classification, l16_label_to_words
from lessons.console import typed
from minillm.backend import get_backend
from minillm.training import (
    CheckpointError,
    Interrupted,
    NonFiniteLoss,
    RunError,
    SaveError,
    TrainingConfig,
    change_config,
    read_config,
    write_atomically,
)
from minillm.training.run_folder import PLACES, setting
from minillm.training.signals import ending_signals

TRAINING_ERRORS = (NonFiniteLoss, SaveError, MemoryError)
INPUT_ERRORS = (ValueError, OSError, IndexError, CheckpointError, RuntimeError, NotImplementedError)


class Stopped(Exception):
    """A run was stopped and saved; the message says how to go on."""

    def __init__(self, how: str, status: int, folder: Path) -> None:
        super().__init__(f"{how}; saved. Go on with: minillm resume {typed(folder)}")
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came while no step was under way."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def one_line(error: BaseException) -> str:
    """Return an error as one line: what, where, what to do."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename}: no such file or folder"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: is a folder, expected a file"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def verdict(error: Exception) -> tuple[int, str]:
    """Return the exit status for an error, and what is said about it: 1 for a training that failed, 2 for bad input."""
    if isinstance(error, MemoryError):
        what = f" ({one_line(error)})" if str(error) else ""
        return 1, f"not enough memory{what}; take a smaller model, batch, context or text"
    if isinstance(error, TRAINING_ERRORS):
        return 1, str(error)
    if isinstance(error, INPUT_ERRORS):
        return 2, one_line(error)
    # Nobody has thought of it; who reads this is not helped by a traceback.
    return 1, f"{type(error).__name__}: {one_line(error)} (with --debug: where it came from)"


# --- making runs ------------------------------------------------------------------------------------------------------
def new_folder(out: Path | None, name: str) -> Path:
    """Return the folder that was asked for, or one in runs/ that does not exist yet."""
    if out is not None:
        return out
    found, n = Path("runs") / name, 1
    while found.exists():
        n += 1
        found = Path("runs") / f"{name}-{n}"
    return found


class run_in:
    """While a run is made in a folder: a stop says how to go on, and a folder without a checkpoint does not stay.

    Args:
        folder: of the run.
        going_on: with the run in it; the checkpoints that a new run finds there are an earlier one's.
    """

    def __init__(self, folder: Path, going_on: bool = False) -> None:
        self.folder, self.existed = folder, folder.exists()
        self.going_on, self.earlier = going_on, self._checkpoints()
        self.before: dict[int, Any] = {}

    def has_saved(self) -> bool:
        """Tell whether a checkpoint was made since."""
        return not self._checkpoints() <= self.earlier

    def _checkpoints(self) -> set[tuple[Path, int, int]]:
        found = set()
        for path in self.folder.glob("**/step-*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                found.add((path, path.stat().st_ino, path.stat().st_mtime_ns))
        return found

    def __enter__(self) -> run_in:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self.before = {number: signal.signal(number, self._terminate) for number in ending_signals()}
        return self

    def _terminate(self, number: int, frame: Any) -> None:
        raise Terminated(number)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if isinstance(error, Interrupted):
            raise Stopped(str(error), 128 + error.signal, self.folder) from None
        saved = self.has_saved() or (self.going_on and bool(self.earlier))
        if isinstance(error, KeyboardInterrupt) and saved:  # between two stages, or while the result is measured
            raise Stopped("stopped", getattr(error, "status", 130), self.folder) from None
        if error is not None and not self.existed and not saved:
            shutil.rmtree(self.folder, ignore_errors=True)


def training_settings(arguments: argparse.Namespace, **usual: Any) -> dict[str, Any]:
    """Return what the user said about training, over the usual settings."""
    names = ["steps", "lr", "batch_size", "accumulate", "eval_every", "patience", "minutes", "seed"]
    names += ["precision", "skip_nonfinite", "anomaly"]
    said = {name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None}
    if "minutes" in said and "steps" not in said:
        usual["steps"] = 10**7  # the time is the limit
    return {**usual, **said}


def report_language(figures: dict[str, Any]) -> None:
    print(f"{figures['loss']:.4f} nats per token   {figures['bits_per_byte']:.4f} bits per byte")
    counted = figures.get("baselines")
    if counted:
        line = "  ".join(f"{g['order']}: {g['bits_per_byte']:.3f}" for g in counted["ngram"])
        print(f"n-grams of order {line}   gzip: {counted['gzip']:.3f}   lzma: {counted['lzma']:.3f}   (bits per byte)")


def report_labels(accuracy: float, baselines: dict[str, float] | None, how: str = "test accuracy") -> None:
    line = f"{how} {accuracy:.3f}"
    if baselines is not None:
        line += f"   naive Bayes {baselines['naive_bayes']:.3f}   largest class {baselines['majority']:.3f}"
    print(line)


def do_demo(arguments: argparse.Namespace) -> int:
    """The whole main job."""
    folder = new_folder(arguments.out, "demo")
    get_backend(arguments.device)
    with run_in(folder):
        demo.run(
            folder,
            minutes=arguments.minutes,
            seed=arguments.seed,
            device=arguments.device,
            force=arguments.force,
            quiet=arguments.quiet,
        )
    return 0


def do_pretrain(arguments: argparse.Namespace) -> int:
    """Pretrain a GPT."""
    get_backend(arguments.device)
    shape = dict(l11_gpt.SIZES[arguments.size])
    shape.update({k: v for k in shape if (v := getattr(arguments, k)) is not None})
    training = TrainingConfig(**training_settings(arguments, steps=3000, eval_every=250, lr=4e-3))
    l11_gpt.GPTConfig.from_dict(
        {"vocab_size": 256, "dropout": arguments.dropout, **shape}
    )  # wrong settings are found before the work
    folder = new_folder(arguments.out, "pretrain")
    with run_in(folder):
        run = l12_pretraining.pretrain(
            folder,
            size=shape,
            vocab_size=arguments.vocab_size,
            training=training,
            text=arguments.text,
            device=arguments.device,
            dropout=arguments.dropout,
            title=None if arguments.quiet else "pretraining",
            force=arguments.force,
        )
    report_language(run.figures)
    print(f"run: {folder}   curves: {folder / 'curves.png'}")
    return 0


def said_of_columns(arguments: argparse.Namespace) -> bool:
    return (arguments.text_column, arguments.label_column) != ("text", "label")


def table_of(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.data is None:
        if said_of_columns(arguments) or getattr(arguments, "validation", None) is not None:
            raise ValueError("--text-column, --label-column, --validation: of a table of yours; give it with --data")
        return None
    return {
        "data": arguments.data,
        "text": arguments.text_column,
        "label": arguments.label_column,
        "validation": getattr(arguments, "validation", None),
        "seed": arguments.seed,
    }


def do_finetune(arguments: argparse.Namespace) -> int:
    """Fine-tune, one way or the other."""
    get_backend(arguments.device)
    read_config(arguments.run)
    if arguments.task == "generate" and arguments.method != "full":
        raise ValueError(f"--method {arguments.method}: of --task classify; to write from a label all weights learn")
    folder = new_folder(arguments.out, f"finetune-{arguments.task}")
    options: dict[str, Any] = {
        "table": table_of(arguments),
        "device": arguments.device,
        "title": None if arguments.quiet else "fine-tuning",
        "force": arguments.force,
        "settings": training_settings(arguments),
    }
    with run_in(folder):
        if arguments.task == "classify":
            made = l15_classification.finetune(folder, arguments.run, method=arguments.method, **options)
            report_labels(made.figures["test_accuracy"], made.figures["baselines"])
        else:
            wrote = l16_label_to_words.finetune(folder, arguments.run, **options)
            print(
                f"accuracy by Bayes' rule: {wrote.figures['test_accuracy']:.3f} on {wrote.figures['test_texts']} texts"
            )
            for label, text in wrote.figures["samples"].items():
                print(f"{label:>16}: {text!r}")
    print(f"run: {folder}   curves: {folder / 'curves.png'}")
    return 0


def missing(path: str) -> str:
    """Say of what a run was made with that it is not there."""
    return f"{path}, which does not exist" + ("" if Path(path).is_absolute() else f" in {Path.cwd()}")


def _look_for_texts(run: Path, config: dict[str, Any], places: dict[str, str]) -> None:
    for name in PLACES:
        option, path = name.rpartition(".")[2], setting(config, name)
        if name in places and not Path(places[name]).exists():
            raise ValueError(f"--{option}: {places[name]} does not exist")
        if name not in places and path is not None and not Path(path).exists():
            raise RunError(f"{run}: learns from {missing(path)}; say with --{option} where it lies")


def do_resume(arguments: argparse.Namespace) -> int:
    """Go on with a run of any kind."""
    config, changes = read_config(arguments.run), training_settings(arguments)
    places = {name: place for name in PLACES if (place := getattr(arguments, name.rpartition(".")[2])) is not None}
    title = None if arguments.quiet else "resumed"
    if (changes or places) and config["kind"] == "demo":
        given = ", ".join(sorted({name.rpartition(".")[2] for name in (*changes, *places)}))
        raise ValueError(f"{arguments.run}: a demo goes on as it began; leave {given} out")
    with run_in(arguments.run, going_on=True) as watched:
        if config["kind"] == "demo":
            demo.run(
                arguments.run,
                minutes=config["minutes"],
                seed=config["seed"],
                device=config["device"],
                quiet=arguments.quiet,
                resume=True,
            )
            return 0
        resume = {
            "pretrain": l12_pretraining.resume,
            "classifier": l15_classification.resume,
            "generator": l16_label_to_words.resume,
        }.get(config["kind"])
        if resume is None:
            raise RunError(f"{arguments.run}: a run of unknown kind {config['kind']!r}")
        _look_for_texts(arguments.run, config, places)
        path = arguments.run / "config.json"
        before, found = path.read_text(encoding="utf-8"), {}
        try:
            found = change_config(arguments.run, changes, places)
            for name, (was, now) in found.items():
                print(f"{name}: {was} before, {now} from now on")
            resume(arguments.run, title)
        except SaveError:
            raise  # once there is room, the run goes on as was asked
        except Exception:
            if found and not watched.has_saved():  # what was asked for failed: a later resume is not to do it unasked
                write_atomically(path, before)
                for name, (was, _) in found.items():
                    print(f"{name}: {was} again")
            raise
    print(f"run: {arguments.run}   curves: {arguments.run / 'curves.png'}")
    return 0
