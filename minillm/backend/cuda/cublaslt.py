"""Matrix products by NVIDIA's cuBLASLt, called through ctypes.

CuPy 14's own product cannot multiply batches in bfloat16, copies most views, and neither adds to a result nor gives
float32 from 16-bit factors; the library below it can. It is installed with CuPy's extra ``ctk``, or with PyTorch.

cuBLASLt counts columns first. A row-major C = A B is, read that way, C^T = B^T A^T: so B is its first factor, A its
second, and nothing is transposed in memory. Names and numbers: the header cublasLt.h of CUDA 13.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda.products import Copies, Matrix, Product, plan, result_shape, view_of
from minillm.backend.device import matmul_settings

WORKSPACE_BYTES = 32 << 20
"""What NVIDIA recommends for Hopper; one such buffer a stream."""

CUDA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
DESC_TRANSA, DESC_TRANSB, DESC_EPILOGUE, DESC_BIAS_POINTER, DESC_BIAS_DATA_TYPE = 3, 4, 7, 8, 26
LAYOUT_BATCH_COUNT, LAYOUT_STRIDED_BATCH_OFFSET = 5, 6
PREF_MAX_WORKSPACE_BYTES, PREF_REDUCTION_SCHEME_MASK, PREF_MIN_ALIGNMENT_BYTES = 1, 3, (5, 6, 7, 8)  # of A, B, C, D
REDUCTION_COMPUTE_TYPE = 2  # where a sum is split over blocks, its parts are added in float32, not in 16 bits
EPILOGUE_DEFAULT, EPILOGUE_BIAS = 1, 4
BIAS_BYTES = 16
"""How a bias must be aligned. A search is told of A, B, C and D alone, and may choose an algorithm that loads 16 bytes
of the bias at a time: the card then stops with "misaligned address" (PyTorch's pull request 194497).
"""
MOST_PLANS = 4096

_pointer, _size, _int, _int64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64
_SIGNATURES: dict[str, list[Any]] = {
    "Create": [_pointer],
    "MatmulDescCreate": [_pointer, _int, _int],
    "MatmulDescSetAttribute": [_pointer, _int, _pointer, _size],
    "MatmulDescDestroy": [_pointer],
    "MatrixLayoutCreate": [_pointer, _int, ctypes.c_uint64, ctypes.c_uint64, _int64],
    "MatrixLayoutSetAttribute": [_pointer, _int, _pointer, _size],
    "MatrixLayoutDestroy": [_pointer],
    "MatmulPreferenceCreate": [_pointer],
    "MatmulPreferenceSetAttribute": [_pointer, _int, _pointer, _size],
    "MatmulPreferenceDestroy": [_pointer],
    "MatmulAlgoGetHeuristic": [*[_pointer] * 7, _int, _pointer, _pointer],
    "Matmul": [*[_pointer] * 14, _size, _pointer],
}


class HeuristicResult(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = [
        ("algo", ctypes.c_uint64 * 8),
        ("workspace_size", _size),
        ("state", _int),
        ("waves_count", ctypes.c_float),
        ("reserved", _int * 4),
    ]


class NotOffered(RuntimeError):
    """cuBLASLt has no algorithm for a product."""


def load_library() -> Any | None:
    """Return the library with typed functions, or ``None`` if it is not installed."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib  # comes with CuPy 14

        path = load_nvidia_dynamic_lib("cublasLt").abs_path
        library = ctypes.CDLL(path) if path else None
    except (ImportError, OSError, RuntimeError):
        return None
    if library is None:
        return None
    for name, arguments in _SIGNATURES.items():
        getattr(library, "cublasLt" + name).argtypes = arguments
    return library


def call(library: Any, name: str, *arguments: Any) -> None:
    """Call a function of the library.

    Raises:
        NotOffered: if it cannot do what was asked (status 15, and 7 from the one that looks for an algorithm).
        RuntimeError: for any other failure, with its number.
    """
    status = getattr(library, "cublasLt" + name)(*arguments)
    if status:
        offered = status != 15 and not (status == 7 and name == "MatmulAlgoGetHeuristic")
        raise (RuntimeError if offered else NotOffered)(f"cublasLt{name}: status {status}")


def alignment(address: int) -> int:
    """Return the largest power of 2, at most 256, that divides an address."""
    return min(address & -address, 256) if address else 256


class _Prepared:
    """A product as cuBLASLt has taken it: descriptors, the algorithm it chose, and where each launch begins."""

    def __init__(
        self,
        gemm: Gemm,
        product: Product,
        types: tuple[str, str],
        compute: int,
        bias: int | None,
        aligned: tuple[int, ...],
    ) -> None:
        self._library = gemm.library
        self._made: list[tuple[str, Any]] = []
        self.starts, self.lock = product.starts, threading.Lock()
        given, result = types
        kind = ctypes.c_double if given == "float64" else ctypes.c_float
        self.one, self.zero = kind(1), kind(0)
        self.desc = self._new("MatmulDesc", compute, CUDA_TYPES["float64" if given == "float64" else "float32"])
        # Its first factor is B, its second A; see above.
        self._set("MatmulDesc", self.desc, DESC_TRANSA, ctypes.c_int32(product.b.transposed))
        self._set("MatmulDesc", self.desc, DESC_TRANSB, ctypes.c_int32(product.a.transposed))
        if bias is not None:
            self._set("MatmulDesc", self.desc, DESC_EPILOGUE, ctypes.c_uint32(EPILOGUE_BIAS))
            self._set("MatmulDesc", self.desc, DESC_BIAS_DATA_TYPE, ctypes.c_int32(CUDA_TYPES[result]))
            self.set_bias(bias)
        self.layouts = [
            self._layout(CUDA_TYPES[given], product.k, product.n, product.b, product.batch),
            self._layout(CUDA_TYPES[given], product.m, product.k, product.a, product.batch),
            self._layout(CUDA_TYPES[result], product.m, product.n, product.c, product.batch),
        ]
        preference = self._new("MatmulPreference")
        self._set("MatmulPreference", preference, PREF_MAX_WORKSPACE_BYTES, ctypes.c_uint64(WORKSPACE_BYTES))
        self._set("MatmulPreference", preference, PREF_REDUCTION_SCHEME_MASK, ctypes.c_uint32(REDUCTION_COMPUTE_TYPE))
        for attribute, bytes_ in zip(PREF_MIN_ALIGNMENT_BYTES, (aligned[1], aligned[0], aligned[2], aligned[2])):
            self._set("MatmulPreference", preference, attribute, ctypes.c_uint32(bytes_))
        self.algorithm, found = HeuristicResult(), _int(0)
        b, a, c = self.layouts
        call(
            self._library, "MatmulAlgoGetHeuristic", gemm.handle, self.desc, b, a, c, c, preference, 1,
            ctypes.byref(self.algorithm), ctypes.byref(found),
        )  # fmt: skip
        if not found.value or self.algorithm.state:
            raise NotOffered(f"cuBLASLt: no algorithm for {product} of {types}")

    def _new(self, what: str, *arguments: Any) -> Any:
        made = _pointer()
        call(self._library, what + "Create", ctypes.byref(made), *arguments)
        self._made.append((what, made))
        return made

    def _set(self, what: str, thing: Any, attribute: int, value: Any) -> None:
        call(self._library, what + "SetAttribute", thing, attribute, ctypes.byref(value), ctypes.sizeof(value))

    def _layout(self, kind: int, rows: int, columns: int, how: Matrix, batch: int) -> Any:
        # Row-major (rows, columns) is, columns first, (columns, rows); of a transposed one the columns are contiguous.
        shape = (rows, columns) if how.transposed else (columns, rows)
        made = self._new("MatrixLayout", kind, *shape, how.ld)
        if batch > 1:
            self._set("MatrixLayout", made, LAYOUT_BATCH_COUNT, ctypes.c_int32(batch))
            self._set("MatrixLayout", made, LAYOUT_STRIDED_BATCH_OFFSET, _int64(how.stride))
        return made

    def set_bias(self, address: int) -> None:
        """Say where the bias of the next launch lies."""
        self._set("MatmulDesc", self.desc, DESC_BIAS_POINTER, _pointer(address))

    def __del__(self) -> None:
        for what, made in getattr(self, "_made", ()):
            getattr(self._library, f"cublasLt{what}Destroy")(made)


class Gemm:
    """Products of arrays by cuBLASLt.

    Args:
        library: what ``load_library`` returned.
        xp: the module cupy.

    Raises:
        NotOffered: if the library finds no card.
    """

    def __init__(self, library: Any, xp: Any) -> None:
        self.library, self.xp = library, xp
        self.handle = _pointer()
        try:
            call(library, "Create", ctypes.byref(self.handle))
        except RuntimeError as error:
            raise NotOffered(str(error)) from None
        self._prepared: dict[tuple, _Prepared | NotOffered] = {}
        self._workspaces: dict[int, Array] = {}

    def forget(self) -> None:
        """Plan every product anew."""
        self._prepared.clear()

    def takes(self, a: Array, b: Array, out: Array | None = None) -> bool:
        """Tell whether a product is one for cuBLASLt: of one floating type, into the same or float32."""
        name = a.dtype.name
        if name not in CUDA_TYPES or b.dtype != a.dtype or min(a.ndim, b.ndim) < 1:
            return False
        return out is None or out.dtype == a.dtype or (a.dtype.itemsize == 2 and out.dtype == np.float32)

    def __call__(
        self, a: Array, b: Array, out: Array | None = None, *, bias: Array | None = None, accumulate: bool = False
    ) -> Array:
        """Return ``a @ b + bias``, or add it to ``out``; sums are float32 (float64 for float64).

        Args:
            a, b: (..., m, k) and (..., k, n), of one type for which ``takes`` is true; a vector is a row or a column.
            out: where to put the result (..., m, n): of the type of the factors, or float32 for factors of 16 bits.
            bias: (n,), of the type of the result; not with float64.
            accumulate: add to what ``out`` holds.

        Raises:
            NotOffered: if cuBLASLt has no algorithm for it.
            ValueError: if shapes do not fit.
        """
        if a.ndim == 1 or b.ndim == 1:
            return self._with_vectors(a, b, out, bias, accumulate)
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul: inner lengths differ: {a.shape} @ {b.shape}")
        shape = result_shape(a.shape, b.shape)
        c = self.xp.empty(shape, dtype=a.dtype) if out is None else out
        if c.shape != shape:
            raise ValueError(f"matmul: expected out of shape {shape}, got {c.shape}")
        if not c.size:
            return c
        if not a.shape[-1]:  # a sum of nothing
            c[...] = (c if accumulate else 0) + (0 if bias is None else bias)
            return c
        if bias is not None and (not bias.flags.c_contiguous or bias.data.ptr % BIAS_BYTES):
            bias = bias.copy()
        if self._columns_only(c) and bias is None:  # C^T = B^T A^T has rows that are contiguous
            self._run(b.swapaxes(-1, -2), a.swapaxes(-1, -2), c.swapaxes(-1, -2), None, accumulate)
        else:
            self._run(a, b, c, bias, accumulate)
        return c

    @staticmethod
    def _columns_only(c: Array) -> bool:
        return c.shape[-1] > 1 and c.strides[-1] != c.itemsize and c.strides[-2] == c.itemsize

    def _with_vectors(self, a: Array, b: Array, out: Array | None, bias: Array | None, accumulate: bool) -> Array:
        row, column = a.ndim == 1, b.ndim == 1
        a, b = (a[None] if row else a), (b[:, None] if column else b)
        shape = result_shape(a.shape, b.shape)
        y = self(a, b, None if out is None else out.reshape(shape), bias=bias, accumulate=accumulate)
        kept = (*shape[:-2], *shape[-2:][int(row) : 2 - int(column)])
        return out if out is not None else y.reshape(kept)

    def _run(self, a: Array, b: Array, c: Array, bias: Array | None, accumulate: bool) -> None:
        addresses = a.data.ptr, b.data.ptr, c.data.ptr
        compute = COMPUTE_64F if a.dtype == np.float64 else COMPUTE_32F
        if a.dtype == np.float32 and matmul_settings.allow_tf32:
            compute = COMPUTE_32F_FAST_TF32
        aligned = tuple(alignment(address) for address in addresses)
        bias_aligned = 0 if bias is None else alignment(bias.data.ptr)
        layout = (a.shape, a.strides, b.shape, b.strides, c.shape, c.strides, a.dtype.name, c.dtype.name)
        key = (*layout, compute, bias_aligned, aligned)
        prepared = self._prepared.get(key)
        if prepared is None:
            views = [view_of(x.shape, x.strides, x.itemsize) for x in (a, b, c)]
            if any(view is None for view in views):
                product: Product | Copies = Copies(views[0] is None, views[1] is None, views[2] is None, False)
            else:
                product = plan(*views)  # type: ignore[arg-type]
            if isinstance(product, Copies):
                self._run_copied(product, a, b, c, bias, accumulate)
                return
            # Launches that begin further on may be aligned less.
            steps = [[abs(start[x]) * array.itemsize for start in product.starts] for x, array in enumerate((a, b, c))]
            aligned = tuple(min(n, *map(alignment, s), 256) for n, s in zip(aligned, steps, strict=True))
            if len(self._prepared) >= MOST_PLANS:  # lengths that grow word by word
                self.forget()
            address = None if bias is None else bias.data.ptr
            try:
                prepared = _Prepared(self, product, (a.dtype.name, c.dtype.name), compute, address, aligned)
            except NotOffered as error:
                # It will not be searched for again. Not the error itself: its traceback holds the arrays of this call.
                prepared = NotOffered(str(error))
            self._prepared[key] = prepared
        if isinstance(prepared, NotOffered):
            raise NotOffered(str(prepared))
        with prepared.lock:  # the place of the bias is part of the descriptor
            if bias is not None:
                prepared.set_bias(bias.data.ptr)
            self._launch(prepared, addresses, (a.itemsize, b.itemsize, c.itemsize), accumulate)

    def _run_copied(self, copies: Copies, a: Array, b: Array, c: Array, bias: Array | None, accumulate: bool) -> None:
        xp, batch = self.xp, c.shape[:-2]
        if copies.a:
            a = xp.ascontiguousarray(xp.broadcast_to(a, (*batch, *a.shape[-2:])) if copies.whole else a)
        if copies.b:
            b = xp.ascontiguousarray(xp.broadcast_to(b, (*batch, *b.shape[-2:])) if copies.whole else b)
        target = xp.array(c, order="C") if copies.c and accumulate else xp.empty(c.shape, c.dtype) if copies.c else c
        self._run(a, b, target, bias, accumulate)
        if copies.c:
            c[...] = target

    def _launch(self, how: _Prepared, addresses: tuple[int, ...], sizes: tuple[int, ...], accumulate: bool) -> None:
        stream = self.xp.cuda.get_current_stream().ptr
        workspace = self._workspaces.get(stream)
        if workspace is None:
            workspace = self._workspaces[stream] = self.xp.empty(WORKSPACE_BYTES, dtype=np.uint8)
        b_layout, a_layout, c_layout = how.layouts
        one, beta = ctypes.byref(how.one), ctypes.byref(how.one if accumulate else how.zero)
        algorithm, needed = ctypes.byref(how.algorithm.algo), how.algorithm.workspace_size
        for start in how.starts:
            a, b, c = (address + i * size for address, i, size in zip(addresses, start, sizes))
            call(
                self.library, "Matmul", self.handle, how.desc, one, b, b_layout, a, a_layout, beta, c, c_layout,
                c, c_layout, algorithm, workspace.data.ptr, needed, stream,
            )  # fmt: skip
