"""RMSprop and Adagrad: steps divided by the size of the gradients seen so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minillm.backend import Array, backend_of
from minillm.optim.optimizer import Optimizer, check_positive, refuse, zeros_like
from minillm.tensor import Tensor


class RMSprop(Optimizer):
    r"""$v \leftarrow \alpha v + (1-\alpha) g^2$, $w \leftarrow w - \eta \, g / (\sqrt v + \epsilon)$.

    Args:
        params: parameters or groups of them.
        lr: step size $\eta$.
        alpha: how long the mean of squares remembers.
        eps: keeps the division finite.
        weight_decay: adds ``weight_decay * w`` to the gradient (an L2 penalty).
        momentum: sums the steps as SGD does.
        centered: subtract the squared mean gradient from $v$, so that it is a variance.

    Raises:
        ValueError: for settings out of range.

    Source: Tieleman and Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012; centered: Graves 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_positive("RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        refuse("RMSprop", capturable=capturable, differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        xp, w, alpha = backend_of(p.array).xp, p.array, group["alpha"]
        if not state:
            state["step"], state["square_avg"] = 0, zeros_like(p)
            if group["momentum"] > 0:
                state["momentum_buffer"] = zeros_like(p)
            if group["centered"]:
                state["grad_avg"] = zeros_like(p)
        state["step"] = int(state["step"]) + 1
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        v = state["square_avg"].array
        v *= alpha
        v += (1 - alpha) * g * g
        if group["centered"]:
            mean = state["grad_avg"].array
            mean *= alpha
            mean += (1 - alpha) * g
            size = xp.sqrt(v - mean * mean)
        else:
            size = xp.sqrt(v)
        direction = g / (size + group["eps"])
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"].array
            buffer *= group["momentum"]
            buffer += direction
            direction = buffer
        w -= float(group["lr"]) * direction


class Adagrad(Optimizer):
    r"""$v \leftarrow v + g^2$, $w \leftarrow w - \eta_t \, g / (\sqrt v + \epsilon)$, $\eta_t = \eta / (1 + (t-1) d)$.

    Args:
        params: parameters or groups of them.
        lr: step size $\eta$.
        lr_decay: $d$.
        weight_decay: adds ``weight_decay * w`` to the gradient (an L2 penalty).
        initial_accumulator_value: where $v$ starts.
        eps: keeps the division finite.

    Raises:
        ValueError: for settings out of range.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_positive(
            "Adagrad",
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            eps=eps,
            initial_accumulator_value=initial_accumulator_value,
        )
        refuse("Adagrad", differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "eps": eps,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        w = p.array
        if not state:
            state["step"], state["sum"] = 0, zeros_like(p)
            state["sum"].array += group["initial_accumulator_value"]
        step = state["step"] = int(state["step"]) + 1
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        v = state["sum"].array
        v += g * g
        lr = float(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        w -= lr * g / (backend_of(w).xp.sqrt(v) + group["eps"])
