# %% [markdown]
r"""
Fine-tuning to classify
=======================

*How many labels does pretraining save?*

A pretrained GPT has read a lot of text and knows no label. To classify, its last hidden states are averaged over the
text and one linear layer turns the mean into a score for each label:

$$ \mathrm{logits} = W \, \frac{1}{n} \sum_{t=1}^{n} h_t + b $$

Either only this layer learns (*frozen*), or everything does (*full*). The same network with random weights (*scratch*)
and naive Bayes, which only counts words, are the measure. Source of the idea: Howard and Ruder, "Universal Language
Model Fine-tuning for Text Classification", 2018.
"""

# %%
from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
from lessons.l11_gpt import GPT, GPTConfig
from lessons.l12_pretraining import load_run, load_tokenizer, load_weights
from minillm import datasets
from minillm.text import Tokenizer
from minillm.training import (
    ClassificationTask,
    RunError,
    Trainer,
    TrainingConfig,
    create_run,
    figure,
    go_on,
    plot_curves,
    read_config,
    read_metrics,
    save_figure,
    write_atomically,
)
from minillm.training.baselines import NaiveBayes, label_baselines

QUESTION = "How many labels does pretraining save?"
METHODS = ("full", "frozen", "scratch", "naive Bayes")


# %% [markdown]
r"""
A head on the body
------------------

Texts of a batch have different lengths. Short ones are filled up on the right; a causal model never looks to the
right, so the filling changes no hidden state of the text itself, and the mean leaves the filled positions out.
"""


# %%
class Classifier(nn.Module):
    """A GPT body with a linear layer on the mean of its hidden states.

    Args:
        body: the GPT; its output table is not used.
        n_labels: number of labels.
        dropout: on the mean, in training.

    Shape:
        ids (B, T) and mask (B, T), True where there is text, to logits (B, n_labels).
    """

    def __init__(self, body: GPT, n_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(body.config.n_embd, n_labels)

    def forward(self, ids: minillm.Tensor, mask: minillm.Tensor) -> minillm.Tensor:
        """Return one score for each label."""
        h = self.body.features(ids)  # (B, T, C)
        weight = mask.to(h.dtype).unsqueeze(-1)  # (B, T, 1)
        mean = (h * weight).sum(1) / weight.sum(1)  # (B, C)
        return self.head(self.dropout(mean))


def make_classifier(body: GPT, n_labels: int, method: str, seed: int = 0) -> Classifier:
    """Return a classifier for a method: "full" and "frozen" start from ``body``, "scratch" from random weights."""
    minillm.manual_seed(seed)
    if method == "scratch":
        device = body.tokens.weight.device
        return Classifier(GPT(body.config), n_labels).to(device)
    model = Classifier(copy.deepcopy(body), n_labels).to(body.tokens.weight.device)
    if method == "frozen":
        model.body.requires_grad_(False)
    elif method != "full":
        raise ValueError(f"method: expected one of full, frozen, scratch, got {method!r}")
    return model


def encode(examples: Sequence[tuple[str, int]], tokenizer: Tokenizer, max_length: int) -> list[tuple[list[int], int]]:
    """Return (ids, label) pairs; texts are cut to ``max_length`` tokens, a text without any becomes one space."""
    return [((tokenizer.encode(text)[:max_length] or tokenizer.encode(" ")), label) for text, label in examples]


# why: a head alone wants larger steps than a body that already knows something; found on the validation set.
LEARNING_RATE = {"full": 1e-3, "frozen": 1e-2, "scratch": 2e-3}


def training_for(method: str, n_examples: int, **changes: Any) -> TrainingConfig:
    """Return settings that suit a method and a number of labelled texts, with the given changes."""
    if method not in LEARNING_RATE:
        raise ValueError(f"method={method!r} (expected one of {', '.join(LEARNING_RATE)})")
    batch_size = min(16, n_examples)
    steps = changes.get("steps") or min(400, max(60, 12 * n_examples // batch_size))
    usual = {
        "steps": steps,
        "batch_size": batch_size,
        "lr": LEARNING_RATE[method],
        "warmup_steps": min(40, steps // 10),
        "eval_every": max(10, min(steps, 400) // 8),
        "weight_decay": 0.05,
    }
    return TrainingConfig.from_dict({**usual, **changes})


def train_classifier(
    model: Classifier,
    train: Sequence[tuple[list[int], int]],
    validation: Sequence[tuple[list[int], int]],
    training: TrainingConfig,
    *,
    folder: Path | None = None,
    title: str | None = None,
    resuming: bool = False,
    about: dict[str, Any] | None = None,
) -> Trainer:
    """Train a classifier (or go on, ``resuming``); it ends with the weights of its best evaluation."""
    task = ClassificationTask(
        train,
        validation,
        pad_id=0,
        batch_size=training.batch_size,
        max_length=model.body.config.block_size,
        seed=training.seed,
    )
    trainer = Trainer(model, task, training, folder, title=title, about=about)
    if resuming:
        trainer.resume()
    trainer.fit()
    trainer.load_best()
    return trainer


def accuracy(model: Classifier, examples: Sequence[tuple[list[int], int]]) -> float:
    """Return the share of texts whose highest score is that of their label."""
    model.eval()
    task = ClassificationTask(examples, examples, pad_id=0, batch_size=64, max_length=model.body.config.block_size)
    return task.evaluate(model)["accuracy"]


# %% [markdown]
r"""
One fine-tuning run
-------------------
"""


# %%
@dataclass
class FineTuned:
    """A fine-tuned classifier: its run folder, the model, the names of the labels, and the figures."""

    folder: Path
    model: Classifier
    labels: tuple[str, ...]
    figures: dict[str, Any]


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
            f"{config['corpus_sha256'][:12]}...); start a new run"
        )


def finetune(
    folder: str | Path,
    pretrained: str | Path,
    *,
    method: str = "full",
    settings: dict[str, Any] | None = None,
    table: dict[str, Any] | None = None,
    device: str = "cpu",
    title: str | None = "fine-tuning",
    force: bool = False,
    resuming: bool = False,
) -> FineTuned:
    """Fine-tune the model of a pretraining run to classify, and leave a run folder behind.

    Args:
        folder: of the new run.
        pretrained: folder of the pretraining run.
        method: "full", "frozen" or "scratch".
        settings: changes to what ``training_for`` says.
        table: where the labelled texts come from, see ``load_labelled``.
        device: "cpu" or "cuda".
        title: of the progress bar; ``None`` shows none.
        force: start anew in a folder that holds an earlier run.
        resuming: go on with the run in the folder.
    """
    body, tokenizer, config = load_run(pretrained, device)
    corpus = load_labelled(table)
    parts = [encode(part, tokenizer, body.config.block_size) for part in (corpus.train, corpus.validation, corpus.test)]
    training = training_for(method, len(parts[0]), **(settings or {}))
    model = make_classifier(body, len(corpus.labels), method, training.seed)
    folder = Path(folder)
    record = {
        "kind": "classifier",
        "method": method,
        "model": config["model"],
        "training": training.to_dict(),
        "labels": list(corpus.labels),
        "pretrained": str(pretrained),
        "table": table,
        "device": device,
        "tokenizer_sha256": tokenizer.fingerprint(),
        "corpus_sha256": corpus.card.sha256,
    }
    if resuming:
        check_corpus(folder, corpus, read_config(folder))
        record = go_on(folder, record)
    else:
        create_run(folder, record, {"corpus": corpus.card.to_dict()}, force)
    tokenizer.save(folder / "tokenizer.json")
    train_classifier(model, parts[0], parts[1], training, folder=folder, title=title, resuming=resuming, about=record)
    result = {
        "test_accuracy": accuracy(model, parts[2]),
        "validation_accuracy": accuracy(model, parts[1]),
        "baselines": label_baselines(corpus.train, corpus.test, len(corpus.labels)),
        "validation_baselines": label_baselines(corpus.train, corpus.validation, len(corpus.labels)),
    }
    write_atomically(folder / "result.json", json.dumps(result, indent=1) + "\n")
    draw({folder.name: folder}, folder / "curves", f"Fine-tuning ({method}) to tell {len(corpus.labels)} topics apart")
    return FineTuned(folder, model, corpus.labels, result)


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


def resume(folder: str | Path, title: str | None = "fine-tuning") -> FineTuned:
    """Go on with an interrupted run in its folder, exactly where it stopped."""
    config = read_config(folder)
    return finetune(
        folder,
        config["pretrained"],
        method=config["method"],
        settings=config["training"],
        table=config["table"],
        device=config["device"],
        title=title,
        resuming=True,
    )


def load_classifier(folder: str | Path, device: str = "cpu") -> tuple[Classifier, Tokenizer, tuple[str, ...]]:
    """Return the best classifier of a run, its tokenizer and the names of the labels.

    Raises:
        RunError: if the folder does not hold a classifier.
    """
    folder, config = Path(folder), read_config(folder)
    if config["kind"] != "classifier":
        raise RunError(f"{folder}: holds a run of kind {config['kind']!r}, expected a classifier")
    labels = config["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise RunError(f"{folder / 'config.json'}: expected a list of names in 'labels', got {str(labels)[:80]}")
    tokenizer, shape = load_tokenizer(folder, config), GPTConfig.from_dict(config["model"])
    weights = load_weights(folder, shape)
    model = Classifier(GPT(shape), len(labels))
    model.load_state_dict(weights)
    model.eval()
    return model.to(device), tokenizer, tuple(labels)


# %% [markdown]
r"""
The question, measured
----------------------

The same test texts, 50, 200 and more labelled texts to learn from, at least three seeds each. Test texts come from
files that no training text comes from.
"""


# %%
def subset(examples: Sequence[Any], n: int, seed: int) -> list[Any]:
    """Return n examples, drawn at random, the same for the same seed."""
    order = datasets.stream(seed, "subset").permutation(len(examples))
    return [examples[i] for i in order[:n]]


def label_curve(
    body: GPT,
    tokenizer: Tokenizer,
    corpus: datasets.LabelledCorpus,
    sizes: Sequence[int] = (50, 200, 800),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = METHODS,
) -> dict[str, dict[int, list[float]]]:
    """Return test accuracies: method, then number of labels, then one figure a seed."""
    length = body.config.block_size
    validation, test = encode(corpus.validation, tokenizer, length), encode(corpus.test, tokenizer, length)
    found: dict[str, dict[int, list[float]]] = {m: {n: [] for n in sizes} for m in methods}
    for n in sizes:
        for seed in seeds:
            chosen = subset(corpus.train, n, seed)
            for method in methods:
                if method == "naive Bayes":
                    bayes = NaiveBayes().fit([t for t, _ in chosen], [y for _, y in chosen], len(corpus.labels))
                    score = bayes.accuracy([t for t, _ in corpus.test], [y for _, y in corpus.test])
                else:
                    model = make_classifier(body, len(corpus.labels), method, seed)
                    # why a part: with few labels a large validation set would be the larger help; as many as labels.
                    held_out = subset(validation, max(50, min(n, 200)), seed)
                    train_classifier(
                        model, encode(chosen, tokenizer, length), held_out, training_for(method, n, seed=seed)
                    )
                    score = accuracy(model, test)
                found[method][n].append(score)
    return found


def draw_label_curve(curve: dict[str, dict[int, list[float]]], path: str | Path, majority: float) -> list[Path]:
    """Draw accuracy against the number of labels: mean and spread (smallest to largest) over seeds."""
    from minillm.training.curves import COLOURS

    fig, ax = figure()
    for (method, by_size), colour in zip(curve.items(), COLOURS, strict=False):
        sizes = sorted(by_size)
        mean = [float(np.mean(by_size[n])) for n in sizes]
        ax.plot(sizes, mean, marker="o", color=colour, label=method)
        ax.fill_between(
            sizes,
            [min(by_size[n]) for n in sizes],
            [max(by_size[n]) for n in sizes],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    ax.axhline(majority, color="#555555", linewidth=1, linestyle=":")
    ax.annotate(
        "always the largest class",
        (0.99, majority),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color="#333333",
    )
    ax.set_xscale("log")
    sizes = sorted(next(iter(curve.values())))
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("labelled texts to learn from")
    ax.set_ylabel("test accuracy")
    ax.set_title("Pretraining saves labels", loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=9)
    return save_figure(fig, path, {m: {str(n): v for n, v in s.items()} for m, s in curve.items()})


# %%
if __name__ == "__main__":
    from lessons.l12_pretraining import pretrain

    if not Path("runs/l12/config.json").exists():
        pretrain("runs/l12", size="tiny", training=TrainingConfig(steps=300, eval_every=100))
    body, tokenizer, _ = load_run("runs/l12")
    corpus = datasets.load("docstring-topics", seed=0)
    print(corpus.card)

# %%
if __name__ == "__main__":
    curve = label_curve(body, tokenizer, corpus, sizes=(50, 200))
    for method, by_size in curve.items():
        cells = [f"{n}: {np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for n, v in by_size.items()]
        print(f"{method:12s}", "   ".join(cells))

# %%
if __name__ == "__main__":
    majority = label_baselines(corpus.train, corpus.test, len(corpus.labels))["majority"]
    print(*draw_label_curve(curve, "runs/l15/labels", majority), sep="\n")
