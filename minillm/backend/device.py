"""Names of devices and of element types, and the default element type of a thread.

Element types are NumPy's own ``dtype`` objects under PyTorch's names: ``minillm.float32 == numpy.dtype("float32")``.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

float64 = double = np.dtype("float64")
float32 = np.dtype("float32")
float16 = half = np.dtype("float16")
int64 = long = np.dtype("int64")
int32 = np.dtype("int32")
int16 = short = np.dtype("int16")
int8 = np.dtype("int8")
uint8 = np.dtype("uint8")
bool_ = np.dtype("bool")


def bfloat16() -> np.dtype:
    """Return the bfloat16 type, which NumPy has only with the package ml_dtypes.

    Raises:
        RuntimeError: if ml_dtypes is not installed.
    """
    try:
        import ml_dtypes
    except ImportError:
        raise RuntimeError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes (or use float16)") from None
    return np.dtype(ml_dtypes.bfloat16)


def is_floating(dtype: np.dtype) -> bool:
    """Tell whether ``dtype`` is a floating type.

    # Trap: bfloat16 has kind "V", so ``dtype.kind == "f"`` alone would call it an unknown type.
    """
    return dtype.kind == "f" or dtype.name == "bfloat16"


def finfo(dtype: Any = None) -> Any:
    """Return the limits of a floating type: ``max``, ``min``, ``eps``, ``tiny``, ``bits``."""
    dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
    if dtype.name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.finfo(dtype)
    return np.finfo(dtype)


class device:
    """A place where arrays live: ``device("cpu")``, ``device("cuda")``, ``device("cuda:1")``.

    Args:
        type: "cpu" or "cuda", with an optional index after a colon.
        index: which card; ``None`` means the current one.

    Raises:
        RuntimeError: if the type is not a known one.

    >>> device("cuda:1").index
    1
    """

    __slots__ = ("type", "index")

    def __init__(self, type: str | device, index: int | None = None) -> None:
        given: Any = type
        if isinstance(given, device):
            index = given.index if index is None else index
            given = given.type
        kind, colon, number = str(given).partition(":")
        if colon:
            if index is not None or not number.isdigit():
                raise RuntimeError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {type!r}")
            index = int(number)
        if not kind.isidentifier():
            raise RuntimeError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {type!r}")
        self.type: str = kind
        self.index: int | None = index

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )


class MatMulSettings:
    """How float32 matrices are multiplied on a GPU (PyTorch's ``torch.backends.cuda.matmul``); one for all threads.

    Attributes:
        allow_tf32: let tensor cores round the factors to 11 bits first, as TF32: several times as fast, with errors of
            1e-3 instead of 1e-6.
    """

    allow_tf32: bool = False


matmul_settings = MatMulSettings()


class _Defaults(threading.local):
    """What a new array is made of when the caller does not say; each thread has its own."""

    dtype = float32
    device: str | device = "cpu"


_defaults = _Defaults()


def get_default_dtype() -> np.dtype:
    """Return the floating type that Python floats become (float32 unless changed in this thread)."""
    return _defaults.dtype


def set_default_dtype(dtype: Any) -> None:
    """Set the floating type that Python floats become, for this thread.

    Raises:
        TypeError: if ``dtype`` is not a floating type.
    """
    dtype = np.dtype(dtype)
    if not is_floating(dtype):
        raise TypeError(f"set_default_dtype: expected a floating type such as float32, got {dtype}")
    _defaults.dtype = dtype


def get_default_device() -> device:
    """Return the device on which new arrays are made in this thread."""
    return device(_defaults.device)


def set_default_device(where: str | device) -> None:
    """Set the device on which new arrays are made, for this thread."""
    _defaults.device = device(where)
