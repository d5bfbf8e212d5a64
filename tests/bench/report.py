"""Tables and a chart of what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minillm.training.curves import COLOURS, figure, save_figure


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def training_table(results: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Return milliseconds a step, spread, ratio to PyTorch, tokens a second, share of the GEMM rate, peak memory."""
    rows = []
    for r in results:
        for peer, ms in r["ms"].items():
            floor = r["gflop"] / machine["gemm_gflops"] * 1e3
            ratio = "" if ms["ratio"] is None else f"{ms['ratio']:.2f}"
            spread = f"{ms['low']:.1f} to {ms['high']:.1f}"
            rate = f"{1e3 * r['tokens'] / ms['median']:,.0f}"
            what = r["workload"] + (f", dropout {r['dropout']}" if r["dropout"] else "")
            share, peak = f"{floor / ms['median']:.2f}", f"{r['peak_mb'][peer]:.0f}"
            rows.append([what, peer, f"{ms['median']:.1f}", spread, ratio, rate, share, peak])
    head = ["workload", "", "ms a step", "rounds", "ratio to torch eager", "tokens/s", "of the GEMM rate", "peak MB"]
    return _table(head, rows)


def generation_table(results: list[dict[str, Any]]) -> str:
    """Return tokens a second."""
    rows = []
    for r in results:
        for case in r["cases"]:
            rate = [f"{case[p]:.0f}" if p in case else "" for p in ("minillm", "torch")]
            ratio = f"{case['torch'] / case['minillm']:.2f}" if "torch" in case else ""
            rows.append([r["workload"], str(case["batch"]), *rate, ratio])
    return _table(["workload", "batch", "minillm tokens/s", "torch tokens/s", "time a token, ratio"], rows)


def chart(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the time of a training step as a share of PyTorch's."""
    fig, ax = figure(7.2, 3.6)
    peers = [p for p in results[0]["ms"] if p != "torch eager"]
    width = 0.8 / len(peers)
    for i, peer in enumerate(peers):
        places = [j + (i - (len(peers) - 1) / 2) * width for j in range(len(results))]
        heights = [r["ms"][peer]["ratio"] for r in results]
        bars = ax.bar(places, heights, 0.92 * width, color=COLOURS[i], label=peer)
        ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    ax.axhline(1, color="#555555", linewidth=1, linestyle=":")
    ax.set_xticks(range(len(results)), [r["workload"] for r in results])
    ax.set_ylabel("time of a step, torch eager = 1")
    ax.set_title("A training step on the CPU (lower is faster)", loc="left", fontsize=11)
    ax.set_ylim(0, 1.25 * max(1.0, *(r["ms"][p]["ratio"] for r in results for p in peers)))
    ax.legend(frameon=False, fontsize=9, ncols=len(peers), loc="upper left")
    save_figure(fig, path)


def write(found: dict[str, Any], folder: Path) -> None:
    """Write everything as JSON, and the chart of the first environment."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    results = next(iter(found.values())).get("train")
    if results and all(ms["ratio"] is not None for r in results for ms in r["ms"].values()):
        chart(results, folder / "bench")
    print(f"written: {folder}")
