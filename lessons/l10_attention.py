# %% [markdown]
r"""
Attention
=========

*How can a word look back?*

"The keys that the old man had left on the table **were** gone." Why *were* and not *was*? Because of *keys*, ten words
before. N-grams never see that far. The network of the last lesson sees a fixed window, and has weights of its own for
each place in it: what it learned about a word two places back, it has to learn again for three. Attention is the other
way: each position decides, from what it reads, *where* to look.

- You need: lessons 03 (gradients), 05 (Adam) and 09 (a vector for each token)
- Time: 15 s and 100 MB on two cores
- Corpus: none; the lesson draws rows of random symbols, which are to be copied
- Band: 0.97 to 1 of the symbols copied (written one by one, mean of three seeds)
"""

# %%
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from minillm import datasets, optim
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "How can a word look back?"
DRAWS = "the symbols and the first weights are random; another version of NumPy may draw others"
BAND = Band("share of the symbols copied", 0.97, 1.0, DRAWS)

# %% [markdown]
r"""
A dictionary that answers a little of everything
------------------------------------------------

A dictionary of Python compares a question with its keys, and returns the value whose key is *equal*. Learning needs
slopes, and "equal" has none. So compare softly. Question, keys and values are vectors; here the question is called
*query*. How well query q fits key $k_j$ is their dot product, the *score*; softmax makes weights of the scores,
positive and with the sum 1; the answer is the mean of the values with these weights:

$$ w_j = \frac{e^{s_j}}{\sum_i e^{s_i}}, \qquad s_j = \frac{q \cdot k_j}{\sqrt{D}}, \qquad y = \sum_j w_j v_j $$

D is the length of q and k. (Why the root of it? That is measured below.) If one key fits far better than the others,
this is a dictionary; if none does, it is the mean of everything; and all that lies between has a slope. For T queries
and S keys at once, with the vectors as rows of matrices, it is one line:

$$ \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(Q K^T / \sqrt{D}\right) V $$
"""


# %%
Rows = Sequence[Sequence[float]]
library: Any = F.scaled_dot_product_attention


def attention_naive(q: Rows, k: Rows, v: Rows, is_causal: bool = False) -> list[list[float]]:
    """Return the answer to each query, number by number; if causal, query i looks at keys 0 to i only."""
    answers = []
    for i, query in enumerate(q):
        visible = range(i + 1 if is_causal else len(k))
        scores = [sum(a * b for a, b in zip(query, k[j])) / math.sqrt(len(query)) for j in visible]
        top = max(scores)  # e^s overflows for large s; taking the largest away from all changes no weight
        exponentials = [math.exp(s - top) for s in scores]
        weights = [e / sum(exponentials) for e in exponentials]
        answers.append([sum(w * v[j][c] for w, j in zip(weights, visible)) for c in range(len(v[0]))])
    return answers


# %%
if __name__ == "__main__":
    setting = options()
    prices = [[1.0], [2.0], [30.0]]  # of an apple, a pear, a book
    keys = [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]  # apple and pear are alike
    for strength in (0, 2, 10, 100):
        (answer,) = attention_naive([[strength * x for x in keys[0]]], keys, prices)
        print(f"asked for an apple with strength {strength:3}: {answer[0]:5.2f}")
    assert math.isclose(answer[0], 1.0, abs_tol=1e-4) and attention_naive([[0.0] * 3], keys, prices) == [[11.0]]

# %% [markdown]
r"""
Where queries, keys and values come from
----------------------------------------

From the text itself, hence *self*-attention. Each position has a vector x (of its token, lesson 09). Three matrices,
which are learned, make of it what the position is looking for, what it can be found by, and what it has to say:

$$ q = W_q x, \qquad k = W_k x, \qquad v = W_v x $$

The matrices are the same at all positions. So the number of weights does not grow with the length of the text, and
what was learned at one place holds at every other.

One thing must not happen. A model that learns to predict the next token must not *see* it; in training the whole text
is there, and position t could simply look at t + 1. So the scores of all later positions are set to minus infinity
before the softmax, which makes their weights exactly 0. This is the *causal mask*. It also lets all positions learn at
once: each of them is a guess with its own past, and one pass through the text trains T guesses.
"""

# %%
if __name__ == "__main__":
    rng = datasets.stream(0, "check")
    t, d = 7, 4
    q, k, v = rng.standard_normal((3, t, d))  # (t, d)
    for is_causal in (False, True):
        real = library(*map(minillm.tensor, (q, k, v)), is_causal=is_causal).numpy()  # (t, d)
        assert np.allclose(real, attention_naive(q, k, v, is_causal), rtol=0, atol=1e-12)

    # Values that are unit vectors give the weights themselves back.
    unit = np.eye(t)  # (t, t)
    weights = library(*map(minillm.tensor, (q, k, unit)), is_causal=True).numpy()  # (t, t)
    print(np.array2string(weights, precision=2, suppress_small=True))
    assert np.allclose(weights.sum(axis=-1), 1) and not np.triu(weights, 1).any()

    # What the mask is for: whatever comes later, the past stays as it was, to the last digit.
    later_k, later_v = k.copy(), v.copy()
    later_k[4:], later_v[4:] = 100 * rng.standard_normal((2, t - 4, d))
    changed = library(*map(minillm.tensor, (q, later_k, later_v)), is_causal=True).numpy()
    assert (changed[:4] == real[:4]).all() and not np.allclose(changed[4:], real[4:])
    print("equal to the naive version; the weights sum to 1; the future does not change the past")

# %% [markdown]
r"""
It has no idea of order
-----------------------

Look at the formula again: the answer is a sum over j. Put the past in another order, keys and values together, and it
is the same sum. To bare attention a text is a *bag* of words. The remedy: each position has a vector of its own, p,
learned like those of the tokens, and x is the sum of both. Then a query can ask for "whatever stands twelve places
before me". (The Transformer, the first network made of attention alone, used fixed sine waves for p; its authors found
learned vectors as good.)
"""

# %%
if __name__ == "__main__":
    order = np.array([3, 0, 5, 1, 6, 4, 2])  # (t,)
    again = library(*map(minillm.tensor, (q[-1:], k[order], v[order]))).numpy()  # (1, d)
    assert np.allclose(again[0], real[-1], rtol=0, atol=1e-12)
    print("the past in another order: the same answer")

# %% [markdown]
r"""
Several heads
-------------

One mean cannot keep two findings apart. If a position looks at *man* and *dog* with weight 1/2 each, it gets the
middle of two vectors, which does not say who bit whom. So the C numbers of q, k and v are cut into H pieces of D = C /
H, the *heads*. Each head does its own attention on its own piece, and the answers are put side by side again. The cost
stays about the same: H times as many scores, each of D = C / H products.

``view`` cuts, and ``transpose`` lets the heads stand beside the texts of the batch, so that one call does the
attention of all of them. To reshape (B, T, C) to (B, H, T, D) *directly* is the classic mistake: the shape is right,
and positions are mixed with heads. The model is the smallest that can be trained: vectors of tokens and positions, one
layer, scores for the next token. Lesson 11 says what it lacks.
"""


# %%
class OneLayer(nn.Module):
    """One layer of attention between a table of vectors and the scores of the next token.

    Args:
        vocab_size, block_size: V, and the length of the longest text.
        n_embd, n_head: C, the width, and H; each head has C / H numbers.
        n_out: scores of each position; V unless given.
        scale: what scores are multiplied by; 1 / sqrt(D) unless given.
        positions, is_causal: whether positions have vectors, and whether the future is hidden.

    Shape:
        ids (B, T) to scores (B, T, n_out).
    """

    def __init__(
        self, vocab_size: int, block_size: int, n_embd: int = 64, n_head: int = 1, n_out: int | None = None,
        scale: float | None = None, positions: bool = True, is_causal: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_head, self.scale, self.is_causal = n_head, scale, is_causal
        self.tokens = nn.Embedding(vocab_size, n_embd)
        self.positions = nn.Embedding(block_size, n_embd) if positions else None
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)  # W_q, W_k and W_v on top of each other
        self.out = nn.Linear(n_embd, n_out or vocab_size)

    def heads(self, ids: minillm.Tensor) -> tuple[minillm.Tensor, ...]:
        """Return queries, keys and values, one set for each head."""
        x = self.tokens(ids)  # (B, T, C)
        if self.positions is not None:
            x = x + self.positions(minillm.arange(ids.shape[1]))  # (B, T, C)
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head)
        return tuple(qkv.permute(2, 0, 3, 1, 4))  # each (B, H, T, D)

    def forward(self, ids: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of the next token at every position."""
        q, k, v = self.heads(ids)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal, scale=self.scale)  # (B, H, T, D)
        B, H, T, D = y.shape
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))

    def weights(self, ids: minillm.Tensor) -> np.ndarray:
        """Return the weights with which every position looks at every other, (B, H, T, T)."""
        with minillm.no_grad():
            q, k, _ = self.heads(ids)
            unit = minillm.eye(ids.shape[1]).expand(*q.shape[:2], -1, -1)  # (B, H, T, T)
            found = F.scaled_dot_product_attention(q, k, unit, is_causal=self.is_causal, scale=self.scale)
        return found.numpy()


# %% [markdown]
r"""
Why the root of D
-----------------

Vaswani et al. (2017, section 3.2.1) give an argument that can be measured. Let the entries of q and k be independent,
with mean 0 and variance 1. Then each product $q_i k_i$ has mean 0 and variance 1, and the score, a sum of D of them,
has variance D: its typical size is $\sqrt{D}$. With D = 64 scores lie about 8 from 0, and softmax gives the largest
nearly everything. Then learning stops. The slope of a weight in its own score is

$$ \frac{\partial w_j}{\partial s_j} = w_j (1 - w_j) $$

and that is about 0 for a weight near 0 *and* for a weight near 1: the softmax is *saturated*. Whoever looks at the
wrong place with weight 1 has no slope that would say so. Divided by $\sqrt{D}$, scores have variance 1, whatever D is.
"""


# %%
def saturation(d: int, divided: bool, rng: np.random.Generator, n: int = 100, keys: int = 64) -> dict[str, float]:
    """Return the variance of random scores at a head width of d, and the largest weight and slope that they leave.

    why 64 keys: as many as the models of the coming lessons look back over. Slope is the sum of w (1 - w) over them.
    """
    q = rng.standard_normal((n, 1, d), dtype=np.float32)  # (n, 1, d)
    k = rng.standard_normal((n, keys, d), dtype=np.float32)  # (n, keys, d)
    scores = (q @ k.swapaxes(-1, -2))[:, 0] / (math.sqrt(d) if divided else 1.0)  # (n, keys)
    w = minillm.tensor(scores).softmax(-1).numpy()  # (n, keys)
    slope = (w * (1 - w)).sum(axis=-1)  # (n,)
    return {"variance": float(scores.var()), "largest": float(w.max(-1).mean()), "slope": float(slope.mean())}


# %%
if __name__ == "__main__":
    seeds = (0,) if setting.fast else (0, 1, 2)
    widths = [4**i for i in range(1, 4 if setting.fast else 6)]
    softness = {way: [[saturation(d, way, datasets.stream(s, "scores", d)) for s in seeds] for d in widths]
                for way in (False, True)}  # fmt: skip
    for i, d in enumerate(widths):
        plain, scaled = ({key: float(np.mean([one[key] for one in softness[way][i]])) for key in softness[way][i][0]}
                         for way in (False, True))  # fmt: skip
        for name, mean in (("not divided", plain), ("divided", scaled)):
            print(f"d = {d:4}, {name:<11}:", ", ".join(f"{key} {value:.3f}" for key, value in mean.items()))
        # The argument, with room for chance: 300 queries, each of which has a length of its own.
        assert abs(plain["variance"] / d - 1) < 0.25 and abs(scaled["variance"] - 1) < 0.25

# %% [markdown]
r"""
Measure
-------

*Can it look back at all?* The task is to copy: twelve symbols, drawn from sixteen, then a mark, then the same twelve.
Nothing in the first half can be predicted, not even by a perfect model: each symbol is a draw of one in sixteen. All
of the second half can be, by who looks exactly twelve places back. N-grams are helpless: every row is new.

We train the layer, and three that lack something, and judge them on new rows: once as in training, with the whole row
in view, on the half that nobody can know and on the copy; and once as it counts: give the first half and the mark, and
let the model *write*, symbol by symbol, when the future does not exist yet.

*Can one head hold two findings?* The second task: at every position say which symbol stood two places before it, and
which five places before it. One head and two, with the same number of weights.
"""

# %%
MARK = 16  # why: so few symbols before it are learned in seconds, and guessing is not taken for knowing
SYMBOLS = MARK + 1
VARIANTS: dict[str, dict[str, Any]] = {"the whole layer": {}, "not divided by sqrt(D)": {"scale": 1.0}}
VARIANTS |= {"without positions": {"positions": False}, "without the mask": {"is_causal": False}}


def rows_to_copy(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """Return rows of n random symbols, a mark, and the same symbols again."""
    first = rng.integers(MARK, size=(rows, n))  # (rows, n)
    return np.concatenate([first, np.full((rows, 1), MARK), first], axis=1)  # (rows, 2 * n + 1)


def train(model: OneLayer, draw: Callable[[], tuple[np.ndarray, np.ndarray]], steps: int) -> OneLayer:
    """Train a model on batches of ids and right answers, as many steps as given."""
    optimizer = optim.Adam(model.parameters(), lr=3e-3)  # why: 1e-2 is no faster, and less steady
    for ids, answers in (draw() for _ in range(steps)):
        logits = model(minillm.tensor(ids)).reshape(-1, SYMBOLS)  # (answers.size, SYMBOLS)
        loss = F.cross_entropy(logits, minillm.tensor(answers.reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def train_copying(seed: int, n: int, steps: int, **how: Any) -> OneLayer:
    """Return a model that was trained to predict the next symbol of rows to copy."""
    minillm.manual_seed(seed)
    rng = datasets.stream(seed, "rows")

    def draw() -> tuple[np.ndarray, np.ndarray]:
        rows = rows_to_copy(rng, 32, n)
        return rows[:, :-1], rows[:, 1:]  # (32, 2 * n), (32, 2 * n)

    return train(OneLayer(SYMBOLS, 2 * n, **how), draw, steps)


def write_on(model: OneLayer, start: np.ndarray, n: int) -> np.ndarray:
    """Return the n symbols that a model writes behind each row, always the likeliest."""
    ids = start
    with minillm.no_grad():
        for _ in range(n):
            best = model(minillm.tensor(ids)).numpy()[:, -1].argmax(axis=-1)  # (B,)
            ids = np.concatenate([ids, best[:, None]], axis=1)
    return ids[:, start.shape[1] :]


def judge_copying(model: OneLayer, n: int, seed: int) -> dict[str, float]:
    """Return the share of symbols that are right, on new rows: of the random half, of the copy, and when writing."""
    rows = rows_to_copy(datasets.stream(seed, "new rows"), 64, n)
    with minillm.no_grad():
        guesses = model(minillm.tensor(rows[:, :-1])).numpy().argmax(axis=-1)  # (64, 2 * n)
    right = guesses == rows[:, 1:]  # (64, 2 * n)
    written = write_on(model, rows[:, : n + 1], n) == rows[:, n + 1 :]  # (64, n)
    shares = {"random half": right[:, : n - 1], "copy": right[:, n:], "writing": written}
    return {name: float(share.mean()) for name, share in shares.items()}


def two_findings(seed: int, n_head: int, steps: int, length: int = 16) -> list[float]:
    """Return the share of right answers about the symbols two and five places back, for a layer with so many heads."""
    minillm.manual_seed(seed)
    rng = datasets.stream(seed, "two findings")

    def draw() -> tuple[np.ndarray, np.ndarray]:
        ids = rng.integers(MARK, size=(64, length))  # (64, length)
        # What np.roll carries from the end to the front nobody can know; it is not judged.
        return ids, np.stack([np.roll(ids, places, axis=1) for places in (2, 5)], axis=-1)

    model = train(OneLayer(SYMBOLS, length, n_head=n_head, n_out=2 * SYMBOLS), draw, steps)
    ids, answers = draw()
    with minillm.no_grad():
        guesses = model(minillm.tensor(ids)).numpy().reshape(64, length, 2, SYMBOLS).argmax(axis=-1)  # (64, length, 2)
    return (guesses == answers)[:, 5:].mean(axis=(0, 1)).tolist()


# %%
if __name__ == "__main__":
    n, steps = (6, 60) if setting.fast else (12, 150)
    copying: dict[str, list[dict[str, float]]] = {}
    print(f"{'':<24} random half       copy              writing")
    for name, how in VARIANTS.items():
        models = [train_copying(seed, n, steps, **how) for seed in seeds]
        if not how:
            shown = models[0]
        copying[name] = [judge_copying(model, n, seed) for seed, model in zip(seeds, models)]
        columns = [[one[key] for one in copying[name]] for key in ("random half", "copy", "writing")]
        print(f"{name:<24}", *(f"{np.mean(c):.2f} ({min(c):.2f}-{max(c):.2f}) " for c in columns))
    judged = BAND.judge(float(np.mean([one["writing"] for one in copying["the whole layer"]])), setting.fast)

    heads = {h: [two_findings(seed, h, steps) for seed in seeds] for h in (1, 2)}
    for h, found in heads.items():
        print(f"heads: {h}; two and five places back:", *(f"{two:.2f} and {five:.2f};" for two, five in found))

# %% [markdown]
r"""
How to read these numbers
-------------------------

- The whole layer copies, and on the random half it is no better than guessing: 1 in 16. That is right. Nobody can be.
- Without the mask it seems to be perfect, *even on the half that nobody can know*: it reads the answer one place
  further on. When it writes, that place does not exist yet; some of the copy still comes out right, because the answer
  also stands in the first half and it learned to look at both. Remember the sign: a result that is too good to be
  possible is a mistake in the program.
- Without positions it knows which symbols occurred, and not where: a little better than guessing.
- Without the division it begins saturated. Some positions look at a wrong place with weight 1, and stay there.
- One head finds one of the two; two heads find both. Longer training would not help: the answer of
  one head is one mean. With equal weights the mean of *a* and *b* is also that of *b* and *a*. With unequal ones the
  heavier symbol can be told, but no linear layer that is right when both are equal is right about the lighter one in
  both orders (two lines on paper).
"""

# %% [markdown]
r"""
The figure
----------

Left the trained layer on one row: each line is a position, and the dark fields are what it looks at. In the lower
half, where the copy is written, they stand always the same number of places back. Nobody programmed that. In the upper
half there is nothing to find, and it looks anywhere, but never to the right of the diagonal. (The last line there
predicts the mark, which always comes next, so the place is no matter.) Right the saturation: without the division the
slope that learning needs dies out as heads grow wider.
"""

# %%
if __name__ == "__main__":
    fig, (left, right) = figure(10, 4.6, panels=2)
    row = rows_to_copy(datasets.stream(0, "shown"), 1, n)[0]  # (2 * n + 1,)
    picture = shown.weights(minillm.tensor(row[None, :-1]))[0, 0]  # (2 * n, 2 * n)
    names = ["abcdefghijklmnop|"[i] for i in row[:-1]]
    left.grid(visible=False)
    left.imshow(picture, cmap="Blues", vmin=0, vmax=1)
    left.set_xticks(range(2 * n), names, fontsize=8)
    left.set_yticks(range(2 * n), names, fontsize=8)
    left.axhline(n - 0.5, color="#555555", linewidth=0.8, linestyle="--")
    left.annotate("nothing to find", (2 * n - 0.7, n - 0.7), ha="right", va="bottom", color="#333333")
    left.annotate("write the copy", (2 * n - 0.7, n - 0.2), ha="right", va="top", color="#333333")
    left.set(xlabel="position that is looked at", ylabel="position that looks")
    left.set_title(f"To copy, look {n} places back", loc="left", fontsize=11)
    for divided, name, colour in ((True, "divided by √d", COLOURS[0]), (False, "not divided", COLOURS[1])):
        lines = np.array([[one["slope"] for one in at] for at in softness[divided]])  # (len(widths), 3)
        right.fill_between(widths, lines.min(axis=1), lines.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        right.plot(widths, lines.mean(axis=1), color=colour, marker="o", markersize=4)
        right.annotate(name, (widths[-1], lines.mean(axis=1)[-1]), xytext=(0, -16 if divided else 34),
                       textcoords="offset points", ha="right", color=colour)  # fmt: skip
    right.set_xscale("log", base=2)
    right.set_xticks(widths, [str(d) for d in widths])
    right.set(ylim=(0, 1.05), xlabel="head width d", ylabel="slope of the softmax: sum of w (1 - w)")
    right.set_title("Undivided scores leave no slope to learn by", loc="left", fontsize=11)
    flat, steep = (float(np.mean([one["slope"] for one in softness[divided][-1]])) for divided in (True, False))
    alt = (
        f"Two panels. Left: attention weights of a copying layer, {2 * n} by {2 * n} fields. In the lower half one "
        f"dark field in each line, {n} places back, forms a diagonal; the upper half has no such order; nothing lies "
        f"right of the main diagonal. Right: slope of the softmax against head width from {widths[0]} to {widths[-1]}."
        f" Divided by the root of the width it stays near {flat:.2f}; not divided it falls to {steep:.2f}."
    )
    numbers = {"row": names, "weights": np.round(picture, 4).tolist(), "widths": widths, "divided": softness[True],
               "not divided": softness[False], "copying": copying, "heads": heads, "band": judged}  # fmt: skip
    print(*save_figure(fig, setting.out / "l10_attention", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l10_attention.py``; ``minillm check 10`` says how far you are, and gives hints.

- ``causal_mask``: who may look at whom, also when the first positions were read before.
- ``attention``: the formula with a mask. One check changes everything that comes later, and the past must not move.
- ``split_heads`` and ``join_heads``: two steps of shape, and the classic mistake.

Then try: train on rows of twelve, and let the layer copy rows of six; why does it fail, and what would the position
vectors have to be? Give it two heads: do both look at the same place? How many steps does the layer without division
need at C = 16, and at C = 256?
"""

# %%
QUIZ = (
    Question(
        "A layer is trained without the causal mask, and its loss in training is nearly 0. What will it write?",
        (
            "Excellent text, since its loss is nearly 0.",
            "Far worse text than the loss promises: it learned to read the next token.",
            "The same as with a mask, only slower.",
        ),
        1,
        "In training the next token stood in view, and copying it is easier than predicting it. When a text is "
        "written, what comes next does not exist yet, and what is needed then there was no reason to learn.",
    ),
    Question(
        "Entries of q and k are independent with variance 1, and D is 256. How large are undivided scores, typically?",
        ("about 16", "about 1", "about 256"),
        0,
        "A sum of 256 products of variance 1 has variance 256, so the typical size, the standard deviation, is 16. The "
        "weights of two such scores differ by factors of thousands or more.",
    ),
    Question(
        "Attention without position vectors reads 'dog bites man' and 'man bites dog man'. What can it tell apart?",
        (
            "Nothing at all.",
            "The order of the words.",
            "Which words occur and in which shares, but not in which order.",
        ),
        2,
        "The answer is a sum over the past, and a sum does not know the order of its terms. What is in the bag, and "
        "in which share, it does see: 'man' has two of four places in the second text.",
    ),
)

# %%
if __name__ == "__main__":
    ask(10, QUIZ)

# %% [markdown]
r"""
Sources
-------

- A. Vaswani et al., Attention Is All You Need, NeurIPS 2017 (3.2.1: the formula, and the argument about the variance
  in a footnote; 3.2.2: heads; 3.5: positions).
- D. Bahdanau, K. Cho, Y. Bengio, Neural Machine Translation by Jointly Learning to Align and Translate, ICLR 2015
  (attention before the Transformer, with a small network instead of the dot product).
"""
