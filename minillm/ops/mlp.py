"""Two linear layers with GELU between them, as one op: what ``nn.Sequential`` makes of the three.

PyTorch has no such function. On a CPU it takes as long as the three, or a little less (``tests/bench/NOTES.md``). On a
GPU the bias, GELU and, on the way back, its slope are computed inside the products, so that arrays four times as wide
as the model are written and read less often (``backend/cuda/linear.py``).
"""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.activation import GELUTanh, gelu, gelu_tanh_formula
from minillm.ops.common import one_dtype
from minillm.ops.matmul import linear, linear_formula
from minillm.ops.rows import add_row, as_rows, column_sum, multiply, working
from minillm.tensor import Tensor


def mlp_formula(xp: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    return linear_formula(xp, gelu_tanh_formula(xp, linear_formula(xp, x, w1, b1)), w2, b2)


class MLP(Function):
    """``y = h w2^T + b2``, ``h = gelu(u)``, ``u = x w1^T + b1``.

    ``du = (dy w2) gelu'(u)``, ``dx = du w1``, ``dw2 = dy^T h``, ``dw1 = du^T x``; ``db`` are sums over rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, w1: Array, b1: Array | None, w2: Array, b2: Array | None) -> Array:
        needs_x, needs_w1, needs_b1, needs_w2, _ = ctx.needs_input_grad
        inside = needs_x or needs_w1 or needs_b1
        rows = as_rows(x, x.shape[-1])  # (N, in)
        u = ctx.backend.matmul(rows, w1.T)  # (N, hidden)
        if b1 is not None:
            add_row(ctx.backend, u, b1)
        h, slope = GELUTanh.evaluate(ctx, u, inside)
        y = ctx.backend.matmul(h, w2.T)  # (N, out)
        if b2 is not None:
            add_row(ctx.backend, y, b2)
        ctx.save_for_backward(
            rows if needs_w1 else None, h if needs_w2 else None, slope, w1 if needs_x else None, w2 if inside else None
        )
        ctx.x_shape = x.shape
        return y.reshape(*x.shape[:-1], w2.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        x, h, slope, w1, w2 = ctx.saved_arrays
        backend = ctx.backend
        needs_x, needs_w1, needs_b1, needs_w2, needs_b2 = ctx.needs_input_grad
        dy = as_rows(dy, dy.shape[-1])
        dw2 = backend.matmul(dy.T, h, out=ctx.place(3)) if needs_w2 else None
        db2 = column_sum(backend, working(dy)) if needs_b2 else None
        if not (needs_x or needs_w1 or needs_b1):
            return None, None, None, dw2, db2
        du = backend.matmul(dy, w2)
        du = multiply(backend, du, slope, du if slope.dtype == du.dtype else None).astype(du.dtype, copy=False)
        dw1 = backend.matmul(du.T, x, out=ctx.place(1)) if needs_w1 else None
        db1 = column_sum(backend, working(du)) if needs_b1 else None
        dx = backend.matmul(du, w1).reshape(ctx.x_shape) if needs_x else None
        return dx, dw1, db1, dw2, db2


def mlp(input: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None) -> Tensor:
    r"""Two linear layers with GELU between them: $y = \mathrm{GELU}(x W_1^T + b_1) \, W_2^T + b_2$; GELU with tanh.

    Args:
        input: (..., in).
        weight1, bias1: (hidden, in) and (hidden,); the bias may be ``None``.
        weight2, bias2: (out, hidden) and (out,); the bias may be ``None``.

    Returns:
        (..., out).

    Raises:
        RuntimeError: if lengths or dtypes do not fit.
    """
    given = [input, weight1, weight2, *(b for b in (bias1, bias2) if b is not None)]
    fits = all(isinstance(t, Tensor) for t in given) and one_dtype(*given)
    if not (fits and _fits(input.array.shape[-1:], weight1, bias1) and _fits(weight1.array.shape[:1], weight2, bias2)):
        return linear(gelu(linear(input, weight1, bias1), "tanh"), weight2, bias2)  # which say what is wrong
    return MLP.apply(input, weight1, bias1, weight2, bias2)


def _fits(length: tuple[int, ...], weight: Tensor, bias: Tensor | None) -> bool:
    shape = weight.array.shape
    return len(shape) == 2 and shape[1:] == length and (bias is None or bias.array.shape == shape[:1])
