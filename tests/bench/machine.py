"""What the numbers were measured on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def cpu_info(key: str) -> str:
    """Return an entry of the first processor in Linux's list, or nothing."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return ""


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    return cpu_info("model name") or platform.processor() or platform.machine()


def cpu_vendor() -> str:
    """Return "GenuineIntel", "AuthenticAMD" or what else there is."""
    return cpu_info("vendor_id") or platform.processor()


def cpu_flags() -> set[str]:
    """Return what the processor can do; empty where the system does not say."""
    return set(cpu_info("flags").split())


def gflops(multiply: Callable[[], Any], n: int, lasting: float = 2.0) -> int:
    """Return the rate of a product of two n x n matrices in GFLOP/s: the best that was seen, as it stands for a floor.

    Args:
        lasting: seconds of trying.
    """
    seconds, until = [], time.perf_counter() + lasting
    while not seconds or time.perf_counter() < until:
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return round(2 * n**3 / min(seconds) / 1e9)


def numpy_blas(n: int = 1024) -> dict[str, Any]:
    """Return library, kernels, threads and rate of NumPy's float32 matrix product."""
    from threadpoolctl import threadpool_info

    a = np.random.default_rng(0).random((n, n), dtype=np.float32)
    rate = gflops(lambda: a @ a, n)
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            name = f"{pool['internal_api']} {pool['version']}"
            return {"blas": name, "kernels": pool.get("architecture"), "threads": pool["num_threads"], "gflops": rate}
    return {"blas": "unknown", "kernels": None, "threads": None, "gflops": rate}


def torch_blas(n: int = 1024) -> dict[str, Any]:
    """Return the same of PyTorch. MKL does not say which kernels it chose: the rate tells."""
    import torch

    a = torch.rand(n, n)
    shim = "told that the processor is Intel's" if "LD_PRELOAD" in os.environ else None
    return {
        "blas": "mkl" if torch.backends.mkl.is_available() else "no mkl",
        "kernels": shim or os.environ.get("MKL_ENABLE_INSTRUCTIONS"),
        "threads": torch.get_num_threads(),
        "gflops": gflops(lambda: a @ a, n),
    }


def jax_blas(n: int = 1024) -> dict[str, Any]:
    """Return the same of JAX."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((n, n), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    rate = gflops(lambda: multiply(a, a).block_until_ready(), n)
    return {"blas": "XLA", "kernels": None, "threads": os.cpu_count(), "gflops": rate}


def describe() -> dict[str, Any]:
    """Return processor, system and versions."""
    import minillm

    found = {"minillm": minillm.__version__}
    for name in ("numpy", "torch", "jax", "mygrad", "autograd", "tokenizers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {
        "cpu": cpu_name(),
        "vendor": cpu_vendor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": found,
    }
