"""Checkpoints that are whole or not there.

A checkpoint is ``step-00000100.safetensors`` and, written after it, ``step-00000100.json`` with its size and sha256.
Without the second file the first does not count. Both are written beside their place and renamed into it, so a reader
never sees a half-written one, and a committed one is never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from minillm import serialization

__all__ = ["CheckpointError", "Checkpoints", "write_atomically"]


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, torn or changed."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they live; made when the first is saved.
        keep_last: how many of the newest to keep; the best one is kept besides.
    """

    def __init__(self, folder: str | Path, keep_last: int = 2) -> None:
        self.folder, self.keep_last = Path(folder), keep_last

    def save(self, step: int, state: dict[str, Any], best: bool = False, info: dict[str, Any] | None = None) -> Path:
        """Write the state of a step, mark it best if it is, and remove what is no longer kept.

        Args:
            state: nested dictionaries of tensors, numbers and texts.
            info: small facts for the manifest, such as the validation loss.

        Raises:
            OSError: if the disk does not take it; earlier checkpoints are untouched then.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}.safetensors"
        if not self._is_whole(path):  # the same step twice (a resumed run that stops at once) is the same state
            self._manifest(path).unlink(missing_ok=True)  # damaged, and the run has come here again
            serialization.save(state, path)
            facts = {
                "file": path.name,
                "step": step,
                "bytes": path.stat().st_size,
                "sha256": _sha256(path),
                **(info or {}),
            }
            write_atomically(self._manifest(path), json.dumps(facts, indent=1))
        if best:
            self.mark_best(path, info)
        self._prune()
        return path

    def mark_best(self, path: Path, info: dict[str, Any] | None = None) -> None:
        """Note that a checkpoint is the best so far."""
        step = int(path.stem.removeprefix("step-"))
        facts = {"file": path.name, "step": step, **(info or {})}
        write_atomically(self.folder / "best.json", json.dumps(facts, indent=1))

    def paths(self) -> list[Path]:
        """Return the committed checkpoints, oldest first."""
        found = [p for p in self.folder.glob("step-*.safetensors") if self._manifest(p).exists()]
        return sorted(found, key=lambda p: (len(p.name), p.name))  # by step, also beyond eight digits

    def best(self) -> Path | None:
        """Return the best checkpoint, if one was marked.

        Raises:
            CheckpointError: if the mark cannot be read.
        """
        mark = self.folder / "best.json"
        try:
            name = json.loads(mark.read_text(encoding="utf-8"))["file"]
            return self.folder / Path(name).name
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{mark}: does not name the best checkpoint ({error}); remove it") from None

    def verify(self, path: Path) -> None:
        """Compare a checkpoint with its manifest.

        Raises:
            CheckpointError: naming the file, what was expected and what was found.
        """
        try:
            facts = json.loads(self._manifest(path).read_text(encoding="utf-8"))
            expected = str(facts["sha256"])
        except FileNotFoundError:
            raise CheckpointError(
                f"{path}: no manifest {self._manifest(path).name} beside it; it was never finished"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{self._manifest(path)}: not a manifest ({error})") from None
        if not path.exists():
            raise CheckpointError(f"{path}: missing, though its manifest is there")
        found = _sha256(path)
        if found != expected:
            raise CheckpointError(
                f"{path}: damaged: sha256 is {found[:12]}..., expected {expected[:12]}... "
                f"({path.stat().st_size} bytes, expected {facts.get('bytes')})"
            )

    def load(self, path: Path) -> dict[str, Any]:
        """Return the state in a checkpoint, after checking it.

        Raises:
            CheckpointError: if it is not what was written.
        """
        self.verify(path)
        return serialization.load(path)

    def load_latest(self) -> tuple[Path, dict[str, Any]]:
        """Return the newest checkpoint that is whole; a damaged one is passed over with a warning.

        Raises:
            CheckpointError: if there is none.
        """
        for path in reversed(self.paths()):
            try:
                return path, self.load(path)
            except CheckpointError as error:
                warnings.warn(f"{error}; going back to the checkpoint before it", stacklevel=2)
        raise CheckpointError(f"{self.folder}: no checkpoint to load")

    def clean(self) -> None:
        """Remove what an interrupted save left behind."""
        for pattern in ("*.tmp", ".*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        for path in self.folder.glob("step-*.safetensors"):
            if not self._manifest(path).exists():
                path.unlink(missing_ok=True)

    def _is_whole(self, path: Path) -> bool:
        try:
            self.verify(path)
        except CheckpointError:
            return False
        return True

    def _manifest(self, path: Path) -> Path:
        return path.with_suffix(".json")

    def _prune(self) -> None:
        best = self.best()
        for path in self.paths()[: -self.keep_last]:
            if best is None or path.name != best.name:
                # The manifest goes first: without it the large file no longer counts.
                self._manifest(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, also after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return  # Windows cannot open a folder; its renames are journalled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
