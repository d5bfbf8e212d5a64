"""Learning curves, in the house style: two colours that everybody can tell apart, labels at the lines, nothing else."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minillm.training.checkpoints import naming

__all__ = ["COLOURS", "figure", "plot_curves", "read_metrics", "save_figure"]

# Okabe and Ito's palette (2008): distinct for all common kinds of colour vision, and in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def figure(width: float = 7.2, height: float = 4.2, panels: int = 1) -> tuple[Any, Any]:
    """Return a figure and its axes in the house style, drawn without a screen.

    Args:
        width, height: in inches.
        panels: how many axes side by side; for more than one they come as a list.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    axes = [fig.add_subplot(1, panels, i + 1) for i in range(panels)]
    for ax in axes:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.grid(axis="y", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig, axes[0] if panels == 1 else axes


def save_figure(fig: Any, path: str | Path, numbers: dict[str, Any] | None = None, alt: str = "") -> list[Path]:
    """Write a figure as PNG and SVG, and the numbers that it shows as JSON beside it.

    Args:
        path: without ending.
        numbers: what is plotted.
        alt: what the figure shows, in words, for those who cannot see it; it stands in all three files.

    Returns:
        The files written.

    Raises:
        SaveError: if the disk does not take one of them.
    """
    import matplotlib

    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"{path}: is a folder; give a name for the figure in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_name(path.name + ".png"), path.with_name(path.name + ".svg")]
    with matplotlib.rc_context({"svg.hashsalt": "minillm"}):  # the same figure gives the same file
        described = {"Description": alt} if alt else {}
        for file, how in ((written[0], described), (written[1], {"Date": None, **described})):
            drawn = io.BytesIO()  # whole before the file is touched, and a full disk names the file
            fig.savefig(drawn, dpi=150 if file.suffix == ".png" else "figure", format=file.suffix[1:], metadata=how)
            with naming(file, drawn.tell()):
                file.write_bytes(drawn.getvalue())
    if numbers is not None:
        numbers = {"alt": alt, **numbers} if alt else numbers
        written.append(path.with_name(path.name + ".json"))
        text = json.dumps(numbers, indent=1) + "\n"
        with naming(written[-1], len(text)):
            written[-1].write_text(text, encoding="utf-8")
    return written


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl; a last line that is still being written, or was cut off, is left out.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: naming the line that does not hold the finite figures of a step, or if there is no line yet.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; is {folder} the folder of a run?")
    found = []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn, or nothing
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not _is_metrics(record):
            raise ValueError(f"{path}:{number}: not a step's figures; remove it, or resume the run, which repairs it")
        found.append(record)
    if not found:
        raise ValueError(f"{path}: holds no metrics yet; train first, or resume the run")
    return found


def _is_metrics(record: dict[str, Any]) -> bool:
    """Tell whether a line says which step it is of, and nothing but numbers that can be drawn."""
    numbers = [v for v in record.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    small = all(-1e300 < v < 1e300 for v in numbers)  # neither NaN, nor an integer that no float can hold
    return small and len(numbers) == len(record) and isinstance(record.get("step"), int)


def smooth(values: Sequence[float], share: float = 0.9) -> list[float]:
    """Return exponentially weighted means, corrected for the start (as Adam corrects its own)."""
    mean, out = 0.0, []
    for i, v in enumerate(values, start=1):
        mean = share * mean + (1 - share) * v
        out.append(mean / (1 - share**i))
    return out


def plot_curves(
    runs: dict[str, list[dict[str, Any]]],
    path: str | Path,
    *,
    metric: str = "bits_per_byte",
    bits_per_nat: float | Mapping[str, float | None] | None = None,
    baselines: dict[str, float] | None = None,
    title: str = "",
    stopped_at: int | None = None,
) -> list[Path]:
    """Draw training and validation curves of one or several runs.

    Args:
        runs: metrics (see ``read_metrics``) by name.
        path: where to, without ending.
        metric: the validation figure to show: "bits_per_byte", "loss" or "accuracy".
        bits_per_nat: what one nat per token of the training loss is in the unit of ``metric``, of all runs or of each
            by its name; ``None`` leaves the training curve out unless the metric is the loss itself.
        baselines: horizontal lines by name, in the unit of ``metric``.
        title: says what is seen.
        stopped_at: the step whose weights were kept, marked on the curve of the first run.

    Returns:
        The files written: PNG, SVG and the numbers as JSON.
    """
    fig, ax = figure()
    numbers: dict[str, Any] = {"metric": metric, "runs": {}, "baselines": baselines or {}}
    highest = []
    for i, (name, records) in enumerate(runs.items()):
        colour = COLOURS[i % len(COLOURS)]
        of_run = bits_per_nat.get(name) if isinstance(bits_per_nat, Mapping) else bits_per_nat
        factor = 1.0 if metric == "loss" else of_run
        label = "" if len(runs) == 1 else f" ({name})"
        validation = [(r["step"], r[f"val_{metric}"]) for r in records if f"val_{metric}" in r]
        train = [(r["step"], r["train_loss"]) for r in records if "train_loss" in r and math.isfinite(r["train_loss"])]
        if train and factor is not None:
            steps = [s for s, _ in train]
            values = [factor * v for _, v in train]
            ax.plot(steps, values, color=colour, alpha=0.18, linewidth=0.8)
            ax.plot(steps, smooth(values), color=colour, linewidth=1.2, linestyle=(0, (4, 2)), label=f"training{label}")
        if validation:
            ax.plot(
                *zip(*validation, strict=True),
                color=colour,
                marker="o",
                markersize=3.5,
                linewidth=1.8,
                label=f"validation{label}",
            )
            highest.append(sorted(v for _, v in validation)[-2 if len(validation) > 2 else -1])
        numbers["runs"][name] = {"validation": validation, "train_nats": train}
        if i == 0 and stopped_at is not None and validation:
            best = dict(validation).get(stopped_at)
            if best is not None:
                ax.annotate(
                    f"best: {best:.3f}",
                    (stopped_at, best),
                    textcoords="offset points",
                    xytext=(0, -16),
                    ha="right",
                    fontsize=9,
                    color=colour,
                )
                ax.plot([stopped_at], [best], marker="o", markersize=9, markerfacecolor="none", color=colour)
    # Names of lines stand where curves do not end: accuracies rise to their end, losses fall from the start.
    place, side = (0.08, "left") if metric == "accuracy" else (0.99, "right")
    for j, (name, value) in enumerate((baselines or {}).items()):
        ax.axhline(value, color="#555555", linewidth=1, linestyle=[":", "-.", "--"][j % 3])
        ax.annotate(
            f"{name}: {value:.3f}",
            (place, value),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(0, 3),
            ha=side,
            fontsize=9,
            color="#333333",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    if highest:
        top = 1.08 * max([*highest, *(baselines or {}).values()])
        # Of losses, the first value, before any training, would squeeze everything else to the bottom.
        ax.set_ylim(*((0, top) if metric == "accuracy" else (None, top)))
    ax.set_xlabel("step")
    ax.set_ylabel({"bits_per_byte": "bits per byte", "loss": "nats per token"}.get(metric, metric))
    if title:
        ax.set_title(title, loc="left", fontsize=11)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9)
    return save_figure(fig, path, numbers)
