"""NVIDIA's library cuBLASLt, loaded with ctypes: its functions with their types, and its numbers.

It is installed with CuPy's extra ``ctk``, or with PyTorch. Names and numbers: the header cublasLt.h of CUDA 13.
"""

from __future__ import annotations

import ctypes
from typing import Any

CUDA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
DESC_TRANSA, DESC_TRANSB, DESC_EPILOGUE, DESC_BIAS_POINTER, DESC_BIAS_DATA_TYPE = 3, 4, 7, 8, 26
DESC_AUX_POINTER, DESC_AUX_LD = 11, 12
LAYOUT_BATCH_COUNT, LAYOUT_STRIDED_BATCH_OFFSET = 5, 6
PREF_MAX_WORKSPACE_BYTES, PREF_REDUCTION_SCHEME_MASK, PREF_MIN_ALIGNMENT_BYTES = 1, 3, (5, 6, 7, 8)  # of A, B, C, D
REDUCTION_COMPUTE_TYPE = 2  # where a sum is split over blocks, its parts are added in float32, not in 16 bits
EPILOGUE_DEFAULT = 1
EPILOGUE_BIAS, EPILOGUE_GELU, EPILOGUE_DGELU, EPILOGUE_AUX = 4, 32, 64, 128  # these add up; DGELU has always AUX

pointer, size, int32, int64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64
SIGNATURES: dict[str, list[Any]] = {
    "Create": [pointer],
    "MatmulDescCreate": [pointer, int32, int32],
    "MatmulDescSetAttribute": [pointer, int32, pointer, size],
    "MatmulDescDestroy": [pointer],
    "MatrixLayoutCreate": [pointer, int32, ctypes.c_uint64, ctypes.c_uint64, int64],
    "MatrixLayoutSetAttribute": [pointer, int32, pointer, size],
    "MatrixLayoutDestroy": [pointer],
    "MatmulPreferenceCreate": [pointer],
    "MatmulPreferenceSetAttribute": [pointer, int32, pointer, size],
    "MatmulPreferenceDestroy": [pointer],
    "MatmulAlgoGetHeuristic": [*[pointer] * 7, int32, pointer, pointer],
    "Matmul": [*[pointer] * 14, size, pointer],
}


class HeuristicResult(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = [
        ("algo", ctypes.c_uint64 * 8),
        ("workspace_size", size),
        ("state", int32),
        ("waves_count", ctypes.c_float),
        ("reserved", int32 * 4),
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
    for name, arguments in SIGNATURES.items():
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
