"""Penalties on the size of the weights, added to the loss by whoever wants them.

``weight_decay`` of SGD and Adam is the gradient of an L2 penalty, applied where nobody sees it; AdamW's is no gradient
of anything. These two are terms of the loss itself, so that a curve shows them and their gradient is checked like any
other.
"""

from __future__ import annotations

from collections.abc import Iterable

from minillm.tensor import Tensor


def l1_penalty(parameters: Iterable[Tensor], weight: float) -> Tensor:
    r"""Return $\lambda \sum \left|w\right|$: pushes every weight towards 0 with the same force; many become (nearly) 0.

    Args:
        parameters: the tensors to hold down; usually matrices only, neither biases nor norms.
        weight: $\lambda$, in units of the loss for each unit of weight.
    """
    return _total(p.abs().sum() for p in parameters) * weight


def l2_penalty(parameters: Iterable[Tensor], weight: float) -> Tensor:
    r"""Return $\frac{\lambda}{2} \sum w^2$, whose gradient is $\lambda w$: the same as SGD's ``weight_decay``.

    Args:
        parameters: the tensors to hold down.
        weight: $\lambda$.
    """
    return _total((p * p).sum() for p in parameters) * (0.5 * weight)


def _total(terms: Iterable[Tensor]) -> Tensor:
    total = None
    for term in terms:
        total = term if total is None else total + term
    if total is None:
        raise ValueError("penalty: got no parameters")
    return total
