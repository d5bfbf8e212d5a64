"""The stand-in for CuPy, and everything on it that a GPU would be asked for: the op table, a model, a training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from minillm.backend.cuda import CuPyBackend
from tests.backend.twins import compare_row, host
from tests.house_rules import sources
from tests.op_cases import load_cases
from tests.standin import DeviceArray, standin


@pytest.fixture(autouse=True)
def transfers():
    with standin() as counter:
        yield counter


# --- the stand-in itself: it must refuse what CuPy refuses
@pytest.mark.parametrize(
    "mistake",
    [
        lambda xp, x, host: x + host,
        lambda xp, x, host: host * x,
        lambda xp, x, host: xp.exp(host),
        lambda xp, x, host: xp.where(host > 0, x, x),
        lambda xp, x, host: np.asarray(x),
        lambda xp, x, host: np.array([x, x]),
        lambda xp, x, host: x.__setitem__(..., host),
        lambda xp, x, host: x[np.array([0])],
        lambda xp, x, host: np.add.at(x, 0, 1),
        lambda xp, x, host: xp.sum(x, where=x > 0),
        lambda xp, x, host: xp.add(x, x, where=x > 0),
        lambda xp, x, host: xp.concatenate([x, host]),
    ],
)
def test_mixing_with_the_host_is_refused(mistake):
    xp = minillm.backend.get_backend("cuda").xp
    x = xp.asarray(np.ones((2, 3)))
    with pytest.raises(TypeError):
        mistake(xp, x, np.ones((2, 3)))
    assert not hasattr(xp, "errstate")


def test_reductions_and_elements_stay_on_the_device(transfers):
    xp = minillm.backend.get_backend("cuda").xp
    x = xp.asarray(np.ones((2, 3)))
    for value in (x.sum(), xp.max(x), x[0, 0], x.mean(axis=0)[1], 2.0 * x, np.float64(2) * x):
        assert isinstance(value, DeviceArray)
    assert transfers["count"] == 0
    assert float(x.sum()) == 6.0
    assert transfers["count"] == 1


# --- the op table
@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_op_table(case):
    compare_row(case)


def test_one_file_imports_cupy():
    root = Path(minillm.__file__).parent
    found = {
        s.path for s in sources(root.parent, root.name) if any(m.partition(".")[0] == "cupy" for _, m, _ in s.imports)
    }
    assert found == {"minillm/backend/cuda/__init__.py"}


# --- models
def test_weights_go_there_and_back():
    model = nn.Linear(3, 2)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    state = model.to("cuda").state_dict()
    assert all(t.device == "cuda" for t in state.values())
    other = nn.Linear(3, 2)
    other.load_state_dict(state)
    assert all(t.device == "cpu" for t in other.state_dict().values())
    for k, v in before.items():
        np.testing.assert_array_equal(other.state_dict()[k].numpy(), v)
        np.testing.assert_array_equal(model.cpu().state_dict()[k].numpy(), v)


def test_same_seed_same_weights_on_every_device():
    minillm.manual_seed(3)
    a = nn.Linear(4, 4)
    minillm.manual_seed(3)
    b = nn.Linear(4, 4, device="cuda")
    np.testing.assert_array_equal(host(b.weight.detach()), a.weight.detach().numpy())


# --- mistakes
@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: a + b,
        lambda a, b: a @ b,
        lambda a, b: minillm.where(b > 0, a, a),
        lambda a, b: minillm.cat([a, b]),
        lambda a, b: F.linear(a, b),
        lambda a, b: F.embedding(b.long(), a),
        lambda a, b: a.gather(0, b.long()),
        lambda a, b: a.index_select(0, b[0].long()),
        lambda a, b: a.scatter_add(0, b.long(), a),
        lambda a, b: a.take_along_dim(b.long(), 0),
        lambda a, b: a.masked_fill(b > 0, 1.0),
        lambda a, b: a.clone().index_add_(0, b[0].long(), a),
        lambda a, b: minillm.einsum("ij,jk->ik", a, b),
        lambda a, b: minillm.stack([a, b]),
        lambda a, b: a == b,
        lambda a, b: F.cross_entropy(a, b[0].long()),
        lambda a, b: a.clone().add_(b),
        lambda a, b: F.layer_norm(a, (3,), b[0]),
        lambda a, b: F.scaled_dot_product_attention(a, b, b),
    ],
)
def test_operands_on_two_devices_are_named(call):
    a, b = minillm.ones(3, 3), minillm.ones(3, 3, device="cuda")
    for x, y in ((a, b), (b, a)):
        with pytest.raises(RuntimeError, match=r"(?s)cpu.*cuda|cuda.*cpu"):
            call(x, y)


def test_only_said_conversions_go_to_the_host():
    x = minillm.ones(2, device="cuda")
    with pytest.raises(TypeError, match="cpu"):
        np.asarray(x)
    np.testing.assert_array_equal(x.numpy(), [1, 1])
    x.numpy()[0] = 5.0  # a copy
    np.testing.assert_array_equal(x.cpu().numpy(), [1, 1])


def test_the_gradient_moves_back():
    x = minillm.tensor([1.0, 2.0], requires_grad=True)
    (x.to("cuda") * minillm.tensor([3.0, 4.0], device="cuda")).sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]


def test_an_index_may_come_from_the_host_but_not_from_the_device():
    a, i = minillm.arange(3.0, device="cuda"), minillm.tensor([2, 0])
    assert a[i].tolist() == [2.0, 0.0]
    with pytest.raises(RuntimeError, match="cuda"):
        a.cpu()[i.to("cuda")]


def test_ids_out_of_range_are_noticed_on_the_device():
    table = minillm.ones(5, 2, device="cuda")
    for wrong in (-1, 5):
        with pytest.raises(IndexError, match=str(wrong)):
            F.embedding(minillm.tensor([0, wrong], device="cuda"), table)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
def test_repeated_positions_add_up_in_order(dtype):
    backend = minillm.backend.get_backend("cuda")
    assert isinstance(backend, CuPyBackend)
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 4, 30), (rng.standard_normal((30, 3)) * 8).astype(dtype)
    target = backend.from_host(np.ones((4, 3), dtype=dtype))
    backend.scatter_add(target, backend.from_host(index), backend.from_host(values))
    exact = np.ones((4, 3), dtype=np.float64)
    np.add.at(exact, index, values.astype(np.float64))
    np.testing.assert_allclose(target.get(), exact, rtol=2e-3 if dtype == np.float16 else 1e-5)
    dw = backend.embedding_grad(backend.from_host(index), backend.from_host(values), 4)
    np.testing.assert_allclose(dw.get(), exact - 1, rtol=2e-3 if dtype == np.float16 else 1e-5, atol=1e-2)


# --- 16 bits: CuPy has fewer loops for them than NumPy, and answers in wider types
SIXTEEN_BITS = [
    minillm.sigmoid,
    minillm.erf,
    minillm.round,
    F.softplus,
    lambda x: minillm.where(x > 0, x, 0.5),
    lambda x: x.masked_fill(x > 0, 1.0),
    lambda x: x.tril(),
    lambda x: x.triu(1),
    lambda x: x.sort(1).values,
    lambda x: x.sort(0, descending=True).indices,
    lambda x: x.topk(2).values,
    lambda x: x.argsort(),
    lambda x: x.median(1).values,
    lambda x: minillm.unique(x),
    lambda x: minillm.unique(x, return_inverse=True)[1],
    lambda x: F.glu(x, 0),
    lambda x: x.clamp(-0.5, 0.5),
    lambda x: x.max(1).values,
    lambda x: x.argmax(1),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("call", SIXTEEN_BITS)
def test_results_in_16_bits_have_the_type_that_they_have_on_the_host(call, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    dtype = np.dtype(getattr(minillm, dtype))
    values = np.array([[0.5, -1.25, 3.0], [2.5, 0.5, -0.75]]).astype(dtype)
    there, here = call(minillm.tensor(values, device="cuda")), call(minillm.tensor(values))
    assert there.dtype == here.dtype
    np.testing.assert_allclose(host(there).astype(np.float64), here.numpy().astype(np.float64), rtol=1e-2)


def test_attention_keeps_no_mask_of_a_card():
    from minillm.ops.attention import _kept_future

    _kept_future.cache_clear()
    q = minillm.ones(1, 2, 5, 4, device="cuda")
    F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert _kept_future.cache_info().currsize == 0
    F.scaled_dot_product_attention(q.cpu(), q.cpu(), q.cpu(), is_causal=True)
    assert _kept_future.cache_info().currsize == 1


@pytest.mark.parametrize(
    ("index", "wrong"),
    [
        (lambda i: i, 5),
        (lambda i: (i, 0), -6),
        (lambda i: (..., i), 3),
        (lambda i: (None, slice(1), i), -4),
        (lambda i: (minillm.tensor([True] * 5), i), 3),
    ],
)
def test_places_in_brackets_out_of_range_are_noticed_on_the_device(index, wrong, transfers):
    a = minillm.zeros(5, 3, device="cuda")
    for where in ("cpu", "cuda"):
        place = minillm.tensor([0, 1, wrong, -1, 2], device=where)
        with pytest.raises(IndexError, match=rf"index: place {wrong} is not in"):
            a[index(place)]
        with pytest.raises(IndexError, match=rf"index: place {wrong} is not in"):
            a[index(place)] = 1.0
        with pytest.raises(IndexError, match=rf"index: place {wrong} is not in"):
            a[index(place + 0)]
    transfers["count"] = 0
    right = minillm.tensor([0, 1, 2, -1, -3], device="cuda")
    assert a[right].shape == a[right, right].shape + (3,)
    assert transfers["count"] == 0, "places from the host are known"
