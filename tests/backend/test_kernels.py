"""The CUDA kernels, run on the CPU: each equals its ``Function``, and with all of them the op table stays as it is."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minillm
from minillm.autograd.function import Context
from minillm.backend.cuda.kernels import KERNELS
from tests import cuda_on_cpu
from tests.backend.kernel_cases import CASES, TOLERANCE, compare_kernel, dtype_of, run
from tests.backend.twins import compare_row, host
from tests.op_cases import load_cases
from tests.standin import CuPyModule, DeviceArray, standin

pytestmark = pytest.mark.skipif(bool(cuda_on_cpu.why_not()), reason=cuda_on_cpu.why_not() or "kernels can run here")


@pytest.fixture(autouse=True)
def transfers():
    with standin(kernels=True) as counter:
        yield counter


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_equals_its_function(name, dtype):
    compare_kernel(name, dtype)


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_the_threads_does_not_matter(name):
    """Where a barrier is missing, a thread reads what another has not written yet, or has written again."""
    for i, call in enumerate(CASES[name]):
        results = []
        for backwards in (False, True):
            cuda_on_cpu.order["backwards"] = backwards
            try:
                results.append(run(call, "cuda", np.dtype(np.float32), np.dtype(np.float32))[1])
            finally:
                cuda_on_cpu.order["backwards"] = False
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(host(a), host(b), err_msg=f"case {i}")


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_written_beside_the_results(name, monkeypatch):
    blocks = []

    def guarded(shape, dtype=np.float64, value=np.nan):
        """Return an array with 16 elements of 77 on both sides."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(shape)
        blocks.append(np.full(n + 32, 77, dtype=dtype))
        blocks[-1][16 : n + 16] = value if np.dtype(dtype).kind not in "iu" else np.nan_to_num(value, nan=-7)
        return DeviceArray(blocks[-1][16 : n + 16].reshape(shape))

    monkeypatch.setattr(CuPyModule, "empty", staticmethod(guarded))
    monkeypatch.setattr(CuPyModule, "empty_like", staticmethod(lambda a: guarded(a.shape, a.dtype)))
    monkeypatch.setattr(CuPyModule, "zeros", staticmethod(lambda s, dtype: guarded(s, dtype, 0)), raising=False)
    for i, call in enumerate(CASES[name]):
        run(call, "cuda", np.dtype(np.float32), np.dtype(np.float32))
        assert all((b[:16] == 77).all() and (b[-16:] == 77).all() for b in blocks), f"case {i}"
    assert blocks


TESTED_BELOW = {"Cast", "Dropout", "Adam", "GradientNorm"}
TESTED_ELSEWHERE = {"Decode"}  # test_decode.py
NO_FUNCTIONS = {"Adam", "Decode", "EmbeddingGrad", "GradientNorm"}


def test_every_kernel_has_cases_and_a_function():
    assert CASES.keys() | TESTED_BELOW | TESTED_ELSEWHERE == KERNELS.keys()
    beside = minillm.backend.get_backend("cuda").kernels.keys() - KERNELS.keys()
    assert beside == {"Linear", "MLP"}, "expected every other kernel in KERNELS; these two are in test_products.py"
    functions = {f.op for f in subclasses(minillm.autograd.Function)}
    assert not KERNELS.keys() - functions - NO_FUNCTIONS


def subclasses(cls: type) -> list[type]:
    return [cls, *(s for c in cls.__subclasses__() for s in subclasses(c))]


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_op_table(case):
    compare_row(case)


def test_somebody_elses_function_of_the_same_name_computes_what_it_says():
    class GELU(minillm.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, dy):
            return dy * 3

    x = minillm.ones(2, device="cuda", requires_grad=True)
    y = GELU.apply(x)
    y.sum().backward()
    assert host(y.detach()).tolist() == host(x.grad).tolist() == [3.0, 3.0]


def test_an_array_that_is_not_contiguous_is_refused():
    launch, x = minillm.backend.get_backend("cuda").launch, minillm.ones(4, 4, device="cuda").array
    with pytest.raises(ValueError, match="contiguous"):
        launch("activation", "relu_forward", 1, 32, x.T, x, 16, T=x.dtype)


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
def test_the_gradient_of_a_residual_is_added_in_the_kernel(norm, monkeypatch):
    asked, usual = [], Context.so_far
    monkeypatch.setattr(Context, "so_far", lambda ctx, i: asked.append((ctx.name(), usual(ctx, i))) or asked[-1][1])
    layer = getattr(minillm.nn, norm)(8).to("cuda")
    x = minillm.ones(3, 8, device="cuda", requires_grad=True)
    y = x * 2
    for _ in range(2):
        y = y + layer(y)
    y.sum().backward()
    assert [name for name, other in asked if other is not None] == [norm + "Backward"] * 2


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("low", ["float16", "bfloat16"])
@pytest.mark.parametrize("width", [8, 33, 768])
def test_a_norm_takes_the_gradient_of_16_bits_as_it_is(low, norm, width, monkeypatch):
    """Of one branch; several are added in float32 first, and whoever looks at a gradient sees the result's type."""
    low, rng = dtype_of(low), np.random.default_rng(0)
    layer = getattr(minillm.nn, norm)(width).to("cuda")
    given = rng.standard_normal((5, width)).astype(np.float32)
    ways = [rng.standard_normal((5, width)).astype(low) for _ in range(3)]
    taken, usual = [], KERNELS[norm].backward
    monkeypatch.setattr(
        KERNELS[norm], "backward", staticmethod(lambda ctx, dy: taken.append(dy.dtype) or usual(ctx, dy))
    )

    def gradients(exact, branches, look=False):
        x = minillm.tensor(given, device="cuda", requires_grad=True)
        y, seen = layer(x), []
        if look:
            y.register_hook(lambda dy: seen.append(dy.dtype))
        layer.zero_grad()
        branches_of_y = [y if exact else y.to(low) for _ in range(branches)]
        dys = [minillm.tensor(way.astype(z.dtype), device="cuda") for way, z in zip(ways, branches_of_y, strict=False)]
        sum((z * dy).sum() for z, dy in zip(branches_of_y, dys, strict=True)).backward()
        assert not look or seen == [np.float32]
        return [host(t.grad) for t in (x, *layer.parameters())]

    for branches, look in ((1, False), (2, False), (3, False), (1, True)):
        found, wanted = gradients(False, branches, look), gradients(True, branches)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(b).max())
        assert taken[0] == (low if branches == 1 and not look else np.float32)
        taken.clear()


# --- casts round, and nothing else
@pytest.mark.parametrize("target", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16"])
def test_a_cast_is_that_of_numpy(source, target):
    source, target = dtype_of(source), dtype_of(target)
    values = np.concatenate([np.random.default_rng(0).standard_normal(997) * 10.0 ** np.arange(-6, 991).clip(-6, 6),
                             [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.0, 65520.0, 3.4e38, 1e-8]])  # fmt: skip
    for array in (values, values[:1000], values[1:], values[:1000].reshape(40, 25).T, values[:0]):
        x = minillm.tensor(array.astype(source), device="cuda", requires_grad=True)
        y = x.to(target)
        found, wanted = host(y.detach()), array.astype(source).astype(target)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        assert np.where(np.isnan(found), 0, found).tobytes() == np.where(np.isnan(wanted), 0, wanted).tobytes()
        if source != target and array.size and array.flags.c_contiguous:
            assert y.grad_fn.kernel is KERNELS["Cast"]
        y.backward(minillm.ones(*array.shape, dtype=target, device="cuda"))
        assert x.grad.dtype == source and (host(x.grad) == 1).all()


@pytest.mark.parametrize("shape", [(7,), (3, 8), (5, 33)])
@pytest.mark.parametrize("low", ["float16", "bfloat16"])
def test_a_residual_of_16_bits_is_added_without_a_copy(low, shape):
    low, rng = dtype_of(low), np.random.default_rng(0)
    a, b = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape).astype(low)
    for turned in (False, True):
        x, y = (minillm.tensor(v, device="cuda", requires_grad=True) for v in (a, b))
        z = y + x if turned else x + y
        assert z.grad_fn.kernel is KERNELS["Add"] and z.dtype == np.float32
        np.testing.assert_array_equal(host(z.detach()), a + b.astype(np.float32))
        z.backward(minillm.tensor(a * 3, device="cuda"))
        np.testing.assert_array_equal(host(x.grad), a * 3)
        np.testing.assert_array_equal(host(y.grad), (a * 3).astype(low))


# --- dropout draws numbers of its own
def philox(seed: int, counter: int) -> list[int]:
    """Philox 4x32-10 as its paper defines it, in Python's integers."""
    word = 2**32
    a, b, c, d = counter % word, counter // word, 0, 0
    keys = [seed % word, seed // word]
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = right // word ^ b ^ keys[0], right % word, left // word ^ d ^ keys[1], left % word
        keys = [(keys[0] + 0x9E3779B9) % word, (keys[1] + 0xBB67AE85) % word]
    return [a, b, c, d]


def test_philox_gives_the_words_of_its_authors():
    # Random123's known answers for a counter and a key of zeros.
    assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n", [1, 7, 24, 1000])
def test_dropout_keeps_what_philox_says_forward_and_backward(dtype, n):
    p, dtype = 0.3, dtype_of(dtype)
    minillm.manual_seed(5)
    x = minillm.ones(n, dtype=dtype, device="cuda", requires_grad=True)
    y = minillm.nn.functional.dropout(x, p)
    y.backward(minillm.full((n,), 2.0, dtype=dtype, device="cuda"))
    assert y.grad_fn.kernel is KERNELS["Dropout"]
    minillm.manual_seed(5)
    seed = int(minillm.default_generator.stream("dropout").integers(2**63))
    words = [philox(seed, i // 4)[i % 4] for i in range(n)]
    kept = np.array([(word >> 8) / 2**24 >= p for word in words])
    np.testing.assert_allclose(host(y.detach()).astype(np.float64), kept / (1 - p), rtol=1e-2)
    np.testing.assert_array_equal(host(x.grad), 2 * host(y.detach()))
    assert n < 1000 or abs(kept.mean() - (1 - p)) < 0.06


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_of_attention_drops_what_philox_says(causal):
    rng, p, shape = np.random.default_rng(0), 0.3, (1, 2, 5, 4)
    values = [rng.standard_normal(shape) for _ in range(4)]
    minillm.manual_seed(5)
    q, k, v = (minillm.tensor(x, device="cuda", requires_grad=True) for x in values[:3])
    y = minillm.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=causal)
    assert y.grad_fn.kernel is KERNELS["Attention"]
    y.backward(minillm.tensor(values[3], device="cuda"))

    minillm.manual_seed(5)
    seed = int(minillm.default_generator.stream("dropout").integers(2**63))
    kept = np.array([(philox(seed, i // 4)[i % 4] >> 8) / 2**24 >= p for i in range(50)]).reshape(1, 2, 5, 5)
    a, b, c = (minillm.tensor(x, requires_grad=True) for x in values[:3])
    scores = a @ b.transpose(-1, -2) * 0.5
    if causal:
        scores = scores + minillm.full((5, 5), -np.inf, dtype=minillm.float64).triu(1)
    expected = (scores.softmax(-1) * minillm.tensor(kept / (1 - p))) @ c
    expected.backward(minillm.tensor(values[3]))
    pairs = [(y.detach(), expected.detach()), *((t.grad, u.grad) for t, u in zip((q, k, v), (a, b, c)))]
    for got, wanted in pairs:
        np.testing.assert_allclose(host(got), wanted.numpy(), rtol=1e-9, atol=1e-12)


def test_dropout_draws_anew_each_time():
    x = minillm.ones(200, device="cuda")
    first, second = (host(minillm.nn.functional.dropout(x, 0.5)) for _ in range(2))
    assert (first != second).any()
    assert not host(minillm.nn.functional.dropout(x, 1.0)).any()


# --- all parameters at once
def parameters(device: str, dtype: type = np.float32) -> list[minillm.Tensor]:
    rng, made = np.random.default_rng(0), []
    for shape in [(3,), (1,), (40, 33), (7, 8), (70000,)]:  # one of more than one piece
        p = minillm.tensor(rng.standard_normal(shape).astype(dtype), device=device, requires_grad=True)
        p.grad = minillm.tensor(rng.standard_normal(shape).astype(dtype), device=device)
        made.append(p)
    return made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (minillm.optim.Adam, {}),
        (minillm.optim.Adam, {"weight_decay": 0.1, "maximize": True}),
        (minillm.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
        (minillm.optim.AdamW, {"amsgrad": True}),
    ],
)
def test_adam_of_all_parameters_equals_adam_of_each(cls, options, dtype):
    there, here = parameters("cuda", dtype), parameters("cpu", dtype)
    groups = [[{"params": ps[:2]}, {"params": ps[2:], "lr": 0.03}] for ps in (there, here)]
    optimizers = [cls(g, lr=0.01, **options) for g in groups]
    for step in range(3):
        if step == 2:
            there[1].grad = here[1].grad = None  # from here on it lags behind the others
        versions = [p._version[0] for p in there]
        for optimizer in optimizers:
            optimizer.step()
        assert [p._version[0] - v for p, v in zip(there, versions)] == [int(p.grad is not None) for p in there]
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(host(a.detach()), b.detach().numpy(), rtol=1e-5, atol=1e-7)
    mine, theirs = (o.state_dict()["state"] for o in optimizers)
    assert [s["step"] for s in mine.values()] == [s["step"] for s in theirs.values()]
    for key in ("exp_avg", "exp_avg_sq"):
        for i in mine:
            np.testing.assert_allclose(host(mine[i][key]), theirs[i][key].numpy(), rtol=1e-5, atol=1e-7)


def test_adam_of_16_bits_or_of_a_transposed_parameter_is_left_to_its_formula():
    for make in (lambda d: minillm.ones(3, 2, device=d).half(), lambda d: minillm.ones(3, 2, device=d).T.detach()):
        results = []
        for device in ("cuda", "cpu"):
            p = make(device).requires_grad_()
            p.grad = minillm.full(p.shape, 0.5, dtype=p.dtype, device=device)
            minillm.optim.Adam([p], lr=0.1).step()
            results.append(p.detach().cpu().numpy())
        np.testing.assert_allclose(*results, rtol=1e-3)


@pytest.mark.parametrize("gap", [4, 3])  # with and without an address that long loads need
def test_nothing_is_written_between_parameters(gap):
    sizes = [3, 4, 1, 9]
    blocks = {name: np.full(64, 77, dtype=np.float32) for name in ("w", "g")}
    inside = np.zeros(64, dtype=bool)
    parameters, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        inside[part] = True
        parameters.append(minillm.Tensor._wrap(DeviceArray(blocks["w"][part])).requires_grad_())
        parameters[-1].grad = minillm.Tensor._wrap(DeviceArray(blocks["g"][part]))
        start += -(-size // gap) * gap + gap
    minillm.nn.utils.clip_grad_norm_(parameters, 1.0)
    minillm.optim.Adam(parameters, lr=0.1).step()
    for block in blocks.values():
        np.testing.assert_array_equal(block != 77, inside)


@pytest.mark.parametrize("most", [0.5, 1e6])
def test_the_gradients_are_clipped_without_a_look_at_their_norm(most, transfers):
    there, here = parameters("cuda"), parameters("cpu")
    norm = minillm.nn.utils.clip_grad_norm_(there, most)
    assert transfers["count"] == 0
    expected = minillm.nn.utils.clip_grad_norm_(here, most)
    assert norm.shape == () and norm.dtype == expected.dtype
    np.testing.assert_allclose(host(norm), expected.numpy(), rtol=1e-6)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(host(a.grad), b.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_stay_as_they_are(bad):
    there = parameters("cuda")
    there[2].grad[3, 3] = bad
    before = [host(p.grad).copy() for p in there]
    norm = minillm.nn.utils.clip_grad_norm_(there, 0.1)
    assert not np.isfinite(host(norm))
    for p, b in zip(there, before, strict=True):
        np.testing.assert_array_equal(host(p.grad), b)
    with pytest.raises(RuntimeError, match="norm"):
        minillm.nn.utils.clip_grad_norm_(there, 0.1, error_if_nonfinite=True)


# --- what is specific to one of them
@pytest.mark.parametrize("causal", [False, True])
def test_attention_that_forgets_its_weights_computes_them_again(causal, monkeypatch):
    call = CASES["Attention"][0 if causal else 2]
    kept = run(call, "cuda", np.dtype(np.float32), np.dtype(np.float32))[1]
    monkeypatch.setattr("minillm.backend.cuda.kernels.attention.RECOMPUTE_ABOVE", 0)
    again = run(call, "cuda", np.dtype(np.float32), np.dtype(np.float32))[1]
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_array_equal(host(a), host(b))
