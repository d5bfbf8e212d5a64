"""Which matrix product the comparison pits against which: the environments of the libraries.

NumPy brings OpenBLAS, PyTorch brings MKL, and on a processor of AMD MKL leaves AVX-512 alone. So what is compared as
it was installed may be OpenBLAS with AVX-512 against MKL with AVX2, which says little about the rest.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import cpu_flags, cpu_vendor

PAIRINGS = {
    "avx2": "both with AVX2",
    "installed": "as installed",
    "avx512": "both with AVX-512",
    "stands": "as the environment stands",
}
"""What a pairing is called in the tables."""

CHOICES = ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that choose the kernels of OpenBLAS and MKL."""

SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
"""MKL asks itself whether the processor is Intel's; loaded before it, this answers for it."""


@functools.cache
def shim() -> str:
    """Compile the answer to MKL's question and return the file of the library."""
    folder = Path(tempfile.mkdtemp(prefix="minillm-bench-"))
    (folder / "shim.c").write_text(SHIM, encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", "-o", "shim.so", "shim.c"]
    subprocess.run(command, cwd=folder, check=True)
    return str(folder / "shim.so")


def lacks(pairing: str) -> str:
    """Return why a pairing cannot be had here, or nothing."""
    if pairing in ("avx2", "avx512") and platform.machine() not in ("x86_64", "AMD64"):
        return f"{platform.machine()} has neither AVX2 nor AVX-512"
    if pairing == "avx512" and not sys.platform.startswith("linux"):
        return "needs Linux (LD_PRELOAD)"
    if pairing == "avx512" and "avx512f" not in cpu_flags():
        return "this processor has no AVX-512"
    if pairing == "avx512" and cpu_vendor() != "GenuineIntel" and shutil.which("cc") is None:
        return "needs a C compiler, to tell MKL that the processor is Intel's"
    return ""


def environment(pairing: str, library: str) -> dict[str, str]:
    """Return the environment of a library's process.

    Args:
        pairing: "stands" changes nothing; "installed" unsets what chooses kernels; "avx2" holds OpenBLAS to AVX2, and
            MKL too where it would do otherwise (on Intel); "avx512" lets MKL use AVX-512 on AMD.
        library: "torch" has MKL; all else in this benchmark is NumPy's OpenBLAS, but for JAX, which has products of
            its own that no pairing changes.
    """
    if pairing == "stands":
        return dict(os.environ)
    chosen = {k: v for k, v in os.environ.items() if k not in CHOICES}
    if library == "torch":
        if pairing == "avx2":
            chosen["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"  # on AMD it has no effect, and MKL uses AVX2 anyway
        if pairing == "avx512" and cpu_vendor() != "GenuineIntel":
            chosen["LD_PRELOAD"] = shim()
    elif pairing == "avx2":
        chosen["OPENBLAS_CORETYPE"] = "Haswell"
    return chosen
