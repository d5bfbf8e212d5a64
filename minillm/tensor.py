"""Floor 3: the Tensor. An array, its place in the graph, and PyTorch's methods, each a one-line call into
``minillm.ops``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minillm import autograd, methods
from minillm.autograd import Context, Variable
from minillm.backend import Array, Backend, backend_of, device, get_backend
from minillm.backend.device import get_default_dtype, is_floating
from minillm.methods import TensorMethods

__all__ = ["Tensor"]


class Tensor(TensorMethods, Variable):
    """An n-dimensional array that can remember how it was made.

    Args:
        data: a number, a nested list, an array or a tensor; numbers become the default floating type.
        requires_grad: whether a gradient with respect to it may be asked for.

    Attributes:
        array: the raw array (NumPy or CuPy); changing it by hand is not noticed by the engine.
        grad: the gradient after ``backward()``, a Tensor, or ``None``.
        grad_fn: the record of the op that made it, ``None`` for a leaf.

    >>> x = Tensor([2.0]); x.requires_grad_()
    tensor([2.], requires_grad=True)
    >>> (x * x).sum().backward(); x.grad
    tensor([4.])
    """

    __array_ufunc__ = None  # numpy_array * tensor asks the tensor instead of treating it as a sequence

    def __init__(self, data: Any = (), *more: int, requires_grad: bool = False) -> None:
        if more or (isinstance(data, int) and not isinstance(data, bool)):  # PyTorch's Tensor(2, 3): sizes, not values
            data = np.zeros((data, *more), dtype=get_default_dtype())
        elif isinstance(data, Size):
            data = np.zeros(data, dtype=get_default_dtype())
        array = data.array if isinstance(data, Tensor) else data
        if type(array) in (list, tuple, float, bool):
            array = np.asarray(ops.creation.plain_data(array), dtype=get_default_dtype())
        self.array = array
        self._version = [0]
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        """Return an array as a tensor, without looking at it."""
        t = Tensor.__new__(Tensor)
        t.array = array
        t._version = [0]
        return t

    @classmethod
    def _from_op(cls, array: Array, ctx: Context, output_nr: int) -> Tensor:
        """Return the result of a recorded op."""
        t = Tensor.__new__(Tensor)
        t.array = array
        t._version = [0]
        t.requires_grad = True
        t.grad_fn = ctx
        t.output_nr = output_nr
        return t

    @property
    def grad(self) -> Any:
        """The gradient after ``backward()``; ``None`` before.

        Raises:
            TypeError: when it is set to anything but a tensor or ``None``.
            RuntimeError: when it is set to a tensor of another shape or element type, or on another device.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            for what, found, wanted in (
                ("shape", tuple(value.shape), tuple(self.shape)),
                ("dtype", value.dtype, self.dtype),
                ("device", value.device, self.device),
            ):
                if found != wanted:
                    raise RuntimeError(f"grad: expected {what} {wanted}, that of the tensor, got {found}")
            if value is self:
                raise RuntimeError("grad: a tensor cannot be its own gradient; use detach().clone()")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    # --- what it is ------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The length of every axis."""
        return Size(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.array.dtype

    @property
    def backend(self) -> Backend:
        """The backend of its array."""
        return backend_of(self.array)

    @property
    def device(self) -> device:
        """Where its array lives."""
        return backend_of(self.array).device

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user and not by a recorded op."""
        return self.grad_fn is None

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.array.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.array.nbytes

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the length of one axis."""
        return self.shape if dim is None else self.array.shape[dim]

    def stride(self, dim: int | None = None) -> Any:
        """Return the distance in elements from one entry to the next, for every axis or one."""
        strides = tuple(s // self.array.itemsize for s in self.array.strides)
        return strides if dim is None else strides[dim]

    def dim(self) -> int:
        """Return the number of axes."""
        return self.array.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return int(self.array.size)

    nelement = numel
    ndimension = dim

    def element_size(self) -> int:
        """Return the bytes of one element."""
        return self.array.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Tell whether the element type is a floating type."""
        return is_floating(self.array.dtype)

    def is_contiguous(self) -> bool:
        """Tell whether the elements lie in memory in order."""
        return bool(self.array.flags.c_contiguous)

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        return self.backend.address(self.array)

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len(): a 0-d tensor has no length")
        return self.array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.array.ndim:
            raise TypeError("a 0-d tensor cannot be iterated over")
        return iter(ops.unbind(self, 0))

    def __repr__(self) -> str:
        return ops.printing.tensor_repr(self)

    # --- out of the engine -----------------------------------------------------------------------------------------
    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"item: expected a tensor with one element, got shape {tuple(self.shape)}")
        return self.array.item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.backend.to_host(self.array).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """Return the NumPy array; it shares memory with a CPU tensor.

        Raises:
            RuntimeError: if the tensor requires grad (use ``detach()``), unless ``force``.
        """
        if self.requires_grad and not force:
            raise RuntimeError("numpy: the tensor requires grad; use tensor.detach().numpy()")
        return self.backend.to_host(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.device.type != "cpu":
            raise TypeError(f"cannot turn a tensor on {self.device} into a NumPy array; use tensor.cpu()")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        value = self.item()
        if isinstance(value, float):
            raise TypeError(f"only integer tensors can be used as an index, got {self.dtype}")
        return int(value)

    def __complex__(self) -> complex:
        return complex(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.array.ndim and spec else str(self)

    def __copy__(self) -> Tensor:
        made = type(self).__new__(type(self))  # the same memory, as in PyTorch, and no part of a graph
        made.array, made._version, made.requires_grad = self.array, self._version, self.requires_grad
        return made

    def __deepcopy__(self, memo: dict) -> Tensor:
        if self.grad_fn is not None:
            raise RuntimeError("deepcopy: only leaf tensors can be copied; use tensor.detach().clone()")
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(
            {k: v for k, v in self.__dict__.items() if k not in ("array", "_grad", "_version", "_hooks", "_grad_place")}
        )
        made.array, made._version = self.array.copy(), [0]
        made._grad = None if self._grad is None else Tensor._wrap(self._grad.array.copy())
        return made

    def __reduce__(self) -> Any:
        raise TypeError(
            "tensors are not pickled, since reading a pickle can run any code; use minillm.save and minillm.load"
        )

    # --- the graph -------------------------------------------------------------------------------------------------
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient with respect to this leaf (or no longer), in place."""
        if self.grad_fn is not None:
            if not requires_grad:
                raise RuntimeError("requires_grad_: only a leaf can be switched off; use detach()")
            return self
        if requires_grad and not is_floating(self.array.dtype):
            raise RuntimeError(f"requires_grad_: only floating tensors have gradients, this one is {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool = False,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Compute the gradients of this tensor and add them to ``.grad`` of every leaf that it was made from.

        Args:
            gradient: where to start; 1 for a tensor of one element.
            retain_graph: keep what was saved, so that ``backward`` can be called again.
            inputs: the only leaves to give gradients to; all by default.

        Raises:
            RuntimeError: if nothing was recorded, the graph was freed by an earlier call, or ``inputs`` is empty.
            NotImplementedError: for ``create_graph=True``: gradients of gradients are not offered.
        """
        if create_graph:
            raise NotImplementedError("create_graph=True: gradients of gradients are not offered by minillm")
        start = autograd.start_gradient(self, gradient)
        if inputs is None:
            autograd.run_backward([self], [start], retain_graph)
            return
        inputs = [inputs] if isinstance(inputs, Tensor) else list({id(x): x for x in inputs}.values())
        if not inputs:
            raise RuntimeError("backward: inputs is empty; leave it out to give gradients to all leaves")
        for x, dx in zip(inputs, autograd.run_backward([self], [start], retain_graph, inputs), strict=True):
            if dx is not None:
                x.grad = Tensor._wrap(dx if x.grad is None else x.grad.array + dx)

    def detach(self) -> Tensor:
        """Return a tensor that shares memory with this one and is outside the graph."""
        made = Tensor._wrap(self.array)
        made._version = self._version
        return made

    def detach_(self) -> Tensor:
        """Leave the graph, in place."""
        self.grad_fn, self.output_nr, self.requires_grad = None, 0, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory outside the graph; changes through it are not noticed by the engine."""
        return Tensor._wrap(self.array)

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Any:
        """Call ``hook(gradient)`` in the backward pass; a tensor that it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("register_hook: the tensor does not require grad")
        return autograd.add_hook(self, hook)

    def retain_grad(self) -> None:
        """Keep the gradient in ``.grad`` although this is not a leaf."""
        autograd.retain_grad(self)

    # --- other types and places ------------------------------------------------------------------------------------
    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False
    ) -> Tensor:
        """Return the tensor in another element type or on another device; itself if nothing changes.

        Args:
            args: a dtype, a device, a device and a dtype, or a tensor to be like.
        """
        for a in args:
            if isinstance(a, Tensor):
                dtype, device = a.dtype, a.device
            elif isinstance(a, str) or type(a).__name__ == "device":
                device = a
            elif a is not None and not isinstance(a, bool):
                dtype = a
        moved = self if device is None else ops.creation.to_device(self, get_backend(device))
        moved = moved if dtype is None else ops.cast(moved, dtype)
        return moved.clone() if copy and moved is self else moved

    def cpu(self) -> Tensor:
        """Return the tensor in main memory."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Tensor:
        """Return the tensor on the GPU."""
        return self.to("cuda" if device is None or isinstance(device, int) else device)

    def type(self, dtype: Any = None) -> Any:
        """Return the name of the element type, or the tensor in another one."""
        return f"minillm.{self.dtype.name}" if dtype is None else ops.cast(self, dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """Return the tensor with the element type and on the device of ``other``."""
        return self.to(other)

    def float(self) -> Tensor:
        """Return the tensor as float32."""
        return ops.cast(self, np.float32)

    def double(self) -> Tensor:
        """Return the tensor as float64."""
        return ops.cast(self, np.float64)

    def half(self) -> Tensor:
        """Return the tensor as float16."""
        return ops.cast(self, np.float16)

    def long(self) -> Tensor:
        """Return the tensor as int64."""
        return ops.cast(self, np.int64)

    def int(self) -> Tensor:
        """Return the tensor as int32."""
        return ops.cast(self, np.int32)

    def bool(self) -> Tensor:
        """Return the tensor as bool."""
        return ops.cast(self, np.bool_)


class Size(tuple):
    """A shape: a tuple that can also count its elements (PyTorch's ``torch.Size``); parts and sums are shapes, too."""

    __slots__ = ()

    def numel(self) -> int:
        """Return the product of the lengths."""
        n = 1
        for length in self:
            n *= length
        return n

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(tuple(other))) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self)) if isinstance(other, tuple) else NotImplemented

    def __repr__(self) -> str:
        return f"minillm.Size({list(self)})"


autograd.set_tensor_class(Tensor)

# The one knot in the house: ops are written with Tensor, and Tensor's methods call ops when they run.
from minillm import ops  # noqa: E402

methods.ops = ops
