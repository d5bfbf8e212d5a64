"""The error function and the tail of the normal distribution, which NumPy does not have.

In float64, between 0 and 6 the axis is cut into cells of width 1/32; in each, erf is a polynomial whose coefficients
are Taylor's, taken at the middle of the cell. Erf' = 2/sqrt(pi) exp(-x^2), and the higher derivatives are Hermite
polynomials times it: erf^(n+1)(c) = (-1)^n H_n(c) erf'(c), H_{n+1} = 2 c H_n - 2 n H_{n-1}. Source: Abramowitz and
Stegun, 7.1.1 and 22.13.

In float32, and for types of 16 bits, it is one quotient of polynomials, x P(x^2) / Q(x^2), in less than half the time.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_CELLS_A_UNIT = 32
_LIMIT = 6.0  # 1 - erf(6) is 2e-17: below half a unit of float64's last place
_SLOPE_AT_0 = 2 / math.sqrt(math.pi)
_DEGREE = 7  # (1/64)^8 / 8! times the largest derivative is below 1e-16

# Lowest power of x^2 first. Fitted by least squares, weighted (Lawson) until the largest relative error up to 3.925 was
# smallest: 2e-8, a third of float32's last place. From there on erf is 1 in float32, and so is, cut off, the quotient
# at _ONE_FROM.
_P = (1.1283791458740198, 0.19059072499868673, 0.05276889704145411, 0.003772418632728255, 0.0002848403721172022,
      2.0460490251885007e-06)  # fmt: skip
_Q = (1.0, 0.5022393637715489, 0.11418146790435055, 0.014982936736108655, 0.0011638253876988603, 3.804783118736129e-05)
_ONE_FROM = np.float32(3.95)

# The tail divided by exp(-a^2 / 2), in powers of 1 / (1 + TAIL_SCALE a), lowest first. Fitted in the same way for a up
# to 13: the largest relative error is 3e-8.
TAIL_SCALE = 0.29432098487440156
TAIL = (2.0282528632507987e-05, 0.11695606468931338, 0.12193001345328136, 0.08232467840406824, 0.172129043308009,
         -0.1264975417767086, 0.28022115871592945, -0.18699328731890724, 0.03990960216355039)  # fmt: skip
TAIL_ENDS = 40.0
"""From here on, and before, the tail is 0 in float32."""


@functools.cache
def _coefficients() -> np.ndarray:
    """Return Taylor coefficients (degree + 1, cells), lowest first."""
    cells = int(_LIMIT * _CELLS_A_UNIT)
    table = np.empty((_DEGREE + 1, cells))
    for i in range(cells):
        c = (i + 0.5) / _CELLS_A_UNIT
        slope = _SLOPE_AT_0 * math.exp(-c * c)
        before, hermite = 0.0, 1.0
        table[0, i] = math.erf(c)
        for n in range(_DEGREE):
            table[n + 1, i] = (-1) ** n * hermite * slope / math.factorial(n + 1)
            before, hermite = hermite, 2 * c * hermite - 2 * n * before
    return table


def erf(x: np.ndarray) -> np.ndarray:
    r"""Return $\mathrm{erf}(x) = \frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt$ for an array of floats.

    >>> float(erf(np.array(0.5)).round(6))
    0.5205
    """
    with np.errstate(all="ignore"):
        y = _erf64(x.reshape(-1)) if x.dtype == np.float64 else _erf32(x.astype(np.float32, copy=False).reshape(-1))
        return y.reshape(x.shape).astype(x.dtype, copy=False)


def _erf32(x: np.ndarray) -> np.ndarray:
    a = np.clip(x, -_ONE_FROM, _ONE_FROM)
    square = a * a
    p, q = np.empty_like(a), np.empty_like(a)
    for total, coefficients in ((p, _P), (q, _Q)):
        np.multiply(square, coefficients[-1], out=total)
        for c in coefficients[-2:0:-1]:
            total += c
            total *= square
        total += coefficients[0]
    p *= a
    p /= q
    return np.clip(p, -1, 1, out=p)


def _erf64(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    last = int(_LIMIT * _CELLS_A_UNIT) - 1
    cell = np.where(size < _LIMIT, size * _CELLS_A_UNIT, last).astype(np.intp)  # NaN and inf: any cell will do
    d = size - (cell + 0.5) / _CELLS_A_UNIT
    table = _coefficients()
    y = table[_DEGREE][cell]
    for n in range(_DEGREE - 1, -1, -1):
        y = y * d + table[n][cell]
    # Near 0 the sum c0 + c1 d would cancel; there erf(x) = 2/sqrt(pi) (x - x^3/3 + x^5/10 - x^7/42 + x^9/216).
    square = size * size
    near = size * (1 - square * (1 / 3 - square * (1 / 10 - square * (1 / 42 - square / 216)))) * _SLOPE_AT_0
    y = np.where(size < 0.03, near, y)
    y = np.where(size >= _LIMIT, 1.0, y)
    return np.copysign(y, x)


def normal_tail(a: np.ndarray, bell: np.ndarray) -> np.ndarray:
    r"""Return $\frac{1}{\sqrt{2\pi}} \int_a^\infty e^{-t^2/2} dt$ for float32 from 0 to ``TAIL_ENDS``.

    Up to 5 the relative error is below 1e-6, beyond that $e^{-a^2/2}$ is itself less exact.

    Args:
        a: the numbers.
        bell: $e^{-a^2/2}$, which a caller needs anyway.

    >>> float(normal_tail(np.float32([0]), np.float32([1]))[0].round(6))
    0.5
    """
    t = a * TAIL_SCALE
    t += 1
    t = 1 / t
    y = t * TAIL[-1]
    for c in TAIL[-2:0:-1]:
        y += c
        y *= t
    y += TAIL[0]
    y *= bell
    return y
