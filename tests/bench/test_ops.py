"""The ops that are timed beside PyTorch's compute the same."""

from __future__ import annotations

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from tests.bench import ops

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")


@pytest.fixture(scope="module")
def both() -> list[ops.Given]:
    return [ops.Given(minillm, F), ops.Given(torch, torch.nn.functional)]


@pytest.mark.parametrize("name", [name for name in ops.OPS if name != "dropout"])
def test_both_do_the_same(name: str, both: list[ops.Given]) -> None:
    found = [ops.OPS[name](given.x, given) for given in both]
    ours, theirs = (y.detach().numpy() for y in found)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    assert found[0].requires_grad and found[1].requires_grad


def test_what_is_measured() -> None:
    found = ops.measure(["x + y", "x[rows]"])
    assert list(found) == ["x + y", "x[rows]"]
    assert all(ms["minillm"] > 0 and ms["torch"] > 0 for ms in found.values())
