"""Learning curves: the files, what they show, and figures that come out the same."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minillm.training import figure, plot_curves, read_metrics, save_figure
from minillm.training.curves import smooth

ROOT = Path(__file__).resolve().parents[2]
RECORDS: list[dict[str, Any]] = [
    {"step": 0, "val_loss": 5.0, "val_bits_per_byte": 4.0, "val_accuracy": 0.1},
    *({"step": s, "train_loss": 5.0 - s / 10} for s in range(1, 20)),
    {"step": 10, "val_loss": 3.0, "val_bits_per_byte": 2.5, "val_accuracy": 0.4},
    {"step": 20, "val_loss": 3.5, "val_bits_per_byte": 2.9, "val_accuracy": 0.5, "train_loss": math.nan},
]


LINES = {"best n-gram (order 6)": 2.0}


def draw(path: Path, **options: Any) -> list[Path]:
    return plot_curves(
        {"run": RECORDS},
        path,
        **{"bits_per_nat": 0.8, "baselines": LINES, "title": "A title", "stopped_at": 10, **options},
    )


def test_png_svg_and_the_numbers(tmp_path: Path) -> None:
    png, svg, numbers = draw(tmp_path / "new" / "curves")
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000 and height >= 600
    text = svg.read_text(encoding="utf-8")
    for words in ("training", "validation", "best n-gram (order 6): 2.000", "best: 2.500", "A title", "bits per byte"):
        assert f"<!-- {words} -->" in text, words
    shown = json.loads(numbers.read_text(encoding="utf-8"))
    assert shown["runs"]["run"]["validation"] == [[0, 4.0], [10, 2.5], [20, 2.9]]
    assert len(shown["runs"]["run"]["train_nats"]) == 19  # a NaN is no point
    assert shown["baselines"] == LINES


def test_what_a_figure_shows_is_said_in_all_its_files(tmp_path: Path) -> None:
    fig, (left, right) = figure(panels=2)
    assert [axes.spines["top"].get_visible() for axes in (left, right)] == [False, False]
    png, svg, numbers = save_figure(fig, tmp_path / "two", {"x": 1}, alt="Two empty panels < three.")
    assert b"Two empty panels < three." in png.read_bytes()
    assert "Two empty panels &lt; three." in svg.read_text(encoding="utf-8")
    assert json.loads(numbers.read_text(encoding="utf-8")) == {"alt": "Two empty panels < three.", "x": 1}


def test_the_same_curves_are_the_same_files(tmp_path: Path) -> None:
    one, two = draw(tmp_path / "a" / "curves"), draw(tmp_path / "b" / "curves")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_the_mark_stands_only_where_a_best_step_is_known(tmp_path: Path) -> None:
    for step in (None, 11):  # no such step among the evaluations
        assert "best:" not in draw(tmp_path / "curves", stopped_at=step)[1].read_text(encoding="utf-8")


@pytest.mark.parametrize(("metric", "label"), [("loss", "nats per token"), ("accuracy", "accuracy")])
def test_other_metrics(tmp_path: Path, metric: str, label: str) -> None:
    svg = draw(tmp_path / "curves", metric=metric, bits_per_nat=None, baselines=None)[1]
    text = svg.read_text(encoding="utf-8")
    assert f"<!-- {label} -->" in text
    assert ("<!-- training -->" in text) == (metric == "loss")


def test_several_runs_are_told_apart_by_name(tmp_path: Path) -> None:
    svg = plot_curves({"one": RECORDS, "two": RECORDS}, tmp_path / "curves", bits_per_nat=1.0)[1]
    text = svg.read_text(encoding="utf-8")
    for words in ("training (one)", "validation (one)", "training (two)", "validation (two)"):
        assert f"<!-- {words} -->" in text


def test_a_run_without_lines_can_be_drawn(tmp_path: Path) -> None:
    assert len(plot_curves({"empty": []}, tmp_path / "curves")) == 3


def test_the_settings_of_matplotlib_are_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw(tmp_path / "curves")
    assert dict(mpl.rcParams) == before


def test_no_window_system_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from minillm.training import plot_curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot_curves({'a': [{'step': 1, 'val_loss': 2.0}]}, Path(sys.argv[1]), metric='loss')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "curves")], check=True, cwd=ROOT, env=env)
    assert (tmp_path / "curves.svg").exists()


def test_metrics_are_read_line_by_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is .* the folder of a run"):
        read_metrics(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n', encoding="utf-8")
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
    for torn in (b"", b'{"st', b'{"step": 3}', b"\0\0\0", b'{"a": "\xc3'):
        path.write_bytes(b'{"step": 1}\n' + torn)
        assert read_metrics(tmp_path) == [{"step": 1}]  # a run that is being written, or was cut off


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"st', b"", b"3", b"[]", b"\0\0", b"\xff", b"[" * 100_000),
        *(b'{"val_loss": 1}', b'{"step": "2"}', b'{"step": 2, "val_loss": null}', b'{"step": 2, "val_loss": NaN}'),
        *(b'{"step": true}', b'{"step": 2, "train_loss": "3"}', b'{"step": 2, "val_loss": 1' + b"0" * 400 + b"}"),
    ],
    ids=lambda b: repr(b[:30]),
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: not a step's figures; .* resume the run"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"step"'])
def test_no_metrics_yet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.jsonl: holds no metrics yet; train first"):
        read_metrics(tmp_path)


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value() -> None:
    assert smooth([2.0] * 5) == pytest.approx([2.0] * 5)
    assert smooth([4.0, 0.0])[0] == 4.0
    assert smooth([]) == []


def test_each_run_is_drawn_in_its_own_unit(tmp_path: Path) -> None:
    import matplotlib.axes

    drawn: dict[str, Any] = {}
    real = matplotlib.axes.Axes.plot

    def plot(ax: Any, *args: Any, **kwargs: Any) -> Any:
        if "training" in str(kwargs.get("label")):
            drawn[kwargs["label"]] = list(args[1])
        return real(ax, *args, **kwargs)

    records = [{"step": 1, "train_loss": 2.0}, {"step": 1, "val_bits_per_byte": 1.0}]
    runs = {"a": records, "b": records, "c": records}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.axes.Axes, "plot", plot)
        plot_curves(runs, tmp_path / "all", bits_per_nat={"a": 0.5, "b": 0.25, "c": None})
    assert drawn == {"training (a)": [1.0], "training (b)": [0.5]}


def test_a_figure_needs_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (".", "..", "/"):
        with pytest.raises(ValueError, match="is a folder; give a name for the figure in it"):
            plot_curves({"a": RECORDS}, place)
