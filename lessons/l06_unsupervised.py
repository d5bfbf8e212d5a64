# %% [markdown]
r"""
Learning without labels
=======================

*What structure is there if nobody tells us?*

Most text in the world has no label: nobody has written beside it what it is about. Three old methods look for order in
such a heap all the same. k-means sorts it into piles, principal components lay it out along the directions in which it
differs most, and a self-organising map draws a chart of it. Here they get the help texts of some hundred Python
modules. We know what each text is about, but do not tell; we look only afterwards.

- You need: lessons 01 to 03; the product of matrices
- Time: 20 s and 650 MB on two cores
- Corpus: ``docstring-topics``, help texts of your own Python; the topics stay hidden until the end
- Band: 0.48 to 0.66 of the texts lie in an area of their own topic (map of 100 areas, mean of three splits)
"""

# %%
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

import minillm
from lessons.frame import Band, Question, ask, options
from minillm import datasets
from minillm.text import split_words
from minillm.training import save_figure

QUESTION = "What structure is there if nobody tells us?"
BAND = Band(
    "purity of a map of 100 areas",
    0.48,
    0.66,
    "the help texts differ between versions of Python, and the map begins at random; 0.56 on three splits with 3.11",
)

# %% [markdown]
r"""
A text as a point
-----------------

To compare texts they must become points, rows of numbers of one length. The simplest way is the *bag of words*: forget
the order, keep how often each word occurs. Each word of the vocabulary is one axis. Raw counts make poor distances:
frequent words and long texts drown all others. Three repairs, the recipe called *tf-idf*: of a count C take
$\log(1 + C)$, since the tenth occurrence says less than the first; multiply by $\log(N / N_w)$, where $N_w$ of the N
texts have the word, since a word that is everywhere says nothing; and scale every row to length 1.

$$ x_{dw} = \frac{\log(1 + C_{dw}) \, \log(N / N_w)}{\text{length of the row}} $$
"""


# %%
def words(text: str) -> list[str]:
    """Return the words of a text in lower case: letters only, two or more."""
    return [word for word in split_words(text.lower()) if word.isalpha() and len(word) > 1]


def vocabulary_of(texts: Sequence[str], least: int = 5, most: float = 0.2) -> list[str]:
    """Return the words that stand in ``least`` texts or more, and in at most a share ``most`` of them.

    why 5: with fewer texts a word has no statistics. why 0.2: "the", "is" and their kind go, and the topics stay.
    """
    spread = Counter(word for text in texts for word in set(words(text)))
    return sorted(word for word, n in spread.items() if least <= n <= most * len(texts))


def counts_of(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Return how often each word of the vocabulary occurs in each text, (N, V)."""
    column = {word: i for i, word in enumerate(vocabulary)}
    counts = np.zeros((len(texts), len(vocabulary)), dtype=np.float32)  # (N, V)
    for row, text in zip(counts, texts, strict=True):
        for word, n in Counter(words(text)).items():
            if word in column:
                row[column[word]] = n
    return counts  # (N, V)


def rarity_of(counts: np.ndarray) -> np.ndarray:
    """Return log(N / N_w) of each word; every word must occur."""
    return np.log(len(counts) / (counts > 0).sum(axis=0)).astype(np.float32)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Scale every row to length 1; a row of zeros stays."""
    lengths = np.sqrt((x * x).sum(axis=1, keepdims=True))  # (N, 1)
    return x / np.where(lengths == 0, 1, lengths)


def weigh(counts: np.ndarray, rarity: np.ndarray) -> np.ndarray:
    """Return tf-idf: the formula above."""
    return unit_rows(np.log1p(counts) * rarity)


# %%
if __name__ == "__main__":
    setting = options()
    small = ["read the file", "write the file to the disk", "send the mail"]
    listed = vocabulary_of(small, least=1, most=0.7)
    bag = counts_of(small, listed)  # (3, 7)
    print(listed, weigh(bag, rarity_of(bag)).round(2), sep="\n")
    assert "the" not in listed and bag.sum() == 8  # "file" stands in two texts of three, which is below 0.7

# %% [markdown]
r"""
Piles: k-means
--------------

Put k *centres* among the points. Give every point to its nearest centre, move every centre into the middle of its
points, and repeat until nothing changes (Lloyd 1957). What falls at each step is

$$ J = \sum_i \lVert x_i - c_{a(i)} \rVert^2, \qquad a(i) = \text{the centre that } x_i \text{ was given to} $$

The first half-step chooses the best a for the centres that there are, the second the best c for that a, since the point
with the smallest sum of squared distances is the mean. J never rises, there are finitely many ways to deal the points
out, so it ends. It ends in *a* valley, not in the deepest: another start gives other piles.

First naively, as the definition says; then with arrays, where $\lVert x - c \rVert^2 = x \cdot x - 2 x \cdot c + c
\cdot c$ turns all distances into one product of matrices.
"""


# %%
def assign_naive(x: Sequence[Sequence[float]], centres: Sequence[Sequence[float]]) -> list[int]:
    """Return the number of the nearest centre for each point; of equals the first."""
    return [min(range(len(centres)), key=lambda j: sum((p - c) ** 2 for p, c in zip(point, centres[j]))) for point in x]


def distances(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the squared distance of each point to each centre, (N, K)."""
    return (x * x).sum(axis=1)[:, None] - 2 * x @ centres.T + (centres * centres).sum(axis=1)


def sums_of(x: np.ndarray, given: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of k centres the sum of its points, (k, C), and their number, (k,)."""
    order, number = np.argsort(given, kind="stable"), np.bincount(given, minlength=k)  # (N,), (k,)
    sums = np.zeros((k, x.shape[1]))  # (k, C)
    starts = np.concatenate([[0], np.cumsum(number)[:-1]])[number > 0]
    sums[number > 0] = np.add.reduceat(x[order], starts, axis=0, dtype=np.float64)
    return sums, number


def k_means(x: np.ndarray, k: int, rng: np.random.Generator, steps: int = 15) -> tuple[np.ndarray, list[float]]:
    """Return k centres, which begin at k of the points, and J before each step; a centre without points stays.

    The number of steps is a choice: J, which is returned for each, shows how little the last ones still gain.
    """
    centres = x[rng.permutation(len(x))[:k]].astype(np.float64)  # (k, C)
    fell = []
    for _ in range(steps):
        apart = distances(x, centres.astype(x.dtype))  # (N, k)
        fell.append(float(apart.min(axis=1).sum()))
        sums, number = sums_of(x, apart.argmin(axis=1), k)
        centres = np.where(number[:, None] > 0, sums / np.maximum(number, 1)[:, None], centres)  # (k, C)
    return centres.astype(x.dtype), fell


# %% [markdown]
r"""
Directions: principal components
--------------------------------

Two thousand words are two thousand axes, and most of them move together: where "socket" is, "connection" is not far. So
ask for the *direction* along which the texts differ most. Take the mean away; along a direction v of length 1 the
variance is

$$ \frac{1}{N} \sum_i (x_i \cdot v)^2 = v^T S v, \qquad S = \frac{1}{N} X^T X $$

At the largest value, $S v = \lambda v$ holds: S only stretches v, by the variance $\lambda$ itself. Such a v is called
an eigenvector of S. The second component is the direction with the largest variance among those at a right angle to
the first, the eigenvector with the next largest $\lambda$, and so on. k of them give the flat k-dimensional picture
that loses the least squared distance (Pearson 1901). On bags of words (without taking the mean away) this is *latent
semantic analysis* (Deerwester and others, 1990). We ask NumPy for the eigenvectors; in the exercise you find them with
nothing but products.
"""


# %%
def principal_directions(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (C,), the k directions of largest variance (k, C), and each one's share of the variance (k,).

    v and -v are the same direction; we take the one whose largest entry is positive.
    """
    mean = x.mean(axis=0)  # (C,)
    centred = x - mean  # (N, C)
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(x))  # (C,), (C, C)
    found = vectors[:, ::-1][:, :k].T  # (k, C)
    sign = np.sign(np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1))  # (k, 1)
    return mean, found * sign, values[::-1][:k] / values.sum()


# %% [markdown]
r"""
A chart: the self-organising map
--------------------------------

Kohonen (1982) put the two ideas together. The centres are the *cells* of a square chart, and a centre that moves takes
its neighbours on the chart with it. Every cell j becomes a mean of *all* points, and a point counts the more the nearer
its own cell a(i) lies to j on the chart:

$$ c_j = \frac{\sum_i h(j, a(i)) \, x_i}{\sum_i h(j, a(i))}, \qquad
h(j, b) = e^{-(\text{distance of the cells } j \text{ and } b)^2 / 2 r^2} $$

The radius r begins at half the chart, so that the whole sheet unfolds, and shrinks until neighbours hardly pull. What
is left is a k-means whose centres lie in order. (This is the *batch* form; the first one moved after every point.)
"""


# %%
def cells_apart(side: int) -> np.ndarray:
    """Return the squared distances between the cells of a square chart, (side * side, side * side)."""
    row, column = np.divmod(np.arange(side * side), side)
    return (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2


def map_step(x: np.ndarray, centres: np.ndarray, apart: np.ndarray, radius: float) -> np.ndarray:
    """Return the centres after one step of the formula above."""
    sums, number = sums_of(x, distances(x, centres).argmin(axis=1), len(centres))  # (K, C), (K,)
    h = np.exp(-apart / (2 * radius**2))  # (K, K)
    weight = (h @ number)[:, None]  # (K, 1)
    return np.where(weight > 0, h @ sums / np.maximum(weight, 1e-300), centres)


def self_organise(x: np.ndarray, side: int, rng: np.random.Generator, steps: int = 30) -> np.ndarray:
    """Return the centres of a chart of side * side cells, which begin at points in random order.

    why to 0.5: a neighbour then counts e^-2 = 0.14. With 1 the areas blur; with 0.3 neighbours hardly count.
    """
    centres, apart = x[rng.permutation(len(x))[: side * side]], cells_apart(side)
    for step in range(steps):
        centres = map_step(x, centres, apart, side / 2 * (0.5 / (side / 2)) ** (step / (steps - 1)))
    return centres


# %% [markdown]
r"""
Check
-----

On a small cloud of points everything can be compared with something simpler:

- the naive loop gives every point to the same centre as the product of matrices, and J never rises;
- at the mean the slope of J is zero: we ask the engine of lesson 03;
- try 3,600 directions one after the other: none has more variance than the first component;
- a map whose radius is nearly 0 makes exactly a step of k-means.
"""

# %%
if __name__ == "__main__":
    rng = datasets.stream(0, "cloud")
    cloud = rng.standard_normal((200, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]])  # (200, 2)
    centres, fell = k_means(cloud, 4, datasets.stream(0, "start"), steps=100)
    given = distances(cloud, centres).argmin(axis=1)  # (200,)
    assert assign_naive(cloud.tolist(), centres.tolist()) == given.tolist()
    assert all(later <= earlier + 1e-9 for earlier, later in zip(fell, fell[1:])) and fell[-1] < fell[0]

    c = minillm.tensor(centres).requires_grad_()
    (minillm.tensor(cloud) - c[given]).square().sum().backward()
    assert np.abs(c.grad.numpy()).max() < 1e-9  # the descent has ended, and every slope is zero

    mean, directions, shares = principal_directions(cloud, 2)
    assert np.allclose(directions @ directions.T, np.eye(2))
    angles = np.linspace(0, math.pi, 3600)  # (3600,)
    tried = ((cloud - mean) @ np.stack([np.cos(angles), np.sin(angles)])).var(axis=0)  # (3600,)
    best = ((cloud - mean) @ directions[0]).var()
    assert tried.max() <= best + 1e-12 and math.isclose(tried.max(), best, rel_tol=1e-5)

    before = cloud[:9].copy()  # (9, 2)
    stepped, given = map_step(cloud, before, cells_apart(3), 0.02), distances(cloud, before).argmin(axis=1)
    assert np.allclose(stepped, [cloud[given == j].mean(axis=0) for j in range(9)])
    print("distances, descent, slope, directions and map: all as they should be")

# %% [markdown]
r"""
Measure
-------

Now we look at the hidden topics. The *purity* of an arrangement is the share of texts whose area has their topic as its
most frequent one:

$$ \text{purity} = \frac{1}{N} \sum_{\text{areas}} \max_{\text{topic}} \; (\text{texts of that topic in the area}) $$

It grows with the number of areas by itself: with one area for each text it is 1. So every line below has the same
number of areas, and next to it stands the purity after the topics were dealt out anew at random, *chance*. The last
column takes texts from *other files*, puts each into its area, and asks how often the most frequent topic there is
right: what was found must hold for texts that nobody has arranged. (Three splits into files, and with each another
start.)

A confession: the numbers that somebody has to choose (which words count, how many directions, where the radius ends)
were first tried with a look at the topics of one split, which nobody can do who has no labels. Little hangs on them.
With 20 or 100 directions, or a last radius of 0.3 or 1, the purity of the map on two splits lies between 0.52 and 0.59,
with ours it is 0.56; words of 2 or of 10 texts or more change it by 0.02.
"""


# %%
def table_of(given: np.ndarray, topics: np.ndarray, areas: int) -> np.ndarray:
    """Return how many texts of each topic lie in each area, (areas, topics)."""
    n = int(topics.max()) + 1
    return np.bincount(given * n + topics, minlength=areas * n).reshape(areas, n)


def purity(given: np.ndarray, topics: np.ndarray, areas: int) -> float:
    """Return the share of texts whose topic is the most frequent of their area."""
    return float(table_of(given, topics, areas).max(axis=1).sum() / len(topics))


def prepare(corpus: datasets.LabelledCorpus, k: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the texts as points in four spaces, each for the training texts and for those of other files.

    The vocabulary, the weights and the directions come from the training texts alone, and no topic is looked at.
    """
    texts, others = ([text for text, _ in part] for part in (corpus.train, corpus.test))
    vocabulary = vocabulary_of(texts)
    counts, new_counts = counts_of(texts, vocabulary), counts_of(others, vocabulary)  # (N, V), (M, V)
    x, new_x = (weigh(one, rarity_of(counts)) for one in (counts, new_counts))
    mean, directions, shares = principal_directions(x, k)
    p, new_p = ((one - mean) @ directions.T for one in (x, new_x))  # (N, k), (M, k)
    print(
        f"{len(vocabulary):,} words; of the variance 2 directions keep {shares[:2].sum():.1%}, {k} {shares.sum():.1%}"
    )
    return {
        "counts": (counts, new_counts),
        "tf-idf": (x, new_x),
        "directions": (unit_rows(p), unit_rows(new_p)),
        "plane": (p[:, :2], new_p[:, :2]),
    }


# %%
if __name__ == "__main__":
    # why 50: the usual order of size. why 10: 40 texts an area, on average
    k, side, size = (20, 5, 700) if setting.fast else (50, 10, "full")
    areas = side * side
    rows = ("k-means, counts", "k-means, tf-idf", f"k-means, {k} directions", "k-means, 2 directions", "map")
    found: dict[str, list[tuple[float, float, float]]] = {row: [] for row in rows}
    for seed in range(3):
        corpus = datasets.load("docstring-topics", size=size, seed=seed)
        topics, new_topics = (np.array([topic for _, topic in part]) for part in (corpus.train, corpus.test))
        spaces = prepare(corpus, k)
        for row, space in zip(rows, ("counts", "tf-idf", "directions", "plane", "directions")):
            x, new_x = spaces[space]
            rng = datasets.stream(seed, "start", row)
            cells = self_organise(x, side, rng) if row == "map" else k_means(x, areas, rng)[0]
            given, new_given = (distances(one, cells).argmin(axis=1) for one in (x, new_x))
            name = table_of(given, topics, areas).argmax(axis=1)  # (areas,)
            right = float((name[new_given] == new_topics).mean())
            found[row].append((purity(given, topics, areas), purity(given, rng.permutation(topics), areas), right))
        if seed == 0:  # for the figure; the map is the last row
            first = corpus, topics, spaces, given
    print(f"{areas} areas, {len(corpus.labels)} topics      purity   (spread)        chance  other files")
    for row, values in found.items():
        (own, chance, new), low, high = np.mean(values, axis=0), min(values)[0], max(values)[0]
        print(f"{row:<24} {own:8.2f}   ({low:.2f} to {high:.2f}) {chance:9.2f} {new:9.2f}")
    judged = BAND.judge(float(np.mean([own for own, _, _ in found["map"]])), setting.fast)
    assert all(own > 1.5 * chance for own, chance, _ in found["map"])

# %% [markdown]
r"""
What we see, and what we do not
-------------------------------

- *Order is there.* On the map more than half of the texts lie among their own kind, against a fifth by chance.
- *How a text becomes a point matters more than the method.* On raw counts k-means gains less than half of what it gains
  on weighted words.
- *Fewer directions, no loss.* 50 directions give the piles of all two thousand words, and better ones for other files.
  Deerwester and others (1990) proposed it for retrieval, where it helps on some collections of texts and not on others.
- *Two straight directions are too few* (they keep a hundredth of the variance); the map, which has two dimensions too,
  may bend.
- *The order need not be the one you had in mind.* Some piles read like modules: the turtle, the decimal numbers, the
  windows. In other files, where such words are missing, the names of the piles are right much less often. Nobody had
  said which differences count. That is what a label says, and the next lesson is about it.
"""

# %% [markdown]
r"""
The figure
----------

Left, the plane of the two largest variances: arms of a few families of modules, and one crowd. Right, the map of the
same texts. Each disc is an area, as large as it has texts, coloured by its most frequent topic; the map has never seen
a topic. Neighbouring areas agree more often than any two do: the chart has countries.
"""

# %%
if __name__ == "__main__":
    from lessons.parts.l06_figure import draw

    corpus, topics, spaces, given = first
    plane, x = spaces["plane"][0], spaces["tf-idf"][0]
    table = table_of(given, topics, areas)  # (areas, len(corpus.labels))
    vocabulary = vocabulary_of([text for text, _ in corpus.train])
    for cell in np.argsort(-table.max(axis=1), kind="stable")[:8]:
        heavy = np.argsort(-x[given == cell].mean(axis=0), kind="stable")[:6]
        topic, share = corpus.labels[table[cell].argmax()], table[cell].max() / table[cell].sum()
        print(f"{topic:>11} {share:4.0%} of {table[cell].sum():3}: {' '.join(vocabulary[i] for i in heavy)}")

    most_frequent, beside = table.argmax(axis=1), cells_apart(side) == 1  # (areas,), (areas, areas)
    alike = most_frequent[:, None] == most_frequent  # (areas, areas)
    by_chance = (alike.sum() - areas) / (areas * (areas - 1))
    print(f"neighbouring areas with the same topic: {alike[beside].mean():.2f}; any two areas: {by_chance:.2f}")

    own, chance, _ = np.mean(found["map"], axis=0)
    alt = (
        f"Two panels, the same {len(topics):,} texts, coloured by {len(corpus.labels)} topics. Left, on the first "
        "two principal components they form a crowd with a few arms of one colour. Right, a self-organising map of "
        f"{side} by {side} areas: areas of one topic lie together; purity {own:.2f}, by chance {chance:.2f}."
    )
    numbers = {"plane": plane.round(3).tolist(), "topics": topics.tolist(), "area": given.tolist(),
               "purity, chance, other files": found, "band": judged}  # fmt: skip
    fig = draw(plane, table, topics, corpus.labels)
    print(*save_figure(fig, setting.out / "l06_unsupervised", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l06_unsupervised.py``; ``minillm check 06`` says how far you are, and gives hints.

- ``leading_direction``: the first eigenvector by *power iteration*. Whatever vector one begins with, S stretches its
  part along the first direction most, so after enough products nothing else is left.
- ``principal_components``: the first k, each found after the ones before it were taken out.
- ``k_means_step``: one round of Lloyd's method.

Then try: does purity fall with 20 directions, or with 200? What does the map look like when the radius stays at 3?
"""

# %%
QUIZ = (
    Question(
        "k-means with as many centres as texts puts every text into a pile of its own. What is the purity?",
        ("1, and it means nothing", "1, the best arrangement there is", "1/k"),
        0,
        "A pile of one text has one topic. Compare at the same number of piles, and with topics dealt out at random.",
    ),
    Question(
        "The first two components keep a hundredth of the variance. Must a map in two dimensions be as poor?",
        (
            "Yes: two numbers for each text are two numbers.",
            "Yes, unless the texts are first scaled to length 1.",
            "No: it is a bent sheet, and a sheet that bends comes near to many more points than a flat one.",
        ),
        2,
        "Components are the best *flat* picture. The cells of the map sit in all 50 dimensions; only their order is "
        "that of a chart; the price is that distances on the chart are not distances between the texts.",
    ),
    Question(
        "Why did naming the piles by their most frequent topic work worse on texts from other files?",
        (
            "These texts are longer.",
            "Piles gather texts that share words, and words that go with one file are missing in the others.",
            "k-means had not yet ended.",
        ),
        1,
        "Texts of a file share words whatever their topic is, and the method cannot know which kind of likeness we "
        "want. Judging on texts from the same files would have hidden it.",
    ),
)

# %%
if __name__ == "__main__":
    ask(6, QUIZ)

# %% [markdown]
r"""
Sources
-------

- K. Pearson, On Lines and Planes of Closest Fit to Systems of Points in Space, Philosophical Magazine 2(11), 1901.
- S. P. Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 28(2), 1982 (written 1957).
- T. Kohonen, Self-Organized Formation of Topologically Correct Feature Maps, Biological Cybernetics 43, 1982.
- G. Salton and C. Buckley, Term-Weighting Approaches in Automatic Text Retrieval, Information Processing and
  Management 24(5), 1988.
- S. Deerwester and others, Indexing by Latent Semantic Analysis, Journal of the American Society for Information
  Science 41(6), 1990.
"""
