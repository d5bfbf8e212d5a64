"""Activations and losses as modules do what their functions do, and what PyTorch's modules do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm import nn
from tests.nn.twins import array, both, compare, torch, twins

X = np.linspace(-7.3, 7.1, 12).reshape(3, 4)
LIKELY = np.array([[0.1, 0.9, 0.5, 0.2], [0.7, 0.3, 0.6, 0.05]])
HARD = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
LOGITS = np.array([[2.0, -1.0, 0.5, 0.1], [0.0, 3.0, -2.0, 1.0], [1.0, 1.5, 2.0, -0.5]])
OTHER = np.array([[1.0, -1.5, 3.5, 0.2], [0.5, 1.0, -2.5, 4.0], [1.1, 1.4, 0.0, -0.6]])
CLASSES = np.array([0, 3, 1])
SIGNS = np.array([1.0, -1.0, 1.0])
WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])

# Module: (function, constructors to try); for losses also what they are called with.
ACTIVATIONS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "ReLU": (F.relu, [{}, {"inplace": True}]),
    "ReLU6": (F.relu6, [{}, {"inplace": True}]),
    "SiLU": (F.silu, [{}, {"inplace": True}]),
    "LeakyReLU": (F.leaky_relu, [{}, {"negative_slope": 0.3}, {"inplace": True}]),
    "ELU": (F.elu, [{}, {"alpha": 0.4}, {"inplace": True}]),
    "GELU": (F.gelu, [{}, {"approximate": "tanh"}]),
    "Tanh": (F.tanh, [{}]),
    "Sigmoid": (F.sigmoid, [{}]),
    "LogSigmoid": (F.logsigmoid, [{}]),
    "Softplus": (F.softplus, [{}, {"beta": 2.0, "threshold": 3.0}]),
    "Hardtanh": (F.hardtanh, [{}, {"min_val": -2.0, "max_val": 0.5}, {"inplace": True}]),
    "Softmax": (F.softmax, [{"dim": 0}, {"dim": -1}]),
    "LogSoftmax": (F.log_softmax, [{"dim": 0}, {"dim": -1}]),
}
REDUCTIONS: list[dict[str, Any]] = [{}, {"reduction": "sum"}, {"reduction": "none"}]
LOSSES: dict[str, tuple[Any, tuple[np.ndarray, ...], list[dict[str, Any]]]] = {
    "CrossEntropyLoss": (
        F.cross_entropy,
        (LOGITS, CLASSES),
        [*REDUCTIONS, {"weight": WEIGHT, "ignore_index": 3}, {"label_smoothing": 0.2, "ignore_index": 0}],
    ),
    "NLLLoss": (F.nll_loss, (LOGITS, CLASSES), [*REDUCTIONS, {"weight": WEIGHT, "ignore_index": 3}]),
    "MSELoss": (F.mse_loss, (LOGITS, OTHER), REDUCTIONS),
    "L1Loss": (F.l1_loss, (LOGITS, OTHER), REDUCTIONS),
    "SmoothL1Loss": (F.smooth_l1_loss, (LOGITS, OTHER), [*REDUCTIONS, {"beta": 2.5}]),
    "HuberLoss": (F.huber_loss, (LOGITS, OTHER), [*REDUCTIONS, {"delta": 2.5}]),
    "KLDivLoss": (
        F.kl_div,
        (np.log(LIKELY), LIKELY[::-1].copy()),
        [{"reduction": "batchmean"}, {"reduction": "sum"}, {"reduction": "none"}],
    ),
    "BCELoss": (F.binary_cross_entropy, (LIKELY, HARD), [*REDUCTIONS, {"weight": WEIGHT}]),
    "BCEWithLogitsLoss": (
        F.binary_cross_entropy_with_logits,
        (LOGITS[:2], HARD),
        [*REDUCTIONS, {"weight": WEIGHT}, {"pos_weight": WEIGHT}],
    ),
    "HingeEmbeddingLoss": (F.hinge_embedding_loss, (OTHER[:, 0], SIGNS), [*REDUCTIONS, {"margin": 0.2}]),
    "MarginRankingLoss": (
        F.margin_ranking_loss,
        (LOGITS[:, 0], OTHER[:, 1], SIGNS),
        [*REDUCTIONS, {"margin": 0.7}],
    ),
    "CosineEmbeddingLoss": (F.cosine_embedding_loss, (LOGITS, OTHER, SIGNS), [*REDUCTIONS, {"margin": 0.3}]),
    "MultiMarginLoss": (
        F.multi_margin_loss,
        (LOGITS, CLASSES),
        [*REDUCTIONS, {"p": 2, "margin": 0.5}, {"weight": WEIGHT}],
    ),
    # Vectors shorter than eps are left out: PyTorch's gradient forgets there that eps is a constant.
    "CosineSimilarity": (F.cosine_similarity, (LOGITS, OTHER), [{}, {"dim": 0, "eps": 0.5}]),
}
# Exported classes that are neither; each is tested in a file of its own.
ELSEWHERE = """
Dropout Embedding Flatten GRU GRUCell Identity KVCache LSTM LSTMCell LayerNorm Linear Module ModuleDict ModuleList
MultiheadAttention Parameter ParameterDict ParameterList RMSNorm RNN RNNCell Sequential Unflatten
""".split()


def fixed(values):
    """Targets and weights want no gradient here."""
    return {k: minillm.tensor(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}


def loss_pair(name, options):
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return getattr(nn, name)(**fixed(options)), getattr(torch.nn, name)(**theirs)


def test_every_exported_class_is_tested():
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    assert classes == {*ACTIVATIONS, *LOSSES, *ELSEWHERE}


def test_the_lists_of_what_is_exported_are_sorted_and_true():
    for module in (nn, F, nn.init, nn.utils, nn.utils.rnn):
        assert module.__all__ == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, (_, all_) in ACTIVATIONS.items() for o in all_], ids=str)
def test_activations_equal_pytorch_and_their_function(name, options):
    ours, theirs = twins(name, **options)
    given = {k: v for k, v in options.items() if k != "inplace"}
    x = minillm.tensor(X)
    np.testing.assert_array_equal(array(ours(x)), array(ACTIVATIONS[name][0](x, **given)))
    np.testing.assert_array_equal(array(x), X)  # `inplace` is accepted, and the input left alone
    assert repr(ours) == repr(theirs) and not list(ours.parameters())
    if not options.get("inplace"):  # PyTorch cannot change a leaf in place
        for values in (X, X[:0], X[0], X[:, :1]):
            compare((ours, theirs), values)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, (*_, all_) in LOSSES.items() for o in all_], ids=str)
def test_losses_equal_pytorch_and_their_function(name, options):
    function, values, _ = LOSSES[name]
    pair = loss_pair(name, options)
    compare(pair, values[0], *(np.array(v) for v in values[1:]))
    inputs = [minillm.tensor(v) for v in values]
    np.testing.assert_array_equal(array(pair[0](*inputs)), array(function(*inputs, **fixed(options))))
    assert repr(pair[0]) == repr(pair[1])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_refuse_what_is_gone_and_what_is_unknown(name):
    make = getattr(nn, name)
    if name not in ("HuberLoss", "CosineSimilarity"):  # these two never had them
        for option in ("size_average", "reduce"):
            with pytest.raises(NotImplementedError, match=f"{name}.*reduction"):
                make(**{option: True})
    if name != "CosineSimilarity":
        inputs = [minillm.tensor(v) for v in LOSSES[name][1]]
        with pytest.raises(ValueError, match="average"):
            make(reduction="average")(*inputs)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "MultiMarginLoss", "BCEWithLogitsLoss"])
def test_a_loss_weight_moves_and_is_saved_with_the_module(name):
    loss = getattr(nn, name)(weight=minillm.tensor(WEIGHT))
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    assert loss.float().weight.dtype == minillm.float32
    assert list(getattr(nn, name)().state_dict()) == []


def test_modules_pass_gradients_to_both_sides():
    (given, _) = both((LOGITS, OTHER))
    nn.MSELoss()(*given).backward()
    np.testing.assert_allclose(array(given[0].grad), -array(given[1].grad))
