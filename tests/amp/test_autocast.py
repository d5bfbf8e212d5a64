"""Autocast: PyTorch's types op by op, values near float32's, weights cast once, modes that end where they began."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm import nn
from minillm.amp import GradScaler, autocast
from minillm.amp.autocast import IN_FLOAT32, PRODUCTS, Casting
from minillm.autograd import modes
from minillm.utils.checkpoint import checkpoint
from tests.standin import standin

pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((4, 5)).astype(np.float32), RNG.standard_normal((5, 5)).astype(np.float32)


# One call an op: m is minillm or torch, f its nn.functional, x in 16 bits, y and w in float32, i class numbers.
def two_layers(m: Any, w: Any) -> Any:
    layers = m.nn.Sequential(*(m.nn.Linear(5, 5, bias=False) for _ in range(2)))
    for layer in layers:
        layer.weight = m.nn.Parameter(w, requires_grad=False)
    return m.nn.Sequential(layers[0], m.nn.GELU("tanh"), layers[1])


CALLS: dict[str, Callable] = {
    "matmul": lambda m, f, x, y, w, i: y @ w,
    "matmul of two types": lambda m, f, x, y, w, i: x @ w,
    "matmul of a vector": lambda m, f, x, y, w, i: y @ w[0],
    "matmul of float64": lambda m, f, x, y, w, i: y.double() @ w.double(),
    "mm": lambda m, f, x, y, w, i: m.mm(x, w),
    "bmm": lambda m, f, x, y, w, i: m.bmm(y[None], w[None]),
    "addmm": lambda m, f, x, y, w, i: m.addmm(w[0], x, w),
    "baddbmm": lambda m, f, x, y, w, i: m.baddbmm(y[None], x[None], w[None]),
    "einsum": lambda m, f, x, y, w, i: m.einsum("ij,jk->ik", x, w),
    "linear": lambda m, f, x, y, w, i: f.linear(x, w, w[0]),
    "attention": lambda m, f, x, y, w, i: f.scaled_dot_product_attention(x[None], y[None], y[None]),
    "outer": lambda m, f, x, y, w, i: m.outer(x[0], w[0]),
    "softmax": lambda m, f, x, y, w, i: m.softmax(x, -1),
    "log_softmax": lambda m, f, x, y, w, i: m.log_softmax(x, -1),
    "layer_norm": lambda m, f, x, y, w, i: f.layer_norm(x, (5,), w[0], w[1]),
    "rms_norm": lambda m, f, x, y, w, i: f.rms_norm(x, (5,)),
    "gelu": lambda m, f, x, y, w, i: f.gelu(x),
    "relu": lambda m, f, x, y, w, i: m.relu(x),
    "softplus": lambda m, f, x, y, w, i: f.softplus(x),
    "exp": lambda m, f, x, y, w, i: m.exp(x),
    "pow": lambda m, f, x, y, w, i: x**2,
    "sum": lambda m, f, x, y, w, i: x.sum(),
    "mean": lambda m, f, x, y, w, i: x.mean(),
    "prod": lambda m, f, x, y, w, i: x.prod(),
    "cumsum": lambda m, f, x, y, w, i: x.cumsum(0),
    "norm": lambda m, f, x, y, w, i: x.norm(),
    "logsumexp": lambda m, f, x, y, w, i: x.logsumexp(-1),
    "add": lambda m, f, x, y, w, i: x + y,
    "cat": lambda m, f, x, y, w, i: m.cat([x, y]),
    "stack": lambda m, f, x, y, w, i: m.stack([x, y]),
    "where": lambda m, f, x, y, w, i: m.where(x > 0, x, y),
    "embedding": lambda m, f, x, y, w, i: f.embedding(i, w),
    "layers with gelu": lambda m, f, x, y, w, i: two_layers(m, w)(y),
    "cross_entropy": lambda m, f, x, y, w, i: f.cross_entropy(x, i),
    "cross_entropy of probabilities": lambda m, f, x, y, w, i: f.cross_entropy(x, m.softmax(y, -1)),
    "nll_loss": lambda m, f, x, y, w, i: f.nll_loss(x, i),
    "mse_loss": lambda m, f, x, y, w, i: f.mse_loss(x, x + 1),
    "l1_loss": lambda m, f, x, y, w, i: f.l1_loss(x, x + 1),
    "smooth_l1_loss": lambda m, f, x, y, w, i: f.smooth_l1_loss(x, x + 1),
    "huber_loss": lambda m, f, x, y, w, i: f.huber_loss(x, x + 1),
    "kl_div": lambda m, f, x, y, w, i: f.kl_div(x, m.sigmoid(x), reduction="sum"),
    "binary_cross_entropy": lambda m, f, x, y, w, i: f.binary_cross_entropy(m.sigmoid(x), m.sigmoid(x)),
    "with_logits": lambda m, f, x, y, w, i: f.binary_cross_entropy_with_logits(x, m.sigmoid(x)),
    "multi_margin_loss": lambda m, f, x, y, w, i: f.multi_margin_loss(x, i),
    "hinge_embedding_loss": lambda m, f, x, y, w, i: f.hinge_embedding_loss(x, m.sign(x)),
    "margin_ranking_loss": lambda m, f, x, y, w, i: f.margin_ranking_loss(x, x, m.sign(x)),
    "cosine_embedding_loss": lambda m, f, x, y, w, i: f.cosine_embedding_loss(x, x, m.sign(x[:, 0])),
    "cosine_similarity": lambda m, f, x, y, w, i: f.cosine_similarity(x, x),
}


def ours(call: Callable, dtype: Any, device: str = "cpu") -> minillm.Tensor:
    y, w = minillm.tensor(X, device=device), minillm.tensor(W, device=device)
    with autocast(device, dtype):
        return call(minillm, F, y.to(dtype), y, w, minillm.tensor([0, 1, 2, 3], device=device))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("op", CALLS)
def test_types_and_values_are_pytorchs(op: str, name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    found = ours(CALLS[op], getattr(minillm, name))
    y, w, i = torch.tensor(X), torch.tensor(W), torch.tensor([0, 1, 2, 3])
    with torch.autocast("cpu", getattr(torch, name)):
        wanted = CALLS[op](torch, torch.nn.functional, y.to(getattr(torch, name)), y, w, i)
    assert f"torch.{found.dtype}" == str(wanted.dtype)
    rtol, atol = (1.6e-2, 1e-2) if name == "bfloat16" else (2e-3, 1e-3)
    np.testing.assert_allclose(found.double().numpy(), wanted.double().numpy(), rtol=rtol, atol=4 * atol)


# What PyTorch documents for CUDA, where no PyTorch for the CPU can be asked: float32 beyond the losses.
ON_CUDA = {
    "softmax", "log_softmax", "layer_norm", "rms_norm", "softplus", "exp", "pow", "sum", "cumsum", "norm", "logsumexp",
    "cosine_similarity",
}  # fmt: skip


@pytest.mark.parametrize("op", CALLS)
def test_types_on_a_gpu_are_those_that_pytorch_documents(op: str) -> None:
    on_cpu = ours(CALLS[op], minillm.float16).dtype
    with standin():
        found = ours(CALLS[op], minillm.float16, "cuda")
        assert found.device.type == "cuda"
        assert found.dtype == (minillm.float32 if op in ON_CUDA else on_cpu)


def test_every_name_in_the_lists_is_met() -> None:
    """A list that names an op that is gone, or was renamed, would silently do nothing."""
    met = set()

    class Listening(Casting):
        def inputs(self, name: str, inputs: Any) -> Any:
            met.add(name)
            return super().inputs(name, inputs)

    x = minillm.rand(4, 5) * 0.5 + 0.25
    more = [
        "acos asin cosh exp expm1 log log10 log1p log2 reciprocal rsqrt sinh tan".split(),
        [lambda t: t.cumprod(0), lambda t: F.normalize(t), nn.RNN(5, 2), nn.GRU(5, 2), nn.LSTM(5, 2)],
    ]
    modes.autocast = Listening("cuda", minillm.float16, {})
    try:
        for call in CALLS.values():
            call(minillm, F, x, x, minillm.rand(5, 5), minillm.tensor([0, 1, 2, 3]))
        for f in [getattr(minillm, name) for name in more[0]] + more[1]:
            f(x)
    finally:
        modes.autocast = None
    assert (PRODUCTS | IN_FLOAT32["cuda"]) - met == set()


@pytest.mark.parametrize("layer", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers_compute_in_16_bits_and_train_in_float32(layer: str) -> None:
    x, made = minillm.randn(4, 2, 5), getattr(nn, layer)(5, 3)
    exact = made(x)[0]
    with autocast("cpu", minillm.float16):
        y, last = made(x)
    assert y.dtype == minillm.float16 and (last[0] if layer == "LSTM" else last).dtype == minillm.float16
    np.testing.assert_allclose(y.detach().numpy(), exact.detach().numpy(), rtol=2e-2, atol=2e-3)
    expected = minillm.autograd.grad(exact.sum(), list(made.parameters()))
    y.float().sum().backward()
    for p, dp in zip(made.parameters(), expected, strict=True):
        assert p.grad.dtype == minillm.float32
        np.testing.assert_allclose(p.grad.numpy(), dp.numpy(), rtol=3e-2, atol=2e-2)


@pytest.mark.parametrize(("name", "rtol", "atol"), [("bfloat16", 5e-2, 5e-2), ("float16", 1e-2, 5e-3)])
def test_gradients_are_float32_and_near(name: str, rtol: float, atol: float) -> None:
    minillm.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 4))
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with autocast("cpu", getattr(minillm, name), enabled=enabled):
            loss = F.cross_entropy(model(minillm.tensor(X)), minillm.tensor([0, 1, 2, 3]))
        loss.backward()
        assert loss.dtype == np.float32
        assert {p.grad.dtype for p in model.parameters()} == {minillm.float32}
        found.append([loss.detach().numpy(), *(p.grad.numpy() for p in model.parameters())])
    assert any((a != b).any() for a, b in zip(*found, strict=True))
    for exact, near in zip(*found, strict=True):
        np.testing.assert_allclose(near, exact, rtol=rtol, atol=atol)


def test_a_gpt_is_as_near_to_float32_as_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    from lessons.l11_gpt import GPT, GPTConfig
    from tests.bench.torch_gpt import make

    minillm.manual_seed(0)
    config = GPTConfig(vocab_size=40, block_size=16, n_layer=2, n_head=2, n_embd=32)
    model = GPT(config)
    twin = make(config, {name: p.detach().numpy() for name, p in model.named_parameters()})
    ids = RNG.integers(0, 40, (3, 16))
    with minillm.no_grad():
        exact = model(minillm.tensor(ids)).numpy()
    with autocast("cpu", minillm.bfloat16), minillm.no_grad():
        found = model(minillm.tensor(ids)).float().numpy()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        wanted = twin(torch.tensor(ids)).float().numpy()
    assert 0 < np.abs(found - exact).max() <= 2 * np.abs(wanted - exact).max()


# --- weights
def casts_of(y: minillm.Tensor) -> int:
    """The number of different casts of leaves in a graph."""
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen or not hasattr(node, "next_functions"):
            continue
        seen.add(id(node))
        waiting += [target for target, _ in node.next_functions]
        if node.name() == "CastBackward" and isinstance(node.next_functions[0][0], minillm.Tensor):
            seen.add(("cast", id(node)))
    return sum(isinstance(s, tuple) for s in seen)


def test_a_weight_is_cast_once_however_often_it_is_used() -> None:
    w = minillm.tensor(W).requires_grad_()
    x = minillm.tensor(X)
    with autocast("cpu", minillm.bfloat16):
        y = x @ w @ w
        with autocast("cpu", minillm.bfloat16):
            y = y @ w  # an inner region has the copies of the outer one
        assert casts_of(y) == 1
        with autocast("cpu", minillm.float16):
            assert casts_of(y.sum() + (x @ w).sum()) == 2
        with autocast("cpu", minillm.bfloat16, cache_enabled=False):
            assert casts_of(x @ w @ w) == 2
    y.float().sum().backward()
    near = w.grad.numpy().copy()
    w.grad = None
    (x @ w @ w @ w).sum().backward()
    np.testing.assert_allclose(near, w.grad.numpy(), rtol=5e-2, atol=0.3)


def test_copies_of_weights_do_not_outlive_their_region_or_the_next_step() -> None:
    w = minillm.tensor(W).requires_grad_()
    x = minillm.tensor(X)
    with autocast("cpu", minillm.bfloat16):
        first = x @ w
        with minillm.no_grad():
            assert (x @ w).grad_fn is None  # and this one must not be found by the next
            w.mul_(2.0)
        second = x @ w
        assert second.grad_fn is not None
    np.testing.assert_array_equal(second.detach().float().numpy(), 2 * first.detach().float().numpy())
    region = autocast("cpu", minillm.bfloat16)
    with region:
        x @ w
        assert len(modes.autocast.casts) == 1
    with region:
        assert modes.autocast.casts == {}


def test_recomputed_blocks_compute_in_the_types_of_the_forward_pass() -> None:
    found = []
    for run in (lambda f, x: f(x), checkpoint):
        minillm.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
        x = minillm.tensor(X).requires_grad_()
        with autocast("cpu", minillm.bfloat16):
            y = run(model, x)
        y.float().sum().backward()
        found.append([x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


# --- the mode
def test_the_mode_ends_where_it_began_whatever_happens() -> None:
    with pytest.raises(ZeroDivisionError), autocast("cpu", minillm.bfloat16):
        assert minillm.is_autocast_enabled("cpu") and not minillm.is_autocast_enabled()
        raise ZeroDivisionError
    assert modes.autocast is None
    with autocast("cpu", minillm.bfloat16):
        with autocast("cpu", enabled=False):
            assert (minillm.ones(2, 2) @ minillm.ones(2, 2)).dtype == np.float32
        with pytest.raises(RuntimeError, match="inner lengths"):
            minillm.ones(2, 3) @ minillm.ones(2, 3)
        assert (minillm.ones(2, 2) @ minillm.ones(2, 2)).dtype == minillm.bfloat16


def test_as_a_decorator() -> None:
    @autocast("cpu", minillm.bfloat16)
    def product(n: int) -> minillm.Tensor:
        return minillm.ones(n, n) @ minillm.ones(n, n)

    assert product(2).dtype == minillm.bfloat16
    assert modes.autocast is None


def test_threads_have_modes_of_their_own() -> None:
    found: dict[str, Any] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        found["type"] = (minillm.ones(2, 2) @ minillm.ones(2, 2)).dtype
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with autocast("cpu", minillm.bfloat16):
        inside.set()
        done.wait(10)
    thread.join()
    assert found["type"] == np.float32


def test_another_device_is_left_alone() -> None:
    with autocast("cuda", minillm.float16):
        assert (minillm.ones(2, 2) @ minillm.ones(2, 2)).dtype == np.float32
        with pytest.raises(RuntimeError, match="one dtype"):
            minillm.ones(2, 2) @ minillm.ones(2, 2, dtype=minillm.float16)
    with autocast("cpu", minillm.bfloat16), pytest.raises(RuntimeError, match="one dtype"):
        minillm.ones(2, 2) @ minillm.ones(2, 2).double()


def test_vectors_compute_as_matrices_do() -> None:
    """Unlike in PyTorch on the CPU; the README says so."""
    w = minillm.tensor(W)
    with autocast("cpu", minillm.bfloat16):
        assert {minillm.mv(w, w[0]).dtype, minillm.dot(w[0], w[1]).dtype} == {minillm.bfloat16}


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RuntimeError, match="'cuda' or 'cpu', got 'mps'"):
        autocast("mps")
    with pytest.raises(ValueError, match="bfloat16 or float16, got float64"):
        autocast("cpu", minillm.float64)
    assert autocast("cpu").dtype == minillm.bfloat16 and autocast("cuda").dtype == minillm.float16
    assert GradScaler is minillm.amp.GradScaler and minillm.autocast is autocast


def test_gradients_too_large_for_16_bits_are_inf_without_a_warning() -> None:
    w = minillm.tensor(W).requires_grad_()
    with autocast("cpu", minillm.float16):
        y = minillm.tensor(X) @ w
    (y.float() * 1e30).sum().backward()
    assert not np.isfinite(w.grad.numpy()).all()
    (w * 3e38).sum().backward()  # added to what is there
    assert not np.isfinite(w.grad.numpy()).all()
