"""The kernels for one new token a row, against their formulas."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from minillm.backend import get_backend
from minillm.backend.cuda.cublaslt import Gemm
from minillm.backend.cuda.kernels.decode import FEW_BLOCKS, Decode
from minillm.ops.activation import gelu_tanh_formula
from tests import cuda_on_cpu
from tests.backend.kernel_cases import TOLERANCE, dtype_of
from tests.standin import standin

# B, H, D, capacity, length of the text: each count of lanes a key, a last lane without work, one round and several,
# the first token and the last that there is room for.
SHAPES = [(1, 1, 8, 1, 0), (2, 3, 24, 40, 17), (1, 2, 64, 600, 599), (3, 1, 16, 9, 7), (1, 2, 128, 40, 31)]
SHAPES += [(2, 1, 256, 200, 150), (1, 2, 48, 70, 64), (FEW_BLOCKS // 2 + 1, 2, 8, 20, 11)]


@pytest.fixture(params=["standin", pytest.param("card", marks=pytest.mark.gpu)], autouse=True)
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "card":
        yield "card"
        return
    if cuda_on_cpu.why_not():
        pytest.skip(cuda_on_cpu.why_not())
    with standin(kernels=True):
        yield "standin"


def attend(B: int, H: int, D: int, capacity: int, length: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Return what the kernel makes of drawn numbers, (y, keys, values), and what it was given, (qkv, keys, values)."""
    rng, backend = np.random.default_rng(0), get_backend("cuda")
    qkv, keys, values = (rng.standard_normal(s).astype(dtype) for s in [(B, 3, H, D), *[(B, H, capacity, D)] * 2])
    qkv[:, 0] *= dtype.type(3)  # some keys matter, others hardly
    for kept in (keys, values):
        kept[:, :, length:] = np.nan  # nobody may look at them
    y = backend.from_host(np.full(B * H * D + 32, 77, dtype=dtype))
    there = [backend.from_host(x.copy()) for x in (qkv.reshape(B, -1), keys, values)]
    place = backend.from_host(np.array([5, length]))
    Decode.attention(backend, *there, place[1:], y[16:-16].reshape(B, H * D))
    found = backend.to_host(y)
    assert (found[:16] == 77).all() and (found[-16:] == 77).all()
    return found[16:-16].reshape(B, H, D), *map(backend.to_host, there[1:]), qkv, keys, values


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_of_a_new_token(shape: tuple[int, ...], name: str) -> None:
    (*_, D, _, n), dtype = shape, dtype_of(name)
    if not Decode.fits(dtype, D):
        assert D * dtype.itemsize > 512
        return
    y, keys, values, qkv, old_keys, old_values = attend(*shape, dtype)
    for kept, old, new in [(keys, old_keys, qkv[:, 1]), (values, old_values, qkv[:, 2])]:
        old[:, :, n] = new
        assert kept.tobytes() == old.tobytes(), "more than the one place was written"
    q, k, v = (x.astype(np.float64) for x in (qkv[:, 0], keys[:, :, : n + 1], values[:, :, : n + 1]))
    scores = np.einsum("bhd,bhjd->bhj", q, k) / np.sqrt(D)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("bhj,bhjd->bhd", p / p.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(y.astype(np.float64), wanted, rtol=TOLERANCE[name], atol=TOLERANCE[name])


def test_heads_that_do_not_fit() -> None:
    f64, f32, f16 = (np.dtype(name) for name in ("float64", "float32", "float16"))
    assert [Decode.fits(f32, D) for D in (4, 6, 128, 132)] == [True, False, True, False]
    assert [Decode.fits(f16, D) for D in (4, 8, 256, 264)] == [False, True, True, False]
    assert [Decode.fits(f64, D) for D in (1, 2, 64, 66)] == [False, True, True, False]
    assert not Decode.fits(np.dtype(np.int32), 8)


@pytest.mark.parametrize("shape", SHAPES[1:3], ids=str)
def test_the_order_of_the_threads_does_not_matter(shape: tuple[int, ...]) -> None:
    """On a card: the same bits twice."""
    results = []
    for backwards in (False, True):
        cuda_on_cpu.order["backwards"] = backwards
        try:
            results.append(attend(*shape, np.dtype(np.float32)))
        finally:
            cuda_on_cpu.order["backwards"] = False
    for a, b in zip(*results, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("scale", [1e30, -1e30, np.inf])
def test_scores_beyond_all_bounds_are_those_of_the_formula(scale: float) -> None:
    """One weight of 1; and NaN where inf - inf says so."""
    backend = get_backend("cuda")
    qkv = np.ones((1, 3, 1, 8), dtype=np.float32)
    qkv[:, 0] *= np.float32(scale)
    keys = np.arange(1.0, 97.0, dtype=np.float32).repeat(8).reshape(1, 1, 96, 8)
    there = [backend.from_host(x) for x in (qkv.reshape(1, -1), keys.copy(), keys.copy(), np.array([95]))]
    y = backend.xp.empty((1, 8), dtype=np.float32)
    Decode.attention(backend, *there, y)
    wanted = {1e30: 95.0, -1e30: 1.0, np.inf: np.nan}[scale]
    np.testing.assert_array_equal(backend.to_host(y), np.full((1, 8), wanted, dtype=np.float32))


def test_an_infinite_value_and_a_score_of_minus_infinity_are_taken_as_they_are() -> None:
    """A key that does not count adds nothing: 0 times infinity would be NaN."""
    backend = get_backend("cuda")
    qkv, kept = np.ones((1, 3, 1, 8), dtype=np.float32), np.ones((2, 1, 1, 9, 8), dtype=np.float32)
    qkv[0, 2], kept[0, 0, 0, 1] = np.inf, -np.inf
    there = [backend.from_host(x) for x in (qkv.reshape(1, -1), *kept, np.array([2]))]
    y = backend.xp.empty((1, 8), dtype=np.float32)
    Decode.attention(backend, *there, y)
    assert (backend.to_host(y) == np.inf).all()
    assert (backend.to_host(there[2])[0, 0, 2] == np.inf).all()
    Decode.attention(backend, backend.from_host(np.ones((1, 24), dtype=np.float32)), *there[1:], y)
    assert (backend.to_host(y) == 1).all()


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("width", [1, 24, 65])
def test_a_token_becomes_a_vector(width: int, name: str) -> None:
    backend, rng, dtype = get_backend("cuda"), np.random.default_rng(0), dtype_of(name)
    tokens, positions = (rng.standard_normal((rows, width)).astype(dtype) for rows in (7, 5))
    place = backend.from_host(np.array([4, 6, 0, 6]))
    x = backend.xp.empty((3, width), dtype=dtype)
    Decode.embed(backend, backend.from_host(tokens), backend.from_host(positions), place[:1], place[1:], x)
    wanted = tokens[[6, 0, 6]].astype(np.float64) + positions[4].astype(np.float64)
    np.testing.assert_array_equal(backend.to_host(x), wanted.astype(dtype))


@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("products", ["all", "no GELU", "none", "no library"])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_whatever_cublaslt_offers(bias: bool, products: str, name: str, cuda: str) -> None:
    backend, rng, dtype = get_backend("cuda"), np.random.default_rng(0), dtype_of(name)
    if cuda == "standin" and products != "no library":
        library = pytest.importorskip("tests.backend.cublaslt_on_host").HostCublasLt()
        backend.gemm = Gemm(library, backend.xp)
        library.epilogues -= {32, 36} if products == "no GELU" else set()
        library.refuse = lambda *_: products == "none"
    elif products != "all":
        pytest.skip("a card offers what it offers")
    x, w, b, before = (rng.standard_normal(s).astype(dtype) for s in [(3, 16), (24, 16), 24, (3, 24)])
    given = [backend.from_host(a) for a in (x, w, b)]
    given[2] = given[2] if bias else None
    out, more, h, erf = (backend.from_host(before.copy()) for _ in range(4))
    Decode.linear(backend, *given, out)
    Decode.linear(backend, *given, more, add=True)
    Decode.gelu(backend, *given, h, "tanh")
    Decode.gelu(backend, *given, erf, "none")
    x, w, b, before = (a.astype(np.float64) for a in (x, w, b, before))
    y = x @ w.T + (b if bias else 0)
    gelu = gelu_tanh_formula(np, y)
    near = {"atol": 4 * TOLERANCE[name] * np.abs(y).max(), "rtol": 0}
    for found, wanted in [(out, y), (more, before + y), (h, gelu), (erf, y * (1 + backend_erf(y / np.sqrt(2))) / 2)]:
        np.testing.assert_allclose(backend.to_host(found).astype(np.float64), wanted, **near)


def backend_erf(x: np.ndarray) -> np.ndarray:
    return get_backend("cpu").erf(x)
