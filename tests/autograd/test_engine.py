"""The tape and the backward pass: what may be relied on, tried out."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm import autograd
from minillm.autograd import Function
from minillm.testing.strategies import programs


def leaf(*values, dtype=np.float64):
    return minillm.tensor(np.array(values, dtype=dtype), requires_grad=True)


# --- gradients add up
def test_one_tensor_used_many_times():
    x = leaf(2.0, -3.0)
    (x * x + x * x * x + x[[0, 0, 1]].sum()).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 * 2 + 3 * 4 + 4, 2 * -3 + 3 * 9 + 2])


def test_sixty_doublings_take_no_time():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    started = time.perf_counter()
    y.sum().backward()
    assert time.perf_counter() - started < 2
    assert x.grad.item() == 2.0**60


def test_gradients_of_leaves_have_memory_of_their_own():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    incoming = minillm.tensor(np.array([1.0, 1.0]))
    (x + y).backward(incoming)
    arrays = [x.grad.numpy(), y.grad.numpy(), incoming.numpy()]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])
    x.grad.add_(1.0)
    assert y.grad.tolist() == [1.0, 1.0] and incoming.tolist() == [1.0, 1.0]


class Wider(Function):
    """Twice x; its backward pass computes in float64, whatever x is."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy.astype(np.float64) * 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_gradient_has_the_type_of_its_tensor(dtype):
    x = leaf(1.0, 2.0, dtype=dtype)
    inside, seen = x * 1, []
    inside.register_hook(lambda dx: seen.append(dx.dtype))
    (Wider.apply(inside) + Wider.apply(x)).sum().backward()
    assert seen == [dtype] and x.grad.dtype == dtype and x.grad.tolist() == [4.0, 4.0]


def test_accumulation_over_backward_passes():
    x = leaf(1.0, 2.0)
    for _ in range(3):
        (x * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [6.0, 12.0])


OPS = [
    lambda t, a, b: a + b,
    lambda t, a, b: a * b,
    lambda t, a, b: a - b,
    lambda t, a, b: t.tanh(a),
    lambda t, a, b: t.exp(a * 0.1),
    lambda t, a, b: a @ b,
    lambda t, a, b: a.sum(0, True) * b,
    lambda t, a, b: t.softmax(a, -1),
    lambda t, a, b: t.cat([a, b])[1:4],
    lambda t, a, b: a.transpose(0, 1),
    lambda t, a, b: t.where(a > b, a, b * 2),
    lambda t, a, b: a / (b * b + 1),
    lambda t, a, b: t.stack([a, b]).mean(0),
    lambda t, a, b: a.reshape(-1).flip(0).reshape(3, 3),
    lambda t, a, b: a[[0, 0, 2]],
]


@given(programs(len(OPS)))
def test_random_programs_equal_pytorch(program):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")
    runs = []
    for package in (minillm, torch):
        leaves = [package.tensor(v).requires_grad_() for v in program.inputs]
        loss = sum((t * t).sum() for t in program.run(OPS, package, leaves)[-3:])
        loss.backward()
        runs.append((loss.item(), [None if t.grad is None else t.grad.numpy() for t in leaves]))
    (ours, our_grads), (theirs, their_grads) = runs
    assert ours == pytest.approx(theirs, rel=1e-9)
    for a, b in zip(our_grads, their_grads):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(b).max()))


# --- memory
def test_fifty_thousand_nodes():
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y  # must not overflow the stack either


def test_a_graph_dies_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = x * x
        seen, node = weakref.ref(y), weakref.ref(y.grad_fn)
        z = y.exp().sum()
        z.backward()
        del y, z
        assert seen() is None and node() is None

        def step():
            w = leaf(*range(100))
            ((w * w).sum() + w.exp().mean()).backward()

        for _ in range(20):
            step()
        before = len(gc.get_objects())
        tracemalloc.start()
        for _ in range(300):
            step()
        assert len(gc.get_objects()) - before < 200
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
        gc.enable()


def test_saved_arrays_are_freed_by_the_backward_pass():
    x = leaf(1.0, 2.0)
    y = x.exp()
    inner = weakref.ref(y.grad_fn)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        inner().saved_arrays


# --- mistakes are noticed
def test_second_backward_needs_retain_graph():
    x = leaf(3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.add_(1.0),
        lambda w: w.__setitem__(0, 5.0),
        lambda w: w[1:].zero_(),
        lambda w: w.copy_(minillm.zeros(2)),
    ],
    ids=["op", "setitem", "through a view", "copy"],
)
def test_a_saved_array_that_changed_is_noticed(change):
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    with minillm.no_grad():
        change(w)
    with pytest.raises(RuntimeError, match=r"MulBackward: its input 0.*changed in place"):
        loss.backward()


def test_a_saved_result_that_changed_is_noticed():
    x = leaf(1.0, 2.0)
    y = x.exp()
    with minillm.no_grad():
        y.detach().mul_(2.0)
    with pytest.raises(RuntimeError, match="its output 0"):
        y.sum().backward()


def test_changing_through_data_is_not_noticed_as_documented():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    w.data.mul_(0.0)
    loss.backward()
    assert w.grad.tolist() == [0.0, 0.0]


def test_in_place_in_a_graph_is_refused_with_the_remedy():
    x = leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="no_grad"):
        x += 1.0
    with pytest.raises(RuntimeError, match="x = x \\+ y"):
        y.add_(1.0)
    with pytest.raises(RuntimeError, match="cat, stack"):
        minillm.zeros(1, dtype=minillm.float64)[0] = y[0]
    z = y
    z += x  # the name gets a new tensor; the old one is untouched
    assert y.item() == 2.0 and z.item() == 3.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: (x * 2).backward(), RuntimeError, "expected a scalar"),
        (lambda x: x.detach().sum().backward(), RuntimeError, "does not require grad"),
        (lambda x: x.sum().backward(create_graph=True), NotImplementedError, "gradients of gradients"),
        (lambda x: autograd.grad(x.sum(), [x], create_graph=True), NotImplementedError, "gradients of gradients"),
        (lambda x: (x * 2).backward(minillm.ones(3)), RuntimeError, r"shape \(3,\)"),
        (lambda x: autograd.grad(x.sum(), [leaf(1.0)]), RuntimeError, "was not used"),
        (lambda x: x.long().requires_grad_(), RuntimeError, "floating"),
        (lambda x: (x * 2).requires_grad_(False), RuntimeError, "detach"),
        (lambda x: x.detach().register_hook(print), RuntimeError, "does not require grad"),
    ],
)
def test_errors_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call(leaf(1.0, 2.0))


def test_a_function_with_a_wrong_backward_is_named():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return dy[:1]

    with pytest.raises(RuntimeError, match=r"WrongBackward: the gradient of input 0 has shape \(1,\), expected \(2,\)"):
        Wrong.apply(leaf(1.0, 2.0)).sum().backward()


# --- modes
def test_modes_nest_decorate_and_survive_errors():
    assert minillm.is_grad_enabled()
    with minillm.no_grad():
        assert not minillm.is_grad_enabled()
        with minillm.enable_grad():
            assert minillm.is_grad_enabled()
        assert not minillm.is_grad_enabled()
    with pytest.raises(KeyError), minillm.no_grad():
        raise KeyError
    assert minillm.is_grad_enabled()

    @minillm.no_grad()
    def called(x):
        return x * 2

    @minillm.no_grad
    def bare(x):
        return x * 2

    @minillm.inference_mode()
    def inferred(x):
        return x * 2

    @minillm.no_grad()
    def items(x):
        yield x * 2
        yield x * 3

    x = leaf(1.0)
    assert not any(f(x).requires_grad for f in (called, bare, inferred))
    for y in items(x):
        assert not y.requires_grad and minillm.is_grad_enabled()
    with minillm.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    minillm.set_grad_enabled(False)
    assert not minillm.is_grad_enabled()
    minillm.set_grad_enabled(True)
    assert minillm.is_grad_enabled()


def test_threads_have_modes_and_graphs_of_their_own():
    x = leaf(*range(50))
    expected = autograd.grad((x.exp() * 1e-9 * x).sum(), [x])[0].numpy()
    found, modes, barrier = [], [], threading.Barrier(8)

    def work(i):
        barrier.wait()
        with minillm.set_grad_enabled(i % 2 == 0):
            modes.append((i % 2 == 0) == (x * 2).requires_grad)
        for _ in range(20):
            found.append(autograd.grad((x.exp() * 1e-9 * x).sum(), [x])[0].numpy())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(modes) == 8 and all(modes) and minillm.is_grad_enabled()
    assert len(found) == 160 and all(np.array_equal(f, expected) for f in found)


# --- hooks, grad(), anomalies, custom functions
def test_hooks_see_and_replace_gradients():
    x = leaf(1.0, 2.0)
    y = x * 3
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y.sum().backward(retain_graph=True)
    assert seen == [[1.0, 1.0]] and x.grad.tolist() == [31.0, 31.0]
    handle.remove()
    y.sum().backward()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda g: g.float(), r"float32 \(2,\) on cpu"),
        (lambda g: g.sum(), r"float64 \(\) on cpu"),
        (lambda g: g.numpy(), "ndarray"),
    ],
)
@pytest.mark.parametrize("of_leaf", [True, False])
def test_what_a_hook_returns_is_like_what_it_was_given(wrong, found, of_leaf):
    x = leaf(1.0, 2.0)
    y = x * 3
    (x if of_leaf else y).register_hook(wrong)
    with pytest.raises(RuntimeError, match=f"a hook returned {found} .*, expected float64 .2,. on cpu"):
        y.sum().backward()
    assert x.grad is None


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0] and not y.is_leaf and x.is_leaf


def test_retain_grad_keeps_what_hooks_made_of_the_gradient_and_once():
    y = leaf(1.0) * 3
    y.retain_grad()
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert y.grad.tolist() == [10.0]


def test_hooks_of_a_leaf_see_the_sum_of_all_that_arrives():
    x = leaf(1.0, 2.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g.clamp(max=4.0))
    loss = (x * x + x).sum()
    loss.backward(retain_graph=True)
    assert seen == [[3.0, 5.0]] and x.grad.tolist() == [3.0, 4.0]  # the bound holds for the whole gradient
    assert autograd.grad(loss, [x])[0].tolist() == [3.0, 4.0] and len(seen) == 2
    loss = (x * leaf(1.0, 1.0)).sum()
    loss.backward(inputs=[leaf(0.0)])
    assert len(seen) == 2  # not asked for


def test_inputs_may_be_one_tensor_or_stand_twice():
    x = leaf(1.0, 2.0)
    assert [dx.tolist() for dx in autograd.grad((x * 3).sum(), [x, x])] == [[3.0, 3.0]] * 2
    x.sum().backward(inputs=x)
    assert x.grad.tolist() == [1.0, 1.0]
    x.sum().backward(inputs=[x, x])
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="inputs is empty"):
        x.sum().backward(inputs=[])


def test_grad_returns_and_touches_nothing():
    x, y = leaf(2.0), leaf(3.0)
    z = x * y
    dx, dz = autograd.grad((z * z).sum(), [x, z])
    assert (dx.item(), dz.item()) == (36.0, 12.0) and x.grad is None and y.grad is None
    assert autograd.grad(x.sum(), [y], allow_unused=True) == (None,)
    x.sum().backward(inputs=[x])
    assert x.grad.item() == 1.0


def test_anomaly_names_the_op_and_the_line():
    x = leaf(0.0)
    with pytest.raises(RuntimeError, match=r"(?s)Log: made a NaN.*test_engine"), autograd.detect_anomaly():
        (x - 1).log()
    with autograd.detect_anomaly():
        y = (x * 0).sqrt() * 0  # the value is fine; the slope of sqrt at 0 is infinite, and 0 * inf is NaN
        with pytest.raises(RuntimeError, match=r"(?s)Backward: made a NaN.*called here.*test_engine"):
            y.sum().backward()
    (x - 1).log()  # outside, NaN is an answer


def test_a_custom_function_with_numbers_and_options():
    class Scale(Function):
        @staticmethod
        def forward(ctx, x, factor, *, shift):
            ctx.factor = factor
            ctx.save_for_backward(x)
            return x * factor + shift

        @staticmethod
        def backward(ctx, dy):
            assert ctx.needs_input_grad == (True, False)
            return dy * ctx.factor, None

    x = leaf(1.0, 2.0)
    y = Scale.apply(x, 3.0, shift=1.0)
    y.sum().backward()
    assert y.tolist() == [4.0, 7.0] and x.grad.tolist() == [3.0, 3.0]
    assert repr(y.grad_fn) == "<ScaleBackward>" if y.grad_fn else True


def test_checkpointed_blocks_give_the_same_bits():
    from minillm.utils.checkpoint import checkpoint

    minillm.manual_seed(0)
    block = minillm.nn.Sequential(minillm.nn.Linear(4, 8), minillm.nn.GELU(), minillm.nn.Dropout(0.5)).double()
    x = minillm.randn(3, 4, dtype=minillm.float64, requires_grad=True)
    results = []
    for call in (lambda: block(x), lambda: checkpoint(block, x)):
        minillm.manual_seed(1)
        block.zero_grad()
        x.grad = None
        y = call()
        (y * y).sum().backward()
        after = minillm.rand(1).item()
        results.append([y.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in block.parameters()), after])
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=10)
@given(st.sampled_from(["argmax", "isnan", "long", "__gt__", "sign"]))
def test_what_has_no_gradient_has_no_graph(name):
    x = leaf(1.0, 2.0)
    y = getattr(x, name)(*([0.5] if name == "__gt__" else []))
    assert y.requires_grad == (name == "sign") and y.is_leaf == (name != "sign")
    assert not x.detach().requires_grad
    with minillm.no_grad():
        assert not (x * 2).requires_grad


@pytest.mark.parametrize("rows", [7, 300])  # small tables are added up by a product
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_a_table_that_is_used_twice_gets_both_gradients(rows, padding_idx):
    rng = np.random.default_rng(0)
    table, ids = rng.standard_normal((rows, 4)), minillm.tensor(rng.integers(0, rows, 400))

    def loss(read, scored):
        return F.linear(F.embedding(ids, read, padding_idx=padding_idx), scored).tanh().sum()

    apart = [minillm.tensor(table, requires_grad=True) for _ in range(2)]
    loss(*apart).backward()
    expected = (apart[0].grad + apart[1].grad).numpy()
    tied = minillm.tensor(table, requires_grad=True)
    for times in (1, 2):
        loss(tied, tied).backward()
        np.testing.assert_allclose(tied.grad.numpy(), times * expected, rtol=1e-12, atol=1e-12)
    (alone,) = minillm.autograd.grad(loss(tied, tied), tied)
    np.testing.assert_allclose(alone.numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tied.grad.numpy(), 2 * expected, rtol=1e-12, atol=1e-12)  # grad() left it alone


def test_a_gradient_that_is_added_to_counts_a_version():
    table = minillm.ones(3, 2, requires_grad=True)
    for _ in range(2):
        F.embedding(minillm.tensor([1, 1]), table).sum().backward()
    assert table.grad.tolist() == [[0, 0], [4, 4], [0, 0]] and table.grad._version == [1]
