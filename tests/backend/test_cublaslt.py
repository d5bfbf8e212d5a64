"""Matrix products by cuBLASLt, on a cuBLASLt that computes in main memory: what it is told is what NumPy computes."""

from __future__ import annotations

import ctypes
import gc
import math
import types
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.backend.cuda import cublaslt, cublaslt_library
from minillm.backend.cuda.cublaslt import Finish, Gemm
from minillm.backend.cuda.cublaslt_library import NotOffered
from minillm.backend.cuda.products import MOST_LAUNCHES, Copies, Product, View, plan
from minillm.backend.device import matmul_settings
from minillm.ops.activation import gelu_tanh_formula
from minillm.testing.strategies import arrays, layouts, matmul_shapes
from tests.standin import CuPyModule, DeviceArray

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
on_host = pytest.importorskip("tests.backend.cublaslt_on_host")
HostCublasLt = on_host.HostCublasLt

DTYPES = [np.dtype(t) for t in ("float32", "float64", "float16", ml_dtypes.bfloat16)]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


class Library(CuPyModule):
    """The stand-in for CuPy: memory begins at multiples of 256 bytes, as CuPy's does, and copies are counted."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.copies = 0

    @staticmethod
    def empty(shape: Any, dtype: Any) -> DeviceArray:
        memory = np.full(math.prod(np.atleast_1d(shape)) * np.dtype(dtype).itemsize + 256, 255, dtype=np.uint8)  # NaN
        start = -memory.ctypes.data % 256
        return DeviceArray(memory[start : len(memory) - 256 + start].view(dtype).reshape(shape))

    def ascontiguousarray(self, a: DeviceArray) -> DeviceArray:
        return self.array(a, "C")

    def array(self, a: DeviceArray, order: str) -> DeviceArray:
        self.copies += 1
        made = self.empty(a.shape, a.dtype)
        made._array[...] = a._array
        return made


def make() -> tuple[Gemm, Any, Library]:
    library, xp = HostCublasLt(), Library()
    return Gemm(library, xp), library, xp


def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(a.astype(np.float64), b.astype(np.float64))


def check(found: Any, wanted: np.ndarray, k: int, dtype: np.dtype) -> None:
    assert found.shape == wanted.shape
    tolerance = TOLERANCE[dtype.name]
    np.testing.assert_allclose(found._array.astype(np.float64), wanted, rtol=tolerance, atol=tolerance * (9 * k + 1))


@given(st.data(), matmul_shapes(max_side=5), st.sampled_from(DTYPES))
def test_any_product_is_numpys(data: st.DataObject, shapes: Any, dtype: np.dtype) -> None:
    """Shapes of every kind, and layouts: transposed, reversed, with gaps, broadcast."""
    a, b = (data.draw(layouts(data.draw(arrays(shape)).astype(dtype))) for shape in shapes)
    gemm, library, _ = make()
    assert gemm.takes(DeviceArray(a), DeviceArray(b))
    found = gemm(DeviceArray(a), DeviceArray(b))
    assert found.dtype == dtype
    check(found, exact(a, b), a.shape[-1], dtype)
    # The second time nothing is planned anew.
    searches = library.searches
    gemm(DeviceArray(a), DeviceArray(b))
    assert library.searches == searches


@given(
    st.data(),
    matmul_shapes(max_side=5),
    st.sampled_from([(d, d) for d in DTYPES] + [(DTYPES[2], DTYPES[0]), (DTYPES[3], DTYPES[0])]),
    st.booleans(),
)
def test_into_and_onto_an_array(data: st.DataObject, shapes: Any, kinds: Any, accumulate: bool) -> None:
    """The result may have any layout, and be float32 where the factors have 16 bits."""
    dtype, kind = kinds
    a, b = (data.draw(layouts(data.draw(arrays(shape)).astype(dtype))) for shape in shapes)
    wanted = exact(a, b)
    before = data.draw(arrays(wanted.shape)).astype(kind)
    # Every third element of something larger, axes in any order: nothing beside the result may be written.
    order = data.draw(st.permutations(range(wanted.ndim)))
    gap = data.draw(st.sampled_from([1, 3]))
    sides = [wanted.shape[i] * (gap if i == order[-1] else 1) for i in order] if wanted.ndim else []
    around = np.full(sides, 7, dtype=kind)
    out = around[..., ::gap].transpose(np.argsort(order)) if wanted.ndim else around
    assert out.shape == wanted.shape
    out[...] = before
    gemm, _, _ = make()
    result = gemm(DeviceArray(a), DeviceArray(b), DeviceArray(out), accumulate=accumulate)
    check(result, wanted + (before.astype(np.float64) if accumulate else 0), a.shape[-1], kind)
    check(DeviceArray(out), wanted + (before.astype(np.float64) if accumulate else 0), a.shape[-1], kind)
    out[...] = 7
    assert (around == 7).all()


@given(st.data(), st.integers(1, 5), st.integers(1, 5), st.integers(0, 5), st.sampled_from(DTYPES[:1] + DTYPES[2:]))
def test_a_bias_is_added_to_every_row(data: st.DataObject, m: int, n: int, k: int, dtype: np.dtype) -> None:
    a = data.draw(layouts(data.draw(arrays((2, m, k))).astype(dtype)))
    w = data.draw(layouts(data.draw(arrays((n, k))).astype(dtype)))
    gemm, library, _ = make()
    for start, step in ((0, 1), (1, 1), (3, 1), (0, 2), (1, -1)):  # also biases that are not aligned, or no one line
        bias = data.draw(arrays((n * abs(step) + start,))).astype(dtype)[start:][::step]
        found = gemm(DeviceArray(a), DeviceArray(w.T), finish=Finish(DeviceArray(bias)))
        check(found, exact(a, w.T) + bias.astype(np.float64), k, dtype)
    assert all(entry["bias"] for entry in library.log)


@given(
    st.data(),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from(DTYPES[:1] + DTYPES[2:]),
    st.booleans(),
)
def test_gelu_inside_the_product_and_its_slope_on_the_way_back(
    data: st.DataObject, m: int, eights: int, k: int, dtype: np.dtype, with_bias: bool
) -> None:
    n = 8 * eights
    a, w = (data.draw(layouts(data.draw(arrays(shape)).astype(dtype))) for shape in ((m, k), (n, k)))
    bias = data.draw(arrays((n,))).astype(dtype) if with_bias else None
    gemm, library, xp = make()
    wanted = exact(a, w.T) + (0 if bias is None else bias.astype(np.float64))
    before = xp.empty((m, n), dtype)
    for beside in (before, None):  # without a gradient to come, what GELU gets is not kept
        finish = Finish(None if bias is None else DeviceArray(bias), gelu=True, before=beside)
        found = gemm(DeviceArray(a), DeviceArray(w.T), finish=finish)
        check(found, gelu_tanh_formula(np, wanted), k, dtype)
    check(before, wanted, k, dtype)
    dy, w2 = (data.draw(layouts(data.draw(arrays(shape)).astype(dtype))) for shape in ((m, k), (k, n)))
    kept = before._array.copy()
    du = gemm(DeviceArray(dy), DeviceArray(w2), finish=Finish(slope=True, before=before))
    slope = on_host.gelu_slope(kept.astype(np.float64))
    check(du, exact(dy, w2) * slope, k, dtype)
    np.testing.assert_array_equal(before._array, kept)
    assert [e["finish"] for e in library.log] == ([164, 36, 192] if with_bias else [160, 32, 192])


def test_gelu_is_not_asked_for_where_it_is_not_offered() -> None:
    gemm, library, _ = make()
    for a, b in [(numbers(3, 4), numbers(4, 12)), (numbers(2, 3, 4), numbers(4, 8)), (numbers(3, 0), numbers(0, 8))]:
        with pytest.raises(NotOffered, match="no GELU"):
            gemm(DeviceArray(a), DeviceArray(b), finish=Finish(gelu=True))
    assert not library.searches
    library.epilogues = {1, 4}
    for _ in range(2):
        with pytest.raises(NotOffered, match="status 15"):
            gemm(DeviceArray(numbers(3, 4)), DeviceArray(numbers(4, 8)), finish=Finish(gelu=True))
    gemm(DeviceArray(numbers(3, 4)), DeviceArray(numbers(4, 8)))
    assert library.searches == 2 and len(library.log) == 1


# --- what is copied, and what is launched
def told(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> tuple[list[dict[str, Any]], int]:
    """Return the launches of a product, after a look at its value, and the number of copies."""
    gemm, library, xp = make()
    found = gemm(DeviceArray(a), DeviceArray(b), None if out is None else DeviceArray(out))
    check(found, exact(a, b), a.shape[-1], a.dtype)
    return library.log, xp.copies


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_transposes_and_slices_are_leading_dimensions() -> None:
    a, w = numbers(6, 4), numbers(8, 4)
    for left, right, op, ld in [
        (a, w.T, "TN", (4, 4, 8)),  # cuBLASLt's first factor is our second
        (a, w.T.copy(), "NN", (8, 4, 8)),
        (a.T.copy().T, w.T, "TT", (4, 6, 8)),
        (numbers(6, 9)[:, 2:6], w.T, "TN", (4, 9, 8)),
        (a, numbers(8, 9)[:, 5:].T, "TN", (9, 4, 8)),
        (a, numbers(4, 20)[:, 3:11], "NN", (20, 4, 8)),
    ]:
        log, copies = told(left, right)
        assert (log[0]["op"], log[0]["ld"], log[0]["m"], log[0]["n"], log[0]["k"]) == (op, ld, 8, 6, 4)
        assert len(log) == 1 and copies == 0


def test_a_linear_layer_is_one_product_of_matrices() -> None:
    x, w = numbers(2, 5, 4), numbers(8, 4)
    log, copies = told(x, w.T)
    assert (len(log), log[0]["batch"], log[0]["n"], copies) == (1, 1, 10, 0)
    log, copies = told(x[:, -1:], w.T)  # the last positions, as in generation
    assert (len(log), log[0]["batch"], log[0]["n"], log[0]["ld"][1], copies) == (1, 1, 2, 20, 0)


def heads(B: int, T: int, H: int, D: int) -> list[np.ndarray]:
    """Return q, k, v (B, H, T, D) as views into one packed array (B, T, 3, H, D)."""
    packed = numbers(B, T, 3, H, D)
    return [packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]


@pytest.mark.parametrize(("B", "H", "count", "copied"), [(1, 6, 1, 0), (6, 1, 1, 0), (3, 6, 3, 0), (6, 3, 3, 0)])
def test_packed_heads_need_no_copies_while_few_launches_will_do(B: int, H: int, count: int, copied: int) -> None:
    q, k, v = heads(B, 5, H, 4)
    log, copies = told(q, k.swapaxes(-1, -2))
    assert (len(log), copies) == (count, copied)
    assert {(e["op"], e["ld"], e["batch"]) for e in log} == {("TN", (12 * H, 12 * H, 5), max(B, H))}
    # The weights times the values, written so that the heads lie side by side again: (B, T, H, D).
    out = np.empty((B, 5, H, 4), dtype=np.float32)
    log, copies = told(numbers(B, H, 5, 5), v, out.transpose(0, 2, 1, 3))
    assert (len(log), copies) == (count, copied)
    # A transposed factor, as in the gradient of the keys.
    log, copies = told(numbers(B, H, 5, 5).swapaxes(-1, -2), q)
    assert (len(log), copies) == (count, copied)


def test_packed_heads_are_copied_rather_than_launched_one_by_one() -> None:
    many = MOST_LAUNCHES + 1
    q, k, v = heads(many, 5, many, 4)
    log, copies = told(q, k.swapaxes(-1, -2))
    assert (len(log), log[0]["batch"], copies) == (1, many * many, 2)
    log, copies = told(numbers(many, many, 5, 5), v)
    assert (len(log), copies) == (1, 1)  # only what is packed


def test_heads_that_share_keys_are_not_multiplied_out() -> None:
    q, k = numbers(2, 3, 4, 5, 6), numbers(2, 3, 1, 7, 6)  # (B, key heads, query heads of each, T or S, D)
    log, copies = told(q, k.swapaxes(-1, -2))
    assert (len(log), log[0]["n"], log[0]["batch"], copies) == (1, 20, 6, 0)  # queries of all heads as one matrix


def test_what_no_gemm_can_read_is_copied() -> None:
    a, b = numbers(6, 8), numbers(4, 3)
    for left in (a[:, ::2], a[:, 3::-1], np.broadcast_to(a[:1, :4], (6, 4)), np.broadcast_to(a[:, :1], (6, 4))):
        assert told(left, b)[1] == 1
    assert told(a[::2, ::2].T, b[:3])[1] == 1
    structured = np.zeros(12, dtype=[("pad", "i1"), ("x", "f4")])
    odd = structured["x"].reshape(3, 4)  # 5 bytes from one to the next
    assert told(odd, b)[1] == 1
    assert told(numbers(5, 3, 4)[::-1], numbers(5, 4, 2))[1] == 1  # a batch that goes backwards


def test_plans_look_at_no_numbers() -> None:
    a, b, c = View((3, 4), (4, 1)), View((4, 5), (5, 1)), View((3, 5), (5, 1))
    product = plan(a, b, c)
    assert isinstance(product, Product) and (product.m, product.n, product.k) == (3, 5, 4)
    assert plan(View((3, 4), (8, 2)), b, c) == Copies(True, False, False, False)
    assert plan(a, b, View((3, 5), (1, 3))) == Copies(False, False, True, False)
    assert plan(a, b, View((2, 3, 5), (0, 5, 1))) == Copies(False, False, True, False)  # two results, one place


def test_on_pointer_only_arrays_of_the_real_cupy() -> None:
    """CuPy's own arrays, whose "device" memory is main memory: shapes, strides and pointers as on a card."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed (no card is needed)")
    from cupy.cuda.memory import MemoryPointer, UnownedMemory

    kept = []

    def empty(shape: Any, dtype: Any) -> Any:
        memory = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 256, dtype=np.uint8)
        kept.append(memory)
        owner = UnownedMemory(memory.ctypes.data, memory.nbytes, None, device_id=0)
        return cupy.ndarray(shape, dtype, memptr=MemoryPointer(owner, -memory.ctypes.data % 256))

    def on_the_host(a: Any) -> np.ndarray:
        start = a.data.ptr
        last = sum((n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)) + a.itemsize
        flat = np.frombuffer((ctypes.c_char * last).from_address(start), dtype=a.dtype)
        return np.lib.stride_tricks.as_strided(flat, a.shape, a.strides)

    stream = types.SimpleNamespace(ptr=0)
    xp = types.SimpleNamespace(empty=empty, cuda=types.SimpleNamespace(get_current_stream=lambda: stream))
    library = HostCublasLt()
    gemm = Gemm(library, xp)
    for dtype in DTYPES:
        packed = empty((2, 5, 3, 4, 8), dtype)
        on_the_host(packed)[...] = numbers(2, 5, 3, 4, 8)
        q, k = (packed[:, :, i].transpose(0, 2, 1, 3) for i in range(2))
        found = gemm(q, k.swapaxes(-1, -2))
        wanted = exact(on_the_host(q), on_the_host(k).swapaxes(-1, -2))
        check(DeviceArray(on_the_host(found)), wanted, 8, dtype)
        x, w = packed[0, :, 0].reshape(5, 32)[:, :8], packed.reshape(-1, 8)
        check(DeviceArray(on_the_host(gemm(x, w.T))), exact(on_the_host(x), on_the_host(w).T), 8, dtype)
    assert {e["batch"] for e in library.log} == {1, 4}


# --- the library
def test_tf32_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert minillm.backends.cuda.matmul.allow_tf32 is False
    gemm, library, _ = make()
    a = DeviceArray(numbers(4, 4))
    gemm(a, a)
    monkeypatch.setattr(minillm.backends.cuda.matmul, "allow_tf32", True)
    gemm(a, a)
    gemm(a.astype(np.float64), a.astype(np.float64))
    assert [e["compute"] for e in library.log] == [68, 77, 70]
    assert matmul_settings.allow_tf32


def test_what_the_library_cannot_do_is_said() -> None:
    gemm, library, _ = make()
    library.refuse = lambda m, n, k, kinds: kinds[0] == 14
    a = DeviceArray(numbers(4, 4))
    gemm(a, a)
    low = a.astype(ml_dtypes.bfloat16)
    for _ in range(3):
        with pytest.raises(NotOffered):
            gemm(low, low)
    assert library.searches == 2  # what was refused is not searched for again
    for bad in (a.astype(np.int64), a.astype(np.float64)):
        assert not gemm.takes(bad, a)
    assert not gemm.takes(a, a, DeviceArray(np.zeros((4, 4))))
    for left, right, out in [(numbers(3, 4), numbers(3, 4), None), (numbers(3, 4), numbers(4, 2), numbers(3, 3))]:
        with pytest.raises(ValueError, match="matmul: "):
            gemm(DeviceArray(left), DeviceArray(right), None if out is None else DeviceArray(out))


def test_a_refused_product_keeps_no_array_alive() -> None:
    gemm, library, _ = make()
    library.refuse = lambda *_: True
    a = DeviceArray(numbers(4, 3))
    watched = weakref.ref(a)
    with pytest.raises(NotOffered):
        gemm(a, DeviceArray(numbers(3, 5)))
    del a
    gc.collect()
    assert watched() is None


def test_descriptors_are_kept_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublaslt, "MOST_PLANS", 3)
    gemm, library, _ = make()
    for n in range(1, 9):
        gemm(DeviceArray(numbers(n, 4)), DeviceArray(numbers(4, 4)))
        assert library.alive() <= 3 * 5
    assert library.searches == 8
    del gemm
    assert library.alive() == 0


def test_a_failure_names_the_call() -> None:
    library = HostCublasLt()
    library.cublasLtCreate = lambda place: 1  # type: ignore[method-assign, assignment]
    with pytest.raises(NotOffered, match="cublasLtCreate: status 1"):
        Gemm(library, Library())
    gemm, library, _ = make()
    library.cublasLtMatmul = lambda *_: 13  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="cublasLtMatmul: status 13"):
        gemm(DeviceArray(numbers(2, 2)), DeviceArray(numbers(2, 2)))


def test_the_real_library_takes_what_it_is_told() -> None:
    """Descriptors can be made without a card; sizes and numbers of attributes are checked by NVIDIA's own code."""
    real = cublaslt_library.load_library()
    if real is None:
        pytest.skip("cuBLASLt is not installed (no card is needed)")
    assert ctypes.sizeof(cublaslt_library.HeuristicResult) == 96
    makers = {
        "MatmulDesc": (on_host.DESC, [68, 0]),
        "MatrixLayout": (on_host.LAYOUT, [14, 8, 4, 8]),
        "MatmulPreference": (on_host.PREFERENCE, []),
    }
    for what, (sizes, arguments) in makers.items():
        made = ctypes.c_void_p()
        cublaslt_library.call(real, what + "Create", ctypes.byref(made), *arguments)
        for attribute, size in sizes.items():
            value = (ctypes.c_uint8 * 16)(1)
            cublaslt_library.call(real, what + "SetAttribute", made, attribute, value, size)
            with pytest.raises(RuntimeError, match="status 7"):
                cublaslt_library.call(real, what + "SetAttribute", made, attribute, value, 12 - size)
        cublaslt_library.call(real, what + "Destroy", made)


def test_the_real_library_makes_our_descriptors() -> None:
    """Everything but the card's part: the search for an algorithm, and the launch."""
    real = cublaslt_library.load_library()
    if real is None:
        pytest.skip("cuBLASLt is not installed (no card is needed)")

    class Half:
        """The real library with a pretended card."""

        searches = launched = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def cublasLtCreate(self, place: Any) -> int:
            return 0

        def cublasLtMatmulAlgoGetHeuristic(self, *arguments: Any) -> int:
            arguments[-1]._obj.value = 1
            return 0

        def cublasLtMatmul(self, *arguments: Any) -> int:
            self.launched += 1
            return 0

    half = Half()
    gemm = Gemm(half, Library())
    for dtype in DTYPES:
        a, b = DeviceArray(numbers(3, 2, 4).astype(dtype)), DeviceArray(numbers(3, 4, 8).astype(dtype))
        gemm(a, b)
        if dtype != np.float64:
            bias, beside = DeviceArray(numbers(8).astype(dtype)), gemm.xp.empty((2, 8), dtype)
            gemm(a, b, finish=Finish(bias))
            for finish in (
                Finish(bias, gelu=True, before=beside),
                Finish(gelu=True),
                Finish(slope=True, before=beside),
            ):
                gemm(a[0], b[0], finish=finish)
    assert half.launched == 4 + 3 * 4
