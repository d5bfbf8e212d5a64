"""Ops and a training step on the stand-in, with every matrix product as cuBLASLt is told it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from lessons.l11_gpt import GPT, GPTConfig
from minillm.backend import get_backend
from minillm.backend.cuda.cublaslt import Finish, Gemm
from minillm.backend.cuda.linear import MLP, Linear
from minillm.ops.activation import gelu_tanh_formula
from tests.backend.twins import compare_row
from tests.op_cases import OpCase, load_cases
from tests.standin import DeviceArray, standin

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
on_host_module = pytest.importorskip("tests.backend.cublaslt_on_host")
HostCublasLt, gelu_slope = on_host_module.HostCublasLt, on_host_module.gelu_slope

PRODUCTS = (
    "matmul mm bmm mv dot addmm baddbmm einsum ops.mlp.mlp nn.functional.linear "
    "nn.functional.scaled_dot_product_attention"
)
CASES = [case for case in load_cases() if case.name in PRODUCTS.split()]


@contextmanager
def on_host(linear: bool = True, **how: Any) -> Iterator[Any]:
    """Let "cuda" be the stand-in, with products computed by a cuBLASLt in main memory."""
    library = HostCublasLt()
    with standin(**how):
        backend: Any = get_backend("cuda")
        backend.gemm = Gemm(library, backend.xp)
        backend.kernels = {**backend.kernels, "Linear": Linear, "MLP": MLP} if linear else {}
        yield library


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ops_that_multiply_matrices(case: OpCase) -> None:
    with on_host() as library:
        compare_row(case)
        assert library.log


def test_all_ops_that_multiply_matrices_are_in_the_table() -> None:
    assert {case.name for case in CASES} == set(PRODUCTS.split())


CONFIG = GPTConfig(vocab_size=13, block_size=6, n_layer=2, n_head=2, n_embd=8)
IDS = np.random.default_rng(0).integers(0, 13, (3, 7))


def gradients(device: str, dtype: Any, low: Any = None) -> list[np.ndarray]:
    """Return loss and gradients of a GPT on the host, in float64."""
    minillm.manual_seed(0)
    model = GPT(CONFIG).to(dtype).to(device)
    x, y = (minillm.tensor(ids, device=device) for ids in (IDS[:, :-1].copy(), IDS[:, 1:].copy()))
    with minillm.autocast(device, low, enabled=low is not None):
        loss = F.cross_entropy(model(x).reshape(-1, 13), y.reshape(-1))
    loss.backward()
    arrays = [loss.array, *(p.grad.array for p in model.parameters())]
    return [(a._array if isinstance(a, DeviceArray) else a).astype(np.float64) for a in arrays]


@pytest.mark.parametrize("linear", [True, False], ids=["bias inside", "bias after"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_the_gradients_of_a_gpt_are_those_on_the_cpu(dtype: Any, tolerance: float, linear: bool) -> None:
    with on_host(linear) as library:
        found = gradients("cuda", dtype)
    assert any(e["bias"] for e in library.log) == (linear and dtype == np.float32)
    for a, b in zip(found, gradients("cpu", dtype), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("low", [ml_dtypes.bfloat16, np.float16])
def test_the_gradients_of_a_gpt_under_autocast(low: Any) -> None:
    with on_host() as library:
        found = gradients("cuda", np.float32, np.dtype(low))
    assert {e["compute"] for e in library.log} == {68} and any(e["bias"] for e in library.log)
    exact, near = gradients("cpu", np.float32), gradients("cpu", np.float32, np.dtype(low))
    for a, b, c in zip(found, exact, near, strict=True):
        error, usual = np.linalg.norm(a - b), np.linalg.norm(c - b)
        assert error <= 2 * usual + 1e-6 * np.linalg.norm(b)


def test_a_second_micro_batch_adds_to_the_gradient_inside_the_product() -> None:
    x, w = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in [(5, 3), (4, 3)])
    with on_host() as library:
        weight = minillm.tensor(w, device="cuda", requires_grad=True)
        sums = []
        for times in (1, 2):
            F.linear(minillm.tensor(x, device="cuda"), weight).sum().backward()
            found = weight.grad.array
            np.testing.assert_allclose(found._array, times * np.tile(x.sum(axis=0), (4, 1)), rtol=1e-5, atol=1e-5)
            sums.append(found)
            assert library.log[-1]["beta"] == times - 1
        assert sums[0] is sums[1]


def mlp_and_gradients(device: str, frozen: str = "") -> list[np.ndarray]:
    """Return the result and all gradients of an MLP on the host; parameters whose names begin so are frozen."""
    minillm.manual_seed(0)
    model = minillm.nn.Sequential(minillm.nn.Linear(4, 8), minillm.nn.GELU("tanh"), minillm.nn.Linear(8, 3)).to(device)
    for name, p in model.named_parameters():
        p.requires_grad = not (frozen and name.startswith(frozen))
    x = minillm.tensor(np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32), device=device)
    x.requires_grad = not frozen
    for _ in range(2):  # the second time gradients are added to the first ones
        y = model(x)
        y.square().sum().backward()
    found = [y.detach(), x.grad, *(p.grad for p in model.parameters())]
    return [t.array._array if device == "cuda" else t.numpy() for t in found if t is not None]


@pytest.mark.parametrize("frozen", ["", "0", "2"])
@pytest.mark.parametrize("offered", ["all", "no slope", "no GELU", "nothing"])
def test_an_mlp_is_the_same_whatever_is_offered(offered: str, frozen: str) -> None:
    cuda_on_cpu = pytest.importorskip("tests.cuda_on_cpu", reason="kernels cannot be run on the CPU")
    if cuda_on_cpu.why_not():
        pytest.skip(cuda_on_cpu.why_not())
    with on_host(kernels=True) as library:
        library.epilogues -= {"all": set(), "no slope": {192}, "no GELU": {36, 164, 192}, "nothing": {*range(256)}}[
            offered
        ]
        found = mlp_and_gradients("cuda", frozen)
    asked = {"all": {36, 164, 192}, "no slope": {36, 164}}.get(offered, set()) - ({164, 192} if frozen == "0" else {36})
    assert {e["finish"] for e in library.log} - {1, 4} == asked
    for a, b in zip(found, mlp_and_gradients("cpu", frozen), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_an_mlp_that_is_nothing_inside_launches_nothing() -> None:
    with on_host(kernels=True):
        chain = minillm.nn.Sequential(minillm.nn.Linear(4, 0), minillm.nn.GELU("tanh"), minillm.nn.Linear(0, 3))
        y = chain.to("cuda")(minillm.ones(2, 4, device="cuda"))
        y.sum().backward()
        assert (y.detach().array._array == chain[2].bias.detach().array._array).all()


@pytest.mark.parametrize(("low", "tolerance"), [(None, 1e-5), (ml_dtypes.bfloat16, 3e-2), (np.float16, 5e-3)])
def test_kernels_and_products_together(low: Any, tolerance: float) -> None:
    """All that a card would be given: the CUDA sources run on the CPU, products on the cuBLASLt in main memory."""
    cuda_on_cpu = pytest.importorskip("tests.cuda_on_cpu", reason="kernels cannot be run on the CPU")
    if cuda_on_cpu.why_not():
        pytest.skip(cuda_on_cpu.why_not())
    with on_host(kernels=True) as library:
        assert "Attention" in get_backend("cuda").kernels
        found = gradients("cuda", np.float32, None if low is None else np.dtype(low))
    assert any(e["bias"] for e in library.log) and {e["batch"] for e in library.log} == {1, 3}
    for a, b in zip(found, gradients("cpu", np.float32), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(), 0.1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_where_cublaslt_is_missing_or_refuses_cupy_computes(dtype: Any) -> None:
    """In particular batches in 16 bits, which CuPy 14's own product cannot do."""
    a, b = (np.random.default_rng(0).standard_normal(s).astype(dtype) for s in [(2, 3, 4), (2, 4, 5)])
    wanted = a.astype(np.float32) @ b.astype(np.float32)
    with on_host() as library:
        backend: Any = get_backend("cuda")
        library.refuse = lambda *_: True
        for gemm in (backend.gemm, None):
            backend.gemm = gemm
            for left, right, exact in [(a, b, wanted), (a, b[0], a.astype(np.float32) @ b[0].astype(np.float32))]:
                found = backend.matmul(DeviceArray(left), DeviceArray(right))
                assert found.dtype == dtype
                np.testing.assert_array_equal(found._array, exact.astype(dtype))
            wide = DeviceArray(np.empty((2, 3, 5), dtype=np.float32))
            assert backend.matmul(DeviceArray(a), DeviceArray(b), out=wide) is wide
            np.testing.assert_array_equal(wide._array, wanted)
        assert not library.log


# --- on a card
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_products_on_a_card(dtype: Any) -> None:
    backend: Any = get_backend("cuda")
    assert backend.gemm is not None, "cuBLASLt is not installed: pip install 'cupy-cuda13x[ctk]'"
    rng = np.random.default_rng(0)
    tolerance = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1.6e-2}[np.dtype(dtype).name]
    packed = rng.standard_normal((2, 33, 3, 4, 64)).astype(dtype)
    q, k, v = (packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    there = backend.from_host(packed)
    dq, dk, dv = (there[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in [(5, 7, 1024), (65, 1024), (65,)])
    q, k, v, x64, w64, b64 = (array.astype(np.float64) for array in (q, k, v, x, w, b))
    scores = backend.matmul(dq, dk.swapaxes(-1, -2))
    pairs = [(scores, q @ k.swapaxes(-1, -2)), (backend.matmul(dq.swapaxes(-1, -2), dv), q.swapaxes(-1, -2) @ v)]
    if dtype != np.float64:
        y = backend.gemm(backend.from_host(x), backend.from_host(w).T, finish=Finish(backend.from_host(b)))
        pairs.append((y, x64 @ w64.T + b64))
    if dtype != np.float64:
        u, w2 = backend.xp.empty((35, 64), dtype), rng.standard_normal((65, 64)).astype(dtype)
        rows, dy = backend.from_host(x.reshape(35, 1024)), rng.standard_normal((35, 65)).astype(dtype)
        finish = Finish(backend.from_host(b[:64]), gelu=True, before=u)
        h = backend.gemm(rows, backend.from_host(w[:64] / 16).T, finish=finish)
        exact = x64.reshape(35, 1024) @ (w[:64] / 16).astype(np.float64).T + b64[:64]
        du = backend.gemm(backend.from_host(dy), backend.from_host(w2), finish=Finish(slope=True, before=u))
        product = dy.astype(np.float64) @ w2.astype(np.float64)
        pairs += [(u, exact), (h, gelu_tanh_formula(np, exact)), (du, product * gelu_slope(exact))]
    for found, wanted in pairs:
        near = {"rtol": tolerance, "atol": tolerance * np.abs(wanted).max()}
        np.testing.assert_allclose(backend.to_host(found).astype(np.float64), wanted, **near)
    total = backend.from_host(np.ones((5, 7, 65), dtype=np.float32 if np.dtype(dtype).itemsize == 2 else dtype))
    backend.gemm(backend.from_host(x), backend.from_host(w).T, total, accumulate=True)
    wanted = 1 + x64 @ w64.T
    np.testing.assert_allclose(backend.to_host(total), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    # The same bits every time.
    again = backend.matmul(dq, dk.swapaxes(-1, -2))
    assert backend.to_host(again).tobytes() == backend.to_host(scores).tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize(("low", "tolerance"), [(None, 1e-4), (ml_dtypes.bfloat16, 5e-2), (np.float16, 1e-2)])
def test_gradients_of_a_gpt_on_a_card(low: Any, tolerance: float) -> None:
    backend: Any = get_backend("cuda")
    minillm.manual_seed(0)
    found = []
    for device in ("cpu", "cuda"):
        minillm.manual_seed(0)
        model = GPT(CONFIG).to(device)
        x, y = (minillm.tensor(ids, device=device) for ids in (IDS[:, :-1].copy(), IDS[:, 1:].copy()))
        with minillm.autocast(device, None if low is None else np.dtype(low), enabled=low is not None):
            loss = F.cross_entropy(model(x).reshape(-1, 13), y.reshape(-1))
        loss.backward()
        to_host = backend.to_host if device == "cuda" else np.asarray
        found.append([to_host(loss.array), *(to_host(p.grad.array) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
