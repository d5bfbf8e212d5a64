"""One trainer a run folder: a file that names the process which trains there."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
import weakref
from pathlib import Path
from typing import Any

__all__ = ["LOCK", "RunError", "RunLock"]

LOCK = "run.lock"


class RunError(ValueError):
    """A folder that cannot be made, is not the folder of a run, or is in use."""


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
        self.path = None if folder is None else Path(folder) / LOCK
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
        """Remove a lock that was left behind, unless somebody has taken it over in the meantime.

        Looking and removing are two steps, between which another trainer could put its own lock. So one who removes
        holds a second lock for that moment; of the others who wait for it, none finds the old text any more.
        """
        assert self.path is not None
        guard = self.path.with_name(f"{LOCK}.removing")
        for _ in range(100):
            try:
                os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                break
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - guard.stat().st_mtime > 10:  # whoever made it died within that moment
                        guard.unlink()
                time.sleep(0.01)
        else:
            return  # look again
        try:
            with contextlib.suppress(FileNotFoundError):
                if self.path.read_text(encoding="utf-8", errors="replace") == text:
                    self.path.unlink()
        finally:
            guard.unlink(missing_ok=True)


def _give_back(path: Path, text: str) -> None:
    RunLock._mine.discard(text)
    with contextlib.suppress(OSError):  # the folder may be gone
        if path.read_text(encoding="utf-8") == text and json.loads(text)["pid"] == os.getpid():  # not in a fork
            path.unlink()


def _began(pid: int) -> str | None:
    """Return what tells a running process from a later one of the same number; ``None`` if there is none."""
    if not 0 < pid < 2**31:
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
