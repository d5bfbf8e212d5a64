"""The op table: one short row an op. ``tests/ops/test_table.py`` runs every law over every row.

The rows stand in ``tests/ops/cases_<family>.py``, one file a family of ``minillm/ops``, each a list called ``CASES``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

import minillm


@dataclass(frozen=True)
class Sample:
    """One call: ``args`` and ``kwargs`` as PyTorch takes them. Every NumPy array among ``args`` becomes a tensor.

    Floating arrays are given in float64 and cast by the test to the type under test; integer and bool arrays stay.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True
    """False at kinks and poles, where differences say nothing and PyTorch alone judges the gradient."""


def sample(*args: Any, **kwargs: Any) -> Sample:
    """Return a Sample; shorter to write in a row."""
    return Sample(args, kwargs)


def rough(*args: Any, **kwargs: Any) -> Sample:
    """Return a Sample at a kink or pole."""
    return Sample(args, kwargs, smooth=False)


@dataclass(frozen=True)
class OpCase:
    """One op.

    Attributes:
        name: dotted, below ``minillm`` and below ``torch``: "mul", "nn.functional.gelu".
        samples: makes the sample calls from a random generator; values stay clear of kinks and poles.
        reference: the same call on NumPy arrays in float64, written independently of the op.
        torch_name: where PyTorch spells it otherwise; "" if it has no such op.
        method: whether ``Tensor`` has it as a method too.
        differentiable: False for argmax, comparisons, ...: results have no graph.
        elementwise: shape laws for elementwise ops are run too: (), (0,), broadcasting (for two inputs), layouts.
        rtol32: relative tolerance in float32, where an op needs more than the default.
    """

    name: str
    samples: Callable[[np.random.Generator], Sequence[Sample]]
    reference: Callable[..., Any] | None = None
    torch_name: str | None = None
    method: bool = False
    differentiable: bool = True
    elementwise: bool = False
    rtol32: float = 1.3e-5

    @property
    def call(self) -> Callable[..., Any]:
        """The public function."""
        return reduce(getattr, self.name.split("."), minillm)

    def torch_call(self, torch: Any) -> Callable[..., Any] | None:
        """PyTorch's function of the same name."""
        name = self.name if self.torch_name is None else self.torch_name
        return reduce(getattr, name.split("."), torch) if name else None

    def __str__(self) -> str:
        return self.name


def normal(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a maker of normal arrays of one shape."""
    return lambda rng: rng.standard_normal(shape)


def unary(name: str, reference: Callable | None, low: float = -3.0, high: float = 3.0, **options: Any) -> OpCase:
    """Return the row of an elementwise op of one input, sampled from ``low`` to ``high``."""
    return OpCase(
        name,
        lambda rng: [sample(rng.uniform(low, high, shape)) for shape in [(), (0,), (5,), (2, 3), (2, 1, 4)]],
        reference,
        method=options.pop("method", True),
        elementwise=True,
        **options,
    )


def binary(name: str, reference: Callable | None, low: float = -3.0, high: float = 3.0, **options: Any) -> OpCase:
    """Return the row of an elementwise op of two inputs; the samples broadcast on both sides."""
    shapes = [((), ()), ((0,), (0,)), ((5,), (5,)), ((2, 3), (3,)), ((3, 1), (1, 4)), ((), (2, 2)), ((2, 0), (1, 0))]
    return OpCase(
        name,
        lambda rng: [sample(rng.uniform(low, high, a), rng.uniform(low, high, b)) for a, b in shapes],
        reference,
        method=options.pop("method", True),
        elementwise=True,
        **options,
    )


def load_cases() -> list[OpCase]:
    """Return the rows of all families, sorted by name."""
    found: list[OpCase] = []
    for path in sorted((Path(__file__).parent / "ops").glob("cases_*.py")):
        spec = importlib.util.spec_from_file_location(f"op_{path.stem}", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.CASES
    return sorted(found, key=lambda case: case.name)
