"""The same module twice, ours and PyTorch's, with the same weights; and the comparison of all that they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minillm

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}


def twins(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Return ``nn.<name>(...)`` of both, in float64, PyTorch's state loaded into ours."""
    theirs = getattr(torch.nn, name)(*both(args)[1], **both(options)[1]).double()
    ours = getattr(minillm.nn, name)(*both(args)[0], **both(options)[0]).double()
    copy_state(theirs, ours)
    return ours, theirs


def copy_state(theirs: Any, ours: Any) -> None:
    """Load PyTorch's state into ours; the names must be the same."""
    ours.load_state_dict({name: minillm.tensor(t.numpy().copy()) for name, t in theirs.state_dict().items()})


def both(value: Any) -> tuple[Any, Any]:
    """Return a structure with its arrays as tensors, ours and PyTorch's; the floating ones want gradients."""
    if isinstance(value, np.ndarray):
        wants = value.dtype.kind == "f"
        copies = minillm.tensor(value.copy()), torch.tensor(value.copy())
        return tuple(t.requires_grad_() if wants else t for t in copies)  # type: ignore[return-value]
    if isinstance(value, (list, tuple)):
        pairs = [both(v) for v in value]
        return type(value)(a for a, _ in pairs), type(value)(b for _, b in pairs)
    if isinstance(value, dict):
        made = {k: both(v) for k, v in value.items()}
        return {k: a for k, (a, _) in made.items()}, {k: b for k, (_, b) in made.items()}
    return value, value


def leaves(value: Any) -> list[Any]:
    """Return the tensors of a structure from left to right."""
    if isinstance(value, (minillm.Tensor, torch.Tensor)):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [leaf for part in parts for leaf in leaves(part)]


def array(t: Any) -> np.ndarray:
    """Return the numbers of a tensor of either kind."""
    return np.asarray(t.detach().numpy())


def same(ours: Any, theirs: Any, what: str = "") -> None:
    """Shapes, dtypes and numbers of two tensors are equal."""
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape and a.dtype == b.dtype, (what, a.shape, b.shape, a.dtype, b.dtype)
    np.testing.assert_allclose(a, b, **TOLERANCE, err_msg=what)


def compare(pair: tuple[Any, Any], *args: Any, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """Call both on the same arrays; results, and gradients of all inputs and parameters, are equal.

    The incoming gradients are random. Returns both results.
    """
    (mine, oracle), (given, other) = pair, both((args, options))
    y, z = mine(*given[0], **given[1]), oracle(*other[0], **other[1])
    ys, zs = leaves(y), leaves(z)
    assert len(ys) == len(zs)
    rng = np.random.default_rng(seed)
    for p in [*parameters(mine), *parameters(oracle)]:
        p.grad = None
    sums = []
    for i, (a, b) in enumerate(zip(ys, zs)):
        same(a, b, f"result {i}")
        assert a.requires_grad == b.requires_grad, f"result {i}"
        if b.requires_grad:
            g = rng.standard_normal(tuple(b.shape))
            sums.append(((a * minillm.tensor(g)).sum(), (b * torch.tensor(g)).sum()))
    if sums:
        sum(s for s, _ in sums).backward()
        sum(s for _, s in sums).backward()
    for i, (a, b) in enumerate(zip(leaves(given), leaves(other))):
        same_gradient(a, b, f"gradient of input {i}")
    for (name, p), q in zip(named(mine), parameters(oracle), strict=True):
        same_gradient(p, q, f"gradient of {name}")
    return y, z


def same_gradient(ours: Any, theirs: Any, what: str) -> None:
    """Both have the same gradient, or none."""
    assert (ours.grad is None) == (theirs.grad is None), what
    if ours.grad is not None:
        same(ours.grad, theirs.grad, what)


def named(module: Any) -> list[tuple[str, Any]]:
    """Return a module's parameters by name; a function has none."""
    return list(module.named_parameters()) if hasattr(module, "named_parameters") else []


def parameters(module: Any) -> list[Any]:
    """Return a module's parameters."""
    return [p for _, p in named(module)]
