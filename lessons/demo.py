"""The main job, from a text to pictures: pretrain, fine-tune both ways, generate, evaluate, plot.

Six stages share a time budget. A stage that has left its result behind is not done again, so an interrupted demo goes
on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lessons import l12_pretraining, l15_classification, l16_label_to_words
from lessons.console import typed
from minillm.training import Checkpoints, TrainingConfig, create_run, write_atomically
from minillm.training.baselines import text_baselines

# Shares of the time that is left when a stage begins; the rest after them is for evaluating and plotting.
PRETRAINING, CLASSIFYING, SCRATCH, WRITING = 0.66, 0.36, 0.42, 0.62


@dataclass
class Clock:
    """How much of the budget is left."""

    minutes: float
    started: float = field(default_factory=time.perf_counter)

    def share(self, part: float) -> float:
        """Return a part of what is left, in minutes; never less than two seconds."""
        left = self.minutes - (time.perf_counter() - self.started) / 60
        return max(part * left, 2 / 60)


def run(
    folder: Path,
    *,
    minutes: float = 5.0,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
    quiet: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Do all of it in a folder, print a table, and return its figures.

    Args:
        folder: gets a run folder for each stage.
        minutes: for all of it, including loading and evaluating.
        seed, device, force, quiet: as for the command.
        resume: go on with an earlier demo in the folder.
    """
    if not minutes > 0:
        raise ValueError(f"--minutes {minutes}: expected a positive number")
    clock = Clock(minutes)
    if not resume:
        create_run(folder, {"kind": "demo", "minutes": minutes, "seed": seed, "device": device}, None, force)
        for name in ("pretrained", "classifier", "scratch", "writer"):
            shutil.rmtree(folder / name, ignore_errors=True)

    def say(stage: int, text: str) -> None:
        if not quiet:
            left = clock.share(1.0)
            print(f"[{stage}/6] {text} (about {left:.1f} minutes left for the whole)", flush=True)

    def title(stage: int, text: str) -> str | None:
        return None if quiet else f"[{stage}/6] {text}"

    def begun(folder: Path) -> bool:
        return bool(Checkpoints(folder / "checkpoints").paths())

    say(1, "loading this Python's English and docstrings, learning a vocabulary, counting n-grams")
    corpus = l12_pretraining.load_and_split(seed=seed)
    tokens = l12_pretraining.preprocess(corpus)
    baselines = text_baselines(corpus.train, corpus.validation)
    base = folder / "pretrained"
    if not (base / "result.json").exists():
        if begun(base):
            l12_pretraining.resume(base, title(2, "pretraining"))
        else:
            budget = clock.share(PRETRAINING)
            training = TrainingConfig(
                steps=10**7, minutes=budget, eval_every=max(50, int(100 * budget)), lr=4e-3, batch_size=12, seed=seed
            )
            # why: five minutes read the text about five times; in twenty, without dropout, the training loss falls to
            # 0.9 bits per byte while the validation loss rises again.
            dropout = 0.1 if minutes > 10 else 0.0
            l12_pretraining.pretrain(
                base, corpus, tokens=tokens, dropout=dropout, baselines=baselines, training=training, device=device,
                force=True, title=title(2, "pretraining"),
            )  # fmt: skip
    for stage, name, method, share in ((3, "classifier", "full", CLASSIFYING), (4, "scratch", "scratch", SCRATCH)):
        where = folder / name
        if (where / "result.json").exists():
            continue
        text = "fine-tuning to classify" if method == "full" else "the same from random weights"
        if begun(where):
            l15_classification.resume(where, title(stage, text))
        else:
            l15_classification.finetune(
                where, base, method=method, device=device, force=True, title=title(stage, text),
                settings={"minutes": clock.share(share), "steps": 1200, "eval_every": 75, "seed": seed},
            )  # fmt: skip
    writer = folder / "writer"
    if not (writer / "result.json").exists():
        if begun(writer):
            l16_label_to_words.resume(writer, title(5, "fine-tuning to write"))
        else:
            l16_label_to_words.finetune(
                writer, base, device=device, force=True, title=title(5, "fine-tuning to write"),
                test_texts=int(min(200, max(20, 60 * clock.minutes - 40))),
                settings={"minutes": clock.share(WRITING), "steps": 1500, "eval_every": 100, "seed": seed},
            )  # fmt: skip
    say(6, "looking at what came of it")
    return report(folder, quiet)


def report(folder: Path, quiet: bool = False) -> dict[str, Any]:
    """Print the table of a finished demo and return its figures."""

    def result(name: str) -> dict[str, Any]:
        return json.loads((folder / name / "result.json").read_text(encoding="utf-8"))

    pretrained, classifier, scratch, writer = map(result, ("pretrained", "classifier", "scratch", "writer"))
    counted = pretrained["baselines"]
    best = counted["best_ngram"]
    rows = [
        ("Pretraining: bits per byte on held-out text of stdlib-en (lower is better)", ""),
        (f"  GPT, {pretrained['parameters']:,} parameters, {pretrained['steps']:,} steps",
         f"{pretrained['bits_per_byte']:.3f}"),
        (f"  best n-gram (Witten-Bell, order {best['order']})", f"{best['bits_per_byte']:.3f}"),
        ("  all n-grams, order 1 to 7", "  ".join(f"{g['bits_per_byte']:.2f}" for g in counted["ngram"])),
        ("  lzma, gzip", f"{counted['lzma']:.3f}, {counted['gzip']:.3f}"),
        ("Fine-tuning: accuracy on docstrings of unseen files (higher is better)", ""),
        ("  GPT, pretrained", f"{classifier['test_accuracy']:.3f}"),
        ("  the same network from random weights", f"{scratch['test_accuracy']:.3f}"),
        (f"  GPT that writes, by Bayes' rule ({writer['test_texts']} texts)", f"{writer['test_accuracy']:.3f}"),
        ("  naive Bayes", f"{classifier['baselines']['naive_bayes']:.3f}"),
        ("  always the largest class", f"{classifier['baselines']['majority']:.3f}"),
    ]  # fmt: skip
    figures = {
        "bits_per_byte": pretrained["bits_per_byte"],
        "best_ngram": best,
        "accuracy": classifier["test_accuracy"],
        "scratch": scratch["test_accuracy"],
        "bayes": writer["test_accuracy"],
        **classifier["baselines"],
    }
    for suffix in (".png", ".svg"):
        shutil.copyfile(folder / "pretrained" / f"curves{suffix}", folder / f"curves{suffix}")
    l15_classification.draw(
        {"pretrained": folder / "classifier", "from random weights": folder / "scratch"},
        folder / "accuracy",
        "Fine-tuning to tell the topics of docstrings apart",
    )
    write_atomically(folder / "result.json", json.dumps(figures, indent=1))
    width = max(len(text) for text, value in rows if value)
    print()
    for text, value in rows:
        print(f"{text:<{width}}  {value}".rstrip())
    print("\nA text for each label by the fine-tuned GPT, the clearest of 8 drafts:")
    for label, text in writer["samples"].items():
        print(f"  {label}: {' '.join(text.split())[:160]!r}")
    print("\nThe pretrained GPT goes on with a prompt:")
    log = (folder / "pretrained" / "samples.txt").read_text(encoding="utf-8").strip().split("---\n")[-1]
    for line in log.strip().splitlines():
        print(f"  {line[:160]}")
    print(f"\nrun: {folder}\npictures: {folder / 'curves.png'}, {folder / 'accuracy.png'}")
    if not quiet:
        print(f"go on: minillm generate {typed(folder / 'pretrained')} --prompt 'The '")
    return figures
