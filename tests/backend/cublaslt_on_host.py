"""cuBLASLt without a card: the same functions, which check what they are told and compute in main memory.

It is as strict as the library: attributes have their sizes, descriptors must fit each other, a pointer must be aligned
as was promised, and an algorithm belongs to the product that it was found for. Where the real library is installed, a
test holds the tables below against it.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest

from minillm.backend.cuda.cublaslt_library import SIGNATURES
from minillm.backend.device import bfloat16
from minillm.ops.activation import gelu_tanh_formula

pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")

OK, INVALID, NOT_SUPPORTED = 0, 7, 15
# Attribute: bytes.
DESC = {3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8, 26: 4}
LAYOUT = {5: 4, 6: 8}
PREFERENCE = {1: 8, 3: 4, 5: 4, 6: 4, 7: 4, 8: 4}
TYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: bfloat16()}
COMPUTE = {68: (0, {(0, 0), (2, 2), (2, 0), (14, 14), (14, 0)}), 77: (0, {(0, 0)}), 70: (1, {(1, 1)})}
"""Compute type: (type of alpha and beta, pairs of the factors' and the result's types)."""
BIAS, GELU, SLOPE, AUX = 4, 32, 64, 128
EPILOGUES = {1, BIAS, GELU, GELU | BIAS, GELU | AUX, GELU | AUX | BIAS, SLOPE | AUX}
"""Those that are used here. AUX: a matrix beside the result, whose columns lie a multiple of 8 elements apart."""


class HostCublasLt:
    """Stands for the loaded library.

    Attributes:
        log: one entry a launched product.
        epilogues: those that "the card" offers.
        refuse: called with (m, n, k, types); true for products that "the card" has no algorithm for.
    """

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.epilogues = set(EPILOGUES)
        self.refuse = lambda *_: False
        self.searches = 0
        self._things: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def __getattribute__(self, name: str) -> Any:
        """Return a function that converts its arguments as ctypes will for the real library, and counts them."""
        found = object.__getattribute__(self, name)
        if not name.startswith("cublasLt"):
            return found

        def function(*arguments: Any) -> int:
            kinds = SIGNATURES[name.removeprefix("cublasLt")]
            assert len(arguments) == len(kinds), f"{name}: {len(arguments)} arguments, its signature has {len(kinds)}"
            for kind, argument in zip(kinds, arguments, strict=True):
                kind.from_param(argument)
            return found(*arguments)

        return function

    def _make(self, place: Any, kind: str, attributes: dict[int, int], **facts: Any) -> int:
        number = place._obj.value = next(self._numbers)
        self._things[number] = {"kind": kind, **facts, **attributes}
        return OK

    def _set(self, kind: str, sizes: dict[int, int], thing: Any, attribute: int, value: Any, size: int) -> int:
        found = self._things[thing.value]
        if found["kind"] != kind or sizes.get(attribute) != size:
            return INVALID
        found[attribute] = value._obj.value or 0
        return OK

    def _destroy(self, kind: str, thing: Any) -> int:
        return OK if self._things.pop(thing.value)["kind"] == kind else INVALID

    def alive(self) -> int:
        """Return how many descriptors were made and not destroyed."""
        return sum(thing["kind"] != "handle" for thing in self._things.values())

    def cublasLtCreate(self, place: Any) -> int:
        return self._make(place, "handle", {})

    def cublasLtMatmulDescCreate(self, place: Any, compute: int, scale: int) -> int:
        return self._make(place, "desc", {3: 0, 4: 0, 7: 1, 8: 0, 11: 0, 12: 0, 26: -1}, compute=compute, scale=scale)

    def cublasLtMatmulDescSetAttribute(self, *arguments: Any) -> int:
        return self._set("desc", DESC, *arguments)

    def cublasLtMatmulDescDestroy(self, thing: Any) -> int:
        return self._destroy("desc", thing)

    def cublasLtMatrixLayoutCreate(self, place: Any, type_: int, rows: int, columns: int, ld: int) -> int:
        if ld < rows or min(rows, columns) < 1:
            return INVALID
        return self._make(place, "layout", {5: 1, 6: 0}, type=type_, rows=rows, columns=columns, ld=ld)

    def cublasLtMatrixLayoutSetAttribute(self, *arguments: Any) -> int:
        return self._set("layout", LAYOUT, *arguments)

    def cublasLtMatrixLayoutDestroy(self, thing: Any) -> int:
        return self._destroy("layout", thing)

    def cublasLtMatmulPreferenceCreate(self, place: Any) -> int:
        return self._make(place, "preference", {1: 0, 3: 7, 5: 256, 6: 256, 7: 256, 8: 256})

    def cublasLtMatmulPreferenceSetAttribute(self, *arguments: Any) -> int:
        return self._set("preference", PREFERENCE, *arguments)

    def cublasLtMatmulPreferenceDestroy(self, thing: Any) -> int:
        return self._destroy("preference", thing)

    def _problem(self, desc: Any, *layouts: Any) -> dict[str, Any] | None:
        """Return a product in the library's words, or ``None`` if the descriptors do not fit each other."""
        how, (a, b, c, d) = self._things[desc.value], (self._things[layout.value] for layout in layouts)
        m, k = (a["rows"], a["columns"])[:: -1 if how[3] else 1]
        k_too, n = (b["rows"], b["columns"])[:: -1 if how[4] else 1]
        scale, pairs = COMPUTE[how["compute"]]
        fits = (
            k == k_too
            and c == d
            and (d["rows"], d["columns"]) == (m, n)
            and how["scale"] == scale
            and a["type"] == b["type"]
            and (a["type"], d["type"]) in pairs
            and a[5] == b[5] == d[5] >= 1
            and min(a[6], b[6], d[6]) >= 0
            and (d[5] == 1 or d[6] >= m or d["ld"] >= m * d[5])  # no two results in one place
            and how[7] in EPILOGUES
            and (how[7] == 1 or how["compute"] != 70)
            and (not how[7] & BIAS or (how[8] and how[26] == d["type"]))
            and (not how[7] & AUX or (how[11] and how[12] >= m and how[12] % 8 == 0 and d[5] == 1))
        )
        return {"m": m, "n": n, "k": k, "a": a, "b": b, "d": d, "how": dict(how)} if fits else None

    def cublasLtMatmulAlgoGetHeuristic(self, handle: Any, desc: Any, *rest: Any) -> int:
        *layouts, preference, wanted, result, found = rest
        problem, wishes = self._problem(desc, *layouts), self._things[preference.value]
        self.searches += 1
        if self._things[handle.value]["kind"] != "handle" or problem is None or wanted != 1:
            return INVALID
        if problem["how"][7] not in self.epilogues or self.refuse(
            problem["m"], problem["n"], problem["k"], (problem["a"]["type"], problem["d"]["type"])
        ):
            found._obj.value = 0
            return NOT_SUPPORTED
        aligned = [wishes[i] for i in (5, 6, 7, 8)]
        assert all(n & (n - 1) == 0 and 1 <= n <= 256 for n in aligned) and wishes[3] == 2 and wishes[1] == 32 << 20
        number = next(self._numbers)
        self._things[number] = {"kind": "handle", "aligned": aligned, "bias": problem["how"][8], "key": key(problem)}
        result._obj.algo[0], result._obj.workspace_size, result._obj.state, found._obj.value = number, 4096, 0, 1
        return OK

    def cublasLtMatmul(self, handle: Any, desc: Any, *rest: Any) -> int:
        alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo, workspace, bytes_, _ = rest
        problem = self._problem(desc, a_layout, b_layout, c_layout, d_layout)
        chosen = self._things[algo._obj[0]]
        if problem is None or chosen["key"] != key(problem) or c != d or bytes_ < 4096 or not workspace:
            return INVALID
        assert all(address % n == 0 for address, n in zip((a, b, c, d), chosen["aligned"]))
        m, n, how, count = problem["m"], problem["n"], problem["how"], problem["d"][5]
        x, y, z = read(a, problem["a"]), read(b, problem["b"]), read(d, problem["d"])
        kind = np.float64 if how["compute"] == 70 else np.float32
        factors = [v.astype(kind) for v in (x, y)]
        product = (factors[0].mT if how[3] else factors[0]) @ (factors[1].mT if how[4] else factors[1])
        product *= alpha._obj.value
        if beta._obj.value:
            product += kind(beta._obj.value) * z.astype(kind)
        if how[7] & BIAS:
            assert alignment(how[8]) >= 16, "no preference speaks of the bias: an algorithm may load 16 bytes of it"
            bias = read(how[8], {"type": how[26], "rows": m, "columns": 1, "ld": m, 5: 1, 6: 0})
            product += bias.astype(kind)
        if how[7] & AUX:
            assert alignment(how[11]) >= 16
            beside = read(how[11], {"type": problem["d"]["type"], "rows": m, "columns": n, "ld": how[12], 5: 1, 6: 0})
            if how[7] & SLOPE:
                product *= gelu_slope(beside.astype(np.float64)).astype(kind)
            else:
                beside[...] = product.astype(beside.dtype)
        if how[7] & GELU:
            product = gelu_tanh_formula(np, product)
        z[...] = product.astype(z.dtype)
        facts = {"op": f"{'NT'[how[3]]}{'NT'[how[4]]}", "m": m, "n": n, "k": problem["k"], "batch": count}
        facts["ld"] = problem["a"]["ld"], problem["b"]["ld"], problem["d"]["ld"]
        facts["stride"] = problem["a"][6], problem["b"][6], problem["d"][6]
        self.log.append(
            {**facts, "compute": how["compute"], "bias": bool(how[7] & BIAS), "finish": how[7], "beta": beta._obj.value}
        )
        return OK


def gelu_slope(x: np.ndarray) -> np.ndarray:
    """Return the slope of GELU's tanh form, from differences: nothing is shared with the code that is tested."""
    step = 1e-6
    return (gelu_tanh_formula(np, x + step) - gelu_tanh_formula(np, x - step)) / (2 * step)


def alignment(address: int) -> int:
    return min(address & -address, 256)


def key(problem: dict[str, Any]) -> tuple:
    how = problem["how"]
    sides = tuple(tuple(sorted((str(k), v) for k, v in problem[x].items())) for x in "abd")
    return (how["compute"], how[3], how[4], how[7], *sides)


def read(address: int, layout: dict[Any, Any]) -> np.ndarray:
    """Return the matrices (batch, rows, columns) that a layout describes, columns first, as a view of the memory."""
    dtype, rows, columns, ld = np.dtype(TYPES[layout["type"]]), layout["rows"], layout["columns"], layout["ld"]
    last = (layout[5] - 1) * layout[6] + (columns - 1) * ld + rows
    flat = np.frombuffer((ctypes.c_char * (last * dtype.itemsize)).from_address(address), dtype=dtype)
    strides = tuple(dtype.itemsize * s for s in (layout[6], 1, ld))
    return np.lib.stride_tricks.as_strided(flat, (layout[5], rows, columns), strides)
