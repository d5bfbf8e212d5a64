"""A strict stand-in for CuPy, made of NumPy, so that mistakes with a GPU show on a laptop.

``DeviceArray`` behaves like ``cupy.ndarray`` where the two libraries part: it never mixes with a NumPy array, is never
converted to one by itself, and its reductions and single elements are 0-d arrays, not NumPy scalars. Every way from the
device to the host is counted. The module ``cupy`` made here has no name that CuPy 14.2 lacks, and its functions refuse
the keywords that CuPy's refuse (both read off an installed CuPy 14.2 with ``dir`` and ``inspect.signature``).
"""

from __future__ import annotations

import contextlib
import functools
import operator
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minillm import backend as backends
from minillm.backend.device import is_floating
from minillm.backend.special import erf
from tests import cuda_on_cpu

LACKING = frozenset(
    "ScalarType asmatrix block bmat char ctypeslib einsum_path emath errstate frompyfunc geomspace insert ma matrix "
    "matvec memmap nanpercentile nanquantile ndenumerate nditer nested_iters rec recarray seterr spacing strings "
    "typecodes unstack vecdot vecmat".split()
)
REFUSED_METHODS = frozenset("ctypes getfield resize setfield setflags to_device".split())
REFUSED_KEYWORDS = {
    "max min amax amin sum prod": "initial where",
    "mean var std all any": "where mean",
    "empty zeros ones full empty_like zeros_like ones_like eye linspace asarray": "device",
    "argsort sort": "order stable",
    "count_nonzero": "keepdims",
    "unique": "sorted",
    "broadcast_to": "subok",
    "clip": "dtype where",
}
REFUSED = {name: set(words.split()) for names, words in REFUSED_KEYWORDS.items() for name in names.split()}
UFUNC_KEYWORDS = {"out", "dtype", "casting"}
FLOAT32_OF_BFLOAT16 = frozenset("where tril triu round around".split())
UNSORTED = frozenset("argsort sort argpartition partition lexsort unique".split())
"""What CuPy 14.2 does to bfloat16: the former give float32, the latter refuse it (read off the types of its loops)."""

to_host = {"count": 0}
"""How often something went from the device to the host, or was waited for."""


def _bare(value: Any) -> Any:
    """Return the NumPy arrays inside device arrays; refuse NumPy arrays that came by themselves."""
    if isinstance(value, DeviceArray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(_bare(v) for v in value)
    return value


def _device(value: Any) -> Any:
    """Return a result of NumPy as CuPy would give it: scalars are 0-d arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return type(value)(_device(v) for v in value)
    return value


def _typed(name: str, args: Any, result: Any) -> Any:
    """Return a result of NumPy in the type that CuPy's would have."""
    if any(isinstance(a, DeviceArray) and a.dtype.name == "bfloat16" for a in args):
        if name in UNSORTED:
            raise NotImplementedError("Sorting arrays with dtype 'bfloat16' is not supported")
        return result.astype(np.float32) if name in FLOAT32_OF_BFLOAT16 else result
    return result


def _erf(x: DeviceArray) -> DeviceArray:
    """``cupyx.scipy.special.erf``, whose types are e->d, f->f and d->d."""
    wider = {"float16": np.float64, "bfloat16": np.float32}
    return _device(erf(_bare(x)).astype(wider.get(x.dtype.name, x.dtype)))


def _host(what: Any) -> Any:
    to_host["count"] += 1
    return what


def _refused(*_: Any, **__: Any) -> Any:
    raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")


_owners: weakref.WeakValueDictionary[int, DeviceArray] = weakref.WeakValueDictionary()
"""The arrays that are no views, by their memory: so that all views of one have the same ``base``."""


class DeviceArray:
    """An array "on the device"."""

    __slots__ = ("_array", "__weakref__")
    __array__ = _refused
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        if array.base is None:
            _owners[id(array)] = self

    def __getattr__(self, name: str) -> Any:
        if name in REFUSED_METHODS or name.startswith("__"):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        value = getattr(self._array, name)
        if not callable(value):
            return _device(value) if isinstance(value, np.ndarray) else value

        def method(*args: Any, **kwargs: Any) -> Any:
            refused = REFUSED.get(name, set()) & kwargs.keys()
            if refused:
                raise TypeError(f"{name}() got an unexpected keyword argument {sorted(refused)[0]!r}")
            return _device(_typed(name, (self,), value(*_bare(args), **{k: _bare(v) for k, v in kwargs.items()})))

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_array":
            object.__setattr__(self, name, value)
        else:
            setattr(self._array, name, _bare(value))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at":
            raise TypeError(f"numpy.{ufunc.__name__}.at does not know device arrays")
        if isinstance(kwargs.get("out"), tuple) and len(kwargs["out"]) == 1:
            kwargs["out"] = kwargs["out"][0]
        return _call(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Callable, _: Any, args: Any, kwargs: Any) -> Any:
        return _call(function, args, kwargs)

    @property
    def base(self) -> DeviceArray | None:
        owner = self._array.base
        if owner is None:
            return None
        known = _owners.get(id(owner))
        return DeviceArray(owner) if known is None else known

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._array.ctypes.data)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._array)))

    def __getitem__(self, index: Any) -> DeviceArray:
        return _device(self._array[_bare(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[_bare(index)] = _bare(value)

    def __repr__(self) -> str:
        return repr(_host(self._array))

    # The ways to the host.
    def get(self, out: np.ndarray | None = None) -> np.ndarray:
        if out is None:
            return _host(self._array.copy())
        assert (out.shape, out.dtype) == (self.shape, self.dtype) and out.flags.c_contiguous
        out[...] = _host(self._array)
        return out

    def item(self, *args: int) -> Any:
        return _host(self._array.item(*args))

    def tolist(self) -> Any:
        return _host(self._array.tolist())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(_host(self._array))

    def __index__(self) -> int:
        return operator.index(self.item())

    def __copy__(self) -> DeviceArray:
        return DeviceArray(self._array.copy())

    def __deepcopy__(self, _: Any) -> DeviceArray:
        return DeviceArray(self._array.copy())


def _add_operators() -> None:
    def binary(function: Callable) -> Callable:
        return lambda a, b: _device(function(a._array, _bare(b)))

    def reflected(function: Callable) -> Callable:
        return lambda a, b: _device(function(_bare(b), a._array))

    def in_place(function: Callable) -> Callable:
        def change(a: DeviceArray, b: Any) -> DeviceArray:
            a._array = function(a._array, _bare(b))
            return a

        return change

    def unary(function: Callable) -> Callable:
        return lambda a: _device(function(a._array))

    for name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
        function = getattr(operator, f"__{name}__")
        setattr(DeviceArray, f"__{name}__", binary(function))
        setattr(DeviceArray, f"__r{name}__", reflected(function))
        setattr(DeviceArray, f"__i{name}__", in_place(getattr(operator, f"__i{name}__")))
    for name in "lt le gt ge eq ne".split():
        setattr(DeviceArray, f"__{name}__", binary(getattr(operator, name)))
    for name in "neg pos abs invert".split():
        setattr(DeviceArray, f"__{name}__", unary(getattr(operator, name)))


_add_operators()


def _call(function: Callable, args: Any, kwargs: dict[str, Any]) -> Any:
    name = getattr(function, "__name__", "")
    allowed = UFUNC_KEYWORDS if isinstance(function, np.ufunc) and function is not np.matmul else None
    refused = set(kwargs) - allowed if allowed is not None else REFUSED.get(name, set()) & set(kwargs)
    if refused:
        raise TypeError(f"Wrong arguments {sorted(refused)} for cupy.{name}")
    if name == "where" and isinstance(args[0], (bool, int, np.generic)):
        raise AttributeError(f"{type(args[0]).__name__!r} object has no attribute 'astype'")  # as CuPy says it
    out = kwargs.get("out")
    result = _typed(name, args, function(*_bare(tuple(args)), **{k: _bare(v) for k, v in kwargs.items()}))
    return out if isinstance(out, DeviceArray) else _device(result)


def _call_keeping(function: Callable, *args: Any, **kwargs: Any) -> Any:
    return _call(function, args, kwargs)


def _as_strided(x: DeviceArray, shape: Any, strides: Any) -> DeviceArray:
    return _call(np.lib.stride_tricks.as_strided, (x, shape, strides), {})


class _Stream:
    ptr = 0

    @staticmethod
    def synchronize() -> None:
        to_host["count"] += 1


class SegmentAdd:
    """What the CUDA source of ``minillm.backend.cuda`` does, line by line, on the host."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str) -> None:
        assert name.startswith("minillm_segment_add_"), f"the stand-in knows no kernel {name!r}"
        self.acc = {"double": np.float64, "float": np.float32, "long_long": np.int64}[name.split("_add_")[1]]

    def __call__(self, values: Any, order: Any, positions: Any, n: int, width: int, out: Any, size: int) -> None:
        values, order, positions, out = (a._array.ravel() for a in (values, order, positions, out))
        assert size == n * width and np.shares_memory(out, out.base if out.base is not None else out)
        for row in range(n):
            if row == 0 or positions[row] != positions[row - 1]:
                last = row
                while last < n and positions[last] == positions[row]:
                    last += 1
                for column in range(width):
                    total = self.acc(0)
                    for r in range(row, last):
                        total += values[order[r] * width + column].astype(self.acc)
                    at = positions[row] * width + column
                    out[at] = (out[at].astype(self.acc) + total).astype(out.dtype)


class _Random:
    """``cupy.random.default_rng``: draws arrays; has no permutation, shuffle or choice."""

    class _Generator:
        def __init__(self, seed: int) -> None:
            self._rng = np.random.default_rng(seed)

        def random(self, size: Any = None, dtype: Any = np.float64) -> DeviceArray:
            return _device(self._rng.random(size, dtype=dtype))

    default_rng = _Generator


class CuPyModule(types.ModuleType):
    """The module ``cupy``: NumPy's functions on device arrays, less what CuPy lacks."""

    ndarray = DeviceArray
    ElementwiseKernel = SegmentAdd
    RawModule = cuda_on_cpu.Module
    random = _Random
    lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))
    cuda = types.SimpleNamespace(is_available=lambda: True, get_current_stream=_Stream)

    def __getattr__(self, name: str) -> Any:
        if name in LACKING or not hasattr(np, name):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value):
            return value

        def function(*args: Any, **kwargs: Any) -> Any:
            return _call(value, args, kwargs)

        function.__name__ = name
        for method in ("reduce", "accumulate", "outer", "reduceat") if isinstance(value, np.ufunc) else ():
            setattr(function, method, functools.partial(_call_keeping, getattr(value, method)))
        return function

    @staticmethod
    def asarray(a: Any, dtype: Any = None) -> DeviceArray:
        """Return a device array; this is the one function that takes a NumPy array (and copies it)."""
        if isinstance(a, DeviceArray):
            return a if dtype is None or a.dtype == dtype else a.astype(dtype)
        return DeviceArray(np.array(_bare(a) if isinstance(a, (list, tuple)) else a, dtype=dtype))

    array = asarray

    @staticmethod
    def empty(shape: Any, dtype: Any = np.float64) -> DeviceArray:
        """Return an array of NaN: what nobody has written must not be read."""
        made = np.empty(shape, dtype=dtype)
        made.fill(np.nan if is_floating(made.dtype) else 99)
        return DeviceArray(made)

    @staticmethod
    def empty_like(a: DeviceArray, dtype: Any = None) -> DeviceArray:
        made = np.empty_like(_bare(a), dtype=dtype)
        made.fill(np.nan if is_floating(made.dtype) else 99)
        return DeviceArray(made)

    @staticmethod
    def asnumpy(a: DeviceArray) -> np.ndarray:
        return a.get()

    @staticmethod
    def get_default_memory_pool() -> Any:
        return types.SimpleNamespace(used_bytes=lambda: 0, free_all_blocks=lambda: None)


@contextlib.contextmanager
def standin(kernels: bool = False, products: Any = None, recording: Any = None) -> Iterator[dict[str, int]]:
    """Let "cuda" mean the stand-in inside the block; gives the counter of ways to the host.

    Args:
        kernels: run the backend's CUDA kernels, on the CPU (see ``tests.cuda_on_cpu``); without them each op is
            computed by its ``Function``, of which the stand-in sees every call.
        products: computes matrix products in place of cuBLASLt; without it they are those of CuPy.
        recording: makes a recording for a backend (see ``tests.backend.recording_on_host``); without it there are none.
    """
    cupy, cupyx = CuPyModule("cupy"), types.ModuleType("cupyx")
    cupyx.empty_pinned = np.empty  # type: ignore[attr-defined]
    special = types.ModuleType("cupyx.scipy.special")
    special.erf = _erf  # type: ignore[attr-defined]
    fakes = {
        "cupy": cupy, "cupyx": cupyx, "cupyx.scipy": types.ModuleType("cupyx.scipy"), "cupyx.scipy.special": special
    }  # fmt: skip
    kept = {name: sys.modules.get(name) for name in fakes}
    registries = (backends._by_array_type, backends._by_device)
    before = [dict(r) for r in registries]
    backends._by_device.pop("cuda", None)
    sys.modules.update(fakes)
    to_host["count"] = 0
    try:
        backend: Any = backends.get_backend("cuda")
        backend.gemm = products  # never the real library: its card would be given main memory
        backend.tensor_cores = True  # the tests have functions in their place
        backend.start_recording = lambda: None if recording is None else recording(backend)
        if not kernels:
            backend.kernels = {}
        with np.errstate(all="ignore"):  # a GPU gives no floating-point warnings
            yield to_host
    finally:
        for registry, old in zip(registries, before, strict=True):
            registry.clear()
            registry.update(old)
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
