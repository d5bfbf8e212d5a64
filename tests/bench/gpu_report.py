"""Tables and a chart of what the GPU benchmark found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minillm.training.curves import COLOURS, figure, save_figure
from tests.bench.gpu_training import AGREE, PEERS

Results = list[dict[str, Any]]


def of(found: Results, part: str, **about: Any) -> Results:
    """Return the results of a part that did not fail, and that have some values."""
    return [
        r for r in found if r["part"] == part and "failed" not in r and all(r.get(k) == v for k, v in about.items())
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown; nothing without rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if rows else ""


def line(result: dict[str, Any]) -> str:
    """Return a result in one short line, for whoever watches."""
    shown = {k: v for k, v in result.items() if not isinstance(v, (list, dict))}
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())[:160]


def best_rate(found: Results, precision: str) -> float | None:
    """Return the TFLOP/s of the best product in a precision."""
    return max((r["tflop_s"] for r in of(found, "gemm", precision=precision)), default=None)


def gap(found: Results, result: dict[str, Any]) -> float | None:
    """Return how far the first losses of a peer lie from those of PyTorch eager in the same setting."""
    setting = {k: result[k] for k in ("precision", "batch_size")}
    for other in of(found, "training", peer="torch eager", **setting):
        return max(abs(a - b) for a, b in zip(result["losses"], other["losses"], strict=True))
    return None


def training_table(found: Results) -> str:
    """Return tokens a second, share of the best product's rate, memory, and whether the losses agree."""
    rows = []
    for r in sorted(of(found, "training"), key=lambda r: (r["precision"], r["batch_size"], PEERS.index(r["peer"]))):
        rate = r["flops"] / r["s"] / 1e12
        ceiling = best_rate(found, r["precision"])
        apart = gap(found, r)
        agrees = "" if apart is None else f"{apart:.1e}" + ("" if apart <= AGREE[r["precision"]] else " DIFFERS")
        rows.append([
            r["precision"], str(r["batch_size"]), r["peer"], f"{r['tokens'] / r['s']:,.0f}",
            f"{1e3 * r['s']:.1f} ({1e3 * r['low_s']:.1f} to {1e3 * r['high_s']:.1f})", f"{1e3 * r['pipelined_s']:.1f}",
            f"{rate:.0f}", "" if ceiling is None else f"{rate / ceiling:.2f}",
            "" if r["peak_bytes"] is None else f"{r['peak_bytes'] / 2**30:.1f}", agrees,
        ])  # fmt: skip
    head = ["precision", "batch", "", "tokens/s", "ms a step", "ms, without waiting", "model TFLOP/s", "of best",
            "GiB taken", "loss apart"]  # fmt: skip
    return table(head, rows)


def kernel_table(found: Results) -> str:
    """Return times of kernels, bytes a second beside a copy's, times without them, and errors."""
    copy = next((r["gb_s"] for r in of(found, "ceiling", name="copy")), None)
    rows = []
    for r in of(found, "kernel"):
        share = ["" if copy is None else f" ({x / copy:.2f})" for x in r["gb_s"]]
        rates = [f"{x:,.0f}{s}" for x, s in zip(r["gb_s"], share, strict=True)]
        ratios = [f"{b / a:.1f}" for a, b in zip(r["kernel_us"], r["function_us"], strict=True)]
        times = [f"{x:.0f}" for x in r["kernel_us"]]
        rates, ratios, times = ([*column, ""][:2] for column in (rates, ratios, times))  # no backward pass: one each
        name = r["name"] + ("" if r["used"] else " (NOT USED)")
        rows.append([name, r["precision"], *times, *rates, *ratios, "" if r["apart"] is None else f"{r['apart']:.1e}"])
    head = ["kernel", "type", "forward us", "backward us", "forward GB/s (of a copy's)", "backward GB/s",
            "times faster than the op without it", "backward", "largest difference"]  # fmt: skip
    return table(head, rows)


def tables(found: Results) -> str:
    """Return everything as Markdown."""
    parts = []
    for r in of(found, "environment"):
        facts = {k: v for k, v in r.items() if k not in ("part", "kernels") and v}
        parts.append("\n".join(f"- {k}: {v}" for k, v in facts.items()))
    rows = [[r["name"], "", f"{r['gb_s']:,.0f} GB/s"] for r in of(found, "ceiling")]
    rows += [[r["name"], r["precision"], f"{r['tflop_s']:.0f} TFLOP/s"] for r in of(found, "gemm")]
    rows += [[f"products of attention, {r['name']}", "bfloat16", f"{r['us']:.0f} us"] for r in of(found, "heads")]
    parts.append(table(["ceiling", "precision", "rate"], rows))
    parts.append(training_table(found))
    parts.append(kernel_table(found))
    rows = [
        [r["precision"], str(r["batch_size"]), r["peer"], f"{r['tokens_s']:,.0f}", f"{r['ms_a_token']:.2f}"]
        for r in sorted(of(found, "generation"), key=lambda r: (r["precision"], r["batch_size"], r["peer"]))
    ]
    parts.append(table(["generation", "batch", "", "tokens/s", "ms a step"], rows))
    for r in of(found, "tests"):
        counts = ", ".join(f"{n} {word.lower()}" for word, n in sorted(r["counts"].items()))
        parts.append(
            "\n".join(
                [f"pytest -m gpu: {counts or 'no test'} ({r['summary']})", *(f"- {name}" for name in r["failures"])]
            )
        )
    failed = [r for r in found if "failed" in r]
    if failed:
        about = [" ".join(str(r[k]) for k in r if k != "failed") for r in failed]
        parts.append(
            "\n".join(["Not measured:", *(f"- {a}: {r['failed']}" for a, r in zip(about, failed, strict=True))])
        )
    return "\n\n".join(part for part in parts if part)


def chart(found: Results, path: Path) -> None:
    """Draw the tokens a second of each peer in each setting; nothing if no training was measured."""
    results = of(found, "training")
    settings = sorted({(r["precision"], r["batch_size"]) for r in results})
    if not settings:
        return
    fig, ax = figure(8.4, 3.8)
    width = 0.8 / len(PEERS)
    for i, peer in enumerate(PEERS):
        for j, (precision, batch_size) in enumerate(settings):
            for r in of(results, "training", peer=peer, precision=precision, batch_size=batch_size):
                place = j + (i - (len(PEERS) - 1) / 2) * width
                bar = ax.bar(place, r["tokens"] / r["s"] / 1e3, 0.92 * width, color=COLOURS[i])
                ax.bar_label(bar, fmt="%.0f", fontsize=8, padding=2)
        ax.bar(0, 0, color=COLOURS[i], label=peer)
    ax.set_xticks(range(len(settings)), [f"{precision}, {batch_size}" for precision, batch_size in settings])
    ax.set_ylabel("thousand tokens a second")
    ax.set_title("Training GPT-2 124M, by precision and batch (higher is faster)", loc="left", fontsize=11)
    ax.margins(y=0.15)
    ax.legend(frameon=False, fontsize=9)
    save_figure(fig, path)
