"""Recurrent layers: all steps of a sequence in one op each.

A step waits for the one before it, so its few numbers are computed by themselves; an op for each of the ten lines of an
LSTM's step would take ten times as long to call as to compute. The products that need not wait stand outside the loop:
the inputs' part, which is given as ``x``, and the gradient of the weights.

In all of them ``x`` (T, B, G H) holds what the inputs add to the G gates, biases included, ``w`` (G H, H) multiplies
the state ``h`` (B, H), and ``reverse`` reads the sequence from its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.common import one_dtype
from minillm.ops.rows import column_sum, working
from minillm.tensor import Tensor


def _sigmoid(xp: Any, z: Any) -> Any:
    return 0.5 + 0.5 * xp.tanh(0.5 * z)


def _steps(count: int, reverse: bool) -> Iterable[int]:
    return reversed(range(count)) if reverse else range(count)


def _before(xp: Any, first: Array, states: Array, reverse: bool) -> Array:
    """Return the state that each step began with."""
    return xp.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def _weight_gradient(ctx: Any, dz: Array, h: Array) -> Array | None:
    if not ctx.needs_input_grad[ctx.weight]:
        return None
    n = dz.shape[0] * dz.shape[1]
    return ctx.backend.matmul(dz.reshape(n, dz.shape[-1]).T, h.reshape(n, h.shape[-1]))


# --- rnn: h' = tanh(x + w h)
def rnn_formula(xp: Any, x: Any, h: Any, w: Any) -> Any:
    """One step."""
    return xp.tanh(x + xp.matmul(h, xp.swapaxes(w, -1, -2)))


class RNN(Function):
    """``h_t = f(z_t)``, ``z_t = x_t + w h_(t-1)`` with tanh or relu for f.

    Backwards in time, ``dz_t = f'(z_t) (dy_t + w^T dz_(t+1))``, ``dx = dz``, ``dw = sum(dz_t h_(t-1)^T)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, h: Array, w: Array, *, relu: bool, reverse: bool) -> Array:
        xp, dtype, first = ctx.xp, x.dtype, working(h)
        x, h, w = working(x), first, working(w)
        y = xp.empty((len(x), *h.shape), dtype=x.dtype)
        for t in _steps(len(x), reverse):
            z = ctx.backend.matmul(h, w.T, out=y[t])
            z += x[t]
            h = xp.maximum(z, 0, out=z) if relu else xp.tanh(z, out=z)
        ctx.relu, ctx.reverse, ctx.weight = relu, reverse, 2
        ctx.save_for_backward(first, w, y)
        return y.astype(dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        first, w, y = ctx.saved_arrays
        dy = working(dy)
        slope = (~(y <= 0)).astype(y.dtype) if ctx.relu else 1 - y * y  # of relu 1 at NaN, as in ReLU
        dz, dh = ctx.xp.empty_like(y), ctx.xp.zeros_like(first)
        for t in _steps(len(y), not ctx.reverse):
            dh += dy[t]
            ctx.xp.multiply(dh, slope[t], out=dz[t])
            dh = ctx.backend.matmul(dz[t], w)
        return dz, dh, _weight_gradient(ctx, dz, _before(ctx.xp, first, y, ctx.reverse))


# --- lstm: gates i, f, g, o; c' = f c + i g, h' = o tanh(c')
def lstm_formula(xp: Any, x: Any, h: Any, c: Any, w: Any) -> Any:
    """One step: the next h."""
    z, width = x + xp.matmul(h, xp.swapaxes(w, -1, -2)), h.shape[-1]
    i, f, g, o = (z[..., k * width : (k + 1) * width] for k in range(4))
    return _sigmoid(xp, o) * xp.tanh(_sigmoid(xp, f) * c + _sigmoid(xp, i) * xp.tanh(g))


class LSTM(Function):
    """``c_t = f c_(t-1) + i g``, ``h_t = o tanh(c_t)``; i, f, o = s(z), g = tanh(z) for ``z = x_t + w h_(t-1)``.

    Backwards in time: ``dc_t = dh_t o (1 - tanh(c_t)^2) + f dc_(t+1)``; each gate's dz is its slope times ``dc g``,
    ``dc c_(t-1)``, ``dc i`` and ``dh tanh(c_t)``; ``dh_(t-1) = w^T dz``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, h: Array, c: Array, w: Array, *, reverse: bool) -> tuple[Array, Array]:
        xp, dtype, firsts = ctx.xp, x.dtype, (working(h), working(c))
        (h, c), x, w, width = firsts, working(x), working(w), h.shape[-1]
        # s(z) = (1 + tanh(z / 2)) / 2: one tanh for all gates, with factors before and behind it.
        half = xp.full((4, 1), 0.5, dtype=x.dtype)
        half[2] = 1
        rest = (1 - half).repeat(width, axis=1).reshape(-1)
        half = half.repeat(width, axis=1).reshape(-1)
        gates, w_half = x * half, w * half[:, None]
        y, cells, bends = xp.empty((3, len(x), *h.shape), dtype=x.dtype)
        z, ig = xp.empty_like(gates[0]), xp.empty_like(h)
        for t in _steps(len(x), reverse):
            ctx.backend.matmul(h, w_half.T, out=z)
            z += gates[t]
            xp.tanh(z, out=z)
            z *= half
            xp.add(z, rest, out=gates[t])
            i, f, g, o = (gates[t, :, k * width : (k + 1) * width] for k in range(4))
            c = xp.multiply(f, c, out=cells[t])
            c += xp.multiply(i, g, out=ig)
            h = xp.multiply(o, xp.tanh(c, out=bends[t]), out=y[t])
        ctx.reverse, ctx.weight = reverse, 3
        ctx.save_for_backward(*firsts, w, gates, cells, bends, y)
        return y.astype(dtype, copy=False), c.astype(dtype)

    @staticmethod
    def backward(ctx: Any, dy: Array, dc: Array) -> tuple[Array | None, ...]:
        h0, c0, w, gates, cells, bends, y = ctx.saved_arrays
        xp, width, reverse = ctx.xp, h0.shape[-1], ctx.reverse
        dy, dc = working(dy), working(dc)
        i, f, g, o = (gates[..., k * width : (k + 1) * width] for k in range(4))
        slope = gates * (1 - gates)
        slope[..., 2 * width : 3 * width] = 1 - g * g
        to_cell = o * (1 - bends * bends)
        before = _before(xp, c0, cells, reverse)
        dz, dh = xp.empty_like(gates), xp.zeros_like(h0)
        di, df, dg, do = (dz[..., k * width : (k + 1) * width] for k in range(4))
        for t in _steps(len(y), not reverse):
            dh += dy[t]
            dc = dh * to_cell[t] + dc
            xp.multiply(dc, g[t], out=di[t])
            xp.multiply(dc, before[t], out=df[t])
            xp.multiply(dc, i[t], out=dg[t])
            xp.multiply(dh, bends[t], out=do[t])
            dz[t] *= slope[t]
            dc *= f[t]
            dh = ctx.backend.matmul(dz[t], w)
        return dz, dh, dc, _weight_gradient(ctx, dz, _before(xp, h0, y, reverse))


# --- gru: gates r, z; n = tanh(x_n + r (w h + b)_n), h' = n + z (h - n)
def gru_formula(xp: Any, x: Any, h: Any, w: Any, b: Any) -> Any:
    """One step."""
    u, width = xp.matmul(h, xp.swapaxes(w, -1, -2)) + b, h.shape[-1]
    (xr, ur), (xz, uz), (xn, un) = ([a[..., k * width : (k + 1) * width] for a in (x, u)] for k in range(3))
    n = xp.tanh(xn + _sigmoid(xp, xr + ur) * un)
    return n + _sigmoid(xp, xz + uz) * (h - n)


class GRU(Function):
    """``h_t = n + z (h_(t-1) - n)``, ``n = tanh(x_n + r u_n)``; r, z = s(x + u) with ``u = w h_(t-1) + b``.

    Backwards in time, with ``dn = dh (1 - z) (1 - n^2)``: ``du_n = dn r``, ``dr = dn u_n``, ``dz = dh (h_(t-1) - n)``,
    both times their slope; ``dh_(t-1) = dh z + w^T du``.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, h: Array, w: Array, b: Array | None, *, reverse: bool) -> Array:
        xp, dtype, first, width = ctx.xp, x.dtype, working(h), h.shape[-1]
        x, h, w = working(x), first, working(w)
        b = xp.zeros(len(w), dtype=x.dtype) if b is None else working(b)
        y, news, updates = xp.empty((3, len(x), *h.shape), dtype=x.dtype)
        gates = xp.empty((len(x), len(h), 2 * width), dtype=x.dtype)
        u = xp.empty((len(h), 3 * width), dtype=x.dtype)
        for t in _steps(len(x), reverse):
            ctx.backend.matmul(h, w.T, out=u)
            u += b
            rz, n = gates[t], news[t]
            xp.add(x[t, :, : 2 * width], u[:, : 2 * width], out=rz)
            rz *= 0.5  # s(z) = (1 + tanh(z / 2)) / 2
            xp.tanh(rz, out=rz)
            rz *= 0.5
            rz += 0.5
            updates[t] = u[:, 2 * width :]
            xp.multiply(rz[:, :width], updates[t], out=n)
            n += x[t, :, 2 * width :]
            xp.tanh(n, out=n)
            h = xp.subtract(h, n, out=y[t])
            h *= rz[:, width:]
            h += n
        ctx.reverse, ctx.weight = reverse, 2
        ctx.save_for_backward(first, w, gates, news, updates, y)
        return y.astype(dtype, copy=False)

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        first, w, gates, news, updates, y = ctx.saved_arrays
        xp, width = ctx.xp, first.shape[-1]
        dy, before = working(dy), _before(ctx.xp, first, y, ctx.reverse)
        r, z = gates[..., :width], gates[..., width:]
        # What dh is multiplied by, for all steps at once: the gradient of x, and that of u where it differs.
        to_x = xp.empty((*gates.shape[:2], 3 * width), dtype=gates.dtype)
        to_n = xp.multiply(1 - z, 1 - news * news, out=to_x[..., 2 * width :])
        xp.multiply(to_n * updates, r * (1 - r), out=to_x[..., :width])
        xp.multiply(before - news, z * (1 - z), out=to_x[..., width : 2 * width])
        du, dx, dh = xp.empty_like(to_x), xp.empty_like(to_x), xp.zeros_like(first)
        for t in _steps(len(y), not ctx.reverse):
            dh += dy[t]
            for k in range(3):
                part = slice(k * width, (k + 1) * width)
                xp.multiply(dh, to_x[t, :, part], out=dx[t, :, part])
            du[t] = dx[t]
            du[t, :, 2 * width :] *= r[t]
            dh = dh * z[t] + ctx.backend.matmul(du[t], w)
        rows = du.reshape(du.shape[0] * du.shape[1], 3 * width)
        db = column_sum(ctx.backend, rows) if ctx.needs_input_grad[3] else None
        return dx, dh, _weight_gradient(ctx, du, before), db


def _check(what: str, *tensors: Tensor | None) -> None:
    given = [t for t in tensors if t is not None]
    if not one_dtype(*given):
        found = ", ".join(str(t.dtype) for t in given)
        raise RuntimeError(
            f"{what}: expected input, state and weights of one dtype, got {found}; convert with .to(dtype)"
        )


def rnn(x: Tensor, h: Tensor, w: Tensor, relu: bool = False, reverse: bool = False) -> Tensor:
    r"""All states of a plain recurrent layer: $h_t = \tanh(x_t + W h_{t-1})$, or relu.

    Args:
        x: (T, B, H).
        h: the first state (B, H).
        w: (H, H).

    Returns:
        (T, B, H).
    """
    _check("rnn", x, h, w)
    return RNN.apply(x, h, w, relu=relu, reverse=reverse)


def lstm(x: Tensor, h: Tensor, c: Tensor, w: Tensor, reverse: bool = False) -> tuple[Tensor, Tensor]:
    r"""All states of an LSTM layer, and its last cell: $c_t = f c_{t-1} + i g$, $h_t = o \tanh(c_t)$.

    Args:
        x: (T, B, 4 H), for the gates i, f, g, o.
        h, c: the first state and cell (B, H).
        w: (4 H, H).

    Returns:
        (T, B, H) and (B, H).
    """
    _check("lstm", x, h, c, w)
    return LSTM.apply(x, h, c, w, reverse=reverse)


def gru(x: Tensor, h: Tensor, w: Tensor, b: Tensor | None = None, reverse: bool = False) -> Tensor:
    r"""All states of a GRU layer: $h_t = n + z (h_{t-1} - n)$ with $n = \tanh(x_n + r (W h_{t-1} + b)_n)$.

    Args:
        x: (T, B, 3 H), for the gates r, z and for n.
        h: the first state (B, H).
        w, b: (3 H, H) and (3 H,); the bias may be ``None``.

    Returns:
        (T, B, H).
    """
    _check("gru", x, h, w, b)
    return GRU.apply(x, h, w, b, reverse=reverse)
