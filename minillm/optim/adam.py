"""Adam and AdamW.

Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1; Loshchilov and Hutter,
"Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from minillm.backend import Array, backend_of
from minillm.optim.optimizer import Optimizer, check_positive, refuse, tiles, zeros_like
from minillm.tensor import Tensor


def adam_formula(
    xp: Any, w: Array, g: Array, m: Array, v: Array, *, step: int, lr: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    """Return the new weight and moments: the definition, which the in-place update below must equal.

    m <- beta1 m + (1 - beta1) g                  the mean of recent gradients
    v <- beta2 v + (1 - beta2) g^2                the mean of their squares
    w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    return w - lr * m_hat / (xp.sqrt(v_hat) + eps), m, v


class Adam(Optimizer):
    r"""Adam: steps of about the size ``lr`` in every direction, whatever the size of the gradient.

    $m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t$, $v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$,
    $w_t = w_{t-1} - \eta \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)$ with $\hat m_t = m_t/(1-\beta_1^t)$ and
    $\hat v_t = v_t/(1-\beta_2^t)$.

    Args:
        params: parameters or groups of them.
        lr: step size $\eta$.
        betas: how long the two means remember.
        eps: keeps the division finite.
        weight_decay: adds ``weight_decay * w`` to the gradient (an L2 penalty; see AdamW for the decoupled form).
        amsgrad: divide by the largest $\hat v$ so far.
        maximize: climb instead of descending.
        foreach, fused: accepted for PyTorch's sake; the update is always fused.

    Raises:
        ValueError: for settings out of range.
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        name = type(self).__name__
        check_positive(name, lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{name}: expected betas in [0, 1), got {betas}")
        refuse(name, capturable=capturable, differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        step = state["step"] = int(state["step"]) + 1
        lr, decay, eps = float(group["lr"]), group["weight_decay"], group["eps"]
        beta1, beta2 = group["betas"]
        xp = backend_of(p.array).xp
        # Both corrections are numbers, so they move out of the arrays' way:
        # lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) = (lr c / (1 - b1^t)) m / (sqrt(v) + eps c), c = sqrt(1 -
        # b2^t)
        c = math.sqrt(1 - beta2**step)
        size = lr * c / (1 - beta1**step)
        arrays = [p.array, g, state["exp_avg"].array, state["exp_avg_sq"].array]
        if group["amsgrad"]:
            arrays.append(state["max_exp_avg_sq"].array)
        scratch: list[Array] = []
        for w, dw, m, v, *largest in tiles(*arrays):
            if not scratch or scratch[0].shape != w.shape:
                scratch = [xp.empty_like(w), xp.empty_like(w)]
            a, b = scratch
            if group["maximize"]:
                dw = -dw
            if decay and self._decoupled:
                w *= 1 - lr * decay
            elif decay:
                dw = dw + decay * w
            m *= beta1
            xp.multiply(dw, 1 - beta1, out=a)
            m += a
            v *= beta2
            a *= dw
            a *= (1 - beta2) / (1 - beta1)
            v += a
            if largest:
                xp.maximum(largest[0], v, out=largest[0])
            xp.sqrt(largest[0] if largest else v, out=b)
            b += eps * c
            xp.divide(m, b, out=a)
            a *= size
            w -= a


class AdamW(Adam):
    r"""Adam with decoupled weight decay: $w \leftarrow (1 - \eta \lambda) w$ beside the step of Adam.

    Decay then does not pass through the division by $\sqrt{v}$, so large and small gradients are decayed alike.

    Args:
        weight_decay: $\lambda$, 0.01 by default; the other arguments are Adam's.
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)
