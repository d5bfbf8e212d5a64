"""What lesson 11 measures: GPTs that lack a part, trained on whole texts and judged on whole texts; the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.frame import bars
from lessons.l11_gpt import GPT, Block, GPTConfig
from minillm import datasets, optim
from minillm.training import figure
from minillm.training.curves import COLOURS

IGNORED = -100  # the target that cross-entropy leaves out


class AttentionBlock(Block):
    """A block that only looks: without its MLP."""

    def forward(self, x: minillm.Tensor, cache: nn.KVCache | None = None) -> minillm.Tensor:
        """Return x with what attention found added."""
        return x + self.dropout(self.attention(self.norm1(x), cache))


class PlainBlock(Block):
    """A block that replaces what was there instead of adding to it."""

    def forward(self, x: minillm.Tensor, cache: nn.KVCache | None = None) -> minillm.Tensor:
        """Return what the two parts make of x, one after the other."""
        return self.mlp(self.norm2(self.attention(self.norm1(x), cache)))


def without(part: str, config: GPTConfig, seed: int) -> GPT:
    """Return a fresh GPT that lacks "the MLP", "positions", "norms" or "residuals"; the whole one for ""."""
    minillm.manual_seed(seed)
    model: Any = GPT(config)
    if part == "positions":
        nn.init.zeros_(model.positions.weight)
        model.positions.weight.requires_grad_(False)
    elif part == "norms":
        model.norm = nn.Identity()
        for block in model.blocks:
            block.norm1, block.norm2 = nn.Identity(), nn.Identity()
    elif part in ("residuals", "the MLP"):
        kind = PlainBlock if part == "residuals" else AttentionBlock
        for i, block in enumerate(model.blocks):
            model.blocks[i] = kind(config)
            model.blocks[i].load_state_dict(block.state_dict())
    return model


def texts_in_rows(ids: np.ndarray, end: int, length: int) -> np.ndarray:
    """Return a row of ``length + 1`` ids for each mark ``end``: the mark, the text behind it, and what follows."""
    marks = np.flatnonzero(ids[:-length] == end)  # (N,)
    return ids[marks[:, None] + np.arange(length + 1)]


def train_on_texts(model: Any, rows: np.ndarray, steps: int, seed: int) -> Any:
    """Return a model that was trained to predict each next word of twelve rows a step."""
    optimizer = optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.99))
    # why: warm-up and a fall, as in lesson 05. With a straight line the first seed of the whole GPT ends at 0.29 bits
    # per character, with half a cosine at 0.32
    rise = steps // 10
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda t: min((t + 1) / rise, 1 - t / steps))
    for step in range(steps):
        row = rows[datasets.stream(seed, "texts", step).integers(len(rows), size=12)]  # (12, T + 1)
        logits = model(minillm.tensor(row[:, :-1]))  # (12, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), minillm.tensor(row[:, 1:].reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def bits_of_texts(model: nn.Module, rows: np.ndarray, end: int) -> float:
    """Return the mean of -log2 P over the words of the first text of each row, the mark at its end included.

    Raises:
        ValueError: if a text is longer than a row.
    """
    ends = np.cumsum(rows[:, 1:] == end, axis=1)  # (N, T): how many texts have ended here, or before
    if not ends[:, -1].all():
        raise ValueError(f"bits_of_texts: expected rows that hold a whole text, got one longer than {ends.shape[1]}")
    targets = np.where(ends - (rows[:, 1:] == end) == 0, rows[:, 1:], IGNORED)  # (N, T)
    nats = 0.0
    with minillm.no_grad():
        for i in range(0, len(rows), 64):  # why 64: a few megabytes of scores at a time
            logits = model(minillm.tensor(rows[i : i + 64, :-1]))  # (B, T, V)
            goal = minillm.tensor(targets[i : i + 64].reshape(-1))
            nats += F.cross_entropy(logits.flatten(0, 1), goal, reduction="sum", ignore_index=IGNORED).item()
    return nats / math.log(2) / int((targets != IGNORED).sum())


def measure_parts(
    config: GPTConfig, rows: np.ndarray, held_rows: np.ndarray, end: int, seeds: Sequence[int], steps: int
) -> tuple[GPT, dict[str, list[float]]]:
    """Train the GPT and the GPT without each of its parts, from the same seeds and on the same texts.

    Returns:
        The whole GPT of the first seed; and by name the bits per word on held-out texts, one number a seed.
    """
    models, bits = {}, {}
    for part in ("", "the MLP", "positions", "norms", "residuals"):
        name = f"without {part}" if part else "the whole GPT"
        models[name] = [train_on_texts(without(part, config, seed), rows, steps, seed) for seed in seeds]
        bits[name] = [bits_of_texts(model, held_rows, end) for model in models[name]]
    return models["the whole GPT"][0], bits


def draw(ladder: Mapping[str, Sequence[float]], parts: Mapping[str, Sequence[float]], floor: float) -> tuple[Any, str]:
    """Return the figure and its alt text: the ladder of models; beside it the GPT, and what it is without each part."""
    fig, axes = figure(11, 4.2, panels=2)
    grey, blue, red, green = "#555555", COLOURS[0], COLOURS[1], COLOURS[2]
    panels = (
        ("From counting to the GPT, down to the entropy", ladder, [grey] * (len(ladder) - 1) + [blue]),
        ("What each part of the block is worth", parts, [blue] + [red] * (len(parts) - 1)),
    )
    said = []
    for ax, (title, values, colours) in zip(axes, panels, strict=True):
        means = bars(ax, values, colours)
        said.append(", ".join(f"{name}: {mean:.2f}" for name, mean in zip(values, means, strict=True)))
        ax.axvline(floor, color=green, linewidth=2)
        ax.annotate(f" exact entropy, {floor:.2f}", (floor, -0.7), color=green)
        ax.set_ylim(len(values) - 0.5, -1.1)
        ax.set_xlabel("bits per character, held-out texts of the toy town")
        ax.set_title(title, loc="left", fontsize=11)
    alt = (
        f"Two panels of bars, bits per character on held-out texts; a line marks the exact entropy, {floor:.2f}. Left "
        f"the ladder of models: {said[0]}. Right the GPT and what it lacks: {said[1]}."
    )
    return fig, alt
