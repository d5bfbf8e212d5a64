"""The figure of lesson 06: texts on two straight directions, and on the map of areas, coloured by topic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minillm.training import figure
from minillm.training.curves import COLOURS

TOPIC_COLOURS = [*COLOURS, "#882255", "#999933", "#777777", "#332288"]  # eleven topics; letters say the same


def draw(plane: np.ndarray, table: np.ndarray, topics: np.ndarray, labels: Sequence[str]) -> Any:
    """Return the figure.

    Args:
        plane: each text on the first two components, (N, 2).
        table: how many texts of each topic lie in each area of a square map, (areas, topics).
        topics: the topic of each text, (N,).
        labels: the names of the topics.
    """
    short = ["tx" if name == "text" else name[:2] for name in labels]  # "testing" has the other "te"
    fig, (left, right) = figure(11, 5, panels=2)
    for topic, name in enumerate(labels):
        colour = TOPIC_COLOURS[topic]
        left.plot(*plane[topics == topic].T, ".", color=colour, markersize=3, alpha=0.6)
        left.plot([], [], "o", color=colour, markersize=6, label=f"{short[topic]}  {name}")
    left.set(xlabel="first component", ylabel="second component")
    left.set_title("Two straight directions: arms and a crowd", loc="left", fontsize=11)
    side = math.isqrt(len(table))
    for cell, of in enumerate(table):
        if of.sum():
            up, across, most = *divmod(cell, side), int(of.argmax())
            width = 1.0 + 1.6 * math.sqrt(of.sum() / table.sum(axis=1).max())
            right.scatter(across, up, 900 * width**2 / side, color=TOPIC_COLOURS[most], linewidths=0)
            right.text(across, up, short[most], ha="center", va="center", fontsize=7, color="white")
    right.set(xlim=(-0.6, side - 0.4), ylim=(-0.6, side - 0.4), aspect="equal")
    right.axis("off")
    right.set_title(f"The map: {len(table)} areas, most frequent topic", loc="left", fontsize=11)
    fig.legend(loc="outside right center", frameon=False, fontsize=9)
    return fig
