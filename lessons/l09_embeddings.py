# %% [markdown]
r"""
Meaning as vectors
==================

*How wide should an embedding be?*

A count knows nothing of likeness. Whoever has counted what follows "the cat sat on the" has learned nothing about "the
dog sat on the": other words, other counts. Bengio and others (2003) gave each word a vector of d numbers, its
*embedding*, and let a small network predict the next word from the vectors. Words that occur in the same places get
vectors that are alike, and what is learned about one holds for its neighbours. How large must d be? The recipe that
this course grew from says 128 or 256. We measure.

- You need: lessons 01 (n-grams), 03 (gradients), 05 (Adam), 06 (principal components) and 08 (modules)
- Time: 40 s and 170 MB on two cores
- Corpus: ``microworld``, texts from a toy town, whose entropy is known exactly
- Band: 0.38 to 0.41 bits per character (held-out text, width 64, mean of three seeds)
"""

# %%
from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from minillm import datasets, optim
from minillm.datasets import microworld
from minillm.datasets.microworld import town
from minillm.text import END_OF_TEXT, WordTokenizer
from minillm.training import figure, save_figure
from minillm.training.baselines import WittenBell
from minillm.training.curves import COLOURS

QUESTION = "How wide should an embedding be?"
BAND = Band(
    "bits per character on held-out text, width 64",
    0.38,
    0.41,
    "the first weights and the batches are random; another version of NumPy may draw others",
)

# %% [markdown]
r"""
A table, and what it is short for
---------------------------------

The vectors are the rows of a table E with V rows and d columns. To look up word i is to take row i. Written as
mathematics it is a product with the *one-hot* row of i, which has a 1 in place i and 0 everywhere else:

$$ x = E_i = \mathrm{onehot}(i) \, E $$

Nobody computes it so (V times the work, to add zeros), but the product says at once what the gradient is. From lesson
03, for $X = O E$ it is $dE = O^T dX$, and since O is all zeros and ones, that is a sum:

$$ dE_v = \sum_{\text{places } t \text{ with } i_t = v} dx_t $$

Each row gets the gradients of all places where its word stood, *added up*; a word that did not occur gets 0. The
classic mistake is to write ``dE[ids] += dX`` with NumPy, which keeps only one of several equal ids.
"""


# %%
def embed_naive(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the rows of a table by one-hot product."""
    one_hot = (ids[:, None] == np.arange(len(table))).astype(table.dtype)  # (T, V)
    return one_hot @ table  # (T, C)


# %%
if __name__ == "__main__":
    setting = options()
    rng = datasets.stream(0, "check")
    ids = np.array([2, 0, 2, 2])  # (4,)
    table = minillm.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    dx = rng.standard_normal((4, 3))  # (4, 3)
    x = F.embedding(minillm.tensor(ids), table)
    x.backward(minillm.tensor(dx))
    assert np.allclose(x.detach().numpy(), embed_naive(ids, table.detach().numpy()))
    wanted = np.zeros((5, 3))  # (5, 3)
    wanted[0], wanted[2] = dx[1], dx[0] + dx[2] + dx[3]
    assert np.allclose(table.grad.numpy(), wanted)
    lost = np.zeros((5, 3))  # (5, 3)
    lost[ids] += dx
    print("row 2, used three times: right", wanted[2].round(2), "and with dE[ids] += dX", lost[2].round(2))

# %% [markdown]
r"""
The network of Bengio and others
--------------------------------

Take the vectors of the last six words, side by side, send them through a layer of h = 64 with tanh, and score every
word of the vocabulary. In the middle there is a second vector of width d, what the network *expects*; the score of a
word is its dot product with that word's vector:

$$ e = W_2 \tanh(W_1 [x_{t-5}; \dots; x_t] + b_1) + b_2, \qquad \mathrm{score}(v) = E_v \cdot e + c_v $$

So the table is used twice, to read a word and to predict it. These are *tied* weights (Press and Wolf 2017): half as
many numbers, and each row learns at both ends. (Bengio's network had two tables, and no second vector.)

The texts come from the micro-world, a grammar of a small town: some 250 words and marks, and for each text it is known
how likely it is. So there is a floor that no model can get below.
"""


# %%
class WordNetwork(nn.Module):
    """A small network that predicts a word from the vectors of those before it.

    Args:
        vocab_size, width: V and d.
        context: words that it looks at. why 6: the best n-gram here looks at three.
        hidden: h. why 64: so small that the vectors have to carry the meaning.
        tied: whether words are read and predicted with one table.

    Shape:
        ids (B, context) to scores (B, V).
    """

    def __init__(self, vocab_size: int, width: int, context: int = 6, hidden: int = 64, tied: bool = True) -> None:
        super().__init__()
        self.context = context
        self.table = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)  # why: then every vector has a length of about 1
        self.up = nn.Linear(context * width, hidden)
        self.down = nn.Linear(hidden, width)
        self.score = nn.Linear(width, vocab_size)
        if tied:
            self.score.weight = self.table.weight

    def forward(self, ids: minillm.Tensor) -> minillm.Tensor:
        """Return a score for every word."""
        x = self.table(ids).flatten(1)  # (B, self.up.in_features)
        expected = self.down(self.up(x).tanh())  # (B, C)
        return self.score(expected)  # (B, V)


def read(text: str, tokenizer: WordTokenizer) -> np.ndarray:
    """Return the ids of all words, with a mark behind each text."""
    end = tokenizer.special_tokens[END_OF_TEXT]
    return np.array([id for one in text.split(microworld.SEPARATOR) for id in (*tokenizer.encode(one), end)])  # (N,)


# %%
if __name__ == "__main__":
    # why 600,000: about as many words as the training below sees, so that it learns nothing by heart
    corpus = datasets.load("microworld", size=60_000 if setting.fast else 600_000)
    tokenizer = WordTokenizer.train(corpus.train, special_tokens=(END_OF_TEXT,))
    train, held_out = read(corpus.train, tokenizer), read(corpus.validation, tokenizer)
    V = tokenizer.vocab_size
    per_character = len(held_out) / len(corpus.validation)  # words and marks
    print(f"{V} words and marks; training text {len(train):,} of them, held out {len(held_out):,}")
    print("for example:", tokenizer.decode(train[:16]))
    assert (held_out != 0).mean() > 0.999  # 0 is the unknown word

# %% [markdown]
r"""
What has to be beaten
---------------------

Below, the floor. Above, n-grams of *words*, smoothed as in lesson 01: the code there counts characters, so we give each
word a character of its own. All numbers are in bits per character, whatever the model reads (lesson 02 says why).
"""


# %%
def as_characters(ids: np.ndarray) -> str:
    """Return a text in which each word is one character (of the Chinese ones, since there are enough)."""
    return "".join(chr(0x4E00 + i) for i in ids.tolist())


# %%
if __name__ == "__main__":
    floor = microworld.World().floor.bits_per_character
    grams = WittenBell(5).fit(as_characters(train)).bits(as_characters(held_out)) * per_character  # (6,)
    print("n-grams of words:", ", ".join(f"n = {n}: {grams[n]:.3f}" for n in range(1, 6)))
    print(f"floor: {floor:.3f} bits per character")

# %% [markdown]
r"""
Measure
-------

The same network with tables from 8 to 256 wide, three times each, and at one width also with two tables instead of
one. Each is trained on the same number of batches, and judged on the held-out text. The work of a step is counted, in
multiplications of one prediction: the clock says something else on every machine (it is printed, but not plotted).

And we look at what the vectors have become. The grammar knows which words are of a kind: people, places, days, things,
properties. The network was never told. For each of these words, is the *nearest* other word (the largest cosine of the
angle between the vectors) of the same kind?
"""

# %%
KINDS: dict[str, tuple[str, ...]] = {
    "people": tuple(town.PEOPLE),
    "places": tuple(town.PLACES),
    "days": tuple(town.DAYS),
    "things": tuple(thing for things in town.KINDS.values() for thing in things),
    "properties": town.ADJECTIVES[1:],  # without "plain", which is never said
}


def train_network(ids: np.ndarray, vocab_size: int, width: int, seed: int, steps: int, **how: Any) -> WordNetwork:
    """Return a network that was trained on random places of a text."""
    minillm.manual_seed(seed)
    model = WordNetwork(vocab_size, width, **how)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)  # why: 3e-3 ends higher at every width after so few steps
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        starts = datasets.stream(seed, "places", step).integers(len(ids) - model.context, size=256)
        words = minillm.tensor(ids[starts[:, None] + np.arange(model.context + 1)])  # (256, model.context + 1)
        loss = F.cross_entropy(model(words[:, :-1]), words[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def bits_per_word(model: WordNetwork, ids: np.ndarray) -> float:
    """Return the mean of -log2 P over all words of a text that have enough words before them."""
    rows = np.lib.stride_tricks.sliding_window_view(ids, model.context + 1)  # (N, model.context + 1)
    nats = 0.0
    with minillm.no_grad():
        for part in np.array_split(rows, 1 + len(rows) // 4096):  # why 4,096: a few megabytes of scores at a time
            words = minillm.tensor(part.copy())
            nats += F.cross_entropy(model(words[:, :-1]), words[:, -1], reduction="sum").item()
    return nats / math.log(2) / len(rows)


def multiplications(vocab_size: int, width: int, context: int = 6, hidden: int = 64) -> int:
    """Return how many products of two numbers one prediction takes."""
    return context * width * hidden + hidden * width + width * vocab_size


def neighbours(table: np.ndarray, id: int) -> np.ndarray:
    """Return all other ids, the one with the most similar vector first."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)  # (V, C)
    order = np.argsort(-(unit @ unit[id]), kind="stable")  # (V,)
    return order[order != id]


def of_a_kind(table: np.ndarray, tokenizer: WordTokenizer) -> float:
    """Return for which share of the words that have a kind the nearest of all words has the same."""
    kind = {tokenizer.encode(word)[0]: name for name, words in KINDS.items() for word in words}
    kind.pop(0, None)  # unknown words: rare, and not in a short training text
    return float(np.mean([kind.get(int(neighbours(table, id)[0])) == name for id, name in kind.items()]))


# %%
if __name__ == "__main__":
    # why 600: after 400 a width of 8 is still far from done
    seeds, steps = ((0,), 60) if setting.fast else ((0, 1, 2), 600)
    widths = [8, 32] if setting.fast else [8, 16, 32, 64, 128, 256]
    middle = 32 if setting.fast else 64
    bits: dict[str, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for width in widths:
        begun = time.perf_counter()
        models = [train_network(train, V, width, seed, steps) for seed in seeds]
        seconds = (time.perf_counter() - begun) / len(seeds)
        if width == middle:
            shown = models[0].table.weight.detach().numpy()  # (V, middle)
        found = bits[str(width)] = [bits_per_word(model, held_out) * per_character for model in models]
        alike = kinds[str(width)] = [of_a_kind(m.table.weight.detach().numpy(), tokenizer) for m in models]
        print(
            f"width {width:3}: {np.mean(found):.3f} bits per character ({min(found):.3f} to {max(found):.3f}), ", end=""
        )
        print(f"{seconds:4.1f} s; neighbour of the same kind {np.mean(alike):.0%}")
    two = [
        bits_per_word(train_network(train, V, middle, s, steps, tied=False), held_out) * per_character for s in seeds
    ]
    print(f"two tables of width {middle}: {np.mean(two):.3f} bits per character ({min(two):.3f} to {max(two):.3f})")
    for word in ("Maria", "market", "Monday", "goat", "red"):
        (id,) = tokenizer.encode(word)
        print(f"nearest to {word}:", ", ".join(tokenizer.tokens[i] for i in neighbours(shown, id)[:5] if i < V - 1))
    judged = BAND.judge(float(np.mean(bits[str(middle)])), setting.fast)

# %% [markdown]
r"""
What came out
-------------

- The network beats the best n-gram of words at every width. That is the result of Bengio and others (2003): lower
  perplexity than the best n-gram, on two corpora of real text.
- Up to 32 columns every doubling pays; beyond, hardly anything changes, and the work still doubles. Lan and others
  (2020) found the same shape at a hundred times the size: for ALBERT, whose layers share their weights, 128 columns
  were as good as 768.
- Two tables do no better than one, and are twice as many numbers to learn and to keep.
- So neither 128 nor 256 is *the* width. A table needs about as many columns as there are independent ways in which
  words differ, for this task; 250 words of a toy town need few. Large vocabularies in large models need more, and
  usually the width is set by the rest of the network.
- Nobody said what a place is. That "park" is like "market" follows from their standing in the same places; this is the
  *distributional hypothesis*, older than computers that could test it.

The network has not reached the floor, by far, at any width. It sees six words, and what begins a story comes back at
its end. How a model can look back further is the next lesson.
"""

# %% [markdown]
r"""
The figure
----------

Left bits per character against the width. Right the vectors of five kinds of words, seen from the two directions in
which they differ most (lesson 06): the network, which has only ever predicted next words, has sorted them.
"""

# %%
if __name__ == "__main__":
    fig, (left, right) = figure(10, 4.4, panels=2)
    lines = np.array([bits[str(width)] for width in widths])  # (len(widths), 3)
    left.fill_between(widths, lines.min(axis=1), lines.max(axis=1), color=COLOURS[0], alpha=0.2, linewidth=0)
    left.plot(widths, lines.mean(axis=1), color=COLOURS[0], marker="o", markersize=4)
    for width, value in zip(widths, lines.mean(axis=1)):
        work = f"{multiplications(V, width) / 1000:.0f}k"
        left.annotate(work, (width, value), xytext=(0, -14), textcoords="offset points", ha="center", fontsize=8,
                      color=COLOURS[0])  # fmt: skip
    levels = {"word trigram": float(grams[3]), "best n-gram of words": float(grams.min()), "floor": float(floor)}
    for name, level in levels.items():
        left.axhline(level, color="#555555", linewidth=1, linestyle="--")
        left.annotate(f"{name}: {level:.2f}", (widths[-1], level), xytext=(0, -13 if "best" in name else 3),
                      textcoords="offset points", ha="right", color="#333333")  # fmt: skip
    left.set_xscale("log", base=2)
    left.set_xticks(widths, [str(width) for width in widths])
    left.set(
        ylim=(0, 1.1 * max(lines.max(), *levels.values())),
        xlabel="width of the table (below the dots: multiplications)",
        ylabel="bits per character",
    )
    left.set_title("Beyond 32 columns only the work grows", loc="left", fontsize=11)
    places = {name: [i for w in words if (i := tokenizer.encode(w)[0])] for name, words in KINDS.items()}
    chosen = shown[[i for found in places.values() for i in found]]  # (N, middle)
    _, _, directions = np.linalg.svd(chosen - chosen.mean(axis=0), full_matrices=False)
    points = {}
    for (name, rows), colour in zip(places.items(), COLOURS):
        flat = (shown[rows] - chosen.mean(axis=0)) @ directions[:2].T  # (K, 2)
        points[name] = np.round(flat, 3).tolist()
        right.plot(flat[:, 0], flat[:, 1], marker="o", markersize=5, linestyle="none", color=colour, alpha=0.7)
        right.annotate(name, (flat[:, 0].mean(), flat[:, 1].max()), xytext=(0, 7), textcoords="offset points",
                       ha="center", color=colour, fontsize=11, fontweight="bold")  # fmt: skip
    right.grid(visible=False)
    right.margins(0.1)
    right.set(xticks=[], yticks=[], xlabel="first direction", ylabel="second direction")
    right.set_title("Words of a kind lie together", loc="left", fontsize=11)
    alt = (
        f"Two panels. Left: bits per character against the width of the embedding, {widths[0]} to {widths[-1]}. The "
        f"line falls from {lines.mean(axis=1)[0]:.2f} to about {lines.mean(axis=1).min():.2f} and is flat from about "
        f"32 on; horizontal lines mark n-grams of words and the floor. Right: the vectors of {len(chosen)} words in "
        "two dimensions; people, places, days, things and properties form groups."
    )
    numbers = {"bits": bits, "two tables": two, "same kind": kinds, "levels": levels, "points": points, "band": judged}
    print(*save_figure(fig, setting.out / "l09_embeddings", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l09_embeddings.py``; ``minillm check 09`` says how far you are, and gives hints.

- ``one_hot``: ids as rows of zeros and a one.
- ``embedding_backward``: the gradient of the table, without one-hot rows. Equal ids add.
- ``nearest``: the most similar rows of a table.

Then try: does a network with ``hidden=256`` need a wider table? Which words are nearest to "." and "Question"? Train on
``stdlib-en`` with the 2,000 most frequent words: where does the line become flat there?
"""

# %%
QUIZ = (
    Question(
        "A batch has the word 'the' forty times. What is the gradient of its row in the table?",
        ("The sum of the gradients at the forty places.", "Their mean.", "That of the last place."),
        0,
        "One number that is used in many places gets the sum of the gradients of all uses (lesson 03). The mean over "
        "the batch, if there is one, has been taken in the loss already.",
    ),
    Question(
        "V is 50,000 and d is 256. How many numbers do two separate tables have, and how many do tied ones?",
        ("512 and 256", "12.8 million and 12.8 million", "25.6 million and 12.8 million"),
        2,
        "A table has V times d = 12.8 million numbers. Tied weights use one table to read and to predict.",
    ),
    Question(
        "Why do the vectors of 'park' and 'market' become alike, though the two never stand side by side?",
        (
            "Because they share letters.",
            "Because the same words stand before and behind them, so the same vector serves both.",
            "Because both begin with random numbers.",
        ),
        1,
        "The network sees ids and no letters. Where two words can be exchanged, the same expectation predicts both and "
        "the same continuation follows both, so their rows are pushed to the same place.",
    ),
)

# %%
if __name__ == "__main__":
    ask(9, QUIZ)

# %% [markdown]
r"""
Sources
-------

- Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, A Neural Probabilistic Language Model, JMLR 3, 2003.
- O. Press, L. Wolf, Using the Output Embedding to Improve Language Models, EACL 2017 (tied weights).
- Z. Lan et al., ALBERT: A Lite BERT for Self-supervised Learning of Language Representations, ICLR 2020.
- Z. S. Harris, Distributional Structure, Word 10, 1954.
"""
