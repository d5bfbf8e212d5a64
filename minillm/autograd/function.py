"""The tape: every op is a ``Function`` with a ``forward`` and a ``backward`` on plain arrays.

``Function.apply`` runs the forward and, if a gradient may be asked for later, keeps one ``Context`` a call: who was
called, with which inputs, and what the backward pass will need. ``Variable`` is all that it needs to know of a tensor.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from minillm.autograd.modes import AnomalyError, modes
from minillm.backend import Array, Backend, backend_of, is_array


class Variable:
    """What the engine needs of a tensor: an array and its place in the graph.

    Attributes:
        array: the numbers.
        requires_grad: whether a gradient with respect to it may be asked for.
        _grad: the accumulated gradient of a leaf, itself a tensor.
        grad_fn: the ``Context`` that made it, ``None`` for a leaf.
        output_nr: which output of ``grad_fn`` it is.
    """

    array: Array
    requires_grad: bool = False
    _grad: Any = None
    grad_fn: Context | None = None
    output_nr: int = 0
    _version: list[int]  # one cell shared by a tensor and its views; in-place ops count it up
    _hooks: list[Callable] | None = None
    _grad_place: Array | None = None  # where the gradient of a leaf is to lie, if a trainer has a place for it


_tensor_class: Any = Variable  # tensor.py puts Tensor here
_clock = itertools.count()  # numbers the calls; a call's inputs always have lower numbers than the call


def set_tensor_class(cls: type) -> None:
    """Tell the engine which class to wrap results in; called once, by tensor.py."""
    global _tensor_class
    _tensor_class = cls


def wrap(array: Array) -> Any:
    """Return an array as a tensor without a graph."""
    return _tensor_class._wrap(array)


class Context:
    """The record of one call of an op: a node of the graph.

    An op's ``forward`` may set attributes on it (numbers, shapes, axes) and hands the arrays that ``backward`` needs to
    ``save_for_backward``: they are counted, freed after the backward pass, and guarded against changes in place.

    Attributes:
        backend, xp: the backend of the inputs and its array module.
        needs_input_grad: for each input, whether its gradient is wanted; ``backward`` returns ``None`` for the others.
        edges: for each input, where its gradient goes: (Context, output number), (leaf, -1) or ``None``.
        final: in ``backward``, whether no other backward pass will come: an op may then write its result into an array
            that it saved, if it made that array itself and handed it to nobody.
        fills: in ``backward``, whether gradients of leaves go to their ``.grad``.
    """

    final = False
    fills = False
    take: Callable[[Any], Array | None] | None = None  # in ``backward``: see ``so_far``
    kernel: Any = None  # the backend's own version of the op, if it made the result; see ``Backend.kernels``
    hooks: dict[int, list[Callable]] | None = None
    origin: str | None = None
    _saved: tuple[Array, ...] | None = ()

    backend: Backend
    xp: Any

    def __init__(self, function: type[Function], backend: Backend, needs_input_grad: tuple[bool, ...]) -> None:
        self.function = function
        self.backend = backend
        self.xp = backend.xp
        self.needs_input_grad = needs_input_grad

    def save_for_backward(self, *arrays: Array) -> None:
        """Keep arrays for ``backward``."""
        self._saved = arrays

    @property
    def saved_arrays(self) -> tuple[Array, ...]:
        """The arrays that ``forward`` saved.

        Raises:
            RuntimeError: if they were freed by an earlier backward pass, or changed in place since.
        """
        if self._saved is None:
            raise RuntimeError(
                f"{self.name()}: backward through the graph a second time, but its saved arrays were freed by the "
                "first. Call backward(retain_graph=True) the first time, or compute the loss again"
            )
        for cell, version, what, i, shape in self._versions:
            if cell[0] != version:
                raise RuntimeError(
                    f"{self.name()}: its {what} {i} of shape {shape}, which its gradient needs, was changed in place "
                    f"after the forward pass (version {cell[0]}, expected {version}). Change a clone(), or change it "
                    "after backward()"
                )
        return self._saved

    def place(self, i: int) -> Array | None:
        """Return the array that ``backward`` may write the gradient of input i into, if there is one.

        Without it a large gradient would be written once where it is computed, and once more where it is to lie.
        """
        if not self.fills or self.edges[i] is None or self.edges[i][1] >= 0:
            return None
        leaf = self.edges[i][0]
        if leaf._grad is not None or leaf._hooks or leaf._grad_place is None:
            return None
        # Trap: an input that is there twice gets two gradients, and they cannot both be written to one place.
        twice = sum(edge is not None and edge[0] is leaf for edge in self.edges) > 1
        return None if twice else leaf._grad_place

    def total(self, i: int) -> Array | None:
        """Return the gradient that input i, a leaf, already has, if ``backward`` may add to it in place.

        An op that does so returns that array. It pays where most of a gradient is zero.
        """
        if not self.fills or self.edges[i] is None or self.edges[i][1] >= 0:
            return None
        leaf = self.edges[i][0]
        if leaf._grad is None or leaf._hooks or leaf._grad.array.dtype != leaf.array.dtype:
            return None
        return leaf._grad.array if leaf._grad.array.flags.c_contiguous else None

    def so_far(self, i: int) -> Array | None:
        """Return the gradient that has come to input i, the result of another op, from elsewhere; ``None`` if none has.

        The engine would add it to what ``backward`` returns for input i. An op that asks for it does so itself, in the
        same pass over memory: it must return the sum, and leave this array as it is.
        """
        return None if self.take is None or self.edges[i] is None else self.take(self.edges[i])

    def name(self) -> str:
        """Return the name that errors and ``grad_fn`` show, such as ``MulBackward``."""
        return self.function.__name__ + "Backward"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    @property
    def next_functions(self) -> tuple:
        """The nodes (or leaves) that the gradients of the inputs go to, as PyTorch lists them."""
        return tuple((None, 0) if edge is None else edge for edge in self.edges)

    def _record(self, inputs: Sequence[Any], results: Sequence[Array]) -> None:
        """Become a node: note where gradients go, and the shapes in which they come."""
        self.sequence = next(_clock)
        edges: list[Any] = []
        for wanted, x in zip(self.needs_input_grad, inputs, strict=True):
            edges.append(None if not wanted else (x, -1) if x.grad_fn is None else (x.grad_fn, x.output_nr))
        self.edges = edges
        self.outputs = [(y.shape, y.dtype) for y in results]
        self._versions: list[tuple[list[int], int, str, int, tuple[int, ...]]] = []

    def _guard(self, inputs: Sequence[Any], tensors: Sequence[Any]) -> None:
        """Note the versions of tensors whose memory was saved: nobody may change it before the backward pass."""
        owners = {id(owner(a)) for a in self._saved or () if a is not None}
        for what, candidates in (("input", inputs), ("output", tensors)):
            for i, x in enumerate(candidates):
                if isinstance(x, Variable) and id(owner(x.array)) in owners:
                    self._versions.append((x._version, x._version[0], what, i, x.array.shape))

    def release(self) -> None:
        if self._saved:
            self._saved = None


def owner(array: Array) -> Array:
    base = getattr(array, "base", None)
    return array if base is None else base


class Function:
    """An op: ``forward`` on arrays, ``backward`` on the gradients of its results.

    ``apply(*inputs, **options)`` takes tensors (and numbers or ``None``) by position and settings by name.
    ``forward(ctx, *inputs, **options)`` gets arrays and returns an array or a tuple of arrays.
    ``backward(ctx, *dys)`` gets one gradient a result and returns one gradient an input, ``None`` where none is wanted.
    It must not write into ``dys``: another op may hold the same array.
    """

    differentiable = True
    """False for results without a gradient (argmax, comparisons): nothing is recorded."""

    op = ""
    """The name under which a backend may have a kernel for it: that of the class, for minillm's own ops alone.
    Somebody else's class called ``GELU`` computes what it says.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.op = cls.__name__ if cls.__module__.startswith("minillm.ops.") else ""

    @staticmethod
    def forward(ctx: Any, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, *dys: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run the forward pass on tensors and record it if a gradient may be asked for."""
        if modes.autocast is not None:
            inputs = modes.autocast.inputs(cls.__name__, inputs)
        arrays: list[Any] = []
        needs: list[bool] = []
        backend: Backend | None = None
        for x in inputs:
            if isinstance(x, Variable):
                array = x.array
                if backend is None:
                    backend = backend_of(array)
                elif type(array) is not backend.array_type and backend_of(array) is not backend:
                    raise _mixed_devices(cls, backend, backend_of(array))
                arrays.append(array)
                needs.append(x.requires_grad)
            else:
                arrays.append(x)
                needs.append(False)
        if backend is None:
            raise TypeError(f"{cls.__name__}: expected at least one Tensor, got {[type(x).__name__ for x in inputs]}")
        recorded = cls.differentiable and modes.grad_enabled and True in needs
        ctx = Context(cls, backend, tuple(needs) if recorded else (False,) * len(needs))
        results: Any = NotImplemented
        with backend.errstate():
            kernel = backend.kernels.get(cls.op)
            if kernel is not None:
                results = kernel.forward(ctx, *arrays, **options)
            if results is NotImplemented:
                results = cls.forward(ctx, *arrays, **options)
            else:
                ctx.kernel = kernel
        several = type(results) is tuple
        # Reductions to 0-d give NumPy scalars; a tensor always holds an array (of another backend after a move).
        results = [y if is_array(y) else backend.asarray(y) for y in (results if several else (results,))]
        if modes.anomaly:
            ctx.origin = "".join(traceback.format_stack()[:-1][-4:])
            _check_forward(ctx, arrays, results)
        if recorded:
            ctx._record(inputs, results)
        tensors = []
        for i, y in enumerate(results):
            # Integer results (the indices of max, say) carry no gradient.
            t = _tensor_class._from_op(y, ctx, i) if recorded and y.dtype.kind not in "iub" else wrap(y)
            if y.base is not None:
                _share_version(t, inputs, arrays)
            tensors.append(t)
        if recorded and ctx._saved:
            ctx._guard(inputs, tensors)
        return tuple(tensors) if several else tensors[0]


def _share_version(result: Variable, inputs: Sequence[Any], arrays: list[Any]) -> None:
    """Let a view count changes in place together with the tensor whose memory it shows."""
    for x, array in zip(inputs, arrays, strict=True):
        if isinstance(x, Variable) and result.array.base is owner(array):
            result._version = x._version
            return


def _mixed_devices(cls: type, a: Backend, b: Backend) -> RuntimeError:
    return RuntimeError(
        f"{cls.__name__.lower()}: expected all tensors on one device, got {a.device} and {b.device}. "
        f"Move one with .to({str(a.device)!r})"
    )


def has_nan(array: Any) -> bool:
    dtype = getattr(array, "dtype", None)
    # Only NaN differs from itself.
    return dtype is not None and dtype.kind not in "iub" and bool((array != array).any())


def _check_forward(ctx: Context, arrays: list[Any], results: Sequence[Array]) -> None:
    if any(map(has_nan, results)) and not any(map(has_nan, arrays)):
        raise AnomalyError(
            f"{ctx.function.__name__}: made a NaN from inputs without one. It was called here:\n{ctx.origin}"
        )
