"""Every kernel compiles for the cards of two generations (NVRTC needs no card), keeps its numbers in registers, and
computes in no wider type than it should.
"""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from minillm.backend.cuda import CuPyBackend, launcher
from minillm.backend.cuda.kernels import flash
from minillm.backend.device import bfloat16

WHY = "compiling the kernels needs the extra 'compile' (CuPy and NVRTC; no card)"
pytest.importorskip("ml_dtypes", reason=WHY)
pytest.importorskip("cupy", reason=WHY)
try:
    __import__("cupy_backends.cuda.libs.nvrtc", fromlist=["nvrtc"]).getVersion()
except (ImportError, RuntimeError) as error:
    pytest.skip(f"{WHY}; {error}", allow_module_level=True)

BF16, F16, F32, F64 = bfloat16(), *map(np.dtype, ("float16", "float32", "float64"))
LARGEST_BLOCK = {"decode": 512, "flash": 128}  # threads; 1024 for all others
# (T, W, V): what the launcher asks for, with long loads and with single ones.
CHOICES = [(F32, F32, 4), (F32, F32, 1), (F16, F16, 8), (BF16, BF16, 8), (BF16, F32, 8), (BF16, BF16, 1), (F64, F64, 2)]
# Bytes: with four registers more, one block less would run beside others (two instead of three: a fifth slower).
SPILLED = {"flash": 16}
MIXED = {
    "add": [(F32, BF16, 8)],
    "cast": [(F32, BF16, 8), (F32, F16, 8)],
    "normalization": [(F32, F32, 4, (("GRADIENT", "__nv_bfloat16"),)), (F32, F32, 4, (("GRADIENT", "__half"),))],
}
VARIANTS = [(family, choice) for family in launcher.families() if family != "flash" for choice in CHOICES]
VARIANTS += [(family, choice) for family, choices in MIXED.items() for choice in choices]
VARIANTS += [
    ("flash", (T, T, 1, (("HEAD_DIM", D), ("BFLOAT", int(T == BF16)))))
    for T, sizes in ((BF16, flash.HEAD_DIMS), (F16, (64,)))  # two instructions differ
    for D in sizes
]


def compiled(family: str, choice: tuple, method: str, architecture: str) -> tuple[bytes, str]:
    """Return what NVRTC makes of a file of kernels, and what it says about it, with the options that CuPy gives."""
    from cupy._core import core
    from cupy.cuda import compiler

    program = compiler._NVRTCProgram(launcher.source(family, *choice), f"{family}.cu", method=method)
    options = core.assemble_cupy_compiler_options(launcher.OPTIONS)
    report = ("--ptxas-options=-v",) if method == "cubin" else ()
    said = io.StringIO()
    made, _ = program.compile((*options, f"-arch={architecture}", "-ftz=true", *report), said)
    return made, said.getvalue()


def test_the_one_kernel_that_cupy_writes_around_its_loop_compiles():
    import cupy
    from cupy._core import core
    from cupy.cuda import compiler

    backend = object.__new__(CuPyBackend)  # without a card there is no other way to one
    backend.xp, backend._segment_kernels = cupy, {}
    for dtype, T in (
        (F64, "double"),
        (F32, "float"),
        (F16, "float16"),
        (BF16, "bfloat16"),
        (np.dtype("i8"), "long long"),
    ):
        kernel = backend._segment_kernel(dtype)
        params = (*kernel.in_params, *kernel.out_params)
        given = [f"CArray<{p.ctype}, 1, true, true> {p.name}" if p.raw else f"{p.ctype} {p.name}" for p in params]
        text = "".join(f"#include <cupy/{h}.cuh>\n" for h in ("complex", "carray", "float16", "bfloat16"))
        text += f'typedef {T} T;\nextern "C" __global__ void {kernel.name}({", ".join(given)}, CIndexer<1> _ind) {{\n'
        text += f"CUPY_FOR(i, _ind.size()) {{ _ind.set(i); {kernel.operation} }}\n}}"
        program = compiler._NVRTCProgram(text, "segment_add.cu", method="cubin")
        assert program.compile((*core.assemble_cupy_compiler_options(()), "-arch=sm_80"))[0][:4] == b"\x7fELF"


def named(value: object) -> str:
    return value if isinstance(value, str) else "-".join(str(getattr(v, "name", v)) for v in value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("family", "choice"), VARIANTS, ids=named)
def test_kernels_compile_and_nothing_spills(family, choice, architecture):
    made, said = compiled(family, choice, "cubin", architecture)
    assert made[:4] == b"\x7fELF"
    pattern = r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores"
    reports = re.findall(pattern, said, re.DOTALL)
    begin = r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)'
    names = set(re.findall(begin, launcher.source(family, *choice)))
    assert {name for name, _, _ in reports} == names, said
    assert all(max(int(stack), int(spilled)) <= SPILLED.get(family, 0) for _, stack, spilled in reports), said
    # A card has 65,536 registers for a block: with 64 each, blocks of 1024 threads can start.
    most = 65_536 // LARGEST_BLOCK.get(family, 1024)
    assert all(int(used) <= most for used in re.findall(r"Used (\d+) registers", said)), said


@pytest.mark.parametrize("family", launcher.families())
def test_only_float64_computes_in_float64(family):
    """One literal without an f, or one function for double, and a card for games takes 32 times as long."""
    for choice in [choice for name, choice in VARIANTS if name == family and choice[0] != F64]:
        text = compiled(family, choice, "ptx", "compute_80")[0].decode()
        assert ".f64" not in text, [line for line in text.splitlines() if ".f64" in line][:5]


@pytest.mark.parametrize("family", [name for name in launcher.families() if name != "flash"])  # it copies 16 bytes
def test_16_bytes_are_loaded_at_once(family):
    text = compiled(family, (BF16, BF16, 8), "ptx", "compute_80")[0].decode()
    assert re.search(r"\bld(\.\w+)*\.v4\.u32", text), "expected loads of four words"
