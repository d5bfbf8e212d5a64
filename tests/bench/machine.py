"""What the numbers were measured on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from typing import Any

import numpy as np


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gemm_rate(n: int = 1024, repeats: int = 20) -> float:
    """Return what NumPy's float32 matrix product reaches, in GFLOP/s (median)."""
    a = np.random.default_rng(0).random((n, n), dtype=np.float32)
    seconds = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        a @ a
        if i >= 3:
            seconds.append(time.perf_counter() - start)
    return 2 * n**3 / float(np.median(seconds)) / 1e9


def torch_gemm_rate(n: int = 1024, repeats: int = 20) -> float | None:
    """Return the same of PyTorch, or ``None`` where it is missing."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    a = torch.rand(n, n)
    seconds = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        a @ a
        if i >= 3:
            seconds.append(time.perf_counter() - start)
    return 2 * n**3 / float(np.median(seconds)) / 1e9


def versions(*names: str) -> dict[str, str]:
    """Return the installed version of each distribution that is there."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe() -> dict[str, Any]:
    """Return processor, libraries, threads and measured rates."""
    from threadpoolctl import threadpool_info

    blas = [
        {k: p.get(k) for k in ("internal_api", "version", "architecture", "num_threads")}
        for p in threadpool_info()
        if p["user_api"] == "blas"
    ]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "blas": blas,
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
        "gemm_gflops": round(gemm_rate()),
        "torch_gemm_gflops": None if (rate := torch_gemm_rate()) is None else round(rate),
        "versions": versions("minillm", "numpy", "torch", "jax", "mygrad", "autograd", "tokenizers"),
    }
