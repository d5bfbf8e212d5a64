"""Three writings of one op agree: the formula on arrays, the formula on tensors, and the hand-written Function."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm import ops
from minillm.ops import recurrent
from minillm.ops.mlp import mlp


class TensorNamespace:
    """minillm's ops under NumPy's argument names: what a formula takes as ``xp`` to be run on tensors."""

    exp, expm1, log, log1p, sqrt, tanh, abs = (getattr(minillm, n) for n in "exp expm1 log log1p sqrt tanh abs".split())
    where, matmul, swapaxes, isfinite = minillm.where, minillm.matmul, minillm.swapaxes, minillm.isfinite

    @staticmethod
    def maximum(x: Any, y: Any) -> Any:
        return minillm.clamp(x, min=y)

    @staticmethod
    def minimum(x: Any, y: Any) -> Any:
        return minillm.clamp(x, max=y)

    @staticmethod
    def max(x: Any, axis: Any, keepdims: bool = False) -> Any:
        return x.amax(axis, keepdims)

    @staticmethod
    def sum(x: Any, axis: Any, keepdims: bool = False) -> Any:
        return x.sum(axis, keepdims)

    @staticmethod
    def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return x.mean() if axis is None else x.mean(axis, keepdims)

    @staticmethod
    def squeeze(x: Any, axis: Any) -> Any:
        return x.squeeze(axis)


X, Y = (3, 4), (2, 3, 4)
HOT = np.eye(4)[[1, 3, 0]]
# formula: the op it belongs to, shapes of its inputs, what else the op takes, what else the formula takes
TABLE: dict[str, tuple[Any, list[tuple[int, ...]], dict[str, Any], dict[str, Any]]] = {
    "relu_formula": (F.relu, [Y], {}, {}),
    "elu_formula": (F.elu, [Y], {"alpha": 0.7}, {"alpha": 0.7}),
    "silu_formula": (F.silu, [Y], {}, {}),
    "gelu_tanh_formula": (F.gelu, [Y], {"approximate": "tanh"}, {}),
    "softplus_formula": (F.softplus, [Y], {}, {}),
    "sigmoid_formula": (minillm.sigmoid, [Y], {}, {}),
    "logsumexp_formula": (minillm.logsumexp, [Y], {"dim": 1}, {"axis": 1}),
    "softmax_formula": (F.softmax, [Y], {"dim": 1}, {"axis": 1}),
    "log_softmax_formula": (F.log_softmax, [Y], {"dim": -1}, {"axis": -1}),
    "linear_formula": (F.linear, [Y, (5, 4), (5,)], {}, {}),
    "mlp_formula": (mlp, [Y, (8, 4), (8,), (5, 8), (5,)], {}, {}),
    "rnn_formula": (lambda x, h, w: recurrent.rnn(x[None], h, w)[0], [(2, 3), (2, 3), (3, 3)], {}, {}),
    "lstm_formula": (lambda x, *rest: recurrent.lstm(x[None], *rest)[0][0], [(2, 12), (2, 3), (2, 3), (12, 3)], {}, {}),
    "gru_formula": (lambda x, *rest: recurrent.gru(x[None], *rest)[0], [(2, 9), (2, 3), (9, 3), (9,)], {}, {}),
    "layer_norm_formula": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [Y, (4,), (4,)], {}, {}),
    "rms_norm_formula": (lambda x, w: F.rms_norm(x, (4,), w, eps=1e-5), [Y, (4,)], {}, {}),
    "attention_formula": (F.scaled_dot_product_attention, [(2, 3, 4), (2, 5, 4), (2, 5, 6)], {}, {"scale": 0.5}),
    "cross_entropy_formula": (
        lambda x: F.cross_entropy(x, minillm.tensor(HOT)), [X], {}, {"target": HOT}
    ),
}  # fmt: skip


def formulas() -> dict[str, Any]:
    """Return every formula of minillm.ops by name."""
    found = {}
    for info in pkgutil.iter_modules(ops.__path__):
        module = importlib.import_module(f"minillm.ops.{info.name}")
        found.update({k: v for k, v in vars(module).items() if k.endswith("_formula")})
    return found


def test_every_formula_stands_in_the_table() -> None:
    assert set(formulas()) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_function_equals_formula(name: str, size: float) -> None:
    op, shapes, said, options = TABLE[name]
    rng = np.random.default_rng(len(name))
    arrays = [size * rng.standard_normal(shape) for shape in shapes]
    formula = formulas()[name]
    with np.errstate(over="ignore"):  # the plain silu overflows to the right answer
        expected = formula(np, *arrays, **options)

    grads = []
    on_tensors = {k: minillm.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    for call in (
        lambda *leaves: op(*leaves, **said),
        lambda *leaves: formula(TensorNamespace, *leaves, **on_tensors),
    ):
        leaves = [minillm.tensor(a, requires_grad=True) for a in arrays]
        y = call(*leaves)
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
        y.backward(minillm.tensor(np.random.default_rng(1).standard_normal(y.shape)))
        grads.append([leaf.grad.numpy() for leaf in leaves])
    for ours, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
