"""What all optimizers share: parameter groups, their state, and saving it."""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from minillm.autograd import enable_grad, no_grad
from minillm.backend import Array, backend_of, threads
from minillm.backend.layout import Block
from minillm.tensor import Tensor

TILE = 1 << 17
"""Elements updated at a time, so that most of what a step reads again is still in the cache. AdamW of 0.8 million
weights: one thread 2.9 ms with 64 K and 3.0 with 128 K; two, which wait for Python's lock at every call, 2.2 and 1.9.
"""

SHARE_FROM = 1 << 20
"""Elements of all parameters from which several threads share a step."""

OWN_MEMORY = 1 << 20
"""Bytes from which a state gets memory beside the heap (see ``Block``): made after the first backward pass, it would
take the place of arrays that the second one needs again. With a table of 50,257 rows that costs a fifth of the peak.
"""


class Optimizer:
    """Base of all optimizers; also of those that a user writes.

    A subclass calls ``super().__init__(params, defaults)`` and defines ``step``; ``self.param_groups`` is a list of
    dictionaries with "params" and the settings, ``self.state[p]`` a dictionary for each parameter.

    Args:
        params: parameters, (name, parameter) pairs, or dictionaries with "params" and settings of their own.
        defaults: settings of groups that do not give their own.

    Raises:
        ValueError: if there are no parameters, or one is given twice.
        TypeError: if something given is not a tensor.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("optimizer: expected an iterable of tensors, such as model.parameters(), got one Tensor")
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer: got no parameters; pass model.parameters()")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters; settings that it lacks come from the defaults."""
        given = group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer: expected tensors, got {type(p).__name__}")
            if p.grad_fn is not None:
                raise ValueError("optimizer: can only change leaf tensors; this one was computed by an op")
            if id(p) in known:
                raise ValueError("optimizer: a parameter appears in more than one place; give each parameter once")
            known.add(id(p))
        self.param_groups.append({**self.defaults, **group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or fill them with zeros)."""
        for p in self._params():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters once; ``closure`` computes the loss anew where an optimizer needs that.

        Returns:
            What ``closure`` returned, or ``None``.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            self.spread([job for group in self.param_groups for job in self._jobs(group)])
        return loss

    @staticmethod
    def spread(jobs: Sequence[tuple[int, Callable[[], None]]]) -> None:
        """Do the jobs of a step, given with their sizes; where there is much to do, several threads share them.

        A trainer puts a function here that uses its own threads.
        """
        if sum(size for size, _ in jobs) < SHARE_FROM:
            for _, job in jobs:
                job()
        else:
            threads.share(lambda job: job[1](), sorted(jobs, key=lambda job: -job[0]))

    @staticmethod
    def stretch(params: Sequence[Tensor]) -> tuple[Array, Array] | None:
        """Return weights and gradients of parameters as two flat arrays, if they lie side by side in memory.

        They do not by themselves; a trainer puts a function here that knows where they are.
        """
        return None

    def _jobs(self, group: dict[str, Any]) -> list[tuple[int, Callable[[], None]]]:
        """Return what is to be done for the parameters that have a gradient, with the number of elements."""
        given = [p for p in group["params"] if p.grad is not None]
        return [(p.numel(), functools.partial(self._update_one, p, group)) for p in given]

    def _update_one(self, p: Tensor, group: dict[str, Any]) -> None:
        self._update(p, p.grad.array, self.state[p], group)
        p._version[0] += 1  # a graph that saved this parameter must notice

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define step()")

    def _params(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the settings; parameters are numbered in the order in which they were given."""
        number = {id(p): i for i, p in enumerate(self._params())}
        return {
            # In the order of the parameters, not in that of their first update, which threads may change.
            "state": {i: dict(self.state[p]) for i, p in enumerate(self._params()) if p in self.state},
            "param_groups": [{**g, "params": [number[id(p)] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, for the same parameters in the same order.

        Raises:
            ValueError: if the groups differ in number or size, or states have another shape; nothing is changed then.
        """
        try:
            # JSON turns the numbers of parameters into strings.
            saved, states = state_dict["param_groups"], {int(i): dict(s) for i, s in state_dict["state"].items()}
            ids = [int(i) for g in saved for i in g["params"]]
            settings = [{k: copy.deepcopy(v) for k, v in g.items() if k != "params"} for g in saved]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"load_state_dict: expected what state_dict of an optimizer returns ({type(error).__name__}: {error})"
            ) from None
        lengths, own = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if lengths != own:
            raise ValueError(f"load_state_dict: expected parameter groups of sizes {own}, got {lengths}")
        wrong = [
            f"{name} of parameter {i} has shape {tuple(value.shape)}, the parameter {tuple(p.shape)}"
            for i, p in zip(ids, self._params(), strict=True)
            for name, value in states.get(i, {}).items()
            if isinstance(value, Tensor) and value.ndim and value.shape != p.shape
        ]
        if wrong:
            raise ValueError("load_state_dict:\n  " + "\n  ".join(wrong))
        loaded: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for i, p in zip(ids, self._params(), strict=True):
            for name, value in states.get(i, {}).items():
                loaded[p][name] = (
                    value.detach().to(p.device, copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
                )
        self.state = loaded
        for group, new in zip(self.param_groups, settings, strict=True):
            group.update(new)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def zeros_like(p: Tensor) -> Tensor:
    """Return a state of zeros for a parameter, with its element type."""
    if p.array.nbytes >= OWN_MEMORY and backend_of(p.array).name == "cpu":
        return Tensor._wrap(Block([p.array.shape], p.array.dtype).arrays[0])
    return Tensor._wrap(backend_of(p.array).xp.zeros(p.array.shape, dtype=p.array.dtype))


def tiles(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield the same stretch of each array, ``TILE`` elements at a time, as views to be changed in place.

    Every pass over a large array waits for memory; going through tiles makes all passes but the first find theirs in
    the cache. Arrays that cannot be seen as one line (a transposed parameter, a CuPy array) come whole.
    """
    first = arrays[0]
    if first.size <= TILE or backend_of(first).name != "cpu" or not all(a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    lines = [a.reshape(-1) for a in arrays]
    for start in range(0, first.size, TILE):
        yield tuple(line[start : start + TILE] for line in lines)


def check_positive(what: str, **values: Any) -> None:
    """Refuse settings below 0 or NaN.

    Raises:
        ValueError: naming each setting and its value.
    """
    bad = [f"{k}={v}" for k, v in values.items() if not isinstance(v, Tensor) and not v >= 0]
    if bad:
        raise ValueError(f"{what}: expected settings of 0 or more, got {', '.join(bad)}")


def refuse(what: str, **flags: Any) -> None:
    """Refuse PyTorch's options that minillm does not have.

    Raises:
        NotImplementedError: naming the option.
    """
    for name, value in flags.items():
        if value:
            raise NotImplementedError(f"{what}: {name}={value!r} is not offered by minillm")
