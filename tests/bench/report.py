"""Tables of what was measured."""

from __future__ import annotations

import math
from typing import Any

from tests.bench.pairings import PAIRINGS
from tests.bench.peers import PEERS

Found = dict[str, Any]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def blas_of(peer: str) -> str:
    """Return whose matrix product a peer uses: a key of what was measured about them."""
    library = PEERS[peer].library
    return library if library in ("torch", "jax") else "numpy"


def training_table(results: list[Found], blas: dict[str, Found]) -> str:
    """Return what a step took, beside PyTorch, and beside the time of its matrix products alone."""
    rows = []
    for r in results:
        for peer, ms in r["ms"].items():
            floor = r["gflop"] / blas[blas_of(peer)]["gflops"] * 1e3
            rows.append(
                [
                    r["workload"] + (f", dropout {r['dropout']}" if r["dropout"] else ""),
                    peer,
                    f"{ms['median']:.1f}",
                    f"{ms['low']:.1f} to {ms['high']:.1f}",
                    _number(ms["ratio"]),
                    f"{1e3 * r['tokens'] / ms['median']:,.0f}",
                    f"{floor / ms['median']:.2f}",
                    _number(r["peak_mb"][peer], ".0f"),
                    _number(r["loaded_mb"][peer], ".0f"),
                ]
            )
    head = ["workload", "", "ms a step", "rounds", "ratio to torch eager", "tokens/s", "of its GEMM rate", "peak MB"]
    return _table([*head, "of it the library"], rows)


def generation_table(results: list[Found]) -> str:
    """Return microseconds a token with the threads that suit each, and the ratio."""
    rows = []
    for r in results:
        for case in r["cases"]:
            row = [r["workload"], str(case["batch"])]
            for library in ("minillm", "torch"):
                t = case.get(library)
                row += ["", ""] if t is None else [f"{1e6 / t['median']:,.0f}", f"{t['median']:.0f} ({t['threads']})"]
            rows.append([*row, _number(case["minillm"]["ratio"])])
    head = ["workload", "texts", "minillm tokens/s", "us a token (threads)", "torch tokens/s", "us a token (threads)"]
    return _table([*head, "time a token, ratio"], rows)


def scaling_table(found: Found) -> str:
    """Return what each point of the sweeps took."""
    rows = []
    for axis in ("parameters", "context", "vocabulary"):
        rows += [[axis, *_point(p)] for p in found.get(axis, [])]
    for name, case in found.get("long context", {}).items():
        if isinstance(case, dict):
            rows.append([f"2,048 tokens, {name}", *_point(case)])
    if "GPT-2 124M" in found:
        rows.append(["GPT-2 124M", *_point(found["GPT-2 124M"])])
    head = ["sweep", "parameters", "context", "vocabulary", "us a token", "MFLOP a token", "memory MB", "law MB"]
    return _table([*head, "peak MB"], rows)


def _point(p: Found) -> list[str]:
    counts = [f"{p[k]:,}" for k in ("parameters", "context", "vocabulary")]
    times = [f"{p['us_per_token']:.1f}", f"{p['mflop_per_token']:.2f}"]
    return [*counts, *times, _number(p["mb"], ".0f"), f"{p['law_mb']:.0f}", _number(p["peak_mb"], ".0f")]


def micro_table(found: Found) -> str:
    """Return the cost of the tape, of the import and of the tokenizer, side by side."""
    rows = []
    for what in next(iter(found["tape_us"].values())):
        rows.append([f"{what}, us", *(f"{found['tape_us'].get(p, {}).get(what, 0):.2f}" for p in ("minillm", "torch"))])
    rows.append(["import, s", *(_number(found["import_s"].get(p)) for p in ("minillm", "torch"))])
    tokenizer = found["tokenizer"]
    ours, theirs = tokenizer["minillm"], tokenizer.get("tokenizers", {})
    for what, words in (("train_s", "train 8,000 merges, s"), ("encode_mb_s", "encode, MB/s"),
                        ("encode_mb_s, first time", "encode for the first time, MB/s")):  # fmt: skip
        rows.append([f"{words} ({tokenizer['megabytes']:.1f} MB)", _number(ours.get(what)), _number(theirs.get(what))])
    return _table(["", "minillm", "torch, tokenizers"], rows)


def ops_table(found: dict[str, dict[str, float]]) -> str:
    """Return the time of single ops, forward and backward, the furthest behind PyTorch first."""
    ratios = {name: ms["minillm"] / ms["torch"] for name, ms in found.items()}
    rows = [
        [name, f"{found[name]['minillm']:.2f}", f"{found[name]['torch']:.2f}", f"{ratios[name]:.1f}"]
        for name in sorted(ratios, key=lambda name: -ratios[name])
    ]
    mean = math.exp(sum(map(math.log, ratios.values())) / max(1, len(ratios)))
    return (
        _table(["op, forward and backward, ms", "minillm", "torch", "ratio"], rows) + f"\n\ngeometric mean {mean:.2f}"
    )


WITH_AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""Kernels of OpenBLAS that use it."""


def against(pairing: str, measured: Found, vendor: str) -> str:
    """Say which BLAS meets which."""
    words = []
    for name in ("numpy", "torch", "jax"):
        if name in measured:
            m = measured[name]
            kernels = f", {m['kernels']}" if m["kernels"] else ""
            words.append(f"{name} has {m['blas']}{kernels}, {m['threads']} threads, {m['gflops']} GFLOP/s")
    text = f"{PAIRINGS[pairing]}: {'; '.join(words)}"
    wide = measured["numpy"]["kernels"] in WITH_AVX512
    if wide and vendor == "AuthenticAMD" and "torch" in measured and not measured["torch"]["kernels"]:
        text += ". OpenBLAS uses AVX-512 here; MKL, on a processor of AMD, AVX2"
    return text


def machine_line(machine: Found) -> str:
    """Say what it was measured on."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}; {versions}"


def readme_table(found: Found) -> str:
    """Return the training steps as one table: a row a workload, times as shares of PyTorch's."""
    shown = [p for p in PEERS if p != "torch eager" and not PEERS[p].slow]
    rows = []
    for pairing, part in found["pairings"].items():
        for r in [*part.get("train", {}).values(), *part.get("dropout", {}).values()]:
            if "torch eager" not in r["ms"]:
                continue
            name = r["workload"] + (", dropout" if r["dropout"] else "")
            row = [PAIRINGS[pairing], name, f"{r['ms']['torch eager']['median']:.1f} ms"]
            row += [_number(r["ms"][p]["ratio"]) if p in r["ms"] else "" for p in shown]
            rows.append([*row, _memory(r["peak_mb"])])
    return _table(["", "workload", "torch eager", *shown, "peak MB, Trainer / torch"], rows)


def _memory(peak: dict[str, float | None]) -> str:
    ours, theirs = peak.get("minillm Trainer"), peak["torch eager"]
    return "" if ours is None or theirs is None else f"{ours:.0f} / {theirs:.0f} = {ours / theirs:.2f}"


def readme(found: Found) -> str:
    """Return what the README shows: the table, generation, and whose matrix products were compared."""
    parts = [readme_table(found)]
    for pairing, part in found["pairings"].items():
        if part.get("generate"):
            parts += [f"Generation, {PAIRINGS[pairing]}:", generation_table(list(part["generate"].values()))]
    machine = found["machine"]
    lines = [f"{machine_line(machine)}. Products of two matrices of 1,024 x 1,024 in float32, at best:", ""]
    lines += [f"- {against(pairing, part['blas'], machine['vendor'])}" for pairing, part in found["pairings"].items()]
    lines += [f"- left out: {peer} ({why} is missing)" for peer, why in found["left_out"].items()]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def in_full(found: Found) -> str:
    """Return everything as Markdown."""
    parts = ["# For the README", readme(found).strip()]
    for pairing, part in found["pairings"].items():
        for key in ("train", "dropout"):
            if part.get(key):
                parts += [f"# Training, {PAIRINGS[pairing]}", training_table(list(part[key].values()), part["blas"])]
    if "scaling" in found:
        parts += ["# Scaling", scaling_table(found["scaling"])]
        parts.append("\n".join(f"- {v['says']}: {'yes' if v['holds'] else 'NO'}" for v in found["verdicts"]))
    if "micro" in found:
        parts += ["# Small things", micro_table(found["micro"])]
    if found.get("ops"):
        parts += ["# Single ops", ops_table(found["ops"])]
    return "\n\n".join(parts) + "\n"
