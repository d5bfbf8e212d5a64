"""The backward pass: gradients go from the results back to the leaves.

Calls are numbered as they are made, so an op's inputs have lower numbers than the op: taking the highest number first
is an order in which every node has received all of its gradient before it is used. There is no recursion: depth has no
limit.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minillm.autograd.function import Context, Variable, has_nan, wrap
from minillm.autograd.modes import AnomalyError, modes
from minillm.backend import Array, backend_of


def run_backward(
    roots: Sequence[Variable],
    gradients: Sequence[Array],
    retain_graph: bool = False,
    inputs: Sequence[Variable] | None = None,
) -> list[Array | None]:
    """Send gradients from the roots back through the graph.

    Args:
        roots: the tensors to start at.
        gradients: the gradient of the loss with respect to each root.
        retain_graph: keep what was saved, for another backward pass.
        inputs: if given, return the gradients of these and leave every ``.grad`` alone.

    Returns:
        One gradient for each of ``inputs`` (``None`` where it does not depend on it).
    """
    with np.errstate(all="ignore"):  # inf and NaN are answers, also where gradients are cast or added up
        return _run_backward(roots, gradients, retain_graph, inputs)


def _run_backward(
    roots: Sequence[Variable], gradients: Sequence[Array], retain_graph: bool, inputs: Sequence[Variable] | None
) -> list[Array | None]:
    pending: dict[Context, list[Array | None]] = {}  # the gradients that have arrived at a node so far
    owned: set[int] = set()  # ids of the arrays in it that were made here, so adding in place is safe
    queue: list[tuple[int, Context]] = []
    wanted = None if inputs is None else {_place(x) for x in inputs}
    found: dict[tuple[int, int], Array] = {}
    hooked: dict[int, tuple[Variable, Array]] = {}  # leaves whose hooks wait for the sum of all that arrives

    def send(target: Any, index: int, dy: Array, fresh: bool) -> None:
        if index < 0:
            place = (id(target), -1)
            if wanted is not None and place not in wanted:
                return
            if target._hooks:
                before = hooked.get(id(target))
                hooked[id(target)] = target, dy if before is None else before[1] + dy
            elif wanted is None:
                _accumulate(target, dy, fresh)
            else:
                found[place] = (dy if fresh else dy.copy()) if place not in found else found[place] + dy
            return
        slots = pending.get(target)
        if slots is None:
            slots = pending[target] = [None] * len(target.outputs)
            heapq.heappush(queue, (-target.sequence, target))
        before = slots[index]
        if before is None:
            slots[index] = dy
            if fresh:
                owned.add(id(dy))
            return
        if before.dtype != target.outputs[index][1]:  # see _takes: a sum is made in the result's own type
            before = slots[index] = target.backend.cast(before, target.outputs[index][1])
            owned.add(id(before))
        if id(before) in owned:
            before += dy
        else:
            # The first sum makes a new array: the one that arrived may belong to somebody else.
            total = before + dy
            slots[index] = total if type(total) is type(before) else target.backend.asarray(total)
            owned.add(id(slots[index]))

    def take(edge: tuple[Any, int]) -> Array | None:
        slots = None if edge[1] < 0 else pending.get(edge[0])
        if slots is None or slots[edge[1]] is None:
            return None
        before, slots[edge[1]] = slots[edge[1]], None
        owned.discard(id(before))
        return before

    for root, dy in zip(roots, gradients, strict=True):
        if root.grad_fn is None:
            send(root, -1, dy, False)
        else:
            send(root.grad_fn, root.output_nr, dy, False)
    while queue:
        node = heapq.heappop(queue)[1]
        dys = pending.pop(node)
        owned.difference_update(map(id, dys))
        for i, dy in enumerate(dys):
            if dy is None:
                shape, dtype = node.outputs[i]
                dys[i] = node.xp.zeros(shape, dtype=dtype)
        if node.hooks or wanted is not None:
            dys = [_typed(node, i, dy) for i, dy in enumerate(dys)]
        if node.hooks:
            _run_hooks(node, dys)
        if wanted is not None:
            for i, dy in enumerate(dys):
                if (id(node), i) in wanted:
                    found[id(node), i] = dy
        node.final, node.fills, node.take = not retain_graph, wanted is None, take
        dxs = _call_backward(node, dys)
        node.take = None
        saved = node._saved or ()
        for i, edge in enumerate(node.edges):
            if edge is None:
                continue
            dx = dxs[i]
            if dx is not None:
                dx, fresh = _checked(node, edge, i, dx, dys, saved, dxs)
                send(edge[0], edge[1], dx, fresh)
        if not retain_graph:
            node.release()
    for leaf, dy in hooked.values():
        dy = _after_hooks(leaf._hooks or (), dy)
        if wanted is None:
            _accumulate(leaf, dy, False)
        else:
            found[id(leaf), -1] = dy.copy()
    return [found.get(_place(x)) for x in inputs or ()]


def _place(x: Variable) -> tuple[int, int]:
    return (id(x), -1) if x.grad_fn is None else (id(x.grad_fn), x.output_nr)


def _call_backward(node: Context, dys: list[Any]) -> tuple:
    dxs = (node.kernel or node.function).backward(node, *dys)
    if type(dxs) is not tuple:
        dxs = (dxs,)
    if len(dxs) != len(node.edges):
        raise RuntimeError(f"{node.name()}: expected {len(node.edges)} gradients, one an input, got {len(dxs)}")
    if modes.anomaly and any(map(has_nan, dxs)) and not any(map(has_nan, dys)):
        called = (
            f"It was called here:\n{node.origin}" if node.origin else "Run the forward pass inside detect_anomaly too"
        )
        raise AnomalyError(f"{node.name()}: made a NaN from gradients without one. {called}")
    return dxs


def _checked(node: Context, edge: Any, i: int, dx: Any, dys: list, saved: tuple, dxs: tuple) -> tuple[Array, bool]:
    """Check the shape of a gradient, give it the dtype of its input, and tell whether nobody else holds its memory."""
    target, index = edge
    shape, dtype = (target.array.shape, target.array.dtype) if index < 0 else target.outputs[index]
    if type(dx) is not node.backend.array_type:
        dx = node.backend.asarray(dx)
    if dx.shape != shape:
        raise RuntimeError(f"{node.name()}: the gradient of input {i} has shape {dx.shape}, expected {shape}")
    if dx.dtype != dtype and not _takes(target, dx.dtype):
        return node.backend.cast(dx, dtype), True
    if dx.base is not None:
        return dx, False
    shared = any(dx is a for a in dys) or any(dx is a for a in saved) or sum(dx is a for a in dxs) > 1
    return dx, not shared


def _takes(target: Any, dtype: np.dtype) -> bool:
    """Tell whether a node's kernel reads a gradient of 16 bits as it is, which saves a copy in the result's type."""
    kernel = getattr(target, "kernel", None)
    return kernel is not None and dtype.itemsize == 2 and getattr(kernel, "takes_16_bits", False)


def _typed(node: Context, i: int, dy: Array) -> Array:
    dtype = node.outputs[i][1]
    return dy if dy.dtype == dtype else node.backend.cast(dy, dtype)


def _accumulate(leaf: Variable, dy: Array, fresh: bool) -> None:
    if leaf._grad is None:
        place = leaf._grad_place
        if place is None:
            place = dy if fresh else dy.copy()
        elif place is not dy:
            place[...] = dy
        leaf._grad = wrap(place)
    else:
        if leaf._grad.array is not dy:  # see Context.total
            leaf._grad.array += dy
        leaf._grad._version[0] += 1


def _run_hooks(node: Context, dys: list[Any]) -> None:
    for i, hooks in (node.hooks or {}).items():
        dys[i] = _after_hooks(hooks, dys[i])


def _after_hooks(hooks: Sequence[Callable], dy: Array) -> Array:
    """Show a gradient to hooks, one after another, and return what they make of it."""
    for hook in list(hooks):
        changed = hook(wrap(dy))
        if changed is not None:
            found = _kind(changed.array) if isinstance(changed, Variable) else type(changed).__name__
            if found != _kind(dy):
                raise RuntimeError(
                    f"a hook returned {found} for a gradient, expected {_kind(dy)}, like the one that it was given, "
                    "or None to leave it"
                )
            dy = changed.array
    return dy


def _kind(array: Array) -> str:
    return f"{array.dtype} {array.shape} on {backend_of(array).device}"


class _Handle:
    """What ``register_hook`` returns: ``remove()`` takes the hook away."""

    def __init__(self, hooks: list[Callable], hook: Callable) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def add_hook(x: Variable, hook: Callable) -> _Handle:
    """Call ``hook(gradient)`` when the gradient of ``x`` is known; what it returns, if anything, replaces it."""
    if x.grad_fn is None:
        x._hooks = hooks = x._hooks or []
    else:
        if x.grad_fn.hooks is None:
            x.grad_fn.hooks = {}
        hooks = x.grad_fn.hooks.setdefault(x.output_nr, [])
    kept = bool(hooks) and isinstance(hooks[-1], _Keep)
    hooks.insert(len(hooks) - kept, hook)
    return _Handle(hooks, hook)


class _Keep:
    """The hook of ``retain_grad``. It stays behind all others, so it sees what they made of the gradient."""

    def __init__(self, x: Variable) -> None:
        self._x = weakref.ref(x)  # the node must not hold its own result: that would be a cycle

    def __call__(self, dy: Any) -> None:
        x = self._x()
        if x is not None:
            x._grad = wrap(dy.array.copy() if x._grad is None else x._grad.array + dy.array)


def retain_grad(x: Variable) -> None:
    """Let ``x``, which is not a leaf, keep its gradient in ``x.grad``."""
    if x.grad_fn is None:
        return
    hooks = (x.grad_fn.hooks or {}).get(x.output_nr)
    if not hooks or not isinstance(hooks[-1], _Keep):
        add_hook(x, _Keep(x))


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple:
    """Return the gradients of ``outputs`` with respect to ``inputs`` and change no ``.grad``.

    Raises:
        RuntimeError: if an input was not used and ``allow_unused`` is false, or an output is not a scalar and has no
            ``grad_outputs``.
        NotImplementedError: for ``create_graph=True``: gradients of gradients are not offered.
    """
    if create_graph:
        raise NotImplementedError("create_graph=True: gradients of gradients are not offered by minillm")
    outputs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    given = [grad_outputs] if grad_outputs is None or isinstance(grad_outputs, Variable) else list(grad_outputs)
    if len(given) == 1 and given[0] is None:
        given = [None] * len(outputs)
    for x in inputs:
        if not x.requires_grad:
            raise RuntimeError("grad: one of the inputs does not require grad; call requires_grad_() on it first")
    seeds = [start_gradient(y, g) for y, g in zip(outputs, given, strict=True)]
    found = run_backward(outputs, seeds, bool(retain_graph), inputs)
    for i, dx in enumerate(found):
        if dx is None and not allow_unused:
            raise RuntimeError(
                f"grad: input {i} was not used to compute the outputs; pass allow_unused=True for None instead"
            )
    return tuple(None if dx is None else wrap(dx) for dx in found)


def start_gradient(root: Variable, gradient: Variable | None) -> Array:
    """Return the gradient to start from: the given one, or 1 for a scalar.

    Raises:
        RuntimeError: if the root records nothing, has more than one element and no gradient, or the shapes differ.
    """
    if not root.requires_grad:
        raise RuntimeError(
            "backward: this tensor does not require grad and has no grad_fn. Was it computed under no_grad(), "
            "from tensors without requires_grad=True, or by an op without a gradient (argmax, a comparison)?"
        )
    array = root.array
    if gradient is None:
        if array.size != 1:
            raise RuntimeError(
                f"backward: expected a scalar to start from, got shape {tuple(array.shape)}. "
                "Reduce it first (loss.mean()) or pass gradient="
            )
        return backend_of(array).xp.ones(array.shape, dtype=array.dtype)
    if gradient.array.shape != array.shape:
        raise RuntimeError(f"backward: gradient has shape {gradient.array.shape}, the tensor {tuple(array.shape)}")
    return gradient.array.astype(array.dtype, copy=False)
