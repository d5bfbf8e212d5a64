"""minillm beside its peers on this machine.

    python -m tests.bench                      everything, about 40 minutes
    python -m tests.bench --quick              the training step at S65 only, a few minutes
    python -m tests.bench --only train --workloads S65 M65 --seconds 60
    python -m tests.bench --only ops           single ops, NumPy alone, a minute
    python -m tests.bench --only scaling
    python -m tests.bench --only train --pairings avx512
    python -m tests.bench --report             tables and pictures of what was measured before

Training and generation are measured for each pairing of BLAS libraries (tests/bench/pairings.py says why): ``avx2``,
both with AVX2; ``installed``, each as it comes; ``avx512``, PyTorch's MKL too; ``stands``, the environment unchanged.
Every library runs in a process of its own. Everything is written to runs/bench (``bench.json``, ``bench.md``, pictures
as PNG and SVG); a later call adds to what stands there, so that the whole can be measured in pieces.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import charts, report
from tests.bench.generating import time_tokens
from tests.bench.pairings import PAIRINGS, environment, lacks
from tests.bench.peers import PEERS, left_out
from tests.bench.process import once
from tests.bench.scaling import sweep_all, verdicts
from tests.bench.training import time_steps

WORKLOADS = ["S65", "S8192", "M65", "M8192"]
PARTS = ["train", "dropout", "generate", "micro", "ops", "scaling"]


def blas(pairing: str, before: dict[str, Any]) -> dict[str, Any]:
    """Return each library's matrix product in a pairing; of two measurements the faster one, since it is a floor."""
    found = {}
    for name in ("numpy", "torch", "jax"):
        if importlib.util.find_spec(name) is not None:
            new = once(f"tests.bench.machine:{name}_blas", environment(pairing, name))
            found[name] = max(new, before.get(name, new), key=lambda m: m["gflops"])
    return found


def run(args: argparse.Namespace, found: dict[str, Any]) -> Iterator[str]:
    """Measure what was asked for, add it to what was found before, and yield what there is to say after each piece."""
    settings = {"seconds": args.seconds, "rounds": args.rounds}
    for pairing in args.pairings if {"train", "dropout", "generate"} & set(args.only) else []:
        if lacks(pairing):
            yield f"{PAIRINGS[pairing]}: left out, {lacks(pairing)}"
            continue
        part = found["pairings"].setdefault(pairing, {})
        part["blas"] = blas(pairing, part.get("blas", {}))
        yield report.against(pairing, part["blas"], found["machine"]["vendor"])
        for key in [k for k in ("train", "dropout") if k in args.only]:
            for name in args.workloads:
                result = time_steps(name, args.peers, pairing, dropout=0.1 * (key == "dropout"), **settings)
                part.setdefault(key, {})[name] = result
                yield report.training_table([result], part["blas"])
        if "generate" in args.only:
            for name in [n for n in args.workloads if n in ("S65", "M65")]:
                part.setdefault("generate", {})[name] = time_tokens(name, pairing, **settings)
                yield report.generation_table([part["generate"][name]])
    if "micro" in args.only:
        found["micro"] = once("tests.bench.micro:measure", dict(os.environ))
        yield report.micro_table(found["micro"])
    if "ops" in args.only:
        found["ops"] = once("tests.bench.ops:measure", {**os.environ, "MINILLM_NUMBA": "0"})
        yield report.ops_table(found["ops"])
    if "scaling" in args.only:
        found["scaling"] = sweep_all(args.seconds / 20)
        found["verdicts"] = [{"says": says, "holds": holds} for says, holds in verdicts(found["scaling"])]
        yield report.scaling_table(found["scaling"])
        yield "\n".join(f"{v['says']}: {'yes' if v['holds'] else 'NO'}" for v in found["verdicts"])


def opened(folder: Path) -> dict[str, Any]:
    """Return what was measured before, or a beginning.

    Raises:
        SystemExit: if it was measured on another machine or with other versions.
    """
    machine = once("tests.bench.machine:describe", dict(os.environ))
    file = folder / "bench.json"
    if not file.exists():
        return {"machine": machine, "left_out": {}, "pairings": {}}
    found = json.loads(file.read_text(encoding="utf-8"))
    other = [key for key in machine if found["machine"].get(key) != machine[key]]
    if other:
        different = ", ".join(other)
        raise SystemExit(f"{file}: measured with a different {different}; name another folder (--out) or remove it")
    return found


def write(found: dict[str, Any], folder: Path) -> None:
    """Write numbers, tables and pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(report.in_full(found), encoding="utf-8")
    charts.training_chart(found["pairings"], folder / "bench")
    if "scaling" in found:
        charts.scaling_chart(found["scaling"], folder / "scaling")


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS, help="S or M and a vocabulary")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--pairings", nargs="+", default=["avx2", "installed"], choices=list(PAIRINGS))
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seconds", type=float, default=40.0, help="for each workload; a point of scaling has 1/20")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each peer")
    parser.add_argument("--quick", action="store_true", help="the training step at S65 only")
    parser.add_argument("--report", action="store_true", help="measure nothing, write tables and pictures anew")
    parser.add_argument("--gpu", action="store_true", help="instead: all that is measured on a card, 8 minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of what is written")
    args = parser.parse_args()
    if args.gpu:
        from tests.bench import gpu

        raise SystemExit(gpu.main(args.out))
    if args.quick:
        args.only, args.workloads = ["train"], ["S65"]
    found = opened(args.out)
    found["left_out"] = left_out(args.peers)
    print(report.machine_line(found["machine"]), *found["left_out"].items(), sep="\n", flush=True)
    if not args.report:
        for piece in run(args, found):
            print(piece, flush=True)
            write(found, args.out)
    write(found, args.out)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
