"""Tables and pictures are made from what was recorded, also where libraries were missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as command
from tests.bench import charts, report

ROW = {"tokens": 768, "loss_gap": 1e-6, "gflop": 4.0}


def ms(median: float, ratio: float | None) -> dict[str, Any]:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median, "ratio": ratio}


def trained(name: str, dropout: float = 0.0, torch: bool = True) -> dict[str, Any]:
    times = {
        "minillm Trainer": ms(27.0, 0.75 if torch else None),
        "minillm plain loop": ms(32.4, 0.9 if torch else None),
    }
    times |= {"torch eager": ms(36.0, 1.0), "torch.compile": ms(34.0, 0.94)} if torch else {}
    times |= {"MyGrad": ms(366.0, 10.2 if torch else None)}
    peak = {**dict.fromkeys(times, 95.0), "torch eager": 380.0}
    return {
        "workload": name,
        "dropout": dropout,
        **ROW,
        "ms": times,
        "peak_mb": peak,
        "loaded_mb": dict.fromkeys(times, 40.0),
    }


def recorded(torch: bool = True) -> dict[str, Any]:
    numpy = {"blas": "openblas 0.3.31", "kernels": "Haswell", "threads": 2, "gflops": 220}
    mkl = {"torch": {"blas": "mkl", "kernels": None, "threads": 2, "gflops": 195}} if torch else {}
    case = {"batch": 1, "same": 1.0, "minillm": {"threads": 1, **ms(500.0, 0.5 if torch else None)}}
    if torch:
        case["torch"] = {"threads": 2, **ms(1000.0, 1.0)}
    pairing = {
        "blas": {"numpy": numpy, **mkl},
        "train": {name: trained(name, torch=torch) for name in ("S65", "M65")},
        "dropout": {"S65": trained("S65", 0.1, torch=torch)},
        "generate": {"S65": {"workload": "S65", "cases": [case]}},
    }
    point = {"context": 64, "us_per_token": 9.0, "mflop_per_token": 5.0, "mb": 40.0, "law_mb": 44.0, "peak_mb": 90.0}
    sweep = [{**point, "parameters": 10**n, "vocabulary": 10**n, "context": 10**n} for n in range(1, 4)]
    long = {"squares_mb": 537.0, "plain": sweep[0], "recomputed": sweep[1]}
    tape = {"op": 1.0, "op, recorded": 2.0}
    return {
        "machine": {
            "cpu": "A",
            "vendor": "AuthenticAMD",
            "cores": 2,
            "system": "Linux",
            "python": "3.11",
            "versions": {"numpy": "2.4"},
        },
        "left_out": {"JAX jit": "the package jax"},
        "pairings": {"avx2": pairing, "installed": pairing},
        "scaling": {"parameters": sweep, "context": sweep, "vocabulary": sweep, "long context": long},
        "verdicts": [{"says": "memory", "holds": False}],
        "ops": {"erf": {"minillm": 6.0, "torch": 2.0}, "x + y": {"minillm": 1.0, "torch": 4.0}},
        "micro": {
            "tape_us": {"minillm": tape, "torch": tape} if torch else {"minillm": tape},
            "import_s": {"minillm": 0.1},
            "tokenizer": {"megabytes": 2.0, "minillm": {"train_s": 2.0, "encode_mb_s": 3.0}},
        },
    }


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_readme_has_a_row_for_each_workload_and_says_who_met_whom() -> None:
    table = cells(report.readme_table(recorded()))
    assert len({len(row) for row in table}) == 1
    ours = ["minillm Trainer", "minillm plain loop", "minillm Trainer, fast", "minillm plain loop, fast"]
    assert table[0][2:8] == ["torch eager", *ours, "torch.compile"]
    assert table[2][:3] == ["both with AVX2", "S65", "36.0 ms"]
    assert table[2][3:8] == ["0.75", "0.90", "", "", "0.94"] and table[2][-1] == "95 / 380 = 0.25"
    assert [row[1] for row in table[2:]] == ["S65", "M65", "S65, dropout"] * 2
    text = report.readme(recorded())
    assert "numpy has openblas 0.3.31, Haswell, 2 threads, 220 GFLOP/s; torch has mkl, 2 threads, 195 GFLOP/s" in text
    assert "JAX jit (the package jax is missing)" in text


def test_single_ops_are_listed_by_how_far_behind_they_are() -> None:
    table = report.ops_table(recorded()["ops"])
    assert cells(table)[2:4] == [["x + y", "1.00", "4.00", "0.2"], ["erf", "6.00", "2.00", "3.0"]][::-1]
    assert table.endswith("geometric mean 0.87") and table in report.in_full(recorded())


def test_avx512_against_avx2_is_said_plainly() -> None:
    measured = recorded()["pairings"]["avx2"]["blas"]
    assert "OpenBLAS uses AVX-512 here" not in report.against("avx2", measured, "AuthenticAMD")
    measured["numpy"]["kernels"] = "SkylakeX"
    words = "OpenBLAS uses AVX-512 here; MKL, on a processor of AMD, AVX2"
    assert words in report.against("installed", measured, "AuthenticAMD")
    assert words not in report.against("installed", measured, "GenuineIntel")
    measured["torch"]["kernels"] = "told that the processor is Intel's"
    assert words not in report.against("avx512", measured, "AuthenticAMD")


def test_the_share_of_the_gemm_rate_is_that_of_the_library_itself() -> None:
    part = recorded()["pairings"]["avx2"]
    table = {row[1]: row for row in cells(report.training_table([part["train"]["S65"]], part["blas"]))}
    assert table["minillm Trainer"][6] == f"{4e3 / 220 / 27:.2f}" and table["torch eager"][6] == f"{4e3 / 195 / 36:.2f}"
    assert table["minillm Trainer"][5] == f"{768e3 / 27:,.0f}"


@pytest.mark.parametrize("torch", [True, False])
def test_everything_is_written_and_a_later_call_adds_to_it(
    torch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = recorded(torch)
    command.write(found, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {"bench.json", "bench.md", "scaling.png", "scaling.svg"}
    assert (tmp_path / "bench.png").exists() == torch
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "GPT-2" not in text and "- memory: NO" in text
    tables = [cells(block) for block in text.split("\n\n") if block.startswith("|")]
    assert tables and all(len({len(row) for row in table}) == 1 for table in tables)
    monkeypatch.setattr(command, "once", lambda *_, **__: found["machine"])
    assert command.opened(tmp_path) == json.loads(json.dumps(found))
    monkeypatch.setattr(command, "once", lambda *_, **__: {**found["machine"], "cpu": "B", "cores": 4})
    with pytest.raises(SystemExit, match=r"measured with a different cpu, cores; name another folder"):
        command.opened(tmp_path)


def test_the_picture_describes_itself_in_words(tmp_path: Path) -> None:
    written = charts.training_chart(recorded()["pairings"], tmp_path / "bench")
    assert [p.suffix for p in written] == [".png", ".svg"]
    svg = written[1].read_text(encoding="utf-8")
    assert "both with AVX2, S65: minillm Trainer 0.75, minillm plain loop 0.90, torch.compile 0.94" in svg
    assert "MyGrad" not in svg
