"""Learning-rate schedules: the step size as a function of the step.

Call ``scheduler.step()`` after every ``optimizer.step()`` (or once an epoch). Every schedule is a function of the
number of calls, except ``ReduceLROnPlateau``, which looks at a measurement. Several may change one optimizer: where
another hand has changed a step size, a schedule goes on from there (``LambdaLR`` and a schedule of your own do not).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from minillm.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "warmup_cosine",
]


class LRScheduler:
    """Base of the schedules: ``lr = base_lr * factor(t)``, t counting the calls of ``step``.

    A subclass defines ``factor``, or ``get_lr`` if a product is not enough.

    Args:
        optimizer: whose groups' "lr" is set.
        last_epoch: the number of the last step made; -1 starts anew.

    Raises:
        KeyError: if a step was made, but a group does not say with which "initial_lr" the schedule began.
    """

    chains = False
    """Whether a step size that another hand has changed is kept and multiplied; otherwise it is replaced."""
    eta_min = 0.0
    """The step size that a schedule which chains approaches."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch >= 0 and "initial_lr" not in group:
                raise KeyError(f'{type(self).__name__}: last_epoch={last_epoch} needs an "initial_lr" in group {i}')
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        if self.chains and last_epoch >= 0:
            self.step(last_epoch + 1)  # resumed: nobody says which step the optimizer's step sizes belong to
        else:
            self.step()

    def factor(self, t: int) -> float:
        """Return the factor of the base step size at step ``t``."""
        raise NotImplementedError(f"{type(self).__name__} must define factor(t) or get_lr()")

    def get_lr(self) -> list[float]:
        """Return the step size of every group at ``self.last_epoch``."""
        factor = self.factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def get_last_lr(self) -> list[float]:
        """Return the step sizes that are set now."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step (or to step ``epoch``) and set the step sizes."""
        chains = self.chains and epoch is None
        before = (self.get_lr() if self.last_epoch >= 0 else self.base_lrs) if chains else []
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        lrs = self.get_lr()
        if chains:
            now = [float(group["lr"]) for group in self.optimizer.param_groups]
            lrs = [self._chained(*three) for three in zip(now, before, lrs, strict=True)]
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _chained(self, now: float, before: float, after: float) -> float:
        """Return what becomes of a step size ``now`` where alone it would go from ``before`` to ``after``."""
        if now == before:
            return after
        if before == self.eta_min:  # a product would never leave it
            return now + after - before
        return self.eta_min + (now - self.eta_min) * (after - self.eta_min) / (before - self.eta_min)

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on; functions and the optimizer are not part of it."""
        return {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "lr_lambdas", "_schedulers")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            ValueError: if it is the state of another schedule, naming what differs; nothing is changed then.
        """
        self._check(state_dict)
        self.__dict__.update(state_dict)

    def _check(self, state: Any) -> None:
        own, given = set(self.state_dict()), set(state) if isinstance(state, dict) else {"no dictionary"}
        if own != given:
            raise ValueError(
                f"load_state_dict of {type(self).__name__}: missing {sorted(own - given)}, unknown "
                f"{sorted(map(str, given - own))}; is it the state of another schedule?"
            )


class LambdaLR(LRScheduler):
    """``lr = base_lr * lr_lambda(t)``.

    Args:
        lr_lambda: a function of t, or one for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        n = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * n if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != n:
            raise ValueError(f"LambdaLR: expected {n} functions, one a parameter group, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return every group's base step size times its function of t."""
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(LambdaLR):
    """``lr_t = lr_{t-1} * lr_lambda(t)``."""

    def get_lr(self) -> list[float]:
        """Return every group's last step size times its function of t."""
        now = [group["lr"] for group in self.optimizer.param_groups]
        return (
            now
            if self.last_epoch <= 0
            else [lr * f(self.last_epoch) for lr, f in zip(now, self.lr_lambdas, strict=True)]
        )


class StepLR(LRScheduler):
    """Multiply by ``gamma`` every ``step_size`` steps."""

    chains = True

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return ``gamma ** (t // step_size)``."""
        return self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each of the ``milestones``."""

    chains = True

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return ``gamma`` to the number of milestones reached."""
        return self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """Multiply by ``gamma`` every step."""

    chains = True

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return ``gamma ** t``."""
        return self.gamma**t


class ConstantLR(LRScheduler):
    """``factor`` for the first ``total_iters`` steps, then 1."""

    chains = True

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: expected a factor from 0 to 1, got {factor}")
        self.start_factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return the constant, or 1 when its time is over."""
        return self.start_factor if t < self.total_iters else 1.0


class LinearLR(LRScheduler):
    """A straight line from ``start_factor`` to ``end_factor`` over ``total_iters`` steps; warm-up by default."""

    chains = True

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not (0 < start_factor <= 1 and 0 <= end_factor <= 1):
            raise ValueError(
                f"LinearLR: expected a start_factor above 0 and an end_factor of 0 or more, both at most 1, got "
                f"{start_factor} and {end_factor}"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return the height of the line at t."""
        if t >= self.total_iters:
            return self.end_factor
        return self.start_factor + (self.end_factor - self.start_factor) * t / self.total_iters


class PolynomialLR(LRScheduler):
    """``(1 - t / total_iters) ** power``, then 0."""

    chains = True

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """Return the polynomial at t."""
        return (1 - t / self.total_iters) ** self.power if t < self.total_iters else 0.0


class CosineAnnealingLR(LRScheduler):
    r"""$\eta_{min} + \frac12 (\eta - \eta_{min})(1 + \cos(\pi t / T_{max}))$.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 (without restarts).
    """

    chains = True

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the step sizes on the cosine."""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class SequentialLR(LRScheduler):
    """One schedule after another: the next begins, at its step 0, at each milestone."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: expected {len(schedulers) - 1} milestones, got {len(milestones)}")
        self._schedulers, self.milestones = list(schedulers), list(milestones)
        for scheduler in schedulers:
            scheduler.last_epoch = -1  # each has made its first step when it was built; it starts when its turn comes
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step of the schedule whose turn it is."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        turn = bisect.bisect_right(self.milestones, self.last_epoch)
        start = self.milestones[turn - 1] if turn else 0
        self._schedulers[turn].step(self.last_epoch - start)
        self._last_lr = self._schedulers[turn].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this and of every schedule in it."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            ValueError: if it is the state of other schedules; nothing is changed then.
        """
        self._check(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["schedulers"], strict=True):
            scheduler._check(state)
        for scheduler, state in zip(self._schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "schedulers"})


class ReduceLROnPlateau(LRScheduler):
    """Multiply by ``factor`` when a measurement has not become better for ``patience`` calls.

    Args:
        mode: "min" if smaller is better, "max" if larger is.
        threshold: what counts as better: a share of the best (``threshold_mode="rel"``) or an amount ("abs").
        cooldown: calls to wait after a reduction.
        min_lr: never go below; one number, or one a parameter group.
        eps: smallest change of the step size that is made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: expected a factor below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: unknown mode {mode!r} or threshold_mode {threshold_mode!r}")
        groups = len(optimizer.param_groups)
        if isinstance(min_lr, Sequence) and len(min_lr) != groups:
            raise ValueError(f"ReduceLROnPlateau: expected {groups} min_lr, one a parameter group, got {len(min_lr)}")
        self.optimizer = optimizer
        self.mode, self.reduction, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lr, self.eps = min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Note a measurement and reduce the step size if it has been bad for too long."""
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for i, group in enumerate(self.optimizer.param_groups):
                least = self.min_lr[i] if isinstance(self.min_lr, Sequence) else self.min_lr
                lower = max(group["lr"] * self.reduction, least)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        # A share of the best, not of its size: for a negative best the bound lies on the other side, as in PyTorch.
        step = self.best * self.threshold if self.threshold_mode == "rel" else self.threshold
        bound = self.best if math.isinf(self.best) else self.best + sign * step
        return value < bound if sign < 0 else value > bound  # NaN is never better


def warmup_cosine(
    optimizer: Optimizer, warmup_steps: int, total_steps: int, min_ratio: float = 0.1, last_epoch: int = -1
) -> LambdaLR:
    r"""Rise linearly to the base step size, then follow half a cosine down to ``min_ratio`` of it.

    Args:
        warmup_steps: steps of the rise; the first step has 1 / warmup_steps of the base.
        total_steps: where the cosine ends; the step size stays at the minimum after it.
        min_ratio: the last step size as a share of the base.

    Raises:
        ValueError: if the warm-up is longer than the whole.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017; the warm-up: Goyal et al. 2017, section 2.2.
    """
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(
            f"warmup_cosine: expected 0 <= warmup_steps <= total_steps, got {warmup_steps} and {total_steps}"
        )

    def factor(t: int) -> float:
        if t < warmup_steps:
            return (t + 1) / warmup_steps
        share = min(1.0, (t - warmup_steps) / max(1, total_steps - warmup_steps))
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * share)) / 2

    return LambdaLR(optimizer, factor, last_epoch)
