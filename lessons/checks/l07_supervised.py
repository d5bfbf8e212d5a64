"""Checks of the answers to lesson 07."""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays
from minillm.training.baselines import NaiveBayes

seeds = st.integers(0, 999)
decays = st.sampled_from([0.0, 0.1, 1.0])


def points(seed: int, n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Random points in three dimensions, and labels of -1 and 1."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-2, 2, (n, 3)), rng.choice([-1.0, 1.0], n)


@check("hinge_subgradient: off the kink, loss and slopes are those of the engine",
       "margins below 1 pull with -y x, divided by the number of all points; decay * w for w, nothing for b",
       seed=seeds, w=arrays((3,)), b=st.floats(-1, 1), decay=decays)  # fmt: skip
def hinge_equals_autograd(answer: Any, seed: int, w: np.ndarray, b: float, decay: float) -> None:
    """minillm writes the same loss with relu."""
    x, y = points(seed)
    if np.abs(y * (x @ w + b) - 1).min() < 1e-9:
        return  # on the kink every number between two slopes is right
    wt, bt = minillm.tensor(w).requires_grad_(), minillm.tensor(np.array(b)).requires_grad_()
    gaps = minillm.relu(1 - minillm.tensor(y) * (minillm.tensor(x) @ wt + bt))
    wanted = gaps.mean() + decay / 2 * wt.square().sum()
    wanted.backward()
    loss, dw, db = answer.hinge_subgradient(x, y, w.copy(), b, decay)
    assert np.isclose(loss, wanted.item()), f"expected the loss {wanted.item()}, got {loss}"
    assert np.shape(dw) == w.shape, f"the slope in w has shape {np.shape(dw)}, expected {w.shape}"
    assert np.allclose(dw, wt.grad.numpy()), f"expected the slope {wt.grad.numpy()} in w, got {dw}"
    assert np.isclose(db, bt.grad.item()), f"expected the slope {bt.grad.item()} in b, got {db}"


@check("hinge_subgradient: the loss lies nowhere below the straight line that the slopes draw",
       "this is what makes a number a sub-gradient; look at signs and factors",
       seed=seeds, w=arrays((3,)), v=arrays((3,)), decay=decays)  # fmt: skip
def supports_from_below(answer: Any, seed: int, w: np.ndarray, v: np.ndarray, decay: float) -> None:
    """loss(v) >= loss(w) + slope @ (v - w) for any v, on the kink too."""
    x, y = points(seed)
    x[0], y[0] = [1.0, 0.0, 0.0], 1.0
    w[0] = 1.0  # with b = 0 the first point sits on the kink
    here, dw, db = answer.hinge_subgradient(x, y, w, 0.0, decay)
    there = answer.hinge_subgradient(x, y, v, 0.5, decay)[0]
    line = here + dw @ (v - w) + db * 0.5
    assert there >= line - 1e-9, f"the line says {line}, the loss there is {there}"


@check("hinge_subgradient: points with a margin of 1 or more can be moved away without any effect",
       "max(0, ...), and the slope 0 at a margin of exactly 1",
       far=st.floats(0, 50))  # fmt: skip
def only_support_vectors_count(answer: Any, far: float) -> None:
    """The margin property."""
    x = np.array([[1.0 + far, 0.0], [-1.0 - far, 0.0], [0.5, 0.0]])
    loss, dw, db = answer.hinge_subgradient(x, np.array([1.0, -1.0, 1.0]), np.array([1.0, 0.0]), 0.0, 0.0)
    assert np.isclose(loss, 0.5 / 3), f"one point is 0.5 inside the margin: expected a loss of {0.5 / 3}, got {loss}"
    assert np.allclose(dw, [-0.5 / 3, 0]) and np.isclose(db, -1 / 3), f"got the slopes {dw} and {db}"


@check("ridge_weights: the gradient at the result is 0", "2 / N * x.T @ (x @ W - targets) + 2 * decay * W = 0",
       seed=seeds, n=st.integers(1, 8), decay=st.floats(0.01, 2))  # fmt: skip
def ridge_is_the_bottom(answer: Any, seed: int, n: int, decay: float) -> None:
    """The engine computes the gradient."""
    rng = np.random.default_rng(seed)
    x, targets = rng.uniform(-2, 2, (n, 3)), rng.uniform(-2, 2, (n, 2))
    found = answer.ridge_weights(x.copy(), targets.copy(), decay)
    assert np.shape(found) == (3, 2), f"W has shape {np.shape(found)}, expected (3, 2)"
    w = minillm.tensor(np.asarray(found, dtype=np.float64)).requires_grad_()
    loss = (minillm.tensor(x) @ w - minillm.tensor(targets)).square().sum() / n + decay * w.square().sum()
    loss.backward()
    assert np.allclose(w.grad.numpy(), 0, atol=1e-8), f"the gradient is {w.grad.numpy()}"


@st.composite
def bags(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Counts of four words in some texts, every word somewhere, and labels, every label somewhere."""
    labels = [0, 1, 2, *draw(st.lists(st.integers(0, 2), max_size=4))]
    rows = draw(
        st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=len(labels), max_size=len(labels))
    )
    counts = np.array(rows, dtype=float)
    counts[0] += 1
    return counts, np.array(labels)


@check("naive_bayes_weights: for each label, the probabilities of all words sum to 1, and so do those of the labels",
       "divide by the sum after k was added", bag=bags(), k=st.floats(0.05, 2))  # fmt: skip
def distributions(answer: Any, bag: tuple[np.ndarray, np.ndarray], k: float) -> None:
    """W and b are logarithms of probabilities."""
    w, b = answer.naive_bayes_weights(*bag, 3, k)
    assert np.shape(w) == (4, 3) and np.shape(b) == (3,), f"W has shape {np.shape(w)}, b {np.shape(b)}"
    assert np.allclose(np.exp(w).sum(axis=0), 1), f"the columns sum to {np.exp(w).sum(axis=0)}"
    assert np.isclose(np.exp(b).sum(), 1), f"the labels sum to {np.exp(b).sum()}"


@check("naive_bayes_weights: every text gets the probabilities that minillm's own version gives",
       "C(word, label) adds counts, not texts; k for every word; b from the number of texts",
       bag=bags(), k=st.floats(0.05, 2))  # fmt: skip
def equals_the_library(answer: Any, bag: tuple[np.ndarray, np.ndarray], k: float) -> None:
    """The library reads texts, so the counts are written out as words."""
    counts, labels = bag
    w, b = answer.naive_bayes_weights(counts, labels, 3, k)
    texts = [" ".join("abcd"[i] for i, n in enumerate(row) for _ in range(int(n))) for row in counts]
    wanted = NaiveBayes(k).fit(texts, labels.tolist(), 3).log_proba(texts)
    scores = counts @ w + b
    found = scores - np.logaddexp.reduce(scores, axis=1)[:, None]
    assert np.allclose(found, wanted), f"expected log P(label | text) of {wanted[0]} for the first text, got {found[0]}"
