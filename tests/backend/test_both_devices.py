"""What only a card can show: NumPy and CuPy agree on every op, on training, checkpoints and generation.

Each test is run twice: on the stand-in, which shows that it can be run, and, where there is one, on a card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.generation import Sampling, generate
from minillm.training import LanguageTask, Trainer, TrainingConfig
from tests.backend.both import values
from tests.op_cases import OpCase, load_cases
from tests.ops.test_table import samples_of
from tests.standin import standin

CASES = load_cases()
PRODUCTS = ("matmul", "mm", "bmm", "einsum", "linear", "attention")
SETTINGS: dict[str, Any] = {"steps": 6, "eval_every": 3, "log_every": 1, "warmup_steps": 2, "accumulate": 2,
                            "workers": 1, "schedule": "constant"}  # fmt: skip
IDS = np.random.default_rng(0).integers(0, 13, 400)


@pytest.fixture(params=["standin", pytest.param("card", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where "cuda" is."""
    if request.param == "card":
        yield "card"
    else:
        with standin():
            yield "standin"


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_op_is_that_of_numpy(case: OpCase, dtype: Any, cuda: str) -> None:
    """float64 to 1e-10, float32 to 1e-5 (products to 1e-4), of the largest number of a result."""
    tolerance = 1e-10 if dtype == np.float64 else 1e-4 if case.name.endswith(PRODUCTS) else max(1e-5, case.rtol32)
    for s in samples_of(case):
        for found, wanted in zip(values(case, s, "cuda", dtype), values(case, s, "cpu", dtype), strict=True):
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), s
            finite = wanted[np.isfinite(wanted)] if wanted.dtype.kind == "f" else wanted
            scale = np.abs(finite).max(initial=0) if wanted.dtype.kind == "f" else 0
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1, scale), err_msg=str(s))


def model(device: str, dtype: Any = np.float32) -> GPT:
    minillm.manual_seed(0)
    return GPT(GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16)).to(dtype).to(device)


def trained(device: str, folder: Path | None = None, dtype: Any = np.float32, **settings: Any) -> Trainer:
    task = LanguageTask(IDS, IDS[:90], 90, block_size=8, batch_size=4)
    trainer = Trainer(model(device, dtype), task, TrainingConfig(**{**SETTINGS, **settings}), folder)
    trainer.fit()
    return trainer


def weights(trainer: Trainer) -> np.ndarray:
    tensors = [p.detach().to("cpu").numpy().reshape(-1) for p in trainer.model.parameters()]
    return np.concatenate(tensors).astype(np.float64)


def test_a_trainer_learns_the_same(cuda: str) -> None:
    np.testing.assert_allclose(weights(trained("cuda", dtype=np.float64)), weights(trained("cpu", dtype=np.float64)),
                               rtol=1e-6, atol=1e-8)  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_losses_are_those_of_the_cpu(precision: str, cuda: str) -> None:
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    found, wanted = (trained(d, precision=precision).history for d in ("cuda", "cpu"))
    for a, b in zip(found, wanted, strict=True):
        key = "train_loss" if "train_loss" in b else "val_loss"
        assert a[key] == pytest.approx(b[key], abs=1e-4 if precision == "float32" else 0.03)


def test_two_runs_are_equal_bit_for_bit(cuda: str) -> None:
    assert weights(trained("cuda")).tobytes() == weights(trained("cuda")).tobytes()


@pytest.mark.parametrize(("there", "here"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_another_device(there: str, here: str, cuda: str, tmp_path: Path) -> None:
    trained(there, tmp_path, dtype=np.float64)
    task = LanguageTask(IDS, IDS[:90], 90, block_size=8, batch_size=4)
    other = Trainer(model(here, np.float64), task, TrainingConfig(**{**SETTINGS, "steps": 9}), tmp_path)
    other.about["changed"] = ["steps"]
    other.resume()
    other.fit()
    assert {p.device.type for p in other.model.parameters()} == {here}
    whole = trained(there, dtype=np.float64, steps=9)
    np.testing.assert_allclose(weights(other), weights(whole), rtol=1e-6, atol=1e-8)


def test_the_likeliest_words_are_the_same(cuda: str) -> None:
    prompts = [[1, 2, 3], [4, 5, 6]]
    found = [generate(model(d, np.float64), prompts, 12, Sampling(temperature=0)) for d in ("cuda", "cpu")]
    assert found[0] == found[1]
    drawn = []
    for device in ("cuda", "cpu"):
        generator = minillm.Generator().manual_seed(3)
        drawn.append(generate(model(device, np.float64), prompts, 12, generator=generator))
    assert drawn[0] == drawn[1]
