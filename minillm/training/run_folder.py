"""The folder of a run: what was asked for, on what, and what came of it.

``runs/NAME/`` holds config.json, manifest.json, metrics.jsonl, timing.jsonl, samples.txt, tokenizer.json, checkpoints/
and curves.png/.svg/.json. While somebody trains in it, it also holds run.lock, which names the process and keeps a
second trainer out.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from minillm.training.checkpoints import write_atomically
from minillm.training.config import TrainingConfig

__all__ = ["RunError", "RunLock", "change_config", "create_run", "differences", "environment", "go_on", "read_config"]

_OWN = (
    "config.json",
    "manifest.json",
    "metrics.jsonl",
    "timing.jsonl",
    "samples.txt",
    "tokenizer.json",
    "result.json",
    "curves.png",
    "curves.svg",
    "curves.json",
    "checkpoints",
)
_LOCK = "run.lock"
# What stands in a config.json that somebody may have changed, or been sent.
_KINDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("model", "training"), ("names with values", dict)),
    **dict.fromkeys(("method", "pretrained", "device", "corpus_sha256", "tokenizer_sha256"), ("a text", str)),
    **dict.fromkeys(("dropout", "bits_per_nat", "minutes"), ("a number", int, float)),
    **dict.fromkeys(("vocab_size", "seed"), ("a whole number", int)),
    **{"labels": ("a list of names", list), "table": ("names with values, or null", dict, type(None))},
    **{"text": ("a path, or null", str, type(None)), "size": ("a name, or names with values", str, dict)},
}


class RunError(ValueError):
    """A folder that cannot be made, or is not the folder of a run."""


def create_run(
    folder: str | Path, config: dict[str, Any], facts: dict[str, Any] | None = None, force: bool = False
) -> Path:
    """Make the folder of a new run, having tried that it can be written to.

    Args:
        folder: where; folders above it are made.
        config: everything that the run depends on; goes to config.json.
        facts: what else is worth knowing (the card of the corpus, say); goes to manifest.json with the environment.
        force: start anew in the folder of an earlier run, whose files are removed.

    Raises:
        RunError: if the folder holds something already, cannot be written to, or somebody trains in it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise RunError(f"{folder}: not empty; give another --out, resume the run in it, or pass --force to start anew")
    for used in (folder, *(lock.parent for lock in folder.glob(f"*/{_LOCK}"))):  # a demo has runs inside
        RunLock(used).refuse()
    texts = {  # the config comes last: it makes the folder that of a run
        "manifest.json": json.dumps({**environment(), **(facts or {})}, indent=1, ensure_ascii=False),
        "config.json": json.dumps(config, indent=1, ensure_ascii=False),
    }
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    begun = [folder / ".writable.tmp"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        begun[0].write_text("", encoding="utf-8")  # a trial, before anything of the earlier run is removed
        begun[0].unlink()
        for path in [folder / name for name in _OWN]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for name, text in texts.items():
            begun += [folder / name, folder / f"{name}.tmp"]
            write_atomically(folder / name, text)
    except OSError as error:
        with contextlib.suppress(OSError):  # leave nothing half-made
            for path in begun:
                path.unlink(missing_ok=True)
            for path in missing:
                if path.exists():
                    path.rmdir()
        raise RunError(f"{folder}: cannot be written to ({error.strerror}); give another --out") from None
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the config of the run in a folder.

    Raises:
        RunError: if there is no run in it.
    """
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder}: no config.json in it, so it is not the folder of a run") from None
    except NotADirectoryError:
        raise RunError(f"{folder}: is a file; give the folder of a run") from None
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("kind"), str):
        raise RunError(f"{path}: not the config of a run (it has no 'kind')")
    for name in config.keys() & _KINDS.keys():
        what, *kinds = _KINDS[name]
        if not isinstance(config[name], tuple(kinds)) or isinstance(config[name], bool):
            raise RunError(f"{path}: expected {what} in {name!r}, got {str(config[name])[:80]}")
    return _Config(path, config)


class _Config(dict):
    """What stands in a config.json; a name that is missing is an error of the file."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__({k: _Config(path, v) if isinstance(v, dict) else v for k, v in content.items()})
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise RunError(f"{self.path}: there is no {name!r} in it; it is not complete, or of another version")


def change_config(folder: str | Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Change training settings in the config of a run, and note there that the user asked for it.

    Args:
        changes: new values by name; others stay.

    Returns:
        What has changed: name, then old and new value.

    Raises:
        ConfigError: if they break a rule.
        RunError: if there is no run in the folder, or somebody trains in it.
    """
    config = read_config(folder)
    RunLock(folder).refuse()
    training = config.get("training", {})
    now = TrainingConfig.from_dict({**training, **changes}).to_dict()
    found = differences(training, {name: now[name] for name in changes})
    if found:
        config["training"] = {**training, **changes}
        config["changed"] = sorted({*config.get("changed", []), *found})
        write_atomically(Path(folder) / "config.json", json.dumps(config, indent=1, ensure_ascii=False))
    return found


def go_on(folder: str | Path, config: dict[str, Any]) -> dict[str, Any]:
    """Hold the config.json of a run that goes on against what was rebuilt from it; return it as ``Trainer(about=)``.

    Raises:
        RunError: naming every setting that differs, with both values.
    """
    kept = read_config(folder)
    found = differences(kept, config)
    if found:
        listed = "; ".join(f"{name} is {was!r} there, expected {now!r}" for name, (was, now) in found.items())
        raise RunError(f"{Path(folder) / 'config.json'}: does not fit the run: {listed}")
    return {**config, "changed": kept.get("changed", [])}


def differences(was: dict[str, Any], now: dict[str, Any], name: str = "") -> dict[str, tuple[Any, Any]]:
    """Return where two settings differ, by dotted name; what only one of them has is not compared.

    >>> differences({"lr": 0.1, "model": {"n_layer": 2, "bias": True}}, {"lr": 0.1, "model": {"n_layer": 4}})
    {'model.n_layer': (2, 4)}
    """
    found = {}
    for key in was.keys() & now.keys():
        a, b = was[key], now[key]
        if isinstance(a, dict) and isinstance(b, dict):
            found.update(differences(a, b, f"{name}{key}."))
        elif a != b or type(a) is not type(b):
            found[f"{name}{key}"] = (a, b)
    return dict(sorted(found.items()))


class RunLock:
    """Keeps a second trainer out of a run folder, by a file that names the process which trains there.

    A lock whose process is gone (killed, or the machine went down) is taken over. On another computer, which a shared
    disk may serve, nobody can tell whether a process lives; its lock holds until the file is removed.

    Args:
        folder: of the run; ``None`` locks nothing.

    Raises:
        RunError: on entering, if another trainer is at work there, or the folder cannot be written to.
    """

    # why a file and not flock: it can be read by people, works on network disks and on Windows.
    _mine: set[str] = set()  # what the living locks of this process say: its number may once have been another's

    def __init__(self, folder: str | Path | None) -> None:
        self.path = None if folder is None else Path(folder) / _LOCK
        self._release: Any = None

    def __enter__(self) -> RunLock:
        if self.path is None or (self._release is not None and self._release.alive):
            return self
        pid = os.getpid()
        said = {"pid": pid, "began": _began(pid), "computer": platform.node(), "token": os.urandom(8).hex()}
        text = json.dumps(said)
        self._mine.add(text)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._write(text):
                self.refuse()
        except OSError as error:
            self._mine.discard(text)
            raise RunError(f"{self.path.parent}: cannot be written to ({error.strerror}); give another --out") from None
        except BaseException:
            self._mine.discard(text)
            raise
        # Also when the trainer is dropped or the program ends.
        self._release = weakref.finalize(self, _give_back, self.path, text)
        return self

    def __exit__(self, *error: object) -> None:
        if self._release is not None:
            self._release()

    def refuse(self) -> None:
        """Return if nobody trains in the folder; a lock that was left behind is removed.

        Raises:
            RunError: naming who does.
        """
        assert self.path is not None
        text = self._read()
        if text is None:
            return
        try:
            said = json.loads(text)
            pid, computer = int(said["pid"]), str(said["computer"])
            if computer == platform.node():
                alive = _began(pid) == str(said["began"]) and (pid != os.getpid() or text in self._mine)
            else:
                alive = True
        except (ValueError, KeyError, TypeError, OverflowError):
            alive, pid, computer = False, 0, ""  # torn: its process died while it wrote
        if alive:
            raise RunError(
                f"{self.path.parent}: process {pid} on {computer} is training in it; wait for it, or stop it and "
                f"resume (if there is no such process, remove {self.path})"
            )
        self._remove(text)

    def _read(self) -> str | None:
        """Return what the lock says, or ``None`` without a lock; wait a moment for one that is being written."""
        assert self.path is not None
        text: str | None = ""
        for _ in range(20):
            try:
                text = self.path.read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                return None
            if text.endswith("}"):
                break
            time.sleep(0.02)
        return text

    def _write(self, text: str) -> bool:
        """Make the lock; tell whether it was not there."""
        assert self.path is not None
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        try:
            with open(handle, "w", encoding="utf-8") as f:
                f.write(text)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _remove(self, text: str) -> None:
        """Remove a lock that was left behind, unless somebody has taken it over in the meantime."""
        assert self.path is not None
        aside = self.path.with_name(f"{_LOCK}-{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            os.rename(self.path, aside)  # of several who try, one succeeds
        except FileNotFoundError:
            return
        if aside.read_text(encoding="utf-8", errors="replace") == text:
            aside.unlink()
        else:
            os.rename(aside, self.path)


def _give_back(path: Path, text: str) -> None:
    RunLock._mine.discard(text)
    with contextlib.suppress(OSError):  # the folder may be gone
        if path.read_text(encoding="utf-8") == text and json.loads(text)["pid"] == os.getpid():  # not in a fork
            path.unlink()


def _began(pid: int) -> str | None:
    """Return what tells a running process from a later one of the same number; ``None`` if there is none."""
    if pid <= 0:
        return None
    if sys.platform == "win32":
        import ctypes

        # Trap: os.kill(pid, 0) sends Ctrl-C on Windows.
        kernel, status = ctypes.windll.kernel32, ctypes.c_ulong()
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return "" if kernel.GetLastError() == 5 else None  # ERROR_ACCESS_DENIED: somebody else's
        kernel.GetExitCodeProcess(handle, ctypes.byref(status))
        kernel.CloseHandle(handle)
        return "" if status.value == 259 else None  # STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # somebody else's
    try:
        # Linux: behind the name in parentheses stand the state and, as number 22 of all, the start in ticks since boot.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]  # a zombie is dead already


def environment() -> dict[str, Any]:
    """Return what a result may depend on: versions, BLAS, processor, threads."""
    import minillm

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "minillm": minillm.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
        "platform": f"{sys.platform} {platform.machine()}",
        "cpus": os.cpu_count(),
    }
