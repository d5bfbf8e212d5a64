"""Checkpoints that are whole or not there.

A checkpoint is ``step-00000100.safetensors`` and, written after it, ``step-00000100.json`` with its size and sha256.
Without the second file the first does not count. Both are written beside their place and renamed into it, so a reader
never sees a half-written one, and a committed one is never changed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minillm import serialization
from minillm.tensor import Tensor

__all__ = ["CheckpointError", "Checkpoints", "SaveError", "append", "write_atomically"]


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, torn or changed."""


class SaveError(OSError):
    """A file that the disk does not take; the message says how many bytes it needs and how many are free."""

    needed = free = 0

    def __str__(self) -> str:
        if self.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            return (
                f"{self.filename}: not written ({self.strerror}): its folder must be there and writable. "
                "What was saved before is whole"
            )
        return (
            f"{self.filename}: not written ({self.strerror}): needs about {self.needed:,} bytes, {self.free:,} are "
            "free. What was saved before is whole: make room and resume"
        )


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
            SaveError: if the disk does not take it; earlier checkpoints are untouched then.
        """
        path = self.folder / f"step-{step:08d}.safetensors"
        with naming(path, _bytes(state)):
            self.folder.mkdir(parents=True, exist_ok=True)
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
            self._prune(path)
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
        try:
            size, wanted = path.stat().st_size, facts.get("bytes")
            if isinstance(wanted, int) and size > wanted:  # not read: it may be a hole of terabytes
                raise CheckpointError(f"{path}: damaged: {size:,} bytes, expected {wanted:,}")
            found = _sha256(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing, though its manifest is there") from None
        if found != expected:
            raise CheckpointError(
                f"{path}: damaged: sha256 is {found[:12]}..., expected {expected[:12]}... "
                f"({size:,} bytes, expected {wanted})"
            )

    def load(self, path: Path) -> dict[str, Any]:
        """Return the state in a checkpoint, after checking it.

        Raises:
            CheckpointError: if it is not what was written.
        """
        self.verify(path)
        try:
            return serialization.load(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: was removed while it was read") from None
        except ValueError as error:  # its manifest is honest about a file that is none
            raise CheckpointError(str(error)) from None

    def load_latest(self) -> tuple[Path, dict[str, Any]]:
        """Return the newest checkpoint that is whole; a damaged one is passed over with a warning.

        Raises:
            CheckpointError: if there is none.
        """
        before: list[str] | None = None
        while before != (before := sorted(path.name for path in self.folder.glob("*"))):
            for path in reversed(self.paths()):
                try:
                    return path, self.load(path)
                except CheckpointError as error:
                    if not self._manifest(path).exists():
                        break  # not damaged: a trainer has saved newer ones and removed it, so look again
                    warnings.warn(f"{error}; going back to the checkpoint before it", stacklevel=2)
        raise CheckpointError(f"{self.folder}: no checkpoint to load; start the run anew (--force)")

    def load_best(self) -> tuple[Path, dict[str, Any]]:
        """Return the best checkpoint, or the newest if none was marked; also while a trainer saves and removes.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        while (best := self.best()) is not None:
            try:
                return best, self.load(best)
            except CheckpointError:
                if self.best() == best:  # and no better one has taken its place
                    raise
        return self.load_latest()

    def clean(self) -> None:
        """Remove what an interrupted save left behind."""
        for pattern in ("*.tmp", ".*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        for path in self.folder.glob("step-*.safetensors"):
            if not self._manifest(path).exists():
                path.unlink(missing_ok=True)

    # --- inside ------------------------------------------------------------------------------------------------------
    def _is_whole(self, path: Path) -> bool:
        try:
            self.verify(path)
        except CheckpointError:
            return False
        return True

    def _manifest(self, path: Path) -> Path:
        return path.with_suffix(".json")

    def _prune(self, newest: Path) -> None:
        best, paths = self.best(), self.paths()
        # Trap: a run that went back has damaged ones behind the newest. They must not push out what is whole.
        for path in paths[: paths.index(newest) + 1][: -self.keep_last]:
            if best is None or path.name != best.name:
                with contextlib.suppress(PermissionError):  # Windows: somebody is reading it; the next save removes it
                    # The manifest goes first: without it the large file no longer counts.
                    self._manifest(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)


# --- files ------------------------------------------------------------------------------------------------------------
def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, also after a crash.

    Raises:
        SaveError: if the disk does not take it; the old one is untouched then.
    """
    temporary = path.with_name(path.name + ".tmp")
    with naming(path, len(text.encode("utf-8"))):
        try:
            with open(temporary, "w", encoding="utf-8", newline="\n") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            _replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def append(path: Path, text: str) -> None:
    """Add lines to a log.

    Raises:
        SaveError: if the disk does not take them.
    """
    with naming(path, len(text.encode("utf-8"))), open(path, "a", encoding="utf-8", newline="\n") as f:
        f.write(text)


@contextlib.contextmanager
def naming(path: Path, needed: int) -> Iterator[None]:
    """Turn what a disk refuses into an error that names the file, the bytes needed and the bytes free."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        failed = SaveError(error.errno, error.strerror or str(error), str(path))
        where = next(folder for folder in path.absolute().parents if folder.exists())
        failed.needed, failed.free = needed, shutil.disk_usage(where).free
        raise failed from error


def _bytes(tree: Any) -> int:
    """Return how much memory the tensors in nested dictionaries and lists take, in bytes."""
    if isinstance(tree, Tensor):
        return tree.array.nbytes
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return sum(map(_bytes, parts))


def _replace(old: Path, new: Path) -> None:
    for _ in range(50):
        try:
            os.replace(old, new)
            return
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.02)  # Windows: somebody is reading the file, which takes a moment
    os.replace(old, new)


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
