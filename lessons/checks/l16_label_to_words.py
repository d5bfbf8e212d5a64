"""Checks of the answers to lesson 16."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from lessons.l16_label_to_words import classify, encode_pair, room_beside
from lessons.parts.l16_writing_task import collate
from minillm.testing.properties import check, st
from minillm.testing.strategies import arrays
from minillm.text import ByteBPETokenizer

IGNORED = -100
LABELS = ("a", "longer")


class Scored(NamedTuple):
    """Scores of every word at every place, and the words that stand there."""

    logits: np.ndarray  # (B, T, V)
    targets: np.ndarray  # (B, T)


class Likely(NamedTuple):
    """log P(text | label), and P(label)."""

    log_p: np.ndarray  # (N, labels)
    prior: np.ndarray  # (labels,)


@st.composite
def scored(draw: st.DrawFn) -> Scored:
    """Some places are ignored, perhaps all of them."""
    b, t, v = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    words = st.one_of(st.integers(0, v - 1), st.just(IGNORED))
    targets = draw(st.lists(words, min_size=b * t, max_size=b * t))
    return Scored(draw(arrays((b, t, v))), np.array(targets).reshape(b, t))


@st.composite
def likely(draw: st.DrawFn) -> Likely:
    """Short texts, so that the formula can be computed as it stands."""
    n, labels = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    weights = np.array(draw(st.lists(st.integers(1, 9), min_size=labels, max_size=labels)), dtype=float)
    return Likely(-np.abs(draw(arrays((n, labels)))), weights / weights.sum())


def shaped(found: Any, wanted: tuple[int, ...]) -> np.ndarray:
    """An answer as an array, if it has the right shape and no number is missing."""
    assert np.shape(found) == wanted, f"expected shape {wanted}, got {np.shape(found)}"
    assert np.isfinite(found).all(), f"expected numbers, got {np.asarray(found).tolist()}"
    return np.asarray(found)


def by_hand(logits: np.ndarray, targets: np.ndarray) -> float:
    """The log-probability of one text, word by word."""
    total = 0.0
    for row, word in zip(logits.tolist(), targets.tolist()):
        if word != IGNORED:
            total += row[word] - math.log(math.fsum(map(math.exp, row)))
    return total


@check("sequence_log_probability: it is the sum over the words that count", "log softmax, picked, then summed over T",
       case=scored())  # fmt: skip
def sum_of_words(answer: Any, case: Scored) -> None:
    """Against a loop over the words."""
    found = shaped(answer.sequence_log_probability(*case), (len(case.logits),))
    wanted = [by_hand(*row) for row in zip(*case)]
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-9), f"expected {wanted}, got {found.tolist()}"


@check("sequence_log_probability: padding never changes it", "an ignored place adds 0, whatever the scores there are",
       case=scored(), more=st.integers(0, 3))  # fmt: skip
def ignores_padding(answer: Any, case: Scored, more: int) -> None:
    """Other scores at ignored places, and more of these on the right."""
    b, _, v = case.logits.shape
    before = shaped(answer.sequence_log_probability(*case), (b,))
    logits = np.where((case.targets == IGNORED)[:, :, None], 50 - 3 * case.logits, case.logits)
    logits = np.concatenate([logits, np.full((b, more, v), 7.0)], axis=1)
    targets = np.pad(case.targets, ((0, 0), (0, more)), constant_values=IGNORED)
    after = shaped(answer.sequence_log_probability(logits, targets), (b,))
    assert np.allclose(before, after, rtol=0, atol=1e-9), f"{before.tolist()} became {after.tolist()}"


@check("sequence_log_probability: over all texts of a length the probabilities sum to 1",
       "softmax is over words: the last axis",
       logits=arrays(st.tuples(st.integers(1, 3), st.integers(1, 4))))  # fmt: skip
def all_texts(answer: Any, logits: np.ndarray) -> None:
    """Every text of T words over V."""
    t, v = logits.shape
    texts = np.array(list(itertools.product(range(v), repeat=t)))
    found = shaped(answer.sequence_log_probability(np.broadcast_to(logits, (len(texts), t, v)), texts), (len(texts),))
    total = np.exp(found).sum()
    assert math.isclose(total, 1, rel_tol=1e-9), f"the sum over {len(texts)} texts is {total}"


@check("sequence_log_probability: what is added to all scores of a place changes nothing",
       "e^1000 overflows: take the largest score of each place out first",
       case=scored(), far=st.sampled_from((-1000.0, 1000.0)))  # fmt: skip
def shifted_scores(answer: Any, case: Scored, far: float) -> None:
    """Scores in the thousands, other ones at each place."""
    shift = far * np.arange(case.targets.size).reshape(*case.targets.shape, 1)
    both = (answer.sequence_log_probability(logits, case.targets) for logits in (case.logits, case.logits + shift))
    before, after = (shaped(found, (len(case.logits),)) for found in both)
    assert np.allclose(before, after, rtol=0, atol=1e-6), f"{before.tolist()} became {after.tolist()}"


@check("log_evidence: it is the sum over labels", "a sum of probabilities, not of logarithms", case=likely())
def sum_over_labels(answer: Any, case: Likely) -> None:
    """As the formula says, for short texts."""
    found = shaped(answer.log_evidence(*case), (len(case.log_p),))
    prior = case.prior.tolist()
    wanted = [math.log(math.fsum(p * math.exp(x) for p, x in zip(prior, row))) for row in case.log_p.tolist()]
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-9), f"expected {wanted}, got {found.tolist()}"


@check("log_evidence: a long text is improbable, not impossible", "take the largest of each row out before exp",
       case=likely(), longer=st.floats(0, 20_000))  # fmt: skip
def long_texts(answer: Any, case: Likely, longer: float) -> None:
    """The same words more for all labels: the logarithms all fall by as much, and each text by another amount."""
    fall = longer * np.arange(1, len(case.log_p) + 1)
    both = (answer.log_evidence(log_p, case.prior) for log_p in (case.log_p, case.log_p - fall[:, None]))
    short, long = (shaped(found, fall.shape) for found in both)
    wanted = short - fall
    assert np.allclose(wanted, long, rtol=0, atol=1e-6), f"expected {wanted.tolist()}, got {long.tolist()}"


@check("label_probabilities: they sum to 1, and with the evidence they give back what went in",
       "P(label | text) P(text) = P(label) P(text | label)", case=likely(), longer=st.floats(0, 20_000))  # fmt: skip
def bayes(answer: Any, case: Likely, longer: float) -> None:
    """Bayes' rule, read the other way round."""
    log_p = case.log_p - longer
    p = shaped(answer.label_probabilities(log_p, case.prior), log_p.shape)
    assert (p >= 0).all() and np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-6), f"sums {p.sum(axis=1).tolist()}"
    joint = case.prior * np.exp(case.log_p)
    wanted = joint / joint.sum(axis=1, keepdims=True)
    assert np.allclose(p, wanted, rtol=0, atol=1e-6), f"expected {wanted.tolist()}, got {p.tolist()}"


@check("label_probabilities: the best label is the one that brute force finds", "the prior counts too", case=likely())
def best_label(answer: Any, case: Likely) -> None:
    """Of equals, any."""
    found = shaped(answer.label_probabilities(*case), case.log_p.shape).argmax(axis=1)
    for row, label in zip(case.log_p.tolist(), found.tolist()):
        joint = [p * math.exp(x) for p, x in zip(case.prior.tolist(), row)]
        assert joint[label] >= max(joint) * (1 - 1e-9), f"label {label} of {joint}"


@check("label_probabilities: with a GPT under it, your three functions are the classifier of the lesson",
       "run each of the three on a batch by hand",
       texts=st.lists(st.text("ab ", min_size=1, max_size=30), min_size=1, max_size=3))  # fmt: skip
def with_a_gpt(answer: Any, texts: list[str]) -> None:
    """All parts together: labels in front, some texts cut, some filled up."""
    minillm.manual_seed(0)
    model, letters = GPT(GPTConfig(256, 32, n_layer=1, n_head=1, n_embd=8)).eval(), ByteBPETokenizer([], ())
    room, prior = room_beside(LABELS, letters, 32), np.array([0.25, 0.75])
    x, y = collate([encode_pair(text, label, letters, room) for text in texts for label in LABELS])
    with minillm.no_grad():
        logits = model(minillm.tensor(x)).numpy()
    log_p = np.reshape(answer.sequence_log_probability(logits, y), (len(texts), len(LABELS)))
    found = shaped(answer.label_probabilities(log_p, prior), log_p.shape)
    wanted = classify(model, letters, texts, LABELS, prior)
    assert np.allclose(found, wanted, rtol=0, atol=1e-3), f"expected {wanted.tolist()}, got {found.tolist()}"
