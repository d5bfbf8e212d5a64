"""Floor 1: which array library and which device.

An array's backend is found by the array's class, so that NumPy and CuPy arrays can meet in one process and be told
apart; nothing here depends on a global switch.
"""

from __future__ import annotations

from minillm.backend.base import Array, Backend
from minillm.backend.cpu import NumPyBackend
from minillm.backend.device import device, get_default_device

__all__ = ["Array", "Backend", "backend_of", "device", "get_backend", "is_array", "register_backend"]

_by_array_type: dict[type, Backend] = {}
_by_device: dict[str, Backend] = {}


def register_backend(backend: Backend) -> Backend:
    """Make a backend known by the class of its arrays and by the type of its device."""
    _by_array_type[backend.array_type] = backend
    _by_device[backend.device.type] = backend
    return backend


cpu = register_backend(NumPyBackend())


def backend_of(array: Array) -> Backend:
    """Return the backend of an array.

    Raises:
        TypeError: if the array belongs to no known backend.
    """
    try:
        return _by_array_type[type(array)]
    except KeyError:
        for array_type, backend in list(_by_array_type.items()):
            if isinstance(array, array_type):  # a subclass, such as numpy.memmap
                return backend
        raise TypeError(f"expected an array of {sorted(_by_device)}, got {type(array).__name__}") from None


def is_array(value: object) -> bool:
    """Tell whether ``value`` is an array of a known backend."""
    return type(value) in _by_array_type


def get_backend(where: str | device | None = None) -> Backend:
    """Return the backend of a device ("cpu", "cuda", "cuda:0"); ``None`` means this thread's default device.

    Raises:
        RuntimeError: if the device is unknown, or "cuda" is asked for and there is no card or no CuPy.
    """
    where = get_default_device() if where is None else device(where)
    found = _by_device.get(where.type)
    if found is None:
        if where.type != "cuda":
            raise RuntimeError(f"device: expected one of 'cpu', 'cuda', got {str(where)!r}")
        from minillm.backend.cuda import CuPyBackend  # never before a CUDA device is asked for

        found = register_backend(CuPyBackend())
    if where.index:
        raise RuntimeError(f"device {str(where)!r}: only one card is supported; choose it with CUDA_VISIBLE_DEVICES")
    return found
