"""minillm beside its peers on this machine.

    python -m tests.bench                      everything, about a quarter of an hour
    python -m tests.bench --quick              the training step at S65 only, one minute
    python -m tests.bench --only train --workloads S65 M65 --seconds 60

Every measurement runs in a process of its own, once as the environment stands and, if OPENBLAS_CORETYPE is set in it,
once without. Writes ``bench.json``, ``bench.png`` and ``bench.svg`` to runs/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.peers import PEERS
from tests.bench.training import installed, serve

WORKLOADS = ["S65", "S8192", "M65", "M8192"]
PARTS = ["train", "dropout", "generate", "micro"]


def child(part: str, arguments: dict[str, Any]) -> Any:
    """Do one measurement in this process."""
    if part == "machine":
        from tests.bench.machine import describe

        return describe()
    if part == "train":
        from tests.bench.training import time_steps

        return time_steps(**arguments)
    if part == "generate":
        from tests.bench.generating import time_tokens

        return time_tokens(**arguments)
    from tests.bench.micro import measure

    return measure(**arguments)


def measure(part: str, environment: dict[str, str], **arguments: Any) -> Any:
    """Do one measurement in a fresh process and return what it printed."""
    command = [sys.executable, "-m", "tests.bench", "--child", part, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{part} {arguments}: the measurement failed\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run(args: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    """Return all measurements that were asked for, in one environment."""
    peers = installed(args.peers)
    found: dict[str, Any] = {"machine": measure("machine", environment)}
    print(json.dumps(found["machine"], indent=1), flush=True)
    for part in args.only:
        found[part] = []
        if part in ("train", "dropout"):
            for name in args.workloads:
                settings = {"seconds": args.seconds, "rounds": args.rounds, "dropout": 0.1 * (part == "dropout")}
                found[part].append(measure("train", environment, name=name, peers=peers, **settings))
                print(report.training_table(found[part][-1:], found["machine"]), flush=True)
        elif part == "generate":
            for name in ("S65", "M65"):
                found[part].append(measure("generate", environment, name=name, seconds=args.seconds))
                print(report.generation_table(found[part][-1:]), flush=True)
        else:
            found[part] = measure("micro", environment)
            print(json.dumps(found[part], indent=1), flush=True)
    return found


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS, help="S or M and a vocabulary")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seconds", type=float, default=40.0, help="for each training workload")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each peer")
    parser.add_argument("--quick", action="store_true", help="the training step at S65 only")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of what is written")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child and args.child[0] == "serve":
        serve(**json.loads(args.child[1]))
        return
    if args.child:
        print(json.dumps(child(args.child[0], json.loads(args.child[1]))))
        return
    if args.quick:
        args.only, args.workloads = ["train"], ["S65"]
    found = {"as it stands": run(args, dict(os.environ))}
    if "OPENBLAS_CORETYPE" in os.environ:
        unset = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        found["OPENBLAS_CORETYPE unset"] = run(args, unset)
    report.write(found, args.out)


if __name__ == "__main__":
    main()
