"""The folder of a run: what was asked for, on what, and what came of it.

``runs/NAME/`` holds config.json, manifest.json, metrics.jsonl, timing.jsonl, samples.txt, tokenizer.json, checkpoints/
and curves.png/.svg/.json. While somebody trains in it, it also holds run.lock, which names the process and keeps a
second trainer out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minillm.backend import get_backend
from minillm.training.checkpoints import write_atomically
from minillm.training.config import TrainingConfig
from minillm.training.run_lock import LOCK, RunError, RunLock

__all__ = ["PLACES", "change_config", "create_run", "differences", "environment", "go_on", "read_config", "setting"]

PLACES = ("text", "table.data", "table.validation", "pretrained")
"""Settings that say where a run's texts lie, and the run it was fine-tuned from. When it goes on they may lie
elsewhere: what counts is the sha256 of texts and tokenizer, and the shape of the model."""

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
# What stands in a config.json that somebody may have changed, or been sent.
_KINDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("model", "training"), ("names with values", dict)),
    **dict.fromkeys(("method", "pretrained", "device", "corpus_sha256", "tokenizer_sha256"), ("a text", str)),
    **dict.fromkeys(("dropout", "bits_per_nat", "minutes"), ("a number", int, float)),
    **dict.fromkeys(("vocab_size", "seed", "test_texts"), ("a whole number", int)),
    **dict.fromkeys(("labels", "changed"), ("a list of names", list)),
    **{"prior": ("a list of numbers", list)},
    **{"table": ("names with values, or null", dict, type(None))},
    **{"text": ("a path, or null", str, type(None)), "size": ("a name, or names with values", str, dict)},
}


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
        RunError: if the folder holds something already, cannot be written to, or somebody trains in it; with ``force``
            also where the files to remove are not those of a run, or are what the new run reads.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise RunError(f"{folder}: not empty; give another --out, resume the run in it, or pass --force to start anew")
    _spare(folder, config)
    for used in (folder, *(lock.parent for lock in folder.glob(f"*/{LOCK}"))):  # a demo has runs inside
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


def _spare(folder: Path, config: dict[str, Any]) -> None:
    """Refuse to remove from a folder what no run has written there, or what the new run reads.

    Raises:
        RunError: naming it.
    """
    gone = [path for path in (folder / name for name in _OWN) if path.exists()]
    marks = {"config.json": "kind", "manifest.json": "minillm"}  # either may be missing where a start was interrupted
    if gone and not any(mark in _names(folder / name) for name, mark in marks.items()):
        raise RunError(f"{folder}: holds {gone[0].name}, but no run has written it; give another --out, or remove it")
    table = config.get("table") or {}
    read = [config.get("pretrained"), config.get("text"), table.get("data"), table.get("validation")]
    for path in [Path(name).resolve() for name in read if name]:
        if path == folder.resolve() or any(path.is_relative_to(lost.resolve()) for lost in gone):
            raise RunError(f"{folder}: the new run reads {path}, which would be removed; give another --out")
    if _lies_in(folder, config.get("text")):
        text = Path(config["text"]).resolve()
        raise RunError(f"{folder}: lies in {text}, so its samples would be read as text; give an --out elsewhere")


def _lies_in(folder: Path, text: str | None) -> bool:
    """Tell whether a run lies among its texts: as soon as there were samples they would be others."""
    return text is not None and folder.resolve().is_relative_to(Path(text).resolve())


def _names(path: Path) -> Any:
    """Return the names that stand in a JSON file, or nothing if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return ()
    return content if isinstance(content, dict) else ()


_LARGEST = {".json": 2**26, ".jsonl": 2**30, ".txt": 2**30}  # bytes, by the ending of a file


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the config of the run in a folder.

    Raises:
        RunError: if there is no run in it, or if a file in it is not what a run writes: a link out of the folder, say.
    """
    path = Path(folder) / "config.json"
    try:
        _look_over(Path(folder))
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
        parts: Any = {"a list of names": str, "a list of numbers": (int, float)}.get(what)
        if (
            not isinstance(config[name], tuple(kinds))
            or isinstance(config[name], bool)
            or (parts is not None and not all(isinstance(part, parts) for part in config[name]))
        ):
            raise RunError(f"{path}: expected {what} in {name!r}, got {str(config[name])[:80]}")
    return _Config(path, config)


def _look_over(folder: Path) -> None:
    """Refuse what no run writes and no reader or writer of a run expects.

    Runs are sent around. A log that is a link would have another file written over, a pipe would be waited for without
    end, and a file that is a hole of terabytes would fill the memory.
    """
    root, folders = folder.resolve(), [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_symlink():
                    if not path.resolve().is_relative_to(root):
                        raise RunError(f"{path}: is a link that leads out of the run; put a copy in its place")
                elif entry.is_dir():
                    folders.append(path)
                elif not entry.is_file() and path.exists():  # a trainer may have removed it by now
                    raise RunError(f"{path}: is neither a file nor a folder; remove it")
                elif path.suffix in _LARGEST and path.exists() and path.stat().st_size > _LARGEST[path.suffix]:
                    raise RunError(f"{path}: has {path.stat().st_size:,} bytes, more than a run writes")


class _Config(dict):
    """What stands in a config.json; a name that is missing is an error of the file."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__({k: _Config(path, v) if isinstance(v, dict) else v for k, v in content.items()})
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise RunError(f"{self.path}: there is no {name!r} in it; it is not complete, or of another version")


def change_config(
    folder: str | Path, changes: dict[str, Any], places: dict[str, str] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Change settings in the config of a run, and note there that the user asked for it.

    Args:
        changes: new values of training settings by name; others stay.
        places: where the texts lie now that the run learns from, or the run that it was fine-tuned from, by names in
            ``PLACES``.

    Returns:
        What has changed: name, then old and new value.

    Raises:
        ConfigError: if they break a rule.
        RunError: if there is no run in the folder, somebody trains in it, it learns from no such text, or it
            lies among the new ones.
    """
    config = read_config(folder)
    RunLock(folder).refuse()
    training = config.get("training", {})
    now = TrainingConfig.from_dict({**training, **changes}).to_dict()
    trained = differences(training, {name: now[name] for name in changes})
    if trained:
        config["training"] = {**training, **changes}
        config["changed"] = sorted({*config.get("changed", []), *trained})
    moved = {}
    for name, path in (places or {}).items():
        was, (owner, _, key) = setting(config, name), name.rpartition(".")
        if was is None:
            raise RunError(
                f"{folder}: did not begin with --{key}, so there is nothing that could have moved; leave it out"
            )
        if name == "text" and _lies_in(Path(folder), path):
            raise RunError(f"{folder}: lies in {path}, so its samples would be read as text; move one of them")
        if was != path:
            moved[name] = was, path
            (config[owner] if owner else config)[key] = path
    if trained or moved:
        write_atomically(Path(folder) / "config.json", json.dumps(config, indent=1, ensure_ascii=False))
    return {**trained, **moved}


def setting(config: dict[str, Any], name: str) -> Any:
    """Return a setting by its dotted name; ``None`` if there is none.

    >>> setting({"table": {"data": "a.csv"}}, "table.data"), setting({"table": None}, "table.data")
    ('a.csv', None)
    """
    owner, _, key = name.rpartition(".")
    return ((config.get(owner) or {}) if owner else config).get(key)


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


def environment() -> dict[str, Any]:
    """Return what a result may depend on: versions, BLAS, processor, threads."""
    import minillm

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "minillm": minillm.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": importlib.metadata.version("numba") if get_backend("cpu").compiles else None,
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
        "platform": f"{sys.platform} {platform.machine()}",
        "cpus": os.cpu_count(),
    }
