"""The error function, which NumPy does not have.

Between 0 and 6 the axis is cut into cells of width 1/32; in each, erf is a polynomial whose coefficients are Taylor's,
taken at the middle of the cell. Erf' = 2/sqrt(pi) exp(-x^2), and the higher derivatives are Hermite polynomials times
it: erf^(n+1)(c) = (-1)^n H_n(c) erf'(c), H_{n+1} = 2 c H_n - 2 n H_{n-1}. Source: Abramowitz and Stegun, 7.1.1 and
22.13.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_CELLS_A_UNIT = 32
_LIMIT = 6.0  # 1 - erf(6) is 2e-17: below half a unit of float64's last place
_SLOPE_AT_0 = 2 / math.sqrt(math.pi)
_DEGREE = 7  # (1/64)^8 / 8! times the largest derivative is below 1e-16


@functools.cache
def _coefficients(dtype: np.dtype) -> np.ndarray:
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
    return table.astype(dtype)


def erf(x: np.ndarray) -> np.ndarray:
    r"""Return $\mathrm{erf}(x) = \frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt$ for an array of floats.

    >>> float(erf(np.array(0.5)).round(6))
    0.5205
    """
    dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    with np.errstate(all="ignore"):
        size = np.abs(x.astype(dtype, copy=False).reshape(-1))
        last = int(_LIMIT * _CELLS_A_UNIT) - 1
        cell = np.where(size < _LIMIT, size * _CELLS_A_UNIT, last).astype(np.intp)  # NaN and inf: any cell will do
        d = size - (cell + dtype.type(0.5)).astype(dtype) / dtype.type(_CELLS_A_UNIT)
        table = _coefficients(dtype)
        degree = _DEGREE if dtype == np.float64 else 3  # float32 sees no more: (1/64)^4 / 4! is 2e-9
        y = table[degree][cell]
        for n in range(degree - 1, -1, -1):
            y = y * d + table[n][cell]
        # Near 0 the sum c0 + c1 d would cancel; there erf(x) = 2/sqrt(pi) (x - x^3/3 + x^5/10 - x^7/42 + x^9/216).
        square = size * size
        near = size * (1 - square * (1 / 3 - square * (1 / 10 - square * (1 / 42 - square / 216)))) * _SLOPE_AT_0
        y = np.where(size < 0.03, near, y)
        y = np.where(size >= _LIMIT, dtype.type(1), y)
        return np.copysign(y.reshape(x.shape), x).astype(x.dtype, copy=False)
