"""Rows of the op table for minillm/ops/arithmetic.py."""

from __future__ import annotations

import numpy as np

from tests.op_cases import binary

CASES = [
    binary("add", np.add),
    binary("mul", np.multiply),
]
