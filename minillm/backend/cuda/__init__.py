"""The GPU: CuPy. The only place where cupy is imported, and only when a CUDA device is asked for.

What CuPy does otherwise than NumPy, and what is done about it here:

- it never converts between its arrays and NumPy's by itself: ``from_host`` and ``to_host`` say where data moves;
- integer indices out of range wrap around silently: ``check_ids`` and ``check_places`` look at them, on the host before
  they are moved if they can, as a look at the device would wait for it;
- adding at repeated indices uses atomics, whose order changes from run to run: ``segment_add`` sorts first.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minillm.backend.base import Array, Backend
from minillm.backend.cuda.cublaslt import Gemm
from minillm.backend.cuda.cublaslt_library import NotOffered, load_library
from minillm.backend.cuda.graph import Recording
from minillm.backend.cuda.kernels import KERNELS
from minillm.backend.cuda.launcher import Launcher
from minillm.backend.cuda.linear import MLP, Linear
from minillm.backend.device import device, is_floating
from minillm.backend.random import Generator

# One thread for each (row, column) of the sorted values; the thread at the start of a run of equal positions walks
# through the run, in order: the same sum every time, and nothing has to be counted on the host.
_SEGMENT_ADD = """
    const long long row = i / width, column = i - row * width;
    if (row == 0 || positions[row] != positions[row - 1]) {
        ACC total = 0;
        for (long long r = row; r < n && positions[r] == positions[row]; ++r) {
            total += static_cast<ACC>(values[order[r] * width + column]);
        }
        const long long at = positions[row] * width + column;
        out[at] = static_cast<T>(static_cast<ACC>(out[at]) + total);
    }
"""


class Range(NamedTuple):
    """What is known of integers: the largest, and the smallest and the largest of those below 0, if there are any."""

    largest: int
    negative: tuple[int, int] | None

    @staticmethod
    def of(array: np.ndarray) -> Range:
        """Look at an array on the host."""
        array = array.reshape(-1)
        negative = array[array < 0] if array.min() < 0 else array[:0]
        return Range(int(array.max()), (int(negative.min()), int(negative.max())) if negative.size else None)

    def lies_in(self, size: int, ignored: int | None) -> bool:
        """Tell whether all numbers are surely in ``0 .. size - 1`` or ``ignored``."""
        return self.largest < size and self.negative in (None, (ignored, ignored))


class CuPyBackend(Backend):
    """Arrays in the memory of a GPU, computed by CuPy.

    Raises:
        RuntimeError: when it is made, if CuPy or a CUDA device is missing; the message says which, and how to go on.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError:
            raise RuntimeError(
                "device 'cuda': CuPy is not installed. Install it with pip install 'minillm[gpu13]' (CUDA 13) or "
                "'minillm[gpu12]' (CUDA 12), or go on with device 'cpu'"
            ) from None
        if not cupy.cuda.is_available():
            raise RuntimeError(
                "device 'cuda': CuPy is installed, but no CUDA device was found. Go on with device 'cpu'"
            )
        self.xp = cupy
        self.array_type = cupy.ndarray
        self.device = device("cuda")
        self.kernels = {**KERNELS, "Linear": Linear, "MLP": MLP}
        self.launch = Launcher(cupy, self.from_host)
        self.recording: Recording | None = None
        self._pools: list[Any] = []
        self.idle_pools: list[Any] = []  # of recordings that are gone
        self._ranges: dict[int, tuple[weakref.ref, Range]] = {}
        self._segment_kernels: dict[str, Any] = {}

    def address(self, array: Array) -> int:
        """Return where the first element of an array lies in the memory of the GPU."""
        return array.data.ptr

    def from_host(self, array: np.ndarray) -> Array:
        """Copy a NumPy array to the GPU, and remember the range of integers.

        Nobody waits for it: CuPy copies the array into pinned memory of its own, from which the GPU takes it when it
        comes to it.
        """
        moved = self.xp.asarray(array) if self.recording is None else self.recording.constant(array)
        if array.dtype.kind in "iu" and array.size:
            key = id(moved)
            self._ranges[key] = weakref.ref(moved, lambda _: self._ranges.pop(key, None)), Range.of(array)
        return moved

    def check_ids(self, ids: Array, size: int, what: str, ignored: int | None = None) -> None:
        """Refuse ids out of range; see ``Backend.check_ids``. Waits for the GPU only if it made the ids."""
        known = self._known(ids)
        if known is not None and known.lies_in(size, ignored):
            return
        if self.recording is not None and known is None:
            self.recording.note_check(ids, lambda given: self.check_ids(given, size, what, ignored))
            return
        super().check_ids(ids, size, what, ignored)

    def check_places(self, places: Array, size: int, what: str) -> None:
        """Refuse places out of range: CuPy would wrap them around. Waits for the GPU only if it made the places.

        Raises:
            IndexError: naming the place.
        """
        known = self._known(places)
        if not places.size or (known is not None and known.largest < size and (known.negative or (0,))[0] >= -size):
            return
        if self.recording is not None and known is None:
            self.recording.note_check(places, lambda given: self.check_places(given, size, what))
            return
        low, high = int(places.min()), int(places.max())
        if low < -size or high >= size:
            raise IndexError(f"{what}: place {low if low < -size else high} is not in {-size} .. {size - 1}")

    def _known(self, array: Array) -> Range | None:
        owner = array if array.base is None else array.base  # a view holds no other numbers than its owner
        return self._ranges.get(id(owner), (None, None))[1]

    def changed(self, array: Array) -> None:
        """Forget the range of an array."""
        self._ranges.pop(id(array if array.base is None else array.base), None)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy an array to main memory; waits for the GPU."""
        return self.xp.asnumpy(array)

    def host_copy(self, array: Array) -> Callable[[], np.ndarray]:
        """Return a function that copies an array to the same place of main memory each time, where copies are fast."""
        import cupyx

        place = cupyx.empty_pinned(array.shape, dtype=array.dtype)
        return lambda: array.get(out=place)

    def synchronize(self) -> None:
        """Wait until the GPU has finished."""
        self.xp.cuda.get_current_stream().synchronize()

    def memory_allocated(self) -> int:
        """Return the bytes of the memory pools that are in use."""
        return sum(int(pool.used_bytes()) for pool in (self.xp.get_default_memory_pool(), *self._pools))

    def new_pool(self) -> Any:
        """Return memory for a recording; it is never given up, see ``graph.py``."""
        self._pools.append(self.xp.cuda.MemoryPool())
        return self._pools[-1]

    def empty_cache(self) -> None:
        """Give memory back that is not in use, other than that of recordings."""
        for pool in (self.xp.get_default_memory_pool(), *self.idle_pools):
            pool.free_all_blocks()

    def errstate(self) -> contextlib.AbstractContextManager:
        """Do nothing: a GPU gives no floating-point warnings."""
        return contextlib.nullcontext()

    @functools.cached_property
    def tensor_cores(self) -> bool:
        """Whether the card multiplies 16-bit matrices as ``kernels/flash.cu`` asks it to: Ampere (2020) or later."""
        return int(self.xp.cuda.Device().compute_capability) >= 80

    @functools.cached_property
    def gemm(self) -> Gemm | None:
        """Products by cuBLASLt, or ``None`` where it is not installed."""
        library = load_library()
        try:
            return None if library is None else Gemm(library, self.xp)
        except NotOffered:
            return None

    @functools.cached_property
    def recording_stream(self) -> Any:
        """The stream on which recordings are made, one after the other: each stream has a workspace for products."""
        return self.xp.cuda.Stream(non_blocking=True)

    def start_recording(self) -> Recording:
        """Return an empty recording; see ``minillm.cuda.graphed``."""
        return Recording(self)

    def repeatable(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does the same once more, by a recording; see ``Backend.repeatable``."""
        recording = self.start_recording()
        if recording is None:
            return function
        with recording.apart():  # it takes the memory that it needs
            function()
        try:
            recording.record(function)
        except Exception as error:  # what cannot be recorded says so in many ways
            warnings.warn(f"not recorded, each launch is made by itself: {error}", stacklevel=2)
            return function
        return recording.repeat

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Matrix product, by cuBLASLt if that can do it; ``out`` may be float32 for factors of 16 bits."""
        if self.gemm is not None and self.gemm.takes(a, b, out):
            try:
                return self.gemm(a, b, out)
            except NotOffered:  # by this version, for this card
                pass
        return self._matmul_of_cupy(a, b, out)

    def _matmul_of_cupy(self, a: Array, b: Array, out: Array | None) -> Array:
        """Return CuPy's own product, without what CuPy 14 cannot do or does slowly."""
        xp = self.xp
        if out is None and a.ndim > 2 and b.ndim == 2:
            # CuPy would broadcast the matrix to a table of pointers, one for each of the batch.
            return self._matmul_of_cupy(a.reshape(-1, a.shape[-1]), b, None).reshape(*a.shape[:-1], b.shape[-1])
        wide = out is not None and out.dtype != a.dtype
        if a.dtype.itemsize == 2 and is_floating(a.dtype) and (wide or max(a.ndim, b.ndim) > 2):
            # Batches in bfloat16 fail there, and those in float16 are cast, too.
            product = xp.matmul(a.astype(np.float32), b.astype(np.float32))
            if out is None:
                return product.astype(a.dtype)
            out[...] = product
            return out
        return xp.matmul(a, b, out=out) if out is not None else xp.matmul(a, b).astype(a.dtype, copy=False)

    def cast(self, x: Array, dtype: np.dtype) -> Array:
        """Return a copy in another element type."""
        kernel = self.kernels.get("Cast")
        return kernel.of(self, x, dtype) if kernel is not None and kernel.fits(x, dtype) else x.astype(dtype)

    def erf(self, x: Array) -> Array:
        """The error function, elementwise."""
        from cupyx.scipy.special import erf

        return erf(x).astype(x.dtype, copy=False)  # of 16 bits CuPy makes a float64 or float32

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """Add ``values`` to ``target[index]`` in place, repeated positions in the order in which they stand."""
        xp = self.xp
        positions = xp.arange(target.size, dtype=xp.int64).reshape(target.shape)[index]
        values = xp.broadcast_to(values, positions.shape)
        self._segment_add(target.reshape(-1, 1), positions.ravel(), xp.ascontiguousarray(values).reshape(-1, 1))

    def embedding_grad(self, ids: Array, dy: Array, num_embeddings: int, total: Array | None = None) -> Array:
        """Sum the rows of ``dy`` by id; see ``Backend.embedding_grad``."""
        ids, kernel = ids.astype(self.xp.int64, copy=False), self.kernels.get("EmbeddingGrad")
        dw = self.xp.zeros((num_embeddings, dy.shape[1]), dtype=dy.dtype) if total is None else total
        if kernel is not None and dy.size and kernel.fits(dy, dw):
            kernel.add(self, *kernel.order(self, ids, num_embeddings), dy, dw)
            return dw
        self._segment_add(dw, ids, self.xp.ascontiguousarray(dy))
        return dw

    def order(self, rows: Array) -> Array:
        """Return the order that sorts row numbers, equal ones as they stand; CuPy waits for the GPU while it sorts."""
        # A GPU may sort equal keys in any order; the place in the low part makes every key different.
        n = len(rows)
        return self.xp.argsort(rows * n + self.xp.arange(n, dtype=self.xp.int64))

    def _segment_add(self, target: Array, rows: Array, values: Array) -> None:
        """``target[rows[k]] += values[k]`` for all k; target (V, C) must be contiguous, values (N, C)."""
        if not values.size:
            return
        if not target.flags.c_contiguous:
            raise ValueError("scatter_add: the target must be contiguous; pass a copy")
        order = self.order(rows)
        kernel = self._segment_kernel(target.dtype)
        kernel(values, order, rows[order], len(rows), values.shape[1], target, size=values.size)

    def _segment_kernel(self, dtype: np.dtype) -> Any:
        # Sums of float16 and bfloat16 are made in float32 and rounded once.
        acc = "double" if dtype == np.float64 else "long long" if dtype.kind in "iub" else "float"
        if acc not in self._segment_kernels:
            self._segment_kernels[acc] = self.xp.ElementwiseKernel(
                "raw T values, raw int64 order, raw int64 positions, int64 n, int64 width",
                "raw T out",
                _SEGMENT_ADD.replace("ACC", acc),
                f"minillm_segment_add_{acc.replace(' ', '_')}",
            )
        return self._segment_kernels[acc]

    def uniform(self, generator: Generator, stream: str, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Draw from [0, 1) on the GPU, from a generator that is seeded by the host's named stream."""
        if self.recording is not None:
            raise RuntimeError("random numbers other than those of dropout cannot be recorded")
        seed = int(generator.stream(stream).integers(2**63))
        draw = np.float64 if dtype == np.float64 else np.float32
        return self.xp.random.default_rng(seed).random(shape, dtype=draw).astype(dtype, copy=False)
