"""NumPy and CuPy agree in float32 on every op, and in each precision on the losses of a training.

Each test is run twice: on the stand-in, which shows that it can be run, and, where there is one, on a card.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.backend import get_backend
from minillm.training import LanguageTask, Trainer, TrainingConfig
from tests.backend.twins import compare_row
from tests.op_cases import OpCase, load_cases
from tests.standin import standin

PRODUCTS = ("matmul", "mm", "bmm", "einsum", "linear", "attention")
IDS = np.random.default_rng(0).integers(0, 13, 400)


@pytest.fixture(params=["standin", pytest.param("card", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where "cuda" is."""
    if request.param == "card":
        yield
    else:
        with standin():
            yield


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_every_op_in_float32(case: OpCase, cuda: None) -> None:
    """To 1e-5, products to 1e-4, of the largest number of a result; in float64 the op table is compared elsewhere."""
    tolerance = 1e-4 if case.name.endswith(PRODUCTS) else max(1e-5, case.rtol32)
    compare_row(case, np.float32, tolerance, tolerance)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("name", "shared"),
    [("side by side", True), ("in other axes", True), ("in steps", True), ("one", False), ("backwards", False),
     ("not evenly", False), ("in other orders", False), ("of two arrays", False), ("copies", False)],
)  # fmt: skip
def test_stacked_arrays_are_a_view_where_they_lie_so(name: str, shared: bool, device: str, cuda: None) -> None:
    backend = get_backend(device)
    x = backend.from_host(np.arange(240.0).reshape(2, 5, 4, 6))
    y = backend.from_host(np.arange(240.0).reshape(2, 5, 4, 6) + 500)
    arrays = {
        "side by side": [x[:, :, i] for i in range(4)],
        "in other axes": [x[:, :, i].transpose(2, 0, 1) for i in range(4)],
        "in steps": [x[:, :, i] for i in (1, 3)],
        "one": [x[:, :, 1]],
        "backwards": [x[:, :, i] for i in (3, 2, 1)],
        "not evenly": [x[:, :, i] for i in (0, 1, 3)],
        "in other orders": [x[0, :4, :, 0], x[1, :4, :, 0].T],
        "of two arrays": [x[:, :, 1], y[:, :, 2]],
        "copies": [x[:, :, i].copy() for i in range(4)],
    }[name]
    for axis in range(arrays[0].ndim + 1):
        found = backend.stack(arrays, axis)
        np.testing.assert_array_equal(backend.to_host(found), np.stack([backend.to_host(a) for a in arrays], axis))
        assert (backend.address(found) == backend.address(arrays[0])) == shared


def losses(device: str, precision: str) -> list[float]:
    minillm.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16)).to(device)
    task = LanguageTask(IDS, IDS[:90], 90, block_size=8, batch_size=4)
    config = TrainingConfig(steps=6, eval_every=3, log_every=1, warmup_steps=2, accumulate=2, workers=1,
                            precision=precision)  # fmt: skip
    trainer = Trainer(model, task, config)
    trainer.fit()
    return [r["train_loss"] if "train_loss" in r else r["val_loss"] for r in trainer.history]


@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-4), ("bfloat16", 0.03), ("float16", 0.01)])
def test_losses_are_those_of_the_cpu(precision: str, apart: float, cuda: None) -> None:
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    np.testing.assert_allclose(losses("cuda", precision), losses("cpu", precision), atol=apart)
