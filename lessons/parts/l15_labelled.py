"""What the runs of lessons 15 and 16 share: where labelled texts come from, and the picture of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minillm import datasets
from minillm.text import Tokenizer
from minillm.training import RunError, create_run, go_on, plot_curves, read_config, read_metrics


def load_labelled(table: dict[str, Any] | None = None) -> datasets.LabelledCorpus:
    """Return labelled texts: ``docstring-topics``, or a table of the user's own.

    Args:
        table: "data", "text", "label" (a path and two columns), and optionally "validation" (a path) and "seed".
    """
    if table is None:
        return datasets.load("docstring-topics", seed=0)
    return datasets.from_table(
        table["data"], table["text"], table["label"], validation=table.get("validation"), seed=table.get("seed", 0)
    )


def check_corpus(folder: str | Path, corpus: datasets.LabelledCorpus, config: dict[str, Any]) -> None:
    """Refuse to go on with other texts than the run began with.

    Raises:
        RunError: naming both hashes.
    """
    if corpus.card.sha256 != config["corpus_sha256"]:
        raise RunError(
            f"{folder}: the texts have changed since the run began (sha256 {corpus.card.sha256[:12]}..., expected "
            f"{config['corpus_sha256'][:12]}...); say with --data where it lies now, or start a new run"
        )


def record_of(
    kind: str, corpus: datasets.LabelledCorpus, tokenizer: Tokenizer, pretraining: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Return what a fine-tuning run depends on: its corpus, its tokenizer, the shape of its model, and ``more``."""
    return {
        "kind": kind,
        "model": pretraining["model"],
        "labels": list(corpus.labels),
        "tokenizer_sha256": tokenizer.fingerprint(),
        "corpus_sha256": corpus.card.sha256,
        **more,
    }


def begin_or_go_on(
    folder: Path, record: dict[str, Any], corpus: datasets.LabelledCorpus, *, force: bool, resuming: bool
) -> dict[str, Any]:
    """Make the folder of a run, or check that the run in it can go on; return what the run depends on."""
    if resuming:
        check_corpus(folder, corpus, read_config(folder))
        return go_on(folder, record)
    create_run(folder, record, {"corpus": corpus.card.to_dict()}, force)
    return record


def draw(folders: dict[str, Path], path: Path, title: str) -> None:
    """Draw the validation accuracy of finished runs on one corpus, by name, beside their baselines."""
    result = json.loads((next(iter(folders.values())) / "result.json").read_text(encoding="utf-8"))
    counted = result["validation_baselines"]
    lines = {"naive Bayes": counted["naive_bayes"], "largest class": counted["majority"]}
    plot_curves(
        {name: read_metrics(folder) for name, folder in folders.items()},
        path,
        metric="accuracy",
        baselines=lines,
        title=title,
    )
