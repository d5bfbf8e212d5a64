"""Loss scaling: keep small gradients from becoming 0 in float16, and large ones from doing harm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minillm.autograd import no_grad
from minillm.backend import backend_of
from minillm.tensor import Tensor


class GradScaler:
    r"""Multiplies the loss by S, divides the gradients by S, and finds S by itself (PyTorch's ``GradScaler``).

    float16 ends at 6e-8 below and 65,504 above. The gradient of $S \, \ell$ is S times that of $\ell$: with a large S
    small gradients are not lost on their way. A gradient that became inf or NaN is a sign that S is too large: that
    step is left out and S is halved; after ``growth_interval`` good steps in a row it is doubled.

    ::

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)    # only where gradients are looked at or clipped before the step
        scaler.step(optimizer)
        scaler.update()

    Args:
        device: accepted for PyTorch's sake; S is a Python number on every device.
        init_scale: the first S; powers of 2 change no digit of a gradient.
        growth_factor: above 1.
        backoff_factor: below 1.
        growth_interval: good steps before S grows.
        enabled: False makes every method do nothing, and ``step`` the optimizer's.

    Raises:
        ValueError: for factors out of range.

    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and not (growth_factor > 1 and 0 < backoff_factor < 1 and init_scale > 0):
            raise ValueError(
                "GradScaler: expected init_scale above 0, growth_factor above 1 and backoff_factor between 0 and 1, "
                f"got {init_scale}, {growth_factor} and {backoff_factor}"
            )
        self._scale, self._growth_factor, self._backoff_factor = float(init_scale), growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._enabled = bool(enabled)
        self._seen: dict[int, dict[str, bool]] = {}  # what was done with each optimizer since the last update

    def scale(self, outputs: Any) -> Any:
        """Return a loss, or each of a nested list of losses, times S."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError(f"GradScaler: expected a Tensor or an iterable of Tensors, got {type(outputs).__name__}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide an optimizer's gradients by S, in place, and note whether all of them are finite then.

        Raises:
            RuntimeError: the second time since the last ``update``.
            ValueError: for gradients in float16: the weights must be float32, see ``autocast``.
        """
        if not self._enabled:
            return
        seen = self._seen.setdefault(id(optimizer), {"unscaled": False, "stepped": False, "overflow": False})
        if seen["unscaled"] or seen["stepped"]:
            raise RuntimeError("GradScaler: unscale_() or step() was already called for this optimizer; call update()")
        finite: dict[str, Any] = {}
        inverse = float(np.float32(1 / self._scale))
        with no_grad():
            for p in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
                g = p.grad.array
                if g.dtype == np.float16:
                    raise ValueError("GradScaler: expected gradients in float32, got float16; keep the weights float32")
                backend = backend_of(g)
                with backend.errstate():
                    g *= inverse
                    good = backend.xp.isfinite(g).all()
                p.grad._version[0] += 1
                # One array a device, so that a GPU is asked once, not for every gradient.
                finite[backend.name] = finite[backend.name] & good if backend.name in finite else good
        seen.update(unscaled=True, overflow=not all(bool(good) for good in finite.values()))

    def overflowed(self, optimizer: Any) -> bool:
        """Tell whether ``unscale_`` met a gradient that is inf or NaN (not in PyTorch)."""
        return self._seen.get(id(optimizer), {}).get("overflow", False)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Unscale the gradients, if that was not done, and make a step unless one of them is inf or NaN.

        Returns:
            What ``optimizer.step`` returned, ``None`` if there was no step.

        Raises:
            RuntimeError: the second time since the last ``update``, or with a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("GradScaler: a closure computes gradients that nobody would unscale; leave it out")
        seen = self._seen.get(id(optimizer))
        if seen is not None and seen["stepped"]:
            raise RuntimeError("GradScaler: step() was already called for this optimizer; call update() first")
        if seen is None:
            self.unscale_(optimizer)
        self._seen[id(optimizer)]["stepped"] = True
        return None if self.overflowed(optimizer) else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Change S by what was found since the last update, or set it.

        Raises:
            RuntimeError: if no optimizer's gradients were looked at.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._seen:
            raise RuntimeError("GradScaler: update() before step() or unscale_(); nothing is known of the gradients")
        elif any(seen["overflow"] for seen in self._seen.values()):
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = float(np.float32(self._scale * self._growth_factor))
                self._scale, self._growth_tracker = (grown if math.isfinite(grown) else self._scale), 0
        self._seen = {}

    def get_scale(self) -> float:
        """Return S; 1 if scaling is off."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """Return by how much S grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set by how much S grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """Return by how much S shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set by how much S shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Return after how many good steps S grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many good steps S grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Tell whether scaling is on."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Return S, its settings and the good steps so far, under PyTorch's names; empty if scaling is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            ValueError: if it is not such a state; nothing is changed then.
        """
        if not self._enabled:
            return
        try:
            scale, growth, backoff = (float(state_dict[k]) for k in ("scale", "growth_factor", "backoff_factor"))
            interval, tracker = (int(state_dict[k]) for k in ("growth_interval", "_growth_tracker"))
            if not (0 < scale < math.inf and growth > 1 and 0 < backoff < 1 and interval >= 1 and tracker >= 0):
                raise ValueError("a setting out of range")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"GradScaler: expected what state_dict of an enabled GradScaler returns ({type(error).__name__}: "
                f"{error})"
            ) from None
        self._scale, self._growth_factor, self._backoff_factor = scale, growth, backoff
        self._growth_interval, self._growth_tracker = interval, tracker
