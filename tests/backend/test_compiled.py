"""The compiled row kernels of the extra ``fast``: each equals the expression whose twin it is, and is really used."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.backend import get_backend
from minillm.optim.adam import adam_formula
from tests.backend import small_gpt
from tests.backend.twins import on_cpu
from tests.op_cases import load_cases
from tests.ops.test_table import flat, samples_of

CPU = get_backend("cpu")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="the extra fast is not installed: no Numba"
)


@contextlib.contextmanager
def kernels(compiled: bool) -> Iterator[list[str]]:
    """Compute with compiled kernels, also of small arrays, or without; yield the names of those that were used."""
    used: list[str] = []
    hand_out = type(CPU).compiled

    def noted(self, name, *arrays):
        found = hand_out(self, name, *arrays)
        used.extend([] if found is None else [name])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CPU, "compiled_from", 1)
        patch.setattr(CPU, "compiles", compiled)
        patch.setattr(type(CPU), "compiled", noted)
        yield used


def with_gradients(op: Callable, arrays: list[np.ndarray], dtype: type) -> list[np.ndarray]:
    """Return the result of an op and the gradients of its inputs, for a random incoming gradient."""
    leaves = [minillm.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    y = op(*leaves)
    dy = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(dtype)
    y.backward(minillm.tensor(dy))
    return [y.detach().numpy(), *(x.grad.numpy() for x in leaves)]


def attention(causal: bool) -> Callable:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def cross_entropy(x: minillm.Tensor) -> minillm.Tensor:
    return F.cross_entropy(x, minillm.arange(x.shape[0]) % x.shape[1])


# name: (the op, the shapes of its inputs for rows of a width, the kernels behind it)
OPS: dict[str, tuple[Callable, Callable, set[str]]] = {
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), lambda n, c: [(n, c)], {"gelu_tanh"}),
    "gelu without tanh": (F.gelu, lambda n, c: [(n, c)], {"gelu"}),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        lambda n, c: [(n, c), (c,), (c,)],
        {"layer_norm", "layer_norm_grad"},
    ),
    "softmax": (lambda x: F.softmax(x, -1), lambda n, c: [(n, c)], {"exp_rows"}),
    "cross_entropy": (cross_entropy, lambda n, c: [(n, c)], {"exp_rows"}),
    "attention": (attention(False), lambda n, c: [(2, n, 4), (2, c, 4), (2, c, 3)], {"exp_rows", "subtract_multiply"}),
    "causal attention": (attention(True), lambda n, c: [(2, n, 8)] * 3, {"exp_rows", "subtract_multiply"}),
}


@pytest.mark.parametrize("name", OPS)
@given(
    rows=st.integers(1, 70),
    width=st.integers(1, 70),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    shift=st.sampled_from([0.0, -50.0, 1e3]),
    seed=st.integers(0, 99),
)
@example(rows=1, width=1, scale=1.0, shift=0.0, seed=1)
@example(rows=1, width=12, scale=1e-3, shift=1e3, seed=1)
@example(rows=1, width=1, scale=30.0, shift=0.0, seed=97)  # gelu: exact where tanh is 1
@example(rows=130, width=33, scale=1.0, shift=0.0, seed=0)  # several tiles of queries; more rows than sums hold
def test_a_kernel_is_as_exact_as_the_expression(name, rows, width, scale, shift, seed):
    op, shapes, behind = OPS[name]
    rng = np.random.default_rng(seed)
    arrays = [scale * rng.standard_normal(shape) for shape in shapes(rows, width)]
    arrays[0] = (arrays[0] + (shift if name in ("softmax", "cross_entropy", "layer_norm") else 0)).astype(np.float32)
    with kernels(False) as used:
        exact = with_gradients(op, arrays, np.float64)
        plain = with_gradients(op, arrays, np.float32)
    assert not used
    with kernels(True) as used:
        fast = with_gradients(op, arrays, np.float32)
    assert set(used) == behind
    size = max(np.abs(e).max() for e in exact)
    if name == "layer_norm":  # a mean is rounded as its largest number is; then it is divided by the deviation
        x = arrays[0].astype(np.float64)
        size *= 1 + ((1 + np.abs(x).max(axis=1)) * (x.var(axis=1) + 1e-5) ** -0.5).max() / 4
    for e, p, f in zip(exact, plain, fast, strict=True):
        assert f.shape == p.shape and f.dtype == np.float32
        assert np.abs(f - e).max() <= 4 * np.abs(p - e).max() + 2e-6 * size + 1e-12


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 1e-40])
@pytest.mark.parametrize("name", ["gelu", "gelu without tanh", "layer_norm", "softmax", "cross_entropy"])
def test_numbers_at_the_edge_come_out_alike(name, value):
    op, shapes, _ = OPS[name]
    arrays = [np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in shapes(6, 40)]
    arrays[0][1, 3] = value
    arrays[0][4, ::2] = value
    results = []
    for compiled in (False, True):
        with kernels(compiled):
            results.append(with_gradients(op, arrays, np.float32))
    for plain, fast in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=2e-5, atol=2e-6)


def test_a_query_that_may_see_nothing_gets_zeros():
    q, k, v = (np.random.default_rng(i).standard_normal((2, 5, 4)) for i in range(3))
    mask = minillm.ones(5, 5, dtype=minillm.bool)
    mask[2] = False
    results = []
    for compiled in (False, True):
        with kernels(compiled) as used:
            op = lambda *x: F.scaled_dot_product_attention(*x, attn_mask=mask)
            results.append(with_gradients(op, [q, k, v], np.float32))
    assert "exp_rows" in used
    assert not results[1][0][:, 2].any() and not results[1][1][:, 2].any()
    for plain, fast in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)


@given(st.floats(-87.25, 88, width=32))
@example(0.0)
@example(-87.25)
@example(88.0)
def test_the_exponential_is_right_to_three_epsilons(x):
    from minillm.backend.compiled import exp

    exact = np.exp(np.float64(np.float32(x)))
    assert abs(float(exp(np.float32(x))) - exact) <= 3 * np.finfo(np.float32).eps * exact


def test_the_exponential_of_very_small_numbers_is_zero_of_large_ones_infinite_and_of_nan_nan():
    from minillm.backend.compiled import exp

    assert [float(exp(np.float32(x))) for x in (-88, -1e30, -np.inf)] == [0, 0, 0]
    assert [float(exp(np.float32(x))) for x in (89, 1e30, np.inf)] == [np.inf] * 3
    assert np.isnan(exp(np.float32(np.nan)))


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (minillm.optim.Adam, {}),
        (minillm.optim.Adam, {"weight_decay": 0.1, "maximize": True}),
        (minillm.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (40, 33), (70000,)])
def test_adam_equals_its_formula(cls, options, shape):
    rng = np.random.default_rng(0)
    w, gradients = rng.standard_normal(shape), rng.standard_normal((4, *shape))
    p = minillm.tensor(w.astype(np.float32), requires_grad=True)
    optimizer = cls([p], lr=0.01, **options)
    beta1, beta2 = options.get("betas", (0.9, 0.999))
    m, v, decay = np.zeros(shape), np.zeros(shape), options.get("weight_decay", 0.0)
    with kernels(True) as used:
        for step, g in enumerate(gradients, 1):
            p.grad = minillm.tensor(g.astype(np.float32))
            optimizer.step()
            g = -g if options.get("maximize") else g
            if cls is minillm.optim.AdamW:
                w = w * (1 - 0.01 * decay)
            else:
                g = g + decay * w
            w, m, v = adam_formula(np, w, g, m, v, step=step, lr=0.01, beta1=beta1, beta2=beta2, eps=1e-8)
    assert used == ["adam"] * 4
    np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(optimizer.state[p]["exp_avg_sq"].numpy(), v, rtol=1e-5, atol=1e-7)


def test_what_a_kernel_cannot_do_is_left_to_numpy():
    with kernels(True):
        rows = np.ones((4, 6), np.float32)
        assert CPU.compiled("exp_rows", rows, rows) is not None
        assert CPU.compiled("exp_rows", rows.astype(np.float64), rows) is None
        assert CPU.compiled("exp_rows", rows, rows.T) is None
        assert CPU.compiled("exp_rows", rows[:, ::2], rows) is None
        assert CPU.compiled("exp_rows", rows[:0], rows) is None
    assert CPU.compiled("exp_rows", np.ones((4, 6), np.float32)) is None, "small arrays are NumPy's"


@pytest.mark.parametrize("case", [c for c in load_cases() if c.differentiable], ids=str)
def test_the_op_table_holds(case):
    for sample in samples_of(case):
        results = []
        for compiled in (False, True):
            with kernels(compiled):
                minillm.manual_seed(0)
                y, leaves = on_cpu(case, sample, np.float32)
                made = [t for t in flat(y) if t.requires_grad]
                for t in made:
                    t.sum().backward(retain_graph=True)
            results.append([t.detach().numpy() for t in made] + [x.grad.numpy() for x in leaves if x.grad is not None])
        for plain, fast in zip(*results, strict=True):
            np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-5)


def test_a_numba_that_cannot_be_imported_is_said_once_and_done_without(monkeypatch):
    rows = np.ones((4, 6), np.float32)
    with kernels(True):
        monkeypatch.setitem(sys.modules, "minillm.backend.compiled", None)
        with pytest.warns(UserWarning, match="NumPy computes alone"):
            assert CPU.compiled("exp_rows", rows, rows) is None
        assert CPU.compiled("exp_rows", rows, rows) is None
        assert F.softmax(minillm.ones(4, 6), -1).sum().item() == pytest.approx(4)


@pytest.mark.parametrize(("value", "loaded"), [("0", False), ("", True)])
def test_numba_is_loaded_where_it_is_wanted_and_late(value, loaded):
    program = (
        "import sys, minillm; assert 'numba' not in sys.modules\n"
        "x = minillm.ones(100, 100); x.relu(); assert 'numba' not in sys.modules\n"
        f"x.softmax(-1); assert ('numba' in sys.modules) is {loaded}"
    )
    environment = {**os.environ, "MINILLM_NUMBA": value, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_a_gpt_trains_as_without():
    losses = []
    for compiled in (False, True):
        model = small_gpt.make("cpu").float()
        optimizer = minillm.optim.SGD(model.parameters(), lr=0.1)
        with kernels(compiled) as used:
            batches = (small_gpt.task().batch(i) for i in range(10))
            losses.append([small_gpt.step(model, optimizer, x, y)[0].item() for x, y in batches])
    assert set(used) == {"exp_rows", "subtract_multiply", "gelu_tanh", "layer_norm", "layer_norm_grad"}
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]
