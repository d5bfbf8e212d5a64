"""What only a card can tell: the same laws there, the same bits twice, and no step that waits."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest

import minillm
from minillm.backend.cuda.kernels import KERNELS
from minillm.generation import Sampling, generate
from minillm.training import Trainer, TrainingConfig
from tests.backend.kernel_cases import CASES, TOLERANCE, compare_kernel, dtype_of, run
from tests.backend.small_gpt import make, step, task
from tests.backend.twins import compare_row, host
from tests.op_cases import load_cases

pytestmark = pytest.mark.gpu


@pytest.fixture
def formulas():
    """The ops without their kernels."""
    backend = minillm.backend.get_backend("cuda")
    kept, backend.kernels = backend.kernels, {}
    yield
    backend.kernels = kept


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_op_table(case):
    compare_row(case)


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_op_table_by_formulas(case, formulas):
    compare_row(case)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_equals_its_function(name, dtype):
    compare_kernel(name, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_gives_the_same_bits_twice(name, dtype):
    for i, call in enumerate(CASES[name]):
        first, second = (run(call, "cuda", dtype_of(dtype), dtype_of(dtype))[1] for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert host(a).tobytes() == host(b).tobytes(), f"case {i}"


def test_dropout_is_the_same_forward_and_backward_and_keeps_the_mean():
    minillm.manual_seed(0)
    x = minillm.ones(1 << 20, device="cuda", requires_grad=True)
    y = minillm.nn.functional.dropout(x, 0.3)
    assert y.grad_fn.kernel is KERNELS["Dropout"]
    y.sum().backward()
    np.testing.assert_array_equal(host(x.grad), host(y.detach()))
    assert abs(host(y.detach()).mean() - 1) < 0.005


@contextlib.contextmanager
def no_waiting():
    """Let CuPy refuse whatever would make the host wait for the card."""
    import cupyx

    refusing = cupyx.allow_synchronize(False)  # a context manager: the call alone changes nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it will go
        refusing.__enter__()
    try:
        yield
    finally:
        refusing.__exit__(None, None, None)


@pytest.mark.parametrize("cls", [minillm.optim.SGD, minillm.optim.AdamW])
def test_a_training_step_waits_for_nothing(cls):
    model = make("cuda", dropout=0.1)
    optimizer = cls(model.parameters(), lr=1e-2)
    step(model, optimizer, *task().batch(0))  # compiles
    with no_waiting():
        step(model, optimizer, *task().batch(1))


def test_training_is_the_same_twice_and_near_the_host():
    losses = {}
    for run_name, device in (("first", "cuda"), ("second", "cuda"), ("host", "cpu")):
        model = make(device)
        optimizer = minillm.optim.AdamW(model.parameters(), lr=1e-2)
        losses[run_name] = [step(model, optimizer, *task().batch(i))[0].item() for i in range(5)]
    assert losses["first"] == losses["second"]
    np.testing.assert_allclose(losses["first"], losses["host"], rtol=1e-9)


def test_the_same_tokens_are_generated():
    texts = [generate(make(d), [[1, 2, 3], [4]], 6, Sampling(temperature=0.0)) for d in ("cpu", "cuda")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_moves_to_the_other_device(first, second, tmp_path):
    config = TrainingConfig(steps=6, lr=1e-2, warmup_steps=1, schedule="constant", eval_every=3, workers=1)
    whole = Trainer(make("cpu"), task(), config)
    whole.fit()
    begun = Trainer(make(first), task(), config, tmp_path)
    begun.total_steps = 3
    begun.fit()
    moved = Trainer(make(second), task(), config, tmp_path)
    moved.resume()
    moved.total_steps = 6
    assert moved.fit()["val_loss"] == pytest.approx(whole.history[-1]["val_loss"], rel=1e-9)
