"""The graph against a naive one: tensors are made, combined, changed, forgotten, and gradients asked for, in any order.

The naive graph is a list of edges over NumPy arrays, each with a function that takes a gradient across. Where PyTorch
is installed, it does the same things at the same time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import minillm
from minillm.testing.strategies import arrays

PACKAGES: list[Any] = [minillm]
with contextlib.suppress(ImportError):
    import torch

    PACKAGES.append(torch)

Edge = tuple["Node", Callable[[np.ndarray], np.ndarray]]


def base(array: np.ndarray) -> np.ndarray:
    return array if array.base is None else base(array.base)


@dataclass(eq=False)
class Node:
    """A tensor of the naive graph.

    Attributes:
        edges: the tensors that its gradient goes on to, with the way there; none for a leaf.
        kept: copies of the arrays that the way back reads, beside those arrays themselves.
        freed: whether a backward pass has been here that kept nothing.
        depth: how many calls it is away from where values were given.
    """

    value: np.ndarray
    learns: bool
    edges: list[Edge] = field(default_factory=list)
    kept: list[tuple[np.ndarray, int]] = field(default_factory=list)
    freed: bool = False
    grad: np.ndarray | None = None
    depth: int = 0


class Graph:
    """All nodes, in the order in which they were made."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.changes: dict[int, int] = {}  # of a piece of memory, by its id; nothing is ever freed here

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def version(self, array: np.ndarray) -> int:
        return self.changes.get(id(base(array)), 0)

    def change(self, node: Node, by: float) -> None:
        node.value += by
        self.changes[id(base(node.value))] = self.version(node.value) + 1

    def behind(self, root: Node) -> list[Node]:
        """The nodes that a gradient of the root comes through, the last one made first."""
        found, new = {id(root)}, [root]
        while new:
            new = [p for node in new for p, _ in node.edges if id(p) not in found]
            found |= set(map(id, new))
        return [node for node in reversed(self.nodes) if id(node) in found]

    def refuses(self, root: Node) -> bool:
        """Whether a backward pass must raise: something that it reads was freed, or changed after it was kept."""
        return any(
            node.kept and (node.freed or any(self.version(a) != v for a, v in node.kept)) for node in self.behind(root)
        )

    def backward(self, root: Node, dy: np.ndarray, retain: bool) -> None:
        arrived = {id(root): dy}
        for node in self.behind(root):
            if id(node) not in arrived:
                continue
            dy = arrived[id(node)]
            if not node.edges:
                node.grad = dy.copy() if node.grad is None else node.grad + dy
            for parent, across in node.edges:
                arrived[id(parent)] = arrived.get(id(parent), 0.0) + across(dy)
            node.freed = not retain


def fitted(dx: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the axes along which its input was repeated."""
    while dx.ndim > len(shape):
        dx = dx.sum(0)
    return dx.sum(tuple(i for i, n in enumerate(shape) if n != dx.shape[i]), keepdims=True)


# For each op: how it is asked for, its value, and for each input the way back. A way may read copies of the inputs a, b
# and of the result y.
Way = Callable[..., np.ndarray]
OPS: dict[str, tuple[Callable[..., Any], Callable[..., np.ndarray], list[Way]]] = {
    "add": (lambda t, a, b: a + b, lambda a, b: a + b, [lambda d, a, b, y: d, lambda d, a, b, y: d]),
    "sub": (lambda t, a, b: a - b, lambda a, b: a - b, [lambda d, a, b, y: d, lambda d, a, b, y: -d]),
    "mul": (lambda t, a, b: a * b, lambda a, b: a * b, [lambda d, a, b, y: d * b, lambda d, a, b, y: d * a]),
    "matmul": (lambda t, a, b: a @ b, lambda a, b: a @ b, [lambda d, a, b, y: d @ b.T, lambda d, a, b, y: a.T @ d]),
    "tanh": (lambda t, a: t.tanh(a), np.tanh, [lambda d, a, y: d * (1 - y * y)]),
    "sin": (lambda t, a: t.sin(a), np.sin, [lambda d, a, y: d * np.cos(a)]),
    "sum": (lambda t, a: a.sum(0), lambda a: a.sum(0), [lambda d, a, y: np.broadcast_to(d, a.shape)]),
    "flip": (lambda t, a: a.flip(0), lambda a: a[::-1].copy(), [lambda d, a, y: d[::-1]]),
    "transpose": (lambda t, a: a.transpose(0, -1), lambda a: a.swapaxes(0, -1), [lambda d, a, y: d.swapaxes(0, -1)]),
}
# Which array the way back to the first and to the second input reads: this one is kept, and guarded.
READS = {"mul": "ba", "matmul": "ba", "tanh": "y", "sin": "a"}
FITS: dict[str, Callable[[np.ndarray], bool]] = {"matmul": lambda a: a.shape == (2, 2)}
FITS |= dict.fromkeys(("sum", "flip", "transpose"), lambda a: a.ndim > 0)
VALUES = st.sampled_from([(2, 2), (2,), (1, 2)]).flatmap(lambda shape: arrays(shape, np.float64, -2, 2))
PLACES = st.integers(0, 30)
CALLS = st.lists(st.tuples(st.sampled_from(sorted(OPS)), PLACES, PLACES), min_size=1, max_size=6)


class AnyGraph(RuleBasedStateMachine):
    """Tensors of minillm (and of PyTorch) beside the nodes that say what must come out."""

    @initialize(values=st.lists(VALUES, min_size=3, max_size=3), calls=CALLS)
    def begin(self, values: list[np.ndarray], calls: list[tuple[str, int, int]]) -> None:
        self.naive, self.recording = Graph(), True
        self.tensors: list[tuple[Node, list[Any]]] = []  # those that the program still has
        for value in values:
            self.create(value, True)
        self.combine(calls)

    def pick(self, place: int, fits: Callable[[Node], bool] = lambda node: True) -> tuple[Node, list[Any]] | None:
        found = [t for t in self.tensors if fits(t[0])]
        return found[-1 - place % len(found)] if found else None  # the newest first

    # --- what may happen
    @rule(value=VALUES, learns=st.booleans())
    def create(self, value: np.ndarray, learns: bool) -> None:
        made = [package.tensor(value.copy()).requires_grad_(learns) for package in PACKAGES]
        self.tensors.append((self.naive.add(Node(value.copy(), learns)), made))

    @rule(calls=CALLS)
    def combine(self, calls: list[tuple[str, int, int]]) -> None:
        for name, *places in calls:
            self.call(name, places)

    def call(self, name: str, places: list[int]) -> None:
        call, compute, ways = OPS[name]
        found = [self.pick(p, lambda n: FITS.get(name, lambda a: True)(n.value)) for p in places[: len(ways)]]
        inputs = [i for i in found if i is not None]
        if len(inputs) < len(ways):
            return
        nodes = [node for node, _ in inputs]
        value = np.asarray(compute(*(node.value for node in nodes)))  # NumPy's numbers cannot be changed in place
        depth = 1 + max(node.depth for node in nodes)
        if np.abs(value).max() > 100 or depth > 12:
            return  # where numbers end, and how rounding errors grow, is not what is tried here
        y = self.naive.add(Node(value, self.recording and any(node.learns for node in nodes), depth=depth))
        named = {"y": value, **dict(zip("ab", (node.value for node in nodes)))}
        copies = [node.value.copy() for node in nodes] + [value.copy()]
        for i, node in enumerate(nodes):
            if not (y.learns and node.learns):
                continue
            y.edges.append((node, lambda d, i=i: fitted(ways[i](d, *copies), nodes[i].value.shape)))
            if name in READS:
                kept = named[READS[name][i]]
                y.kept.append((kept, self.naive.version(kept)))
        made = [call(package, *(tensors[k] for _, tensors in inputs)) for k, package in enumerate(PACKAGES)]
        if not y.learns:  # PyTorch's views of a leaf claim to learn, also under no_grad
            made[1:] = [tensor.detach() for tensor in made[1:]]
        self.tensors.append((y, made))

    @rule(place=PLACES)
    def detach(self, place: int) -> None:
        """The same memory, and a leaf that does not learn."""
        node, tensors = self.tensors[-1 - place % len(self.tensors)]
        self.tensors.append((self.naive.add(Node(node.value, False, depth=node.depth)), [t.detach() for t in tensors]))

    @rule(place=PLACES, retain=st.booleans(), data=st.data())
    def backward(self, place: int, retain: bool, data: st.DataObject) -> None:
        node, tensors = self.pick(place, lambda n: bool(n.edges)) or self.tensors[-1 - place % len(self.tensors)]
        dy = data.draw(arrays(node.value.shape, np.float64, -2, 2))
        refused = not node.learns or self.naive.refuses(node)
        for package, tensor in zip(PACKAGES, tensors):
            incoming = package.tensor(dy.copy())
            with pytest.raises(RuntimeError) if refused else contextlib.nullcontext():
                tensor.backward(incoming, retain_graph=retain)
            assert np.array_equal(incoming.numpy(), dy)
        if not refused:
            self.naive.backward(node, dy, retain)
        elif node.learns:  # how far the pass has come is nobody's business: the leaves begin anew
            self.tensors = [t for t in self.tensors if not t[0].edges]
            for leaf, tensors in self.tensors:
                for t in (leaf, *tensors):
                    t.grad = None
            if not self.tensors:  # all leaves had been forgotten
                self.create(np.ones(2), True)

    @rule(place=PLACES, to_none=st.booleans())
    def zero_grad(self, place: int, to_none: bool) -> None:
        found = self.pick(place, lambda n: n.grad is not None)
        if found is None:
            return
        node, tensors = found
        node.grad = None if to_none else np.zeros(node.value.shape)
        for tensor in tensors:
            tensor.grad = None if to_none else tensor.grad.zero_()

    @rule(place=PLACES, by=st.sampled_from([-1.0, 0.5]))
    def change(self, place: int, by: float) -> None:
        """In place: what learns never while the graph is recorded, leaves otherwise."""
        node, tensors = self.tensors[-1 - place % len(self.tensors)]
        if self.recording and node.learns:
            with pytest.raises(RuntimeError, match="in place"):
                tensors[0].add_(by)  # PyTorch records it instead, if it is a result
        elif not node.edges:
            tensors[0].add_(by)
            for package, tensor in zip(PACKAGES[1:], tensors[1:]):
                with package.no_grad():  # or PyTorch refuses views that were made under no_grad
                    tensor.add_(by)
            self.naive.change(node, by)

    @precondition(lambda self: len(self.tensors) > 3)
    @rule(place=PLACES)
    def forget(self, place: int) -> None:
        """The program lets a tensor go; the graph keeps what it needs."""
        del self.tensors[-1 - place % len(self.tensors)]

    @rule()
    def toggle(self) -> None:
        """From no_grad to recording, or back."""
        self.recording = not self.recording
        for package in PACKAGES:
            package.set_grad_enabled(self.recording)

    # --- what holds
    @invariant()
    def all_agree(self) -> None:
        for node, tensors in self.tensors:
            for tensor in tensors:
                np.testing.assert_allclose(tensor.detach().numpy(), node.value, rtol=1e-9, atol=1e-9)
                assert tensor.requires_grad == node.learns and tensor.is_leaf == (not node.edges)
                if tensor.is_leaf:
                    assert (tensor.grad is None) == (node.grad is None)
                    if node.grad is not None:
                        np.testing.assert_allclose(tensor.grad.numpy(), node.grad, rtol=1e-9, atol=1e-9)

    def teardown(self) -> None:
        if not self.recording:
            self.toggle()


TestAnyGraph = AnyGraph.TestCase


def test_what_is_detached_from_a_number_shares_its_memory() -> None:
    state = AnyGraph()
    state.begin([np.ones(2)] * 3, [])
    try:
        state.combine([("sum", 0, 0), ("add", 0, 0)])
        state.detach(0)
        state.change(0, by=-1.0)
        state.all_agree()
        assert state.tensors[-2][0].value == 3 and state.tensors[-2][0].edges
    finally:
        state.teardown()
