# %% [markdown]
r"""
A gradient engine
=================

*How does a program know which way is down?*

A model of this course has thousands or millions of numbers, its *parameters*, and one number that says how bad it is,
the *loss*. Learning means: change every parameter a little so that the loss falls. For that one must know how fast the
loss rises or falls when a parameter grows. These slopes together are the *gradient*. This lesson builds the machine
that computes it for any program; what you have at the end is minillm in small.

- You need: Python, and what a derivative is: the slope of a curve
- Time: 8 s and 110 MB on two cores
- Corpus: none; the lesson draws its own points, two half moons
- Band: 0.93 to 0.98 of the held-out points told apart (mean of three seeds)
"""

# %%
from __future__ import annotations

import itertools
import math
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from minillm import datasets
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "How does a program know which way is down?"
BAND = Band(
    "share of held-out points told apart",
    0.93,
    0.98,
    "points and first weights are random: four times three seeds gave 0.953 to 0.959",
)

# %% [markdown]
r"""
The slope by nudging
--------------------

The definition of a derivative is already a method: nudge the input a little to both sides and see what the output does.

$$ f'(x) \approx \frac{f(x + h) - f(x - h)}{2 h} $$

It works for any program, and we will use it as a *check* throughout. As a way to learn it fails twice. It needs two
runs of the program *for each* parameter, so a model with a million of them would need two million runs for one step.
And it is inexact: with a large h the curve bends in between, with a small h the two values agree in nearly all of
their 16 digits, and what is left of the difference is rounding.
"""


# %%
def nudge(f: Callable[..., float], at: Sequence[float], i: int, h: float = 1e-6) -> float:
    """Return the slope of f in its argument i, by nudging it to both sides."""
    up, down = ([x + sign * h * (j == i) for j, x in enumerate(at)] for sign in (1, -1))
    return (f(*up) - f(*down)) / (2 * h)


# %%
if __name__ == "__main__":
    setting = options()
    for power in (1, 2, 4, 6, 8, 10, 12):
        slope = nudge(lambda x: x**3, [2.0], 0, 10.0**-power)
        print(f"h = 1e-{power:02}: the slope of x³ at 2 is {slope:.9f}, wrong by {abs(slope - 12):.0e}")

# %% [markdown]
r"""
The chain rule, from the end
----------------------------

A program is a chain of small steps, and the slope of each step is known: that of $x + y$ in x is 1, that of $x y$ in x
is y, that of $x^k$ is $k x^{k-1}$. The chain rule says how slopes combine. If L depends on x through z, they are
multiplied; if through several z, the products are *added*:

$$ \frac{\partial L}{\partial x} = \sum_{z \text{ made from } x} \frac{\partial L}{\partial z} \,
\frac{\partial z}{\partial x} $$

Read it backwards. If the slope of L in every *later* number is known, the slope in x follows from its own steps alone.
So: begin at L, whose slope in itself is 1, and walk the steps backwards. One walk gives the slopes in *all* inputs, for
about the price of two or three runs of the program: reverse-mode automatic differentiation, or backpropagation.

The naive version: numbers that remember
----------------------------------------

A ``Value`` is a number with the numbers that it was made from and the slope in each. The operators note these while the
program runs; ``backward`` walks back. Two lines carry everything: numbers made later come first, so that a slope is
complete before it is passed on; and a slope is *added* (``+=``), because a number may have been used more than once. To
write ``=`` there is the classic mistake: it is right for every example in which nothing is used twice.
"""

# %%
CLOCK = itertools.count()


def newest_first(root: Any) -> list[Any]:
    """Return all that a result was made from, the result itself included, what was made last first."""
    found, waiting = {root}, [root]
    while waiting:  # a loop and no recursion: a long program is deeper than Python's stack
        for parent, _ in waiting.pop().parents:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=lambda one: one.number, reverse=True)


class Value:
    """A number that remembers its ``parents``, each with the slope of this number in it."""

    def __init__(self, value: float, parents: tuple[tuple[Value, float], ...] = ()) -> None:
        self.value, self.grad, self.parents, self.number = value, 0.0, parents, next(CLOCK)

    def __add__(self, other: Value | float) -> Value:
        y = other if isinstance(other, Value) else Value(other)
        return Value(self.value + y.value, ((self, 1.0), (y, 1.0)))

    def __mul__(self, other: Value | float) -> Value:
        y = other if isinstance(other, Value) else Value(other)
        return Value(self.value * y.value, ((self, y.value), (y, self.value)))

    def __pow__(self, k: float) -> Value:
        return Value(self.value**k, ((self, k * self.value ** (k - 1)),))

    def relu(self) -> Value:
        return Value(max(0.0, self.value), ((self, float(self.value > 0)),))  # at 0 the slope is taken to be 0

    def tanh(self) -> Value:
        y = math.tanh(self.value)
        return Value(y, ((self, 1 - y * y),))

    def softplus(self) -> Value:
        """log(1 + e^x), whose slope is 1 / (1 + e^-x)."""
        return Value(float(np.logaddexp(0, self.value)), ((self, 0.5 * (1 + math.tanh(self.value / 2))),))

    def __neg__(self) -> Value:  # the rest is made of the above
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -other

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        """Compute the slope of this number in everything that it was made from."""
        order = newest_first(self)
        for one in order:
            one.grad = 0.0
        self.grad = 1.0
        for one in order:
            for parent, slope in one.parents:
                parent.grad += slope * one.grad


# %% [markdown]
r"""
Check
-----

Three kinds of evidence. *Known numbers*: the README of micrograd has an example with every kind of step in it, and
prints its slopes at a = -4 and b = 2: 138.8338 and 645.5773. (``relu`` sets negative numbers to 0.) *A closed form*:
the slope of $x \cdot x$ is $2 x$; a tape that forgets to add finds x. *Nudging*, at random places. Nudging alone would
not do: it shows that backward and forward belong together, not that forward computes what it should.
"""


# %%
def example(a: Value, b: Value) -> Value:
    """Return the result of the example in micrograd's README."""
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    f = (c - d) ** 2
    return f * 0.5 + 10.0 * f**-1


# %%
if __name__ == "__main__":
    a, b = Value(-4.0), Value(2.0)
    g = example(a, b)
    g.backward()
    for found, wanted in ((g.value, 24.7041), (a.grad, 138.8338), (b.grad, 645.5773)):
        print(f"{found:.6f}, in the README {wanted}")
        assert abs(found - wanted) < 1e-4
    x = Value(3.0)
    (x * x).backward()
    assert x.grad == 6.0
    rng = datasets.stream(0, "places")
    for place in rng.uniform(-3, 3, (20, 2)).tolist():
        a, b = map(Value, place)
        example(a, b).backward()
        for i, one in enumerate((a, b)):
            slope = nudge(lambda *at: example(*map(Value, at)).value, place, i)
            assert math.isclose(one.grad, slope, rel_tol=1e-4, abs_tol=1e-4)  # why 1e-4: nudging is right to 5 digits
    print("known numbers, x * x, and 20 random places: all agree")

# %% [markdown]
r"""
The same for arrays
-------------------

A network with 300 parameters and 50 points makes tens of thousands of such numbers for one loss. So real engines
remember *arrays*: an entry on the tape is one operation on whole arrays, and its slope is a function that turns $dY$,
the gradient of the loss in the result, into the gradient in the input. Each follows from the rule for single numbers by
writing the sums out. For $Y = A B$, where $Y_{ij} = \sum_k A_{ik} B_{kj}$:

$$ dA = dY \, B^T, \qquad dB = A^T \, dY $$

The shapes alone nearly force it. And where one number was used in many places, the gradients of all places are added,
as before: a bias that is added to every row of a matrix gets the sum over the rows. (That is the whole secret of
*broadcasting*; the general case is an exercise.)

An operation may be as large as we like, if we know its gradient. The loss below is one: for scores s and labels y of
-1 or 1, the mean of $\log(1 + e^{-y s})$, with the gradient $-y / (1 + e^{y s})$ over the number of points.
"""


# %%
class Node:
    """An array that remembers its ``parents``, each with a function from the gradient in this array to that in it."""

    def __init__(self, array: np.ndarray, parents: tuple[tuple[Node, Callable], ...] = ()) -> None:
        self.array, self.parents, self.number = array, parents, next(CLOCK)
        self.grad = np.zeros_like(array)

    def __add__(self, row: Node) -> Node:
        return Node(self.array + row.array, ((self, lambda dy: dy), (row, lambda dy: dy.sum(axis=0))))

    def __matmul__(self, other: Node) -> Node:
        a, b = self.array, other.array
        return Node(a @ b, ((self, lambda dy: dy @ b.T), (other, lambda dy: a.T @ dy)))

    def tanh(self) -> Node:
        y = np.tanh(self.array)
        return Node(y, ((self, lambda dy: dy * (1 - y * y)),))

    def logistic_loss(self, labels: np.ndarray) -> Node:
        margins = labels * self.array  # (N, 1)
        slopes = -labels * 0.5 * (1 - np.tanh(margins / 2)) / len(margins)  # (N, 1)
        return Node(np.logaddexp(0, -margins).mean(), ((self, lambda dy: dy * slopes),))

    def backward(self) -> None:
        """Compute the gradient of this number in everything that it was made from."""
        order = newest_first(self)
        for one in order:
            one.grad = np.zeros_like(one.array)
        self.grad = np.ones_like(self.array)
        for one in order:
            for parent, back in one.parents:
                parent.grad += back(one.grad)


# %% [markdown]
r"""
A network, three engines
------------------------

A small network: two inputs, two hidden layers of 16 with tanh (an S-shaped bend between -1 and 1; without one, layers
make straight lines only), one score. ``network`` is written once and runs on our arrays and on minillm's tensors, since
both understand ``@``, ``+`` and ``tanh``. minillm's engine is the same machine with all operations and devices; read
``minillm/autograd/engine.py`` next, you know what is in it. The check: all three find the same gradient, to 12 digits.
"""


# %%
def network(x: Any, parameters: Sequence[tuple[Any, Any]]) -> Any:
    """Return one score for each row of x; tanh between the layers."""
    for w, b in parameters[:-1]:
        x = (x @ w + b).tanh()
    w, b = parameters[-1]
    return x @ w + b


def network_naive(point: Sequence[float], parameters: Sequence[tuple[list[list[Value]], list[Value]]]) -> Value:
    """Return the score of one point, number by number."""
    x: list[Any] = list(point)
    for layer, (w, b) in enumerate(parameters):
        x = [sum((x[i] * w[i][j] for i in range(len(x))), b[j]) for j in range(len(b))]
        if layer < len(parameters) - 1:
            x = [one.tanh() for one in x]
    return x[0]


def first_weights(rng: np.random.Generator, sizes: Sequence[int] = (2, 16, 16, 1)) -> list[tuple]:
    """Return random weights and zero biases."""
    # why 1 / sqrt(n): a sum of n random terms grows with sqrt(n); so the scores begin neither huge nor tiny.
    return [(rng.standard_normal((n, m)) / math.sqrt(n), np.zeros(m)) for n, m in itertools.pairwise(sizes)]


def moons(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n points on two half circles that reach into each other, (n, 2), and labels of -1 and 1, (n, 1)."""
    labels = np.where(np.arange(n) % 2 == 0, -1.0, 1.0)
    angle = rng.uniform(0, math.pi, n)  # (n,)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (n, 2)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)  # (n, 2)
    points = np.where(labels[:, None] > 0, lower, upper) + noise * rng.standard_normal((n, 2))
    return points, labels[:, None]  # (n, 2), (n, 1)


# %%
def gradient_naive(points: np.ndarray, labels: np.ndarray, weights: Sequence[tuple]) -> list[np.ndarray]:
    """Return the gradients of the loss in all weights and biases, by the tape of numbers."""
    parameters = [([[Value(v) for v in row] for row in w.tolist()], [Value(v) for v in b.tolist()]) for w, b in weights]
    pairs = zip(points.tolist(), labels[:, 0].tolist(), strict=True)
    losses = [(network_naive(p, parameters) * -y).softplus() for p, y in pairs]
    (sum(losses[1:], losses[0]) * (1 / len(losses))).backward()
    found = []
    for w, b in parameters:
        found += [np.array([[v.grad for v in row] for row in w]), np.array([v.grad for v in b])]
    return found


def gradient_arrays(points: np.ndarray, labels: np.ndarray, weights: Sequence[tuple]) -> list[np.ndarray]:
    """Return the same by the tape of arrays."""
    parameters = [(Node(w), Node(b)) for w, b in weights]
    network(Node(points), parameters).logistic_loss(labels).backward()
    return [node.grad for pair in parameters for node in pair]


def gradient_minillm(points: np.ndarray, labels: np.ndarray, weights: Sequence[tuple]) -> list[np.ndarray]:
    """Return the same by minillm."""
    parameters = [(minillm.tensor(w).requires_grad_(), minillm.tensor(b).requires_grad_()) for w, b in weights]
    scores = network(minillm.tensor(points), parameters)
    F.softplus(-minillm.tensor(labels) * scores).mean().backward()
    return [p.grad.numpy() for pair in parameters for p in pair]


# %%
if __name__ == "__main__":
    rng = datasets.stream(0, "three engines")
    points, labels = moons(10 if setting.fast else 50, 0.2, rng)
    weights = first_weights(rng)
    print(f"{sum(w.size + b.size for w, b in weights)} parameters, {len(points)} points; one gradient takes")
    results: list[list[np.ndarray]] = []
    for gradient in (gradient_naive, gradient_arrays, gradient_minillm):
        results.append(gradient(points, labels, weights))
        seconds = timeit.timeit(partial(gradient, points, labels, weights), number=3) / 3
        print(f"{gradient.__name__:<18} {1000 * seconds:8.2f} ms")
    for same in zip(*results):
        assert np.allclose(same[0], same[2], 1e-12, 1e-14) and np.allclose(same[1], same[2], 1e-12, 1e-14)
    print("all three agree to twelve digits")

# %% [markdown]
r"""
Measure
-------

Going downhill is now three lines: gradient, step against it, repeat. The task is the demonstration of micrograd: tell
two half moons apart, which no straight line can. We train on 100 points for three seeds (points and first weights) and
judge on 500 new points. For comparison a straight line: the same training without hidden layers.
"""


# %%
def train(seed: int, steps: int, sizes: Sequence[int], lr: float = 0.5) -> tuple[list[tuple], list[float], float]:
    """Train on 100 points; return the weights, the losses, and the share of 500 new points that come out right.

    why lr = 0.5: the loss falls in nearly every step; with 0.1 it needs five times as many. Lesson 05 does better.
    """
    rng = datasets.stream(seed, "moons")
    points, labels = moons(100, 0.2, rng)
    new_points, new_labels = moons(500, 0.2, rng)
    weights, losses = first_weights(rng, sizes), []
    for _ in range(steps):
        parameters = [(Node(w), Node(b)) for w, b in weights]
        loss = network(Node(points), parameters).logistic_loss(labels)
        loss.backward()
        losses.append(float(loss.array))
        weights = [(w.array - lr * w.grad, b.array - lr * b.grad) for w, b in parameters]
    scores = network(Node(new_points), [(Node(w), Node(b)) for w, b in weights]).array  # (500, 1)
    return weights, losses, float((np.sign(scores) == new_labels).mean())


# %%
if __name__ == "__main__":
    steps = 300 if setting.fast else 2000
    runs: dict[str, list[tuple]] = {}
    shares: dict[str, list[float]] = {}
    for name, sizes in (("straight line", (2, 1)), ("network", (2, 16, 16, 1))):
        runs[name] = [train(seed, steps, sizes) for seed in range(3)]
        hits = shares[name] = [share for _, _, share in runs[name]]
        last = np.mean([losses[-1] for _, losses, _ in runs[name]])
        print(f"{name:<14} loss {last:.3f}, right {np.mean(hits):.3f} ({min(hits):.3f} to {max(hits):.3f})")
    judged = BAND.judge(float(np.mean(shares["network"])), setting.fast)
    assert min(shares["network"]) > max(shares["straight line"])

# %% [markdown]
r"""
The figure
----------

Left, one neuron as the tape sees it: values are computed from left to right, slopes of the loss from right to left; the
slope in w is the slope in the product times x. Right, what training has made of the plane.
"""

# %%
if __name__ == "__main__":
    w, x, b = Value(-0.5), Value(2.0), Value(0.3)
    product = w * x
    total = product + b
    y = total.tanh()
    cost = y**2
    cost.backward()
    assert math.isclose(w.grad, product.grad * x.value)
    drawn = {"w": (w, 0, 2), "x": (x, 0, 1), "b": (b, 1, 0), "w x": (product, 1, 1.5), "w x + b": (total, 2, 1),
             "y = tanh": (y, 3, 1), "loss = y²": (cost, 4, 1)}  # fmt: skip
    fig, (left, right) = figure(11, 4.2, panels=2)
    left.axis("off")
    left.set(xlim=(-0.5, 4.5), ylim=(-0.5, 2.5))
    for name, (value, across, up) in drawn.items():
        for parent, x0, y0 in drawn.values():
            if any(parent is one for one, _ in value.parents):
                arrow = {"arrowstyle": "-|>", "color": "#999999", "shrinkA": 26, "shrinkB": 30}
                left.annotate("", (across, up), (x0, y0), arrowprops=arrow)
        left.text(across, up, f"{name}\n{value.value:.2f}", ha="center", va="bottom", fontsize=9, color=COLOURS[0])
        left.text(across, up, f"slope {value.grad:.2f}", ha="center", va="top", fontsize=9, color=COLOURS[1])
    left.set_title("Values go forward, slopes come back", loc="left", fontsize=11)
    weights, losses, _ = runs["network"][0]
    points, labels = moons(100, 0.2, datasets.stream(0, "moons"))  # the points that it was trained on
    grid_x, grid_y = np.meshgrid(np.linspace(-1.8, 2.8, 120), np.linspace(-1.3, 1.8, 90))  # (90, 120), (90, 120)
    grid = np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)  # (90 * 120, 2)
    scores = network(Node(grid), [(Node(w), Node(b)) for w, b in weights]).array.reshape(grid_x.shape)  # (90, 120)
    right.contourf(grid_x, grid_y, scores, levels=[-1e9, 0, 1e9], colors=[COLOURS[0], COLOURS[1]], alpha=0.15)
    right.plot(*points[labels[:, 0] < 0].T, "o", color=COLOURS[0], markersize=4)
    right.plot(*points[labels[:, 0] > 0].T, "^", color=COLOURS[1], markersize=4)
    right.grid(False)
    right.set(xlabel="first input", ylabel="second input")
    right.set_title(f"Two moons after {steps:,} steps", loc="left", fontsize=11)
    alt = (
        "Two panels. Left: the graph of one neuron with its loss; each number has a value and the slope of the loss "
        f"in it, from {w.grad:.2f} in the weight to 1 in the loss itself. Right: circles and triangles form two half "
        "moons that reach into each other; a curved border found by training passes between them."
    )
    graph = {name: [value.value, value.grad] for name, (value, _, _) in drawn.items()}
    moon = {"points": points.tolist(), "labels": labels[:, 0].tolist(), "losses": losses[:: steps // 50]}
    numbers = {"graph": graph, "moons": moon, "shares": shares, "band": judged}
    print(*save_figure(fig, setting.out / "l03_gradients", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l03_gradients.py``; ``minillm check 03`` says how far you are. Backward passes on plain arrays:

- ``unbroadcast``: the gradient of what was broadcast.
- ``mul_backward``: of a product, number by number, with broadcasting.
- ``matmul_backward``: of a product of matrices, or of stacks of them.
- ``logsumexp_backward``: of the smooth maximum that every language model's loss contains.

Then try: put the classic mistake (``=`` for ``+=``) into ``Value`` and see which checks notice. How deep a sum can
``backward`` take, and what would a recursive version do?
"""

# %%
QUIZ = (
    Question(
        "What does one gradient of a million parameters cost by backpropagation, in runs of the model?",
        ("Two or three.", "A million.", "Two million."),
        0,
        "One walk back gives all slopes; a step back costs about one or two forward. Nudging needs two runs for each.",
    ),
    Question(
        "Why is the gradient added to what is there (+=) instead of being stored (=)?",
        ("Sums are faster.", "Gradients are small.", "A number may be used in several places, and its effects add up."),
        2,
        "The chain rule is a sum: for x * x the two places give x each, together 2 x; with = one of them gets lost.",
    ),
    Question(
        "A bias of shape (16,) was added to a matrix of shape (50, 16). What is the shape of its gradient, and why?",
        ("(50, 16): one for each use.", "(16,): the sum over the 50 rows.", "(50,): one for each row."),
        1,
        "A gradient has the shape of its array. Each of the 16 numbers was used 50 times, and these slopes add up.",
    ),
)

# %%
if __name__ == "__main__":
    ask(3, QUIZ)

# %% [markdown]
r"""
Sources
-------

- A. Karpathy, micrograd, https://github.com/karpathy/micrograd (the example with its derivatives, and the moons).
- D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors, Nature 323, 1986.
- A. Griewank and A. Walther, Evaluating Derivatives, second edition, SIAM 2008 (what a gradient costs).
"""
