"""Compiles kernels when they are first needed, and launches them.

A file of kernels is written for any element type; what stands in front of it (see ``kernels/prelude.cu``) fixes the
types. Each file is compiled once for each choice of them, and CuPy keeps the result on disk for the next process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minillm.backend.base import Array

FOLDER = Path(__file__).with_name("kernels")
OPTIONS = ("--std=c++17",)
CPP_TYPES = {"float64": "double", "float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}
HEADERS = {"float16": "#include <cuda_fp16.h>\n", "bfloat16": "#include <cuda_bf16.h>\n"}
PACK_BYTES = 16  # the longest load that one instruction makes
PIECE = 1 << 16  # elements that one block works on, where a launch serves many arrays
FLAT_BLOCK = 256  # threads of a block of an elementwise kernel
NULL = np.uintp(0)


def accumulator(dtype: Any) -> np.dtype:
    """Return the type in which elements of a type are computed and added up."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


Constants = tuple[tuple[str, int | str], ...]
"""Names that a file of kernels is compiled with, for numbers or types."""


class Anywhere(NamedTuple):
    """An array whose strides the kernel gets, too, so that it need not be contiguous."""

    array: Array


def source(family: str, T: np.dtype, W: np.dtype, V: int, constants: Constants = ()) -> str:
    """Return the text of a file of kernels for element type T, weights of type W and V elements a load."""
    more = {name for name, written in CPP_TYPES.items() if written in dict(constants).values()}
    headers = "".join(HEADERS[name] for name in sorted({T.name, W.name, *more} & HEADERS.keys()))
    A = accumulator(T)
    types = "".join(f"typedef {CPP_TYPES[t.name]} {letter};\n" for letter, t in (("T", T), ("W", W), ("A", A)))
    headers += "".join(f"#define {name} {number}\n" for name, number in constants)
    texts = [(FOLDER / f"{name}.cu").read_text(encoding="utf-8") for name in ("prelude", family)]
    return f"{headers}{types}constexpr int V = {V};\n" + "\n".join(texts)


def families() -> list[str]:
    """Return the names of the files of kernels."""
    return sorted(path.stem for path in FOLDER.glob("*.cu") if path.stem != "prelude")


def supported(*arrays: Array | None) -> bool:
    """Tell whether kernels exist for the element types of all arrays, and there is something to compute."""
    return all(a is None or (a.dtype.name in CPP_TYPES and a.size > 0) for a in arrays)


def contiguous(x: Array) -> Array:
    """Return ``x``, or a copy whose elements lie side by side in order."""
    return x if x.flags.c_contiguous else x.copy(order="C")


def pack(width: int, *arrays: Array | None) -> int:
    """Return how many elements a thread may load at once: 16 bytes of them where every row begins at such a place."""
    given = [a for a in arrays if a is not None]
    V = PACK_BYTES // min(a.dtype.itemsize for a in given)
    return V if width % V == 0 and all(a.data.ptr % PACK_BYTES == 0 for a in given) else 1


def threads(width: int, V: int) -> int:
    """Return the size of a block for rows of ``width`` elements: about four packs a thread, 32 to 512 threads."""
    warps = -(-width // (32 * V * 4))
    return 32 * max(1, min(16, warps))


class Launcher:
    """The kernels of one device.

    Args:
        xp: the module cupy.
        send: copies a NumPy array to the device.
    """

    def __init__(self, xp: Any, send: Callable[[np.ndarray], Array]) -> None:
        self._xp, self._send = xp, send
        self._functions: dict[tuple, Any] = {}
        self._modules: dict[tuple, Any] = {}
        self._tables: dict[str, tuple[np.ndarray, Array]] = {}
        self._lock = threading.Lock()

    def __call__(
        self,
        family: str,
        kernel: str,
        grid: int,
        block: int,
        *arguments: Any,
        T: np.dtype,
        W: np.dtype | None = None,
        V: int = 1,
        shared: int = 0,
        constants: Constants = (),
    ) -> None:
        """Launch a kernel on the current stream.

        Args:
            family: the file that it stands in, without ``.cu``.
            kernel: its name.
            grid, block: blocks, and threads of a block (a multiple of 32).
            arguments: contiguous arrays (others as ``Anywhere``), ``None`` for a null pointer, Python ints
                (``long long``) and floats (``A``).
            T, W, V: what the file is compiled for; W is T unless given.
            shared: bytes of dynamic shared memory.
            constants: what else it is compiled with.

        Raises:
            ValueError: for an array that is not contiguous: a kernel would read what lies between its elements.
        """
        W = T if W is None else W
        function = self._functions.get((family, kernel, T, W, V, constants))
        if function is None:
            function = self._function(family, kernel, T, W, V, constants)
        function((grid,), (block,), tuple(self._argument(kernel, a, T) for a in arguments), shared_mem=shared)

    def pieces(self, name: str, groups: Sequence[tuple[Array, ...]]) -> tuple[Array, int, int]:
        """Cut arrays into pieces for one launch over all of them.

        Args:
            name: whose table it is; a table that is the same as the last one of that name is not sent again.
            groups: arrays that belong together, of the same size; all of one type.

        Returns:
            The table on the device, with one row a piece: the addresses of its part of each array of a group, and the
            number of elements; the number of rows; and how many elements a thread may load at once.
        """
        sizes = np.array([group[0].size for group in groups])
        addresses = np.array([[a.data.ptr for a in group] for group in groups])
        counts = -(-sizes // PIECE)
        owner = np.repeat(np.arange(len(groups)), counts)
        first = (np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]) * PIECE
        itemsize = groups[0][0].dtype.itemsize
        rows = np.column_stack([addresses[owner] + first[:, None] * itemsize, np.minimum(sizes[owner] - first, PIECE)])
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        V = PACK_BYTES // itemsize if not (addresses % PACK_BYTES).any() else 1
        last = self._tables.get(name)
        if last is None or not np.array_equal(last[0], rows):
            last = self._tables[name] = rows, self._send(rows)
        return last[1], len(rows), V

    def _argument(self, kernel: str, value: Any, T: np.dtype) -> Any:
        if value is None:
            return NULL
        if isinstance(value, Anywhere):
            return value.array
        if isinstance(value, self._xp.ndarray):
            if not value.flags.c_contiguous:
                raise ValueError(f"{kernel}: expected contiguous arrays, got strides {value.strides} of {value.shape}")
            return value
        if isinstance(value, float):
            return accumulator(T).type(value)
        return np.int64(value) if isinstance(value, int) else value

    def _function(self, family: str, kernel: str, *how: Any) -> Any:
        with self._lock:
            module = self._modules.get((family, *how))
            if module is None:
                module = self._modules[family, *how] = self._xp.RawModule(code=source(family, *how), options=OPTIONS)
            function = self._functions[family, kernel, *how] = module.get_function(kernel)
        return function


def launch_flat(ctx: Any, family: str, kernel: str, *arrays: Array, more: tuple = ()) -> None:
    """Launch an elementwise kernel: one thread for each pack of the arrays, which have one size and one type.

    Its arguments are the arrays, what ``more`` holds, and the number of elements.
    """
    n, T = arrays[0].size, arrays[0].dtype
    V = pack(n, *arrays)
    ctx.backend.launch(family, kernel, -(-n // (V * FLAT_BLOCK)), FLAT_BLOCK, *arrays, *more, n, T=T, V=V)
