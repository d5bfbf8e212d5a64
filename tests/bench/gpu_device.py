"""What the pieces of the GPU benchmark share: the card, a clock, ceilings, and how results leave a process."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minillm.backend import get_backend
from minillm.backend.cuda import products
from minillm.backend.device import bfloat16, matmul_settings

MARK = "RESULT "
PACKAGES = "minillm numpy ml_dtypes cupy-cuda12x cupy-cuda13x nvidia-cublas nvidia-cublas-cu12 torch triton".split()
PRECISIONS = {"bfloat16": bfloat16, "tf32": lambda: np.dtype(np.float32), "float32": lambda: np.dtype(np.float32)}


def emit(**result: Any) -> None:
    """Hand a result to the parent process, now: what comes after it may fail."""
    print(MARK + json.dumps(result), flush=True)


@contextlib.contextmanager
def guarded(what: str, **about: Any) -> Any:
    """Turn a failure inside into a result, so that what stands after it is measured all the same."""
    try:
        yield
    except Exception as error:  # out of memory, a kernel that does not compile, a missing function: all alike here
        emit(part=what, **about, failed=f"{type(error).__name__}: {error}"[:500])


@contextlib.contextmanager
def tf32(allowed: bool) -> Any:
    """Allow TF32 inside, or not."""
    before, matmul_settings.allow_tf32 = matmul_settings.allow_tf32, allowed
    try:
        yield
    finally:
        matmul_settings.allow_tf32 = before


STRETCH = 0.05
"""Seconds for which a call is repeated before the clock is read."""


def seconds(run: Callable[[], Any], synchronize: Callable[[], None]) -> float:
    """Return the time of a call: the median of five stretches of it."""
    run()
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    n = max(1, min(1000, int(STRETCH / max(time.perf_counter() - start, 1e-7))))
    found = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(n):
            run()
        synchronize()
        found.append((time.perf_counter() - start) / n)
    return float(np.median(found))


def used_bytes(device: str) -> int | None:
    """Return the bytes that are taken from the card now, less the driver's own; ``None`` on the CPU."""
    if device == "cpu":
        return None
    return taken(device) - at_first(device)


def taken(device: str) -> int:
    """Return the bytes of the card that are not free."""
    backend: Any = get_backend(device)
    backend.synchronize()
    left, total = backend.xp.cuda.runtime.memGetInfo()
    return int(total - left)


@functools.cache
def at_first(device: str) -> int:
    """Return what was taken when this was first asked, after the library of products is there."""
    backend: Any = get_backend(device)
    small = backend.from_host(np.ones((8, 8), dtype=np.float32))
    backend.matmul(small, small)
    free(device)
    return taken(device)


def free(device: str) -> None:
    """Give everything that is not in use back to the card."""
    import gc

    gc.collect()
    get_backend(device).empty_cache()


def versions(*names: str) -> dict[str, str]:
    """Return the installed version of each distribution that is there."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def output_of(*command: str) -> str | None:
    """Return what a command prints, or ``None`` if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def environment(device: str) -> None:
    """Emit what the numbers were measured on."""
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": output_of("git", "rev-parse", "HEAD"),
        "versions": versions(*PACKAGES),
    }
    with guarded("environment"):
        fields = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem"
        about["nvidia-smi"] = output_of("nvidia-smi", f"--query-gpu={fields}", "--format=csv")
        backend: Any = get_backend(device)
        if device != "cpu":
            runtime = backend.xp.cuda.runtime
            about["runtime"], about["driver"] = runtime.runtimeGetVersion(), runtime.driverGetVersion()
            properties = runtime.getDeviceProperties(0)
            about["card"] = properties["name"].decode()
            about["compute_capability"] = f"{properties['major']}.{properties['minor']}"
            about["multiprocessors"] = properties["multiProcessorCount"]
            gemm = backend.gemm
            about["cublaslt"] = None if gemm is None else int(gemm.library.cublasLtGetVersion())
        about["kernels"] = sorted(backend.kernels)
    emit(part="environment", **about)


def copy_rate(backend: Any, nbytes: int) -> float:
    """Return how many GB a second are read and written when an array is copied."""
    source = backend.xp.ones(nbytes // 4, dtype=np.float32)
    return 2 * nbytes / seconds(source.copy, backend.synchronize) / 1e9


def product_rate(backend: Any, m: int, k: int, n: int, dtype: np.dtype) -> float:
    """Return TFLOP/s of a product (m, k) @ (k, n)."""
    # Numbers that are not all alike: cards draw less power, and clock higher, on zeros and ones.
    few = np.random.default_rng(0).standard_normal(1 << 16).astype(dtype)
    a, b = (backend.from_host(np.resize(few, shape)) for shape in ((m, k), (n, k)))
    out = backend.xp.empty((m, n), dtype=dtype)
    return 2 * m * k * n / seconds(lambda: backend.matmul(a, b.T, out=out), backend.synchronize) / 1e12


def packed_heads(backend: Any, size: str, most_launches: int) -> float:
    """Return microseconds of the five products of attention, forward and backward, of heads in a packed array.

    Args:
        most_launches: above it the heads are copied; see ``minillm.backend.cuda.products``.
    """
    B, T, H, D = (3, 8, 2, 8) if size == "tiny" else (8, 1024, 12, 64)
    packed, grads = (backend.xp.ones((B, T, 3, H, D), dtype=bfloat16()) for _ in range(2))
    q, k, v = (packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    dq, dk, dv = (grads[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    p = backend.xp.ones((B, H, T, T), dtype=bfloat16())

    def run() -> None:
        for left, right, out in (
            (q, k.swapaxes(-1, -2), p), (p, v, dq), (p.swapaxes(-1, -2), q, dv), (p, k, dq), (p.swapaxes(-1, -2), q, dk)
        ):  # fmt: skip
            backend.matmul(left, right, out=out)

    kept, products.MOST_LAUNCHES = products.MOST_LAUNCHES, most_launches
    try:
        if getattr(backend, "gemm", None) is not None:
            backend.gemm.forget()
        return 1e6 * seconds(run, backend.synchronize)
    finally:
        products.MOST_LAUNCHES = kept


def ceilings(device: str, size: str) -> None:
    """Emit what this card reaches at best: large matrix products in each precision, and copying memory.

    Beside them stand the products of GPT-2 124M at a batch of 32 x 1024: each shape has its own ceiling.
    """
    backend: Any = get_backend(device)
    tiny = size == "tiny"
    n, nbytes = (64, 1 << 16) if tiny else (8192, 1 << 30)
    with guarded("ceiling", name="copy"):
        emit(part="ceiling", name="copy", gb_s=copy_rate(backend, nbytes))
    for name, most in (("heads copied", 1), ("heads launched one by one", 1 << 20)):
        with guarded("heads", name=name):
            emit(part="heads", name=name, us=packed_heads(backend, size, most))
    free(device)
    rows, C, V = (16, 8, 32) if tiny else (32 * 1024, 768, 50304)
    shapes = {
        "square": (n, n, n),
        "qkv": (rows, C, 3 * C),
        "up": (rows, C, 4 * C),
        "down": (rows, 4 * C, C),
        "head": (rows, C, V),
        "head, dw": (V, rows, C),
    }
    for precision, dtype in PRECISIONS.items():
        for name, (m, k, columns) in shapes.items():
            with guarded("gemm", name=name, precision=precision), tf32(precision == "tf32"):
                rate = product_rate(backend, m, k, columns, dtype())
                emit(part="gemm", name=name, precision=precision, tflop_s=rate)
        free(device)
