"""Row kernels compiled by Numba, for those who install the extra ``fast``: one pass over memory where NumPy takes six.

Each function is the twin of an expression in ``minillm/ops`` or ``minillm/optim``, which stands there, with its
formula, and computes whatever the twin does not: ``NumPyBackend.compiled`` hands a twin out for large float32 arrays
that are contiguous, and the tests compare each with its expression. What they give is in ``tests/bench/NOTES.md``.

Where a result may be written over an input, the rows of that input are copied first: for two arrays that overlap the
compiler makes no vector code, since any number might then depend on the one before it.

They release Python's lock, use one thread (the callers have threads of their own), and are compiled at their first use,
which takes some seconds once; Numba keeps the result on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from minillm.backend import special

# Sums may be added in another order and products contracted (that makes vector code possible), but NaN and infinity
# stay what they are.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}

# Numba computes in float64 where one number is: every constant is a float32 from the start.
_f = np.float32
ZERO, HALF, ONE, TWO, INFINITY = _f(0), _f(0.5), _f(1), _f(2), _f(math.inf)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder in which the result could be kept
        return numba.njit(**_OPTIONS)(function)


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return numba.types.float32(numba.types.int32), generate


# exp(x) = 2^n exp(q) with n = round(x / log 2) and |q| < 0.35, where eight terms of the series suffice: the next one is
# below 1e-8. log 2 is taken away in two parts, of which the first has so few digits that n times it is exact.
_LOWEST, _HIGHEST = _f(-87.3), _f(88.0)  # below, exp is less than the smallest normal float32, and taken for 0
_LOG2_E, _LN2_HIGH, _LN2_LOW = _f(1 / math.log(2)), _f(355 / 512), _f(math.log(2) - 355 / 512)
_C2, _C3, _C4, _C5, _C6, _C7 = (_f(1 / math.factorial(k)) for k in range(2, 8))


@compiled
def exp(x: Any) -> Any:
    """e^x with a relative error below 3.6e-7; 0 below -87.3, infinity above 88. (Numba's own is not vector code.)"""
    t = _LOWEST if x < _LOWEST else x
    t = _HIGHEST if t > _HIGHEST else t
    n = np.floor(t * _LOG2_E + HALF)
    q = t - n * _LN2_HIGH
    q -= n * _LN2_LOW
    series = ONE + q * (ONE + q * (_C2 + q * (_C3 + q * (_C4 + q * (_C5 + q * (_C6 + q * _C7))))))
    power = _float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))  # 2^n: n as the exponent of a float32
    result = series * power
    result = ZERO if x < _LOWEST else result
    return INFINITY if x > _HIGHEST else result


@compiled
def _ordered(bits: Any) -> Any:
    """Map the bits of a float32 to an integer that is larger where the number is, and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@compiled
def exp_rows(x: Any, e: Any, largest: Any, sums: Any) -> None:
    """The twin of ``rows.exp_rows``: e = exp(x - m) for every row, its largest m, and the sum of e; e may be x."""
    row = np.empty(x.shape[1], np.float32)
    bits, m = row.view(np.int32), largest.view(np.int32)
    for i in range(x.shape[0]):
        row[:] = x[i]
        top = _ordered(bits[0])
        for j in range(row.size):
            # Of integers: the largest of float32 is not turned into vector code, which takes five times as long.
            here = _ordered(bits[j])
            top = here if here > top else top
        m[i] = _ordered(top)
        total, shift = ZERO, largest[i]
        for j in range(row.size):
            value = exp(row[j] - shift)
            e[i, j] = value
            total += value
        sums[i] = total


@compiled
def subtract_multiply(x: Any, rows: Any, y: Any) -> None:
    """The twin of ``rows.subtract_multiply``: x becomes (x - row) y, one number a row."""
    for i in range(x.shape[0]):
        row = rows[i]
        for j in range(x.shape[1]):
            x[i, j] = (x[i, j] - row) * y[i, j]


_GELU_A, _GELU_B = _f(math.sqrt(2 / math.pi)), _f(math.sqrt(2 / math.pi) * 0.044715)
_GELU_3B = _f(3 * math.sqrt(2 / math.pi) * 0.044715)


@compiled
def gelu_tanh(x: Any, y: Any, slope: Any) -> None:
    """The twin of ``GELUTanh.kernel``, with (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u))."""
    for i in range(x.size):
        v = x[i]
        square = v * v
        h = ONE / (ONE + exp(-TWO * v * (_GELU_A + _GELU_B * square)))
        y[i] = v * h
        slope[i] = h + TWO * v * h * (ONE - h) * (_GELU_A + _GELU_3B * square)


# Numba counts a tuple of numbers as constants: the loop over the coefficients is unrolled.
_TAIL, _TAIL_SCALE, _TAIL_ENDS = tuple(map(_f, special.TAIL[::-1])), _f(special.TAIL_SCALE), _f(special.TAIL_ENDS)
_DENSITY = _f(1 / math.sqrt(2 * math.pi))


@compiled
def gelu(x: Any, y: Any, slope: Any) -> None:
    """The twin of ``GELU.from_tail``."""
    for i in range(x.size):
        v = x[i]
        near = -_TAIL_ENDS if v < -_TAIL_ENDS else v
        near = _TAIL_ENDS if near > _TAIL_ENDS else near
        size = abs(near)
        bell = exp(-HALF * near * near)
        t = ONE / (ONE + _TAIL_SCALE * size)
        series = ZERO
        for c in _TAIL:
            series = series * t + c
        tail = series * bell
        y[i] = (ZERO if v < ZERO else v) - size * tail
        slope[i] = (ONE - tail if v > ZERO else tail) + near * bell * _DENSITY


@compiled
def layer_norm(x: Any, w: Any, b: Any, eps: Any, h: Any, r: Any, y: Any) -> None:
    """The twin of a tile of ``LayerNorm.forward``."""
    width = x.shape[1]
    for i in range(x.shape[0]):
        total = ZERO
        for j in range(width):
            total += x[i, j]
        mean = total / _f(width)
        squares = ZERO
        for j in range(width):
            d = x[i, j] - mean
            squares += d * d
        scale = ONE / np.sqrt(squares / _f(width) + eps)
        for j in range(width):
            d = (x[i, j] - mean) * scale
            h[i, j] = d
            y[i, j] = d * w[j] + b[j]
        r[i] = scale


_TOGETHER = 32  # rows that are summed before they join the others: the error grows with the longest chain of sums


@compiled
def layer_norm_grad(dy: Any, h: Any, r: Any, w: Any, dx: Any, dw: Any) -> None:
    """The twin of a tile of ``LayerNorm.backward``; dw, the sum of dy h, begins as zeros. dx may be h."""
    width = dy.shape[1]
    part, row = np.zeros(width, np.float32), np.empty(width, np.float32)
    for i in range(dy.shape[0]):
        row[:] = h[i]
        sum_g, sum_gh = ZERO, ZERO
        for j in range(width):
            g = dy[i, j] * w[j]
            sum_g += g
            sum_gh += g * row[j]
        mean_g, mean_gh, scale = sum_g / _f(width), sum_gh / _f(width), r[i]
        for j in range(width):
            d, own = dy[i, j], row[j]
            part[j] += d * own
            dx[i, j] = scale * (d * w[j] - mean_g - own * mean_gh)
        if i % _TOGETHER == _TOGETHER - 1 or i == dy.shape[0] - 1:
            for j in range(width):
                dw[j] += part[j]
                part[j] = ZERO


@compiled
def adam(
    w: Any,
    dw: Any,
    m: Any,
    v: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    size: Any,
    eps: Any,
    shrink: Any,
    penalty: Any,
    sign: Any,
) -> None:
    """The twin of ``Adam._update_arrays``: the decoupled decay is ``shrink``, the one of the gradient ``penalty``.

    ``rest`` is 1 - beta, given because float32 would make it wrong: 1 - 0.999 is 0.00100005 there.
    """
    for i in range(w.size):
        g = sign * dw[i] + penalty * w[i]
        mean = beta1 * m[i] + rest1 * g
        square = beta2 * v[i] + rest2 * g * g
        m[i], v[i] = mean, square
        w[i] = shrink * w[i] - size * mean / (np.sqrt(square) + eps)
