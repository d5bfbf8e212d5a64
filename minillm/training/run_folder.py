"""The folder of a run: what was asked for, on what, and what came of it.

``runs/NAME/`` holds config.json, manifest.json, metrics.jsonl, timing.jsonl, samples.txt, tokenizer.json, checkpoints/
and curves.png/.svg/.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minillm.training.checkpoints import write_atomically

__all__ = ["RunError", "create_run", "environment", "read_config"]

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
        RunError: if the folder holds something already, or cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise RunError(f"{folder}: not empty; give another --out, resume the run in it, or pass --force to start anew")
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
    if not isinstance(config, dict) or "kind" not in config:
        raise RunError(f"{path}: not the config of a run (it has no 'kind')")
    return config


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
