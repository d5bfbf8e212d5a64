"""Stochastic gradient descent, with momentum and Nesterov's look ahead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minillm.backend import Array
from minillm.optim.optimizer import Optimizer, check_positive, refuse, zeros_like
from minillm.tensor import Tensor


class SGD(Optimizer):
    r"""Gradient descent: $w \leftarrow w - \eta g$.

    With momentum $\mu$: $b \leftarrow \mu b + (1 - \tau) g$ (the first time $b = g$) and $b$ takes the place of $g$;
    with Nesterov's form $g + \mu b$ does.

    Args:
        params: parameters or groups of them.
        lr: step size $\eta$.
        momentum: $\mu$, how much of the last direction is kept.
        dampening: $\tau$.
        weight_decay: adds ``weight_decay * w`` to the gradient (an L2 penalty).
        nesterov: look ahead; needs momentum and no dampening.
        maximize: climb instead of descending.

    Raises:
        ValueError: for settings out of range.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_positive("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        refuse("SGD", differentiable=differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        w, mu = p.array, group["momentum"]
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        if mu:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = zeros_like(p)
                buffer.array[...] = g
            else:
                b = buffer.array
                b *= mu
                b += (1 - group["dampening"]) * g
            g = g + mu * buffer.array if group["nesterov"] else buffer.array
        w -= float(group["lr"]) * g
