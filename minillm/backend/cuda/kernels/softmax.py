"""Softmax and its logarithm along the last axis; the formulas and the kernels are in ``softmax.cu``."""

from __future__ import annotations

from typing import Any

from minillm.backend.base import Array
from minillm.backend.cuda.launcher import contiguous, pack, supported, threads


class _AlongRows:
    """What the two have in common. ``ctx`` keeps the result."""

    name: str

    @classmethod
    def forward(cls, ctx: Any, x: Array, *, axis: int) -> Array:
        if not x.ndim or axis != x.ndim - 1 or not supported(x):
            return NotImplemented
        x = contiguous(x)
        y = cls.launch(ctx, f"{cls.name}_forward", x)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(y)
        return y

    @classmethod
    def backward(cls, ctx: Any, dy: Array) -> Array:
        (y,) = ctx.saved_arrays
        return cls.launch(ctx, f"{cls.name}_backward", contiguous(dy), y)

    @staticmethod
    def launch(ctx: Any, name: str, *inputs: Array) -> Array:
        x, width = inputs[0], inputs[0].shape[-1]
        out = ctx.xp.empty_like(x)
        V = pack(width, *inputs, out)
        ctx.backend.launch("softmax", name, x.size // width, threads(width, V), *inputs, out, width, T=x.dtype, V=V)
        return out


class Softmax(_AlongRows):
    """``minillm.ops.softmax.Softmax``."""

    name = "softmax"


class LogSoftmax(_AlongRows):
    """``minillm.ops.softmax.LogSoftmax``."""

    name = "log_softmax"
