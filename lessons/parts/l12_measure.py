"""What lesson 12 measures: a run with a stop, searches for settings, learning curves, and their picture."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np

from lessons.l11_gpt import GPTConfig
from lessons.l12_pretraining import Tokens, initialise
from minillm.training import (
    Interrupted,
    LanguageTask,
    Trainer,
    TrainingConfig,
    figure,
    grid,
    halving,
    random_settings,
)
from minillm.training.curves import COLOURS


class Stopping(LanguageTask):
    """A task during which, at one batch, somebody presses Ctrl-C."""

    stop_at: int | None = None

    def batch(self, number: int) -> Any:
        """Return the batch, perhaps with an interruption."""
        if number == self.stop_at:
            signal.raise_signal(signal.SIGINT)  # the trainer finishes its step, and saves
        return super().batch(number)


def train_stopping(tokens: Tokens, folder: Path, stop_at: int | None, seed: int = 0) -> np.ndarray:
    """Train a very small model for 40 steps, perhaps stopped after one and gone on with; return its token table."""
    task = Stopping(tokens.train, tokens.validation, tokens.validation_bytes, block_size=16, batch_size=4,
                    evaluation_tokens=100)  # fmt: skip
    training = TrainingConfig(steps=40, warmup_steps=10, eval_every=40, batch_size=4)
    shape = GPTConfig(tokens.tokenizer.vocab_size, 16, n_layer=1, n_head=2, n_embd=16, dropout=0.1)
    trainer = Trainer(initialise(shape, seed), task, training, folder)
    task.stop_at = stop_at
    try:
        trainer.fit()
    except Interrupted as stop:
        print(f"{stop}; a new trainer goes on")
        task.stop_at = None
        trainer = Trainer(initialise(shape, seed + 1), task, training, folder)  # other weights: they must all go
        trainer.resume()
        trainer.fit()
    return trainer.model.tokens.weight.detach().numpy()


def short_run(tokens: Tokens, settings: dict[str, Any], steps: int, seed: int, **how: int) -> float:
    """Return the bits per byte after a short training with the step size, width and decay in ``settings``."""
    how = {"block_size": 32, "eval_tokens": 2_000, "n_embd": 32, "n_layer": 2, "batch_size": 12, **how}
    given = {key: settings[key] for key in ("lr", "weight_decay") if key in settings}
    config = TrainingConfig(
        steps=steps, warmup_steps=steps // 10, eval_every=steps, seed=seed, batch_size=how["batch_size"], **given
    )
    shape = GPTConfig(
        tokens.tokenizer.vocab_size,
        how["block_size"],
        n_layer=how["n_layer"],
        n_head=2,
        n_embd=settings.get("n_embd", how["n_embd"]),
    )
    task = LanguageTask(
        tokens.train,
        tokens.validation,
        tokens.validation_bytes,
        block_size=how["block_size"],
        batch_size=config.batch_size,
        seed=seed,
        evaluation_tokens=how["eval_tokens"],
    )
    return Trainer(initialise(shape, seed), task, config).fit()["val_bits_per_byte"]


def tune(
    tokens: Tokens, n: int = 8, budget: int = 40, seed: int = 0, block_size: int = 32, eval_tokens: int = 2_000
) -> list[dict[str, Any]]:
    """Step 6: search the step size and the width; return all trials, the winner's longest one last."""
    ranges = {"lr": (3e-4, 3e-2), "n_embd": [32, 64, 96]}

    def evaluate(settings: dict[str, Any], steps: int) -> float:
        return short_run(tokens, settings, steps, seed, block_size=block_size, eval_tokens=eval_tokens)

    return [
        {**t.settings, "steps": t.budget, "bits_per_byte": t.score}
        for t in halving(random_settings(ranges, n, seed), evaluate, budget)
    ]


def grid_and_random(tokens: Tokens, steps: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Try nine settings of step size and weight decay on a grid, and nine at random; return all trials."""
    # why these ends: a hundredfold around the usual 3e-3; and decay, which in so short a run hardly matters
    ranges = {"lr": (3e-4, 3e-2), "weight_decay": (1e-3, 1e-1)}
    thirds = {name: [low * (high / low) ** share for share in (1 / 6, 1 / 2, 5 / 6)]
              for name, (low, high) in ranges.items()}  # fmt: skip
    ways = {"grid": grid(thirds), "random": random_settings(ranges, 9, seed)}
    small = {"n_layer": 1, "batch_size": 8, "eval_tokens": 1_000}
    return {
        way: [{**one, "bits": short_run(tokens, one, steps, seed, **small)} for one in settings]
        for way, settings in ways.items()
    }


def curve(tokens: Tokens, shape: GPTConfig, steps: int, seed: int) -> dict[str, Any]:
    """Train, and return the steps and the bits per byte in training and validation, and the model."""
    task = LanguageTask(tokens.train, tokens.validation, tokens.validation_bytes, block_size=shape.block_size,
                        batch_size=12, seed=seed, evaluation_tokens=5_000)  # fmt: skip
    training = TrainingConfig(steps=steps, lr=4e-3, warmup_steps=steps // 10, eval_every=steps // 5, seed=seed)
    trainer = Trainer(initialise(shape, seed), task, training)
    trainer.fit()
    seen = [(r["step"], tokens.bits_per_nat * r["train_loss"]) for r in trainer.history if "train_loss" in r]
    held = [(r["step"], r["val_bits_per_byte"]) for r in trainer.history if "val_bits_per_byte" in r]
    return {"training": seen, "validation": held, "model": trainer.model}


def draw(
    curves: list[dict[str, Any]],
    lines: dict[str, float],
    searches: list[dict[str, list[dict[str, Any]]]],
    best: dict[str, list[float]],
) -> tuple[Any, str]:
    """Return the figure and its alt text.

    Args:
        curves: what ``curve`` returned, for each seed.
        lines: two losses to compare with, by name.
        searches: what ``grid_and_random`` returned, for each seed.
        best: the best loss of each search, by its way.
    """
    fig, (left, right) = figure(10, 4.2, panels=2)
    first = curves[0]
    left.plot(*zip(*first["training"]), color=COLOURS[0], linewidth=1, alpha=0.6, label="training batches, one seed")
    held = np.array([[bits for _, bits in one["validation"]] for one in curves])  # (seeds, looks)
    at = [step for step, _ in first["validation"]]
    left.fill_between(at, held.min(axis=0), held.max(axis=0), color=COLOURS[1], alpha=0.25, linewidth=0)
    left.plot(at, held.mean(axis=0), color=COLOURS[1], marker="o", markersize=4, label="validation, three seeds")
    for (name, value), style in zip(lines.items(), ("--", ":"), strict=True):
        left.axhline(value, color="#555555", linewidth=1, linestyle=style)
        left.annotate(f"{name}, {value:.2f}", (0, value), xytext=(0, 3), textcoords="offset points", ha="left",
                      fontsize=9, color="#333333")  # fmt: skip
    left.set_ylim(0, 1.05 * held.max())
    left.set_xlabel("step")
    left.set_ylabel("bits per byte")
    left.set_title("The loss falls towards a floor that is known", loc="left", fontsize=11)
    left.legend(frameon=False, fontsize=9)
    for way, colour, marker in (("grid", COLOURS[0], "x"), ("random", COLOURS[1], "o")):
        trials = [trial for one in searches for trial in one[way]]
        right.scatter([t["lr"] for t in trials], [t["bits"] for t in trials], color=colour, marker=marker, s=28,
                      alpha=0.8, label=way)  # fmt: skip
    right.set_xscale("log")
    right.set_xlabel("step size")
    right.set_ylabel("bits per byte after a short run")
    right.set_title("A grid tries three step sizes, chance tries nine", loc="left", fontsize=11)
    right.legend(frameon=False, fontsize=9, loc="upper right")
    beside = ", ".join(f"{name} at {value:.2f}" for name, value in lines.items())
    alt = (
        f"Two panels. Left: bits per byte over {at[-1]} steps; validation falls from {held[:, 0].mean():.2f} to "
        f"{held[:, -1].mean():.2f}, beside lines for {beside}. Right: bits per byte after a short run against the step "
        "size; the trials of the grid stand in three columns, the random ones are spread between; the best of nine is "
        f"{np.mean(best['grid']):.3f} for the grid and {np.mean(best['random']):.3f} for random, on average."
    )
    return fig, alt
