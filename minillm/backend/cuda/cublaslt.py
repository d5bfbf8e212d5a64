"""Matrix products by NVIDIA's cuBLASLt, called through ctypes.

CuPy 14's own product cannot multiply batches in bfloat16, copies most views, and neither adds to a result nor gives
float32 from 16-bit factors; the library below it can.

cuBLASLt counts columns first. A row-major C = A B is, read that way, C^T = B^T A^T: so B is its first factor, A its
second, and nothing is transposed in memory.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, NamedTuple

import numpy as np

from minillm.backend.base import Array
from minillm.backend.cuda import cublaslt_library as lt
from minillm.backend.cuda.cublaslt_library import NotOffered
from minillm.backend.cuda.products import Copies, Matrix, Product, plan, result_shape, view_of
from minillm.backend.device import matmul_settings

WORKSPACE_BYTES = 32 << 20
"""What NVIDIA recommends for Hopper; one such buffer a stream."""
BIAS_BYTES = 16
"""How a bias must be aligned. A search is told of A, B, C and D alone, and may choose an algorithm that loads 16 bytes
of the bias at a time: the card then stops with "misaligned address" (PyTorch's pull request 194497).
"""
AUX_MULTIPLE = 8
"""The length of a row of what is kept for GELU must be a multiple of this."""
MOST_PLANS = 4096


def alignment(address: int) -> int:
    """Return the largest power of 2, at most 256, that divides an address."""
    return min(address & -address, 256) if address else 256


class Finish(NamedTuple):
    """What becomes of a product before it is written for the first time; cuBLASLt calls it the epilogue.

    Attributes:
        bias: (n,), added to every row.
        gelu: the result is ``gelu(product + bias)``, in the form with tanh.
        slope: the result is ``product * gelu'(before)``: the way back.
        before: (m, n), contiguous: what GELU gets, written by ``gelu`` if given, read by ``slope``.
    """

    bias: Array | None = None
    gelu: bool = False
    slope: bool = False
    before: Array | None = None

    @property
    def number(self) -> int:
        """The library's number."""
        parts = (
            lt.EPILOGUE_BIAS * (self.bias is not None) + lt.EPILOGUE_GELU * self.gelu + lt.EPILOGUE_DGELU * self.slope
        )
        return parts + lt.EPILOGUE_AUX * (self.before is not None) or lt.EPILOGUE_DEFAULT


NOTHING = Finish()


class _Prepared:
    """A product as cuBLASLt has taken it: descriptors, the algorithm it chose, and where each launch begins."""

    def __init__(
        self,
        gemm: Gemm,
        product: Product,
        types: tuple[str, str],
        compute: int,
        finish: Finish,
        aligned: tuple[int, ...],
    ) -> None:
        self._library = gemm.library
        self._made: list[tuple[str, Any]] = []
        self.starts, self.lock = product.starts, threading.Lock()
        given, result = types
        kind = ctypes.c_double if given == "float64" else ctypes.c_float
        self.one, self.zero = kind(1), kind(0)
        self.desc = self._new("MatmulDesc", compute, lt.CUDA_TYPES["float64" if given == "float64" else "float32"])
        # Its first factor is B, its second A; see above.
        self._set("MatmulDesc", self.desc, lt.DESC_TRANSA, ctypes.c_int32(product.b.transposed))
        self._set("MatmulDesc", self.desc, lt.DESC_TRANSB, ctypes.c_int32(product.a.transposed))
        if finish.number != lt.EPILOGUE_DEFAULT:
            self._set("MatmulDesc", self.desc, lt.DESC_EPILOGUE, ctypes.c_uint32(finish.number))
            if finish.bias is not None:
                self._set("MatmulDesc", self.desc, lt.DESC_BIAS_DATA_TYPE, ctypes.c_int32(lt.CUDA_TYPES[result]))
            if finish.before is not None:
                self._set("MatmulDesc", self.desc, lt.DESC_AUX_LD, lt.int64(product.n))
            self.point_to(finish)
        self.layouts = [
            self._layout(lt.CUDA_TYPES[given], product.k, product.n, product.b, product.batch),
            self._layout(lt.CUDA_TYPES[given], product.m, product.k, product.a, product.batch),
            self._layout(lt.CUDA_TYPES[result], product.m, product.n, product.c, product.batch),
        ]
        preference = self._new("MatmulPreference")
        self._set("MatmulPreference", preference, lt.PREF_MAX_WORKSPACE_BYTES, ctypes.c_uint64(WORKSPACE_BYTES))
        self._set(
            "MatmulPreference", preference, lt.PREF_REDUCTION_SCHEME_MASK, ctypes.c_uint32(lt.REDUCTION_COMPUTE_TYPE)
        )
        for attribute, bytes_ in zip(lt.PREF_MIN_ALIGNMENT_BYTES, (aligned[1], aligned[0], aligned[2], aligned[2])):
            self._set("MatmulPreference", preference, attribute, ctypes.c_uint32(bytes_))
        self.algorithm, found = lt.HeuristicResult(), lt.int32(0)
        b, a, c = self.layouts
        lt.call(
            self._library, "MatmulAlgoGetHeuristic", gemm.handle, self.desc, b, a, c, c, preference, 1,
            ctypes.byref(self.algorithm), ctypes.byref(found),
        )  # fmt: skip
        if not found.value or self.algorithm.state:
            raise NotOffered(f"cuBLASLt: no algorithm for {product} of {types}")

    def _new(self, what: str, *arguments: Any) -> Any:
        made = lt.pointer()
        lt.call(self._library, what + "Create", ctypes.byref(made), *arguments)
        self._made.append((what, made))
        return made

    def _set(self, what: str, thing: Any, attribute: int, value: Any) -> None:
        lt.call(self._library, what + "SetAttribute", thing, attribute, ctypes.byref(value), ctypes.sizeof(value))

    def _layout(self, kind: int, rows: int, columns: int, how: Matrix, batch: int) -> Any:
        # Row-major (rows, columns) is, columns first, (columns, rows); of a transposed one the columns are contiguous.
        shape = (rows, columns) if how.transposed else (columns, rows)
        made = self._new("MatrixLayout", kind, *shape, how.ld)
        if batch > 1:
            self._set("MatrixLayout", made, lt.LAYOUT_BATCH_COUNT, ctypes.c_int32(batch))
            self._set("MatrixLayout", made, lt.LAYOUT_STRIDED_BATCH_OFFSET, lt.int64(how.stride))
        return made

    def point_to(self, finish: Finish) -> None:
        """Say where the arrays of the next launch lie that are neither factors nor result."""
        for attribute, array in ((lt.DESC_BIAS_POINTER, finish.bias), (lt.DESC_AUX_POINTER, finish.before)):
            if array is not None:
                self._set("MatmulDesc", self.desc, attribute, lt.pointer(array.data.ptr))

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
        self.handle = lt.pointer()
        try:
            lt.call(library, "Create", ctypes.byref(self.handle))
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
        if name not in lt.CUDA_TYPES or b.dtype != a.dtype or min(a.ndim, b.ndim) < 1:
            return False
        return out is None or out.dtype == a.dtype or (a.dtype.itemsize == 2 and out.dtype == np.float32)

    def __call__(
        self, a: Array, b: Array, out: Array | None = None, *, finish: Finish = NOTHING, accumulate: bool = False
    ) -> Array:
        """Return ``a @ b``, finished as asked, or add it to ``out``; sums are float32 (float64 for float64).

        Args:
            a, b: (..., m, k) and (..., k, n), of one type for which ``takes`` is true; a vector is a row or a column.
            out: where to put the result (..., m, n): of the type of the factors, or float32 for factors of 16 bits.
            finish: what is done to it before it is written, with arrays of the type of the result; not with float64,
                and GELU only with two matrices.
            accumulate: add to what ``out`` holds.

        Raises:
            NotOffered: if cuBLASLt has no algorithm for it.
            ValueError: if shapes do not fit.
        """
        if a.ndim == 1 or b.ndim == 1:
            return self._with_vectors(a, b, out, finish, accumulate)
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul: inner lengths differ: {a.shape} @ {b.shape}")
        shape = result_shape(a.shape, b.shape)
        c = self.xp.empty(shape, dtype=a.dtype) if out is None else out
        if c.shape != shape:
            raise ValueError(f"matmul: expected out of shape {shape}, got {c.shape}")
        bias = finish.bias
        if (finish.gelu or finish.slope) and (c.ndim != 2 or shape[-1] % AUX_MULTIPLE or not c.size * a.shape[-1]):
            raise NotOffered(f"cuBLASLt: no GELU for {a.shape} @ {b.shape}")
        if not c.size:
            return c
        if not a.shape[-1]:  # a sum of nothing
            c[...] = (c if accumulate else 0) + (0 if bias is None else bias)
            return c
        if bias is not None and (not bias.flags.c_contiguous or bias.data.ptr % BIAS_BYTES):
            finish = finish._replace(bias=bias.copy())
        if self._columns_only(c) and finish.number == lt.EPILOGUE_DEFAULT:  # C^T = B^T A^T has rows that are contiguous
            self._run(b.swapaxes(-1, -2), a.swapaxes(-1, -2), c.swapaxes(-1, -2), NOTHING, accumulate)
        else:
            self._run(a, b, c, finish, accumulate)
        return c

    @staticmethod
    def _columns_only(c: Array) -> bool:
        return c.shape[-1] > 1 and c.strides[-1] != c.itemsize and c.strides[-2] == c.itemsize

    def _with_vectors(self, a: Array, b: Array, out: Array | None, finish: Finish, accumulate: bool) -> Array:
        row, column = a.ndim == 1, b.ndim == 1
        a, b = (a[None] if row else a), (b[:, None] if column else b)
        shape = result_shape(a.shape, b.shape)
        y = self(a, b, None if out is None else out.reshape(shape), finish=finish, accumulate=accumulate)
        kept = (*shape[:-2], *shape[-2:][int(row) : 2 - int(column)])
        return out if out is not None else y.reshape(kept)

    def _run(self, a: Array, b: Array, c: Array, finish: Finish, accumulate: bool) -> None:
        addresses = a.data.ptr, b.data.ptr, c.data.ptr
        compute = lt.COMPUTE_64F if a.dtype == np.float64 else lt.COMPUTE_32F
        if a.dtype == np.float32 and matmul_settings.allow_tf32:
            compute = lt.COMPUTE_32F_FAST_TF32
        aligned = tuple(alignment(address) for address in addresses)
        beside = tuple(0 if x is None else alignment(x.data.ptr) for x in (finish.bias, finish.before))
        layout = (a.shape, a.strides, b.shape, b.strides, c.shape, c.strides, a.dtype.name, c.dtype.name)
        key = (*layout, compute, finish.number, *beside, aligned)
        prepared = self._prepared.get(key)
        if prepared is None:
            views = [view_of(x.shape, x.strides, x.itemsize) for x in (a, b, c)]
            if any(view is None for view in views):
                product: Product | Copies = Copies(views[0] is None, views[1] is None, views[2] is None, False)
            else:
                product = plan(*views)  # type: ignore[arg-type]
            if isinstance(product, Copies):
                self._run_copied(product, a, b, c, finish, accumulate)
                return
            # Launches that begin further on may be aligned less.
            steps = [[abs(start[x]) * array.itemsize for start in product.starts] for x, array in enumerate((a, b, c))]
            aligned = tuple(min(n, *map(alignment, s), 256) for n, s in zip(aligned, steps, strict=True))
            if len(self._prepared) >= MOST_PLANS:  # lengths that grow word by word
                self.forget()
            try:
                prepared = _Prepared(self, product, (a.dtype.name, c.dtype.name), compute, finish, aligned)
            except NotOffered as error:
                # It will not be searched for again. Not the error itself: its traceback holds the arrays of this call.
                prepared = NotOffered(str(error))
            self._prepared[key] = prepared
        if isinstance(prepared, NotOffered):
            raise NotOffered(str(prepared))
        with prepared.lock:  # where the bias lies is part of the descriptor
            prepared.point_to(finish)
            self._launch(prepared, addresses, (a.itemsize, b.itemsize, c.itemsize), accumulate)

    def _run_copied(self, copies: Copies, a: Array, b: Array, c: Array, finish: Finish, accumulate: bool) -> None:
        xp, batch = self.xp, c.shape[:-2]
        if copies.a:
            a = xp.ascontiguousarray(xp.broadcast_to(a, (*batch, *a.shape[-2:])) if copies.whole else a)
        if copies.b:
            b = xp.ascontiguousarray(xp.broadcast_to(b, (*batch, *b.shape[-2:])) if copies.whole else b)
        target = xp.array(c, order="C") if copies.c and accumulate else xp.empty(c.shape, c.dtype) if copies.c else c
        self._run(a, b, target, finish, accumulate)
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
            lt.call(
                self.library, "Matmul", self.handle, how.desc, one, b, b_layout, a, a_layout, beta, c, c_layout,
                c, c_layout, algorithm, workspace.data.ptr, needed, stream,
            )  # fmt: skip
