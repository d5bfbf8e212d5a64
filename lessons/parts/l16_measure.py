"""What lesson 16 measures: label vectors learned from a few labels, a writer with the label in front; the picture."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lessons.l11_gpt import GPT
from lessons.l16_label_to_words import END, by_bayes, classify, label_prior, writing_task
from lessons.parts.l15_label_curves import Curves, draw_label_curves, subset
from lessons.parts.l16_label_vectors import fit_label_vectors, label_vector_likelihoods, states_of
from minillm.datasets import LabelledCorpus
from minillm.text import Tokenizer
from minillm.training import Trainer, TrainingConfig, figure
from minillm.training.curves import COLOURS


def by_label_vectors(
    body: GPT, tokenizer: Tokenizer, corpus: LabelledCorpus, test_texts: int, steps: int = 100
) -> Callable[[int, int], float]:
    """Return what learns label vectors from n labels that a seed draws, and returns the test accuracy."""
    body.eval()
    test, right = (list(part) for part in zip(*corpus.test[:test_texts]))
    test_states = states_of(body, tokenizer, test, END)

    def measure(n: int, seed: int) -> float:
        chosen = subset(corpus.train, n, seed)
        states, labels = states_of(body, tokenizer, [t for t, _ in chosen], END), np.array([y for _, y in chosen])
        model = fit_label_vectors(body, states, labels, len(corpus.labels), seed, steps)
        p = by_bayes(label_vector_likelihoods(model, test_states), label_prior(chosen, len(corpus.labels)))
        return float((p.argmax(axis=1) == right).mean())

    return measure


def train_writer(
    body: GPT, tokenizer: Tokenizer, corpus: LabelledCorpus, n: int, seed: int, steps: int, test_texts: int
) -> tuple[GPT, np.ndarray, float]:
    """Return a GPT that writes from a label in front, trained on n texts, the prior, and its test accuracy."""
    chosen, held_out = subset(corpus.train, n, seed), subset(corpus.validation, 50, seed)
    model, test = copy.deepcopy(body), corpus.test[:test_texts]
    task = writing_task(model, tokenizer, chosen, held_out, corpus.labels, 16, seed)
    training = TrainingConfig(
        steps=steps, batch_size=16, lr=3e-3, warmup_steps=steps // 10, eval_every=max(steps // 5, 5)
    )
    trainer = Trainer(model, task, training)
    trainer.fit()
    trainer.load_best()
    prior = label_prior(chosen, len(corpus.labels))
    p = classify(model, tokenizer, [text for text, _ in test], corpus.labels, prior)
    return model, prior, float((p.argmax(axis=1) == [y for _, y in test]).mean())


def draw_figure(curves: Curves, guessing: float, samples: Mapping[str, str]) -> Any:
    """Return the figure: a text for each label, and accuracies against the number of labels."""
    fig, (left, right) = figure(11, 4.8, panels=2)
    left.axis("off")
    left.set_title("What a label writes", loc="left", fontsize=11)
    for i, (label, text) in enumerate(samples.items()):
        top = 0.98 - i / len(samples)
        whole = text if text.endswith(".") else f"{text} ..."  # it went on when its tokens were used up
        lines = textwrap.wrap(whole, 76, max_lines=3, placeholder=" ...")
        left.text(0, top, label, fontsize=8.5, fontweight="bold", color=COLOURS[0], va="top", transform=left.transAxes)
        left.text(0.17, top, "\n".join(lines), fontsize=8, va="top", transform=left.transAxes)
    draw_label_curves(right, curves, guessing)
    right.set_title("Few labels: generative. Many: discriminative.", loc="left", fontsize=11)
    return fig
