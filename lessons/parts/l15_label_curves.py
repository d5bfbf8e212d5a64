"""Accuracy against the number of labels, with a small pretrained body: the same in lessons 15 and 16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lessons.l11_gpt import GPT, GPTConfig
from lessons.l12_pretraining import Tokens, initialise
from minillm import datasets
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training.curves import COLOURS

Curves = dict[str, dict[int, list[float]]]
"""By method, then by number of labels, one figure for each seed."""


def subset(examples: Sequence[Any], n: int, seed: int) -> list[Any]:
    """Return n examples, drawn at random, the same for the same seed."""
    order = datasets.stream(seed, "subset").permutation(len(examples))
    return [examples[i] for i in order[:n]]


def pretrain_body(tokens: Tokens, steps: int, seed: int = 0) -> GPT:
    """Return a small GPT that has read a text for so many steps."""
    # why so small: two layers of width 64 read the text in seconds, and already know which words keep which company
    model = initialise(GPTConfig(tokens.tokenizer.vocab_size, 64, n_layer=2, n_head=2, n_embd=64), seed)
    task = LanguageTask(
        tokens.train, tokens.validation, tokens.validation_bytes,
        block_size=64, batch_size=16, seed=seed, evaluation_tokens=4_000,
    )  # fmt: skip
    training = TrainingConfig(steps=steps, batch_size=16, lr=4e-3, warmup_steps=steps // 10, eval_every=steps)
    found = Trainer(model, task, training).fit()
    print(f"pretrained for {steps} steps: {found['val_bits_per_byte']:.2f} bits per byte")
    return model


def label_curves(
    methods: Mapping[str, Callable[[int, int], float]], sizes: Sequence[int], seeds: Sequence[int]
) -> Curves:
    """Measure and print accuracies.

    Args:
        methods: by name, what returns the test accuracy after learning from n labels that a seed chose.
        sizes: numbers of labels.
        seeds: why three or more: which texts get a label matters as much as the method when there are few.
    """
    found: Curves = {}
    for name, measure in methods.items():
        found[name] = {n: [measure(n, seed) for seed in seeds] for n in sizes}
        row = (f"{n:5}: {np.mean(a):.2f} ({min(a):.2f} to {max(a):.2f})" for n, a in found[name].items())
        print(f"{name:<14}", *row, flush=True)
    return found


def draw_label_curves(ax: Any, curves: Curves, guessing: float) -> None:
    """Draw means as lines and the spread over seeds as error bars, with a line for always saying the largest class."""
    places = np.linspace(-0.03, 0.03, len(curves))  # why: beside each other, so that no bar hides another
    for (name, by_size), colour, place in zip(curves.items(), COLOURS, places, strict=False):
        sizes, rows = np.array(list(by_size)) * (1 + place), np.array(list(by_size.values()))  # rows: (sizes, seeds)
        mean = rows.mean(axis=1)
        spread = np.stack([mean - rows.min(axis=1), rows.max(axis=1) - mean])
        ax.errorbar(sizes, mean, yerr=spread, color=colour, marker="o", markersize=4, capsize=3, label=name)
    ax.axhline(guessing, color="#555555", linewidth=1, linestyle=":")
    ax.annotate("always the largest class", (1, guessing), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", ha="right", fontsize=9, color="#333333")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(list(by_size), [str(n) for n in by_size])
    ax.minorticks_off()
    ax.set_xlabel("texts with a label to learn from")
    ax.set_ylabel("test accuracy")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9, loc="upper left")
