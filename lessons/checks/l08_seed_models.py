"""Checks of the answers to lesson 08."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minillm
from lessons.l08_seed_models import AutoRegressiveModel, WithReLU, fit
from minillm import nn
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays


class Sizes(NamedTuple):
    """V, d and h of a listing, B and T of its batches."""

    v: int
    d: int
    h: int
    b: int
    t: int


some_sizes = st.builds(Sizes, *(st.integers(low, 6) for low in (2, 1, 1, 1, 1)))
tables = st.integers(2, 6).flatmap(lambda v: arrays((v, v)))
widths = st.integers(1, 8)
few = st.integers(1, 3)


def written(answer: Any, s: Sizes) -> Any:
    """A listing of the answer, and one of ours with the same weights."""
    minillm.manual_seed(0)
    theirs, ours = answer.Listing(s.v, s.d, s.h), AutoRegressiveModel(s.v, s.d, s.h)
    names = {name: tuple(p.shape) for name, p in theirs.named_parameters()}
    wanted = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    assert names == wanted, f"expected the parameters {wanted}, got {names}"
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def some_batches(s: Sizes, n: int) -> list[tuple[minillm.Tensor, minillm.Tensor]]:
    """So many batches of random words."""
    rng = np.random.default_rng(s)
    return [tuple(minillm.tensor(rng.integers(s.v, size=(s.b, s.t))) for _ in "xy") for _ in range(n)]  # type: ignore[misc]


@check("Listing: it returns one score for each word at each place", "embedding, hidden, out, in this order, no more",
       s=some_sizes)  # fmt: skip
def listing_computes_the_scores(answer: Any, s: Sizes) -> None:
    """As the lesson's does with the same weights."""
    theirs, ours = written(answer, s)
    ((x, _),) = some_batches(s, 1)
    with minillm.no_grad():
        found, wanted = theirs(x).numpy(), ours(x).numpy()
    assert found.shape == (s.b, s.t, s.v), f"expected shape {(s.b, s.t, s.v)}, got {found.shape}"
    assert np.allclose(found, wanted, atol=1e-5), f"expected {wanted.tolist()}, got {found.tolist()}"


@check("Listing: train and eval switch the mode, as for every module", "which method of nn.Module has a taken name?",
       s=some_sizes)  # fmt: skip
def modes_still_work(answer: Any, s: Sizes) -> None:
    """In and out of training mode."""
    theirs, _ = written(answer, s)
    for mode in (False, True):
        assert theirs.train(mode) is theirs, "train(mode) returns the module"
        assert theirs.training == theirs.hidden.training == mode, f"after train({mode}), training is {theirs.training}"
    assert not theirs.eval().training


@check("Listing: fit returns the losses of Adam, step by step",
       "flatten scores and targets alike; zero_grad in each step; one optimizer for all epochs",
       s=some_sizes, n=few, epochs=few)  # fmt: skip
def fit_is_adam(answer: Any, s: Sizes, n: int, epochs: int) -> None:
    """The lesson's own loop, with the same weights and batches."""
    theirs, ours = written(answer, s)
    batches = some_batches(s, n)
    found, wanted = theirs.fit(batches, epochs), fit(ours, batches * epochs, lr=1e-3)
    assert len(found) == n * epochs, f"{n} batches and {epochs} epochs: expected {n * epochs} losses, got {len(found)}"
    assert np.allclose(found, wanted, rtol=0, atol=1e-5), f"expected the losses {wanted}, got {found}"


@check("logit_table: row a holds the scores after word a", "every word is a text of its own, or a place of one text",
       s=some_sizes, relu=st.booleans())  # fmt: skip
def rows_are_the_scores(answer: Any, s: Sizes, relu: bool) -> None:
    """Word by word; and without a ReLU the rank is at most min(d, h), and one more for the biases."""
    minillm.manual_seed(1)
    model = (WithReLU if relu else AutoRegressiveModel)(s.v, s.d, s.h)
    found = answer.logit_table(model, s.v)
    assert isinstance(found, np.ndarray), f"expected a NumPy array, got {type(found).__name__}"
    assert found.shape == (s.v, s.v), f"expected shape {(s.v, s.v)}, got {found.shape}"
    for a in range(s.v):
        with minillm.no_grad():
            wanted = model(minillm.tensor([[a]])).numpy()[0, 0]
        assert np.allclose(found[a], wanted, atol=1e-6), f"row {a}: expected {wanted}, got {found[a]}"
    rank = np.linalg.matrix_rank(found, tol=1e-4)
    assert relu or rank <= min(s.d, s.h) + 1, f"the rank is {rank} with d = {s.d} and h = {s.h}"


@check("as_listing: the shapes fit the listing, and the rank is at most min(d, h)", "all that is not needed is 0",
       table=tables, d=widths, h=widths)  # fmt: skip
def rank_is_limited(answer: Any, table: np.ndarray, d: int, h: int) -> None:
    """The lesson's claim about two layers with nothing between them."""
    made = product(answer.as_listing(table, d, h), len(table), d, h)
    rank = np.linalg.matrix_rank(made, tol=1e-9 * max(1.0, float(np.abs(made).max())))
    assert rank <= min(d, h), f"rank {rank} with d = {d} and h = {h}"


def product(weights: Any, v: int, d: int, h: int) -> np.ndarray:
    """The logit table of weights, once their shapes are right."""
    shapes, wanted = [np.shape(w) for w in weights], [(v, d), (h, d), (v, h)]
    assert shapes == wanted, f"expected shapes {wanted}, got {shapes}"
    e, w1, w2 = weights
    return e @ w1.T @ w2.T


@check("as_listing: no other weights come nearer to the table", "keep the largest singular values, and r of them",
       table=tables, d=widths, h=widths)  # fmt: skip
def nothing_is_nearer(answer: Any, table: np.ndarray, d: int, h: int) -> None:
    """Eckart and Young: what is lost are the smallest singular values; nothing at all from V on."""
    found = np.linalg.norm(table - product(answer.as_listing(table.copy(), d, h), len(table), d, h))
    wanted = np.linalg.norm(np.linalg.svd(table, compute_uv=False)[min(d, h) :])
    scale = 1e-8 * (1 + np.linalg.norm(table))
    assert abs(found - wanted) < scale, f"the distance is {found:.6g}, {wanted:.6g} can be reached"


@check("as_listing: with d and h of V or more the loss is that of the counted pairs",
       "E W1^T W2^T must be the logarithms of the shares",
       counts=st.integers(2, 5).flatmap(lambda v: arrays((v, v), low=1.0, high=9.0)),
       more=st.integers(0, 2))  # fmt: skip
def loss_is_the_counted_one(answer: Any, counts: np.ndarray, more: int) -> None:
    """The listing is the table of word pairs."""
    v, shares = len(counts), counts / counts.sum(axis=1, keepdims=True)
    made = product(answer.as_listing(np.log(shares), v + more, v), v, v + more, v)
    model = AutoRegressiveModel(v, v + more, v)
    loss = -(counts * minillm.tensor(made).log_softmax(-1).numpy()).sum() / counts.sum()
    wanted = -(counts * np.log(shares)).sum() / counts.sum()
    assert isinstance(model, nn.Module) and np.isclose(loss, wanted), f"expected {wanted} nats, got {loss}"
