"""Runs the sources of CUDA kernels on the CPU: ``Module`` is what ``cupy.RawModule`` is, for the stand-in's arrays.

The C++ compiler gets the very text that NVRTC would get, behind ``runtime.h``, which makes a fiber of every CUDA
thread.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FLAGS = "-std=c++17 -O1 -fPIC -shared -fno-strict-aliasing -ffp-contract=off -Wall".split()
FLAGS += "-Wno-unknown-pragmas -Wno-unused".split()
KINDS = {"q": np.int64, "Q": np.uint64, "f": np.float32, "d": np.float64}

order = {"backwards": False}
"""Whether the threads of a block run from the last to the first; a test sets it, to see the same result."""


def why_not() -> str:
    """The reason why kernels cannot run here; empty where they can."""
    if not sys.platform.startswith("linux"):
        return "kernels run on the CPU under Linux only (fibers with ucontext)"
    return "" if shutil.which("g++") else "running kernels on the CPU needs g++"


@functools.cache
def _built(source: str) -> ctypes.CDLL:
    """Compile a source, or take it from the folder where pytest keeps what it may keep."""
    folder = HERE.parents[1] / ".pytest_cache" / "d" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    names = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)', source)
    text = '#include "runtime.h"\n' + source + "\n" + "\n".join(f"ON_CPU({name})" for name in names) + "\n"
    key = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(HERE.glob("*.h"))) + text.encode()).hexdigest()[:24]
    library = folder / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            (Path(work) / "kernels.cpp").write_text(text, encoding="utf-8")
            made = Path(work) / "kernels.so"
            command = ["g++", *FLAGS, f"-I{HERE}", str(Path(work) / "kernels.cpp"), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, encoding="utf-8")
            if done.returncode or done.stderr:
                raise RuntimeError(f"g++ does not like the source:\n{done.stderr}")
            os.replace(made, library)  # another worker may be at it too
    return ctypes.CDLL(str(library))


class Module:
    """``cupy.RawModule`` on the CPU."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        assert options == ("--std=c++17",), options
        self._library = _built(code)

    def get_function(self, name: str) -> Callable[..., None]:
        """Return a kernel: ``kernel(grid, block, arguments, shared_mem=0)``."""
        launch, signature = (getattr(self._library, f"{what}_{name}") for what in ("launch", "signature"))
        launch.restype = signature.restype = ctypes.c_char_p
        letters = signature().decode()

        def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
            assert len(arguments) == len(letters), f"{name} takes {len(letters)} arguments, got {len(arguments)}"
            cells = [_cell(f"{name}, argument {i}", *pair) for i, pair in enumerate(zip(letters, arguments))]
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            size = ctypes.c_size_t(shared_mem)
            trouble = launch(grid[0], block[0], size, int(order["backwards"]), pointers)
            assert trouble is None, f"{name}: {trouble.decode()}"

        return kernel


def _cell(what: str, letter: str, value: Any) -> np.ndarray:
    """Return a place in memory that holds an argument, of exactly the type that the kernel takes."""
    if letter == "P":
        if isinstance(value, np.uintp):
            assert value == 0, f"{what}: a number for a pointer"
            return np.array(value)
        return np.array(value.data.ptr, dtype=np.uintp)
    assert letter in KINDS and type(value) is KINDS[letter], f"{what}: expected {letter!r}, got {type(value).__name__}"
    return np.array(value)
