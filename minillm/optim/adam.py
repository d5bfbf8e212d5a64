"""Adam and AdamW.

Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1; Loshchilov and Hutter,
"Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minillm.backend import Array, backend_of
from minillm.backend.layout import Block
from minillm.optim.optimizer import Optimizer, check_positive, refuse, tiles, zeros_like
from minillm.tensor import Tensor

PIECE = 1 << 17
"""Elements of a job where many parameters are updated as one: few enough for threads to share even a small model."""


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
        self._blocks_of_moments: dict[int, list[Block]] = {}
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

    def _jobs(self, group: dict[str, Any]) -> list[tuple[int, Callable[[], None]]]:
        params = [p for p in group["params"] if p.grad is not None]
        kernel = params[0].backend.kernels.get("Adam") if params and not group["amsgrad"] else None
        if kernel is not None:
            return self._jobs_of_kernel(kernel, params, group)
        stretch = None if group["amsgrad"] or not params else self.stretch(params)
        steps = {int(self.state[p].get("step", 0)) for p in params if p in self.state} or {0}
        if stretch is None or len(steps) > 1 or (any(p not in self.state for p in params) and steps != {0}):
            return super()._jobs(group)
        step = steps.pop() + 1
        moments = self._moment_blocks(params)
        for p in params:
            self.state[p]["step"] = step
            p._version[0] += 1
        arrays, size = (*stretch, *moments), stretch[0].size
        pieces = [[a[i : min(i + PIECE, size)] for a in arrays] for i in range(0, size, PIECE)]
        return [(a[0].size, functools.partial(self._update_arrays, a, step, group)) for a in pieces]

    def _jobs_of_kernel(self, kernel: Any, params: list[Tensor], group: dict[str, Any]) -> list[Any]:
        """Return one job for all parameters that stand at the same step, and the usual ones for what does not fit."""
        together: defaultdict[Any, list[tuple[Array, ...]]] = defaultdict(list)
        others = []
        for p in params:
            if p.backend is not params[0].backend or not kernel.fits(p.array, p.grad.array):
                others.append(p)
                continue
            state = self._begin(p, self.state[p], group)
            p._version[0] += 1
            arrays = (p.array, p.grad.array, state["exp_avg"].array, state["exp_avg_sq"].array)
            together[p.dtype, state["step"]].append(arrays)
        jobs = super()._jobs({**group, "params": others})
        lr, decay, (beta1, beta2) = float(group["lr"]), group["weight_decay"], group["betas"]
        for (_, step), arrays_of_all in together.items():
            size, eps = _corrected(lr, group["eps"], group["betas"], step)
            update = functools.partial(
                kernel.update,
                params[0].backend,
                arrays_of_all,
                beta1=beta1,
                beta2=beta2,
                size=size,
                eps=eps,
                shrink=1 - lr * decay if self._decoupled else 1.0,
                penalty=0.0 if self._decoupled else decay,
                sign=-1.0 if group["maximize"] else 1.0,
            )
            jobs.append((sum(a[0].size for a in arrays_of_all), update))
        return jobs

    def _moment_blocks(self, params: list[Tensor]) -> tuple[Array, Array]:
        """Return both moments of parameters whose weights lie in a block, each in a block of its own."""
        names = ("exp_avg", "exp_avg_sq")
        blocks = self._blocks_of_moments.get(id(params[0]), [])
        if not blocks or len(blocks[0].arrays) != len(params):
            blocks = [Block([p.array.shape for p in params], params[0].array.dtype) for _ in names]
            self._blocks_of_moments[id(params[0])] = blocks
        for name, block in zip(names, blocks):
            for p, array in zip(params, block.arrays, strict=True):
                moment = self.state[p].get(name)
                if moment is None or moment.array is not array:  # new, or loaded from a checkpoint
                    array[...] = 0 if moment is None else moment.array
                    self.state[p][name] = Tensor._wrap(array)
        return blocks[0].flat, blocks[1].flat

    @staticmethod
    def _begin(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """Make the state of a parameter if it has none, count a step, and return the state."""
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        state["step"] = int(state["step"]) + 1
        return state

    def _update(self, p: Tensor, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        step = self._begin(p, state, group)["step"]
        arrays = [p.array, g, state["exp_avg"].array, state["exp_avg_sq"].array]
        if group["amsgrad"]:
            arrays.append(state["max_exp_avg_sq"].array)
        self._update_arrays(arrays, step, group)

    def _update_arrays(self, arrays: Sequence[Array], step: int, group: dict[str, Any]) -> None:
        lr, decay, eps = float(group["lr"]), group["weight_decay"], group["eps"]
        beta1, beta2 = group["betas"]
        backend = backend_of(arrays[0])
        xp = backend.xp
        size, eps = _corrected(lr, eps, group["betas"], step)
        fast = None if group["amsgrad"] else backend.compiled("adam", *arrays)
        if fast is not None:
            shrink, penalty = (1 - lr * decay, 0.0) if self._decoupled else (1.0, decay)
            sign = -1.0 if group["maximize"] else 1.0
            settings = (beta1, 1 - beta1, beta2, 1 - beta2, size, eps, shrink, penalty, sign)
            fast(*(a.reshape(-1) for a in arrays), *map(arrays[0].dtype.type, settings))
            return
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
            b += eps
            xp.divide(m, b, out=a)
            a *= size
            w -= a


def _corrected(lr: float, eps: float, betas: tuple[float, float], step: int) -> tuple[float, float]:
    """Return (size, eps c) with which ``size m / (sqrt(v) + eps c)`` is the step with both means corrected.

    lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) = (lr c / (1 - b1^t)) m / (sqrt(v) + eps c), c = sqrt(1 - b2^t):
    both corrections are numbers, so they move out of the arrays' way.
    """
    c = math.sqrt(1 - betas[1] ** step)
    return lr * c / (1 - betas[0] ** step), eps * c


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
