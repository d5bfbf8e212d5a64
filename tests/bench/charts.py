"""Pictures of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minillm.training.curves import COLOURS, figure, save_figure
from tests.bench.pairings import PAIRINGS
from tests.bench.peers import PEERS
from tests.bench.scaling import sweeps


def training_chart(pairings: dict[str, Any], path: Path) -> list[Path]:
    """Draw the time of a training step as a share of PyTorch's, a panel for each pairing of BLAS libraries.

    Returns:
        The files written; none if PyTorch was not there to be compared with.
    """
    shown = {name: list(part.get("train", {}).values()) for name, part in pairings.items()}
    shown = {name: [r for r in results if "torch eager" in r["ms"]] for name, results in shown.items()}
    shown = {name: results for name, results in shown.items() if results}
    if not shown:
        return []
    every = [r for results in shown.values() for r in results]
    timed = {peer for r in every for peer in r["ms"]}
    peers = [p for p in PEERS if p in timed and p != "torch eager" and not PEERS[p].slow]
    fig, axes = figure(max(7.2, 4.0 * len(shown), 1.4 * len(every)), 3.8, len(shown))
    highest = max(1.0, *(r["ms"][p]["ratio"] for r in every for p in peers if p in r["ms"]))
    panels = [axes] if len(shown) == 1 else axes
    for ax, (name, results) in zip(panels, shown.items(), strict=True):
        width = 0.84 / len(peers)
        for i, peer in enumerate(peers):
            there = [(j, r["ms"][peer]["ratio"]) for j, r in enumerate(results) if peer in r["ms"]]
            places = [j + (i - (len(peers) - 1) / 2) * width for j, _ in there]
            bars = ax.bar(places, [height for _, height in there], 0.92 * width, color=COLOURS[i], label=peer)
            ax.bar_label(bars, fmt="%.2f", fontsize=6.5, padding=2)
        ax.axhline(1, color="#555555", linewidth=1, linestyle=":")
        ax.set_xticks(range(len(results)), [r["workload"] for r in results])
        ax.set_title(f"A training step, {PAIRINGS[name]}", loc="left", fontsize=10)
        ax.set_ylim(0, 1.25 * highest)
        if ax is panels[0]:
            ax.set_ylabel("time of a step, torch eager = 1")
            ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    each = []
    for name, results in shown.items():
        for r in results:
            ratios = ", ".join(f"{p} {r['ms'][p]['ratio']:.2f}" for p in peers if p in r["ms"])
            each.append(f"{PAIRINGS[name]}, {r['workload']}: {ratios}")
    alt = "; ".join(each)
    return save_figure(fig, path, alt=f"Bars: time of a training step as a share of PyTorch's. {alt}.")


def scaling_chart(found: dict[str, Any], path: Path) -> list[Path]:
    """Draw how time a token and memory grow (lines with points), and how FLOPs and activations do (dashed)."""
    lines = (
        ("us_per_token", "time a token", COLOURS[0], "o-"),
        ("mflop_per_token", "FLOPs a token", COLOURS[0], "--"),
        ("mb", "memory", COLOURS[1], "s-"),
        ("law_mb", "activations and weights", COLOURS[1], "--"),
    )
    fig, axes = figure(10.5, 3.6, 3)
    for ax, axis in zip(axes, sweeps(), strict=True):
        points = found[axis]
        for key, label, colour, style in lines:
            if all(p[key] is not None for p in points):
                growth = [p[key] / points[0][key] for p in points]
                sizes = [p[axis] for p in points]
                ax.plot(sizes, growth, style, color=colour, label=label, markersize=4, linewidth=1.5)
        ax.set(xscale="log", yscale="log", xlabel=axis)
        ax.set_title(f"by {axis}", loc="left", fontsize=10)
    axes[0].set_ylabel("times the first point")
    axes[0].legend(frameon=False, fontsize=8)
    alt = "Growth of a training step's time a token and memory with parameters, context and vocabulary, on log axes, "
    return save_figure(fig, path, alt=alt + "beside the growth of its FLOPs and of the numbers that it must hold.")
