"""Activations; the formulas and the kernels are in ``activation.cu``."""

from __future__ import annotations

from typing import Any

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, launch_flat, supported


class _Activation:
    """What all have in common."""

    name: str
    keeps_result = False

    @classmethod
    def forward(cls, ctx: Any, x: Array) -> Array:
        if not supported(x):
            return NotImplemented
        x = contiguous(x)
        y = cls.value(ctx, x)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(y if cls.keeps_result else x)
        return y

    @classmethod
    def backward(cls, ctx: Any, dy: Array) -> Array:
        return cls.gradient(ctx, dy, *ctx.saved_arrays)

    @classmethod
    def value(cls, ctx: Any, x: Array) -> Array:
        """Return y of x, which is contiguous."""
        y = ctx.xp.empty_like(x)
        launch_flat(ctx, "activation", f"{cls.name}_forward", x, y)
        return y

    @classmethod
    def gradient(cls, ctx: Any, dy: Array, kept: Array) -> Array:
        """Return dx, from what the forward pass kept."""
        dx = ctx.xp.empty_like(kept)
        launch_flat(ctx, "activation", f"{cls.name}_backward", contiguous(dy), kept, dx)
        return dx


class ReLU(_Activation):
    """``minillm.ops.activation.ReLU``: the next op keeps the result anyway."""

    name, keeps_result = "relu", True


class GELU(_Activation):
    """``minillm.ops.activation.GELU``."""

    name = "gelu"


class GELUTanh(_Activation):
    """``minillm.ops.activation.GELUTanh``."""

    name = "gelu_tanh"


class SiLU(_Activation):
    """``minillm.ops.activation.SiLU``."""

    name = "silu"
