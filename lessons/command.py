"""What each command of ``minillm`` does; the parser is in ``__main__.py``."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from lessons import demo, l11_gpt, l12_pretraining, l15_classification, l16_label_to_words
from lessons.console import typed
from lessons.parts.l15_label_curves import subset
from minillm import datasets
from minillm.backend import get_backend
from minillm.generation import Sampling, generate, generate_tokens
from minillm.text import StreamingDecoder
from minillm.training import (
    CheckpointError,
    Interrupted,
    NonFiniteLoss,
    RunError,
    SaveError,
    TrainingConfig,
    change_config,
    evaluate_language,
    plot_curves,
    read_config,
    read_metrics,
    write_atomically,
)
from minillm.training.baselines import label_baselines, text_baselines
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
    _report_language(run.figures)
    print(f"run: {folder}   curves: {folder / 'curves.png'}")
    return 0


def _said_of_columns(arguments: argparse.Namespace) -> bool:
    return (arguments.text_column, arguments.label_column) != ("text", "label")


def _table(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.data is None:
        if _said_of_columns(arguments) or getattr(arguments, "validation", None) is not None:
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
        "table": _table(arguments),
        "device": arguments.device,
        "title": None if arguments.quiet else "fine-tuning",
        "force": arguments.force,
        "settings": training_settings(arguments),
    }
    with run_in(folder):
        if arguments.task == "classify":
            made = l15_classification.finetune(folder, arguments.run, method=arguments.method, **options)
            _report_labels(made.figures["test_accuracy"], made.figures["baselines"])
        else:
            wrote = l16_label_to_words.finetune(folder, arguments.run, **options)
            print(
                f"accuracy by Bayes' rule: {wrote.figures['test_accuracy']:.3f} on {wrote.figures['test_texts']} texts"
            )
            for label, text in wrote.figures["samples"].items():
                print(f"{label:>16}: {text!r}")
    print(f"run: {folder}   curves: {folder / 'curves.png'}")
    return 0


def do_resume(arguments: argparse.Namespace) -> int:
    """Go on with a run of any kind."""
    config, changes = read_config(arguments.run), training_settings(arguments)
    title = None if arguments.quiet else "resumed"
    if changes and config["kind"] == "demo":
        raise ValueError(f"{arguments.run}: a demo goes on as it began; leave {', '.join(sorted(changes))} out")
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
        path = arguments.run / "config.json"
        before = path.read_text(encoding="utf-8")
        found = change_config(arguments.run, changes)
        for name, (was, now) in found.items():
            print(f"{name}: {was} before, {now} from now on")
        try:
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


# --- using runs -------------------------------------------------------------------------------------------------------
def do_generate(arguments: argparse.Namespace) -> int:
    """Write texts."""
    get_backend(arguments.device)
    how = Sampling(arguments.temperature, arguments.top_k, arguments.top_p, arguments.repetition_penalty)
    model, tokenizer, config = l12_pretraining.load_run(arguments.run, arguments.device)
    prompts = arguments.prompt or ["The "]
    if arguments.label is not None:
        if arguments.prompt:
            raise ValueError("--prompt and --label: give one of them; a label begins the text itself")
        labels = config.get("labels")
        if not labels or config["kind"] != "generator":
            raise RunError(f"{arguments.run}: was not fine-tuned to write from a label; leave --label out")
        if arguments.label not in labels:
            raise ValueError(f"--label {arguments.label!r}: unknown; known labels are {', '.join(labels)}")
        prompts = [l16_label_to_words.label_words(arguments.label)]
    if any(not p for p in prompts):
        raise ValueError("--prompt: expected a text, got an empty one")
    rows = [tokenizer.encode(p) for p in prompts]
    generator = minillm.Generator().manual_seed(arguments.seed)
    if len(rows) == 1 and arguments.beams == 1:
        decoder, text = StreamingDecoder(tokenizer), ""
        steps = generate_tokens(
            model, rows, arguments.max_new_tokens, how, generator=generator, use_cache=not arguments.no_cache
        )
        print(prompts[0] if arguments.label is None else "", end="", flush=True)
        for step in steps:
            for token in step:
                piece = decoder.push(token) if token is not None else ""
                text += piece
                print(piece, end="", flush=True)
            if arguments.stop and arguments.stop in text:
                break
        print(decoder.flush())
        return 0
    done = generate(
        model,
        rows,
        arguments.max_new_tokens,
        how,
        generator=generator,
        num_beams=arguments.beams,
        use_cache=not arguments.no_cache,
    )
    for prompt, row in zip(rows, done, strict=True):
        text = tokenizer.decode(row[len(prompt) :])
        text = text.split(arguments.stop)[0] if arguments.stop else text
        print(tokenizer.decode(prompt) + text)
    return 0


def _report_language(figures: dict[str, Any]) -> None:
    print(f"{figures['loss']:.4f} nats per token   {figures['bits_per_byte']:.4f} bits per byte")
    counted = figures.get("baselines")
    if counted:
        line = "  ".join(f"{g['order']}: {g['bits_per_byte']:.3f}" for g in counted["ngram"])
        print(f"n-grams of order {line}   gzip: {counted['gzip']:.3f}   lzma: {counted['lzma']:.3f}   (bits per byte)")


def _report_labels(accuracy: float, baselines: dict[str, float] | None, how: str = "test accuracy") -> None:
    line = f"{how} {accuracy:.3f}"
    if baselines is not None:
        line += f"   naive Bayes {baselines['naive_bayes']:.3f}   largest class {baselines['majority']:.3f}"
    print(line)


def do_evaluate(arguments: argparse.Namespace) -> int:
    """Measure a model."""
    get_backend(arguments.device)
    config = read_config(arguments.run)
    labels = config["kind"] == "classifier" or (config["kind"] == "generator" and arguments.text is None)
    if labels and arguments.text is not None:
        raise ValueError("--text: the run tells labels apart; give labelled texts with --data")
    if not labels and (arguments.data is not None or _said_of_columns(arguments)):
        raise ValueError("--data, --text-column, --label-column: of a language model; give a text with --text alone")
    if labels:
        _evaluate_labels(arguments, config)
        return 0
    gpt, tokenizer, config = l12_pretraining.load_run(arguments.run, arguments.device)
    text = l12_pretraining.load_and_split(arguments.text or config.get("text"), config["training"]["seed"])
    if arguments.text is None:
        _refuse_changed(arguments.run, config, text.card.sha256, "--text")
    n_bytes = len(text.validation.encode("utf-8"))
    tokens = tokenizer.encode_array(text.validation)
    block = gpt.config.block_size
    figures: dict[str, Any] = evaluate_language(gpt, tokens, n_bytes, block, stride=max(1, block // 2))
    _report_language({**figures, "baselines": text_baselines(text.train, text.validation)})
    return 0


def _evaluate_labels(arguments: argparse.Namespace, config: dict[str, Any]) -> None:
    """Measure how well a run tells labels apart: on the test part of its own texts, or on a table that it has not seen.

    The baselines learn from what the run has learned from; never from the table that is judged.
    """
    table, learned = _table(arguments), None
    try:
        learned = l15_classification.load_labelled(config["table"])
        _refuse_changed(arguments.run, config, learned.card.sha256, "--data")
    except (ValueError, OSError) as error:
        if table is None:
            raise
        learned = None
        warnings.warn(f"no baselines, for what they would learn from is gone: {one_line(error)}", stacklevel=2)
    if table is not None:
        columns = (arguments.text_column, arguments.label_column)
        test: Any = datasets.read_examples(arguments.data, *columns, labels=config["labels"])
    else:
        assert learned is not None
        test = learned.test if config["kind"] == "classifier" else subset(learned.test, config["test_texts"], 0)
    if config["kind"] == "classifier":
        model, tokenizer, labels = l15_classification.load_classifier(arguments.run, arguments.device)
        encoded = l15_classification.encode(test, tokenizer, model.body.config.block_size)
        found, how = l15_classification.accuracy(model, encoded), "test accuracy"
    else:
        gpt, tokenizer, _ = l12_pretraining.load_run(arguments.run, arguments.device)
        labels, prior = tuple(config["labels"]), np.array(config["prior"], dtype=float)
        if prior.shape != (len(labels),) or not (prior > 0).all():
            raise RunError(f"{arguments.run}: expected the share of each of the {len(labels)} labels in 'prior'")
        texts, right = zip(*test, strict=True)
        p = l16_label_to_words.classify(gpt, tokenizer, texts, labels, prior)
        found, how = float((p.argmax(axis=1) == right).mean()), f"accuracy by Bayes' rule on {len(test)} texts"
    _report_labels(found, label_baselines(learned.train, test, len(labels)) if learned else None, how)


def _refuse_changed(run: Path, config: dict[str, Any], sha256: str, instead: str) -> None:
    """Refuse to judge a model on the held-out part of texts that are not those it has learned from."""
    if config.get("corpus_sha256", sha256) != sha256:
        raise RunError(
            f"{run}: its texts have changed since it began, so it may have learned what would be held out now; "
            f"give others with {instead}"
        )


def do_plot(arguments: argparse.Namespace) -> int:
    """Lay curves over each other."""
    folders = list(dict.fromkeys(arguments.runs))
    runs = {str(folder): read_metrics(folder) for folder in folders}
    configs = [read_config(folder) for folder in folders]
    usual = {"pretrain": "bits_per_byte", "classifier": "accuracy", "generator": "loss"}
    metric = arguments.metric or usual.get(configs[0]["kind"], "loss")
    if not any(f"val_{metric}" in r for records in runs.values() for r in records):
        known = sorted({k[4:] for records in runs.values() for r in records for k in r if k.startswith("val_")})
        raise ValueError(f"--metric {metric}: the runs do not have it; they have {', '.join(known)}")
    without = [name for name, records in runs.items() if not any(f"val_{metric}" in r for r in records)]
    if without:
        warnings.warn(f"--metric {metric}: not in {', '.join(without)}, of which no curve is drawn", stacklevel=2)
    factors = {name: config.get("bits_per_nat") for name, config in zip(runs, configs, strict=True)}
    out = arguments.out.with_suffix("") if arguments.out.suffix in (".png", ".svg", ".json") else arguments.out
    for path in plot_curves(runs, out, metric=metric, bits_per_nat=factors if metric == "bits_per_byte" else None):
        print(path)
    return 0
