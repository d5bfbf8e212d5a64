"""Products of matrices: laws, layouts, errors; the linear layer; einsum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F

lengths = st.integers(0, 4)
batches = st.sampled_from([((), ()), ((2,), ()), ((), (2,)), ((2,), (2,)), ((1, 3), (2, 1)), ((2, 3), (3,))])


@given(batches, lengths, lengths, lengths, st.integers(0, 2**16))
def test_matmul_and_its_gradient_are_numpys(batch: tuple, n: int, k: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((*batch[0], n, k)), rng.standard_normal((*batch[1], k, m))
    a, b = minillm.tensor(x, requires_grad=True), minillm.tensor(y, requires_grad=True)
    z = a @ b
    np.testing.assert_allclose(z.detach().numpy(), x @ y, rtol=1e-12, atol=1e-12)
    dz = rng.standard_normal(z.shape)
    z.backward(minillm.tensor(dz))
    # L = sum(dz (x y)) is linear in x: the gradient is the same whatever x is, and L = sum(dx x) = sum(dy y).
    loss = (dz * (x @ y)).sum()
    assert a.grad.shape == a.shape and b.grad.shape == b.shape
    assert (a.grad.numpy() * x).sum() == pytest.approx(loss, abs=1e-9)
    assert (b.grad.numpy() * y).sum() == pytest.approx(loss, abs=1e-9)


def test_transposed_views_need_no_copy_and_change_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    a = minillm.tensor(x).transpose(1, 2)
    np.testing.assert_allclose((a @ a.mT).numpy(), x.transpose(0, 2, 1) @ x, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minillm.ones(2, 3) @ minillm.ones(2, 3), r"\(2, 3\) @ \(2, 3\), 3 against 2"),
        (lambda: minillm.ones(2, 1, 3) @ minillm.ones(4, 3, 1) @ minillm.ones(3, 1, 1), "broadcast"),
        (lambda: minillm.tensor(2.0) @ minillm.ones(2), "at least one axis"),
        (lambda: minillm.ones(2, 2) @ minillm.ones(2, 2).double(), "float32 and float64"),
        (lambda: minillm.mm(minillm.ones(2), minillm.ones(2, 2)), "mm: expected a tensor with 2 dimensions"),
        (lambda: minillm.bmm(minillm.ones(2, 1, 1), minillm.ones(3, 1, 1)), "2 and 3"),
        (
            lambda: F.linear(minillm.ones(2, 48), minillm.ones(48, 64)),
            "last dim 48, weight expects 64 .did you transpose",
        ),
        (
            lambda: F.linear(minillm.ones(2, 3), minillm.ones(4, 3), minillm.ones(5)),
            r"bias has shape \(5,\), expected \(4,\)",
        ),
        (lambda: F.linear(minillm.ones(2, 3).double(), minillm.ones(4, 3)), "float64 and float32"),
    ],
)
def test_errors_name_shapes_and_types(call: object, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call()  # type: ignore[operator]


def test_matmul_refuses_arrays() -> None:
    with pytest.raises(TypeError, match="ndarray"):
        minillm.matmul(minillm.ones(2, 2), np.ones((2, 2)))


def test_addmm_with_beta_0_ignores_nan() -> None:
    nan = minillm.full((2, 2), float("nan"))
    assert minillm.addmm(nan, minillm.eye(2), minillm.eye(2), beta=0).tolist() == [[1, 0], [0, 1]]


def test_products_of_float16_are_summed_in_float32() -> None:
    ones = minillm.ones(1, 4096, dtype=minillm.float16)
    assert (ones @ ones.mT).item() == 4096  # a sum in float16 would stop at 2048
    x = minillm.ones(4096, 1, dtype=minillm.float16)
    bias = minillm.zeros(1, dtype=minillm.float16, requires_grad=True)
    F.linear(x, minillm.ones(1, 1, dtype=minillm.float16), bias).sum().backward()
    assert bias.grad.item() == 4096 and bias.grad.dtype == np.float16


def test_linear_gradients_only_where_wanted() -> None:
    x, w = minillm.ones(2, 3), minillm.ones(4, 3, requires_grad=True)
    F.linear(x, w, minillm.zeros(4)).sum().backward()
    assert x.grad is None
    np.testing.assert_array_equal(w.grad.numpy(), np.full((4, 3), 2))


def test_linear_of_a_permuted_input() -> None:
    x, w = np.random.default_rng(0).standard_normal((3, 4, 2)), np.ones((5, 3))
    t = minillm.tensor(x, requires_grad=True)
    F.linear(t.permute(2, 1, 0), minillm.tensor(w)).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full_like(x, 5))


# --- einsum
@given(st.data())
def test_einsum_of_two_operands_is_numpys(data: st.DataObject) -> None:
    size = {a: data.draw(st.integers(1, 3)) for a in "abcd"}
    terms = [data.draw(st.permutations("abcd").map(lambda p: "".join(p[:3]))) for _ in range(2)]
    known = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(known)))[: data.draw(st.integers(0, len(known)))]
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal([size[a] for a in term]) for term in terms)
    equation = f"{terms[0]},{terms[1]}->{result}"
    ours = minillm.einsum(equation, minillm.tensor(x), minillm.tensor(y)).numpy()
    np.testing.assert_allclose(ours, np.einsum(equation, x, y), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk", [(2, 3)], "2 operands, got 1"),
        ("ijk", [(2, 3)], "names 3 axes"),
        ("i", [(2, 3)], "names 1 axes"),
        ("ij,jk", [(2, 3), (4, 2)], "'j' has length 4 in one place and 3"),
        ("ij->ik", [(2, 3)], "result"),
        ("ij->ii", [(2, 3)], "result"),
        ("i1", [(2, 3)], "letters"),
        ("ii", [(2, 3)], "'i'"),
    ],
)
def test_einsum_says_what_does_not_fit(equation: str, shapes: list, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        minillm.einsum(equation, *(minillm.ones(*s) for s in shapes))


def test_einsum_takes_a_list() -> None:
    assert minillm.einsum("i,i", [minillm.ones(3), minillm.ones(3)]).item() == 3
