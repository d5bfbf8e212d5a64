"""Work in other processes: each library alone in its own, with an environment of its own.

In one process libraries would disturb each other (idle threads of one spin while the other works), and peak memory
would be that of all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def peak_mb(others: Sequence[int] = ()) -> float | None:
    """Return the largest memory that this process has had, in MB; ``None`` where the system does not say (Windows).

    Args:
        others: ids of processes whose own peaks are added. Memory that they map together (weights and gradients of a
            Trainer's processes) counts once, files such as libraries in each. Only Linux tells.
    """
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    shared = [_status("self", "RssShmem")] if others else []
    for pid in others:
        own = _status(pid, "VmHWM")
        if own is None:
            return None
        total += own
        shared.append(_status(pid, "RssShmem"))
    mapped = [bytes_ or 0 for bytes_ in shared]
    return (total - sum(mapped) + max(mapped, default=0)) / 1e6


def _status(pid: int | str, name: str) -> int | None:
    """Return what Linux notes of a process, in bytes; ``None`` if there is no such process or entry."""
    status = Path(f"/proc/{pid}/status")
    words = status.read_text(encoding="utf-8").partition(f"{name}:")[2].split() if status.exists() else []
    return 1024 * int(words[0]) if words else None


def function(path: str) -> Callable[..., Any]:
    """Return the function at a path such as ``tests.bench.machine:describe``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class Process:
    """A function at work in another process: it is called once, and what it returns is called for every question.

    Args:
        path: of the function.
        environment: of the process.
        arguments: of the function, as JSON has them.
    """

    def __init__(self, path: str, environment: dict[str, str], /, **arguments: Any) -> None:
        command = [sys.executable, "-m", "tests.bench.process", path, json.dumps(arguments)]
        self._what = f"{path} {arguments}"
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, question: Any = None) -> Any:
        """Return the answer.

        Raises:
            RuntimeError: if the process has ended; its own message stands above.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died while it was made: no answer will come
            print(json.dumps(question), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith('{"answer": '):  # a library may print too
                return json.loads(line)["answer"]
        raise RuntimeError(f"{self._what}: ended with status {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def once(path: str, environment: dict[str, str], /, **arguments: Any) -> Any:
    """Call a function in a fresh process and return what it returns."""
    with Process("tests.bench.process:postponed", environment, path=path, arguments=arguments) as process:
        return process.ask()


def postponed(path: str, arguments: dict[str, Any]) -> Callable[[Any], Any]:
    """Return the call of a function, to be made when it is asked for."""
    return lambda _: function(path)(**arguments)


def serve(path: str, arguments: dict[str, Any]) -> None:
    """Answer what comes in, line by line."""
    answer = function(path)(**arguments)
    for line in sys.stdin:
        print(json.dumps({"answer": answer(json.loads(line))}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
