"""What the engine asks of an array library, in one class.

``Backend`` is a closed list of primitives. The version written here uses ``self.xp`` and is right for NumPy; the CUDA
backend overrides what CuPy does otherwise. Nothing else in minillm asks which library an array belongs to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minillm.backend.device import device, is_floating
from minillm.backend.random import Generator
from minillm.backend.special import erf

Array = Any  # numpy.ndarray or cupy.ndarray


class Backend:
    """One device and the array library that computes on it.

    Attributes:
        xp: the array module, with NumPy's names.
        array_type: the class of its arrays; the backend of an array is looked up by it.
        device: the device as PyTorch names it.
        compiles: whether there are compiled row kernels; see ``compiled``.
        recording: on a card, what is being recorded (``backend/cuda/graph.py``), if anything is.
        kernels: faster versions of ops, by the name of the ``Function``: a class with the same ``forward`` and
            ``backward``. Its ``forward`` returns ``NotImplemented`` for what it cannot do, and the ``Function`` does
            it. One with ``takes_16_bits = True`` reads a gradient of them, too, for a result in float32. Beside them,
            a few that optimizers and others ask for by name. Without any of them everything works, slower; the tests
            compare each with what it replaces.
    """

    xp: Any
    array_type: type
    device: device
    compiles = False
    kernels: dict[str, Any] = {}
    recording: Any = None

    @property
    def name(self) -> str:
        """The device's type: "cpu" or "cuda"."""
        return self.device.type

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.device)!r})"

    # --- moving data ---------------------------------------------------------------------------------------------
    def asarray(self, value: Any, dtype: np.dtype | None = None) -> Array:
        """Return ``value`` (a scalar, a nested list or an array of this backend) as an array of this backend."""
        return self.xp.asarray(value, dtype=dtype)

    def from_host(self, array: np.ndarray) -> Array:
        """Move a NumPy array to this device (no copy on the CPU)."""
        return array

    def to_host(self, array: Array) -> np.ndarray:
        """Return the array as a NumPy array (no copy on the CPU)."""
        return array

    def host_copy(self, array: Array) -> Callable[[], np.ndarray]:
        """Return a function that copies what an array holds to a NumPy array, which is valid until the next call."""
        return lambda: self.to_host(array)

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given."""

    def memory_allocated(self) -> int:
        """Return the bytes held by arrays on this device, or 0 where the device does not count them."""
        return 0

    def start_recording(self) -> Any:
        """Return an empty recording of what a card is given to do; ``None`` where there is no such thing."""
        return None

    def repeatable(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does the same once more; a card repeats a recording of it.

        Args:
            function: has run before. It may launch work on arrays that stay where they are, and take memory for what
                it needs meanwhile, but neither wait nor copy from the host. Done twice, it must give what it gives
                once: a card may run it again while it is recorded.
        """
        return function

    def empty_cache(self) -> None:
        """Give memory back that the device keeps for arrays to come."""

    def compiled(self, name: str, *arrays: Array) -> Any:
        """Return the compiled version of a row kernel for these arrays, if there is one: see ``NumPyBackend``."""
        return None

    def errstate(self) -> contextlib.AbstractContextManager:
        """Silence floating-point warnings: inf and NaN are answers here, as in PyTorch."""
        return np.errstate(all="ignore")

    # --- primitives that array libraries spell or treat differently ------------------------------------------------
    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Matrix product of the last two axes, broadcast over the others; types of 16 bits are summed in float32."""
        if a.dtype.itemsize == 2 and is_floating(a.dtype) and out is None:
            product = self.xp.matmul(a.astype(np.float32), b.astype(np.float32))
            return self.xp.asarray(product, dtype=a.dtype)
        return self.xp.matmul(a, b, out=out)

    def cast(self, x: Array, dtype: np.dtype) -> Array:
        """Return a copy in another element type."""
        return x.astype(dtype)

    def address(self, array: Array) -> int:
        """Return where the first element of an array lies in memory."""
        return array.__array_interface__["data"][0]

    def stack(self, arrays: Sequence[Array], axis: int) -> Array:
        """Return arrays of one shape side by side along a new axis: a new array, or a view if they lie so in memory.

        Gradients of queries, keys and values do (``ops/attention.py``), and are then not copied.
        """
        first, places = arrays[0], [self.address(a) for a in arrays] if arrays[0].base is not None else []
        step = places[1] - places[0] if len(places) > 1 else 0
        if (
            step > 0
            and places == list(range(places[0], places[0] + len(places) * step, step))
            and all(a.base is first.base for a in arrays)
            and len({(a.shape, a.strides, a.dtype) for a in arrays}) == 1
        ):
            shape = (*first.shape[:axis], len(arrays), *first.shape[axis:])
            strides = (*first.strides[:axis], step, *first.strides[axis:])
            return self.xp.lib.stride_tricks.as_strided(first, shape, strides)
        return self.xp.stack(arrays, axis=axis)

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        """``x`` where the condition holds, ``y`` elsewhere: arrays or numbers."""
        return self.xp.where(condition, x, y)

    def erf(self, x: Array) -> Array:
        """The error function, elementwise."""
        return erf(x)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """Add ``values`` to ``target[index]`` in place; repeated positions add up, always in the same order."""
        if target.dtype.itemsize == 2 and is_floating(target.dtype):
            total = target.astype(np.float32)  # rounded once: by itself a float16 stays at 2048 when ones are added
            self.scatter_add(total, index, values.astype(np.float32))
            target[...] = total
        else:
            np.add.at(target, index, values)

    def embedding_grad(self, ids: Array, dy: Array, num_embeddings: int, total: Array | None = None) -> Array:
        """Sum the rows of ``dy`` that belong to the same id: ``dw[v] = sum over ids == v of dy``.

        With ``total`` they are added to it, and it is returned.

        Shape: ids (N,), dy (N, C), total and result (num_embeddings, C).
        """
        dw = self.xp.zeros((num_embeddings, dy.shape[1]), dtype=dy.dtype) if total is None else total
        self.scatter_add(dw, ids, dy)
        return dw

    def check_ids(self, ids: Array, size: int, what: str, ignored: int | None = None) -> None:
        """Refuse ids outside ``0 .. size - 1``, other than ``ignored``.

        Raises:
            IndexError: naming the id and the size. NumPy alone would accept -1, CuPy would accept anything.
        """
        if ids.size == 0:
            return
        if ignored is not None:
            ids = self.xp.where(ids == ignored, 0, ids)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= size:
            raise IndexError(f"{what}: id {low if low < 0 else high} is not in 0 .. {size - 1} (there are {size})")

    def check_places(self, places: Array, size: int, what: str) -> None:
        """Refuse places outside ``-size .. size - 1``, unless the array library does when it is given them."""

    def changed(self, array: Array) -> None:
        """Hear that an array was changed in place; what a backend knows of its contents is no longer true."""

    def uniform(self, generator: Generator, stream: str, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Draw from [0, 1) on this device, from the named stream."""
        # Drawing float16 directly is not offered by NumPy; float32 rounds into it.
        draw = np.float64 if dtype == np.float64 else np.float32
        return self.from_host(generator.stream(stream).random(shape, dtype=draw)).astype(dtype, copy=False)
