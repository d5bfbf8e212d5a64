# %% [markdown]
r"""
A gradient engine
=================

*How does a program know which way is down?*

The models of this course have thousands or millions of numbers, their *parameters*, and one number that says how bad
they are, the *loss*. Learning means: change every parameter a little so that the loss falls. For that one must know,
for each parameter, whether the loss rises or falls when it grows, and how fast. These slopes together are the
*gradient*. This lesson builds the machine that computes it for any program, first for single numbers and then for
arrays; what you have at the end is minillm in small.

- You need: Python, and what a derivative is: the slope of a curve
- Time: 8 s and 110 MB on two cores
- Corpus: none; the lesson draws its own points, two half moons
- Band: 0.93 to 0.98 of the held-out points told apart (mean of three seeds)
"""

# %%
from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.frame import Band, Question, options
from minillm import datasets
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "How does a program know which way is down?"
BAND = Band(
    "share of held-out points told apart",
    0.93,
    0.98,
    "the points and the first weights are random, and another version of NumPy may draw others; four times three seeds "
    "gave 0.953 to 0.959",
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
their 16 digits, and what is left of the difference is rounding. The example is the one from the README of micrograd;
``relu`` is the function that sets negative numbers to 0.
"""


# %%
def relu(x: Any) -> Any:
    """Return the larger of x and 0, for plain numbers and for those that remember (below)."""
    return x.relu() if hasattr(x, "relu") else max(0.0, x)


def example(a: Any, b: Any) -> Any:
    """Return the result of the example in micrograd's README: nonsense with every kind of step in it."""
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + relu(b + a)
    d = d + 3 * d + relu(b - a)
    e = c - d
    f = e**2
    return f / 2.0 + 10.0 / f


def nudge(f: Callable[..., float], at: Sequence[float], i: int, h: float = 1e-6) -> float:
    """Return the slope of f in its argument i, by nudging it to both sides."""
    up, down = ([x + sign * h * (j == i) for j, x in enumerate(at)] for sign in (1, -1))
    return (f(*up) - f(*down)) / (2 * h)


KNOWN = {"value": 24.70408163265306, "da": 138.83381924198252, "db": 645.5772594752186}  # at a = -4, b = 2

# %%
if __name__ == "__main__":
    setting = options()
    assert math.isclose(example(-4.0, 2.0), KNOWN["value"])
    for power in (1, 2, 4, 6, 8, 10, 12):
        slope = nudge(example, (-4.0, 2.0), 0, 10.0**-power)
        print(f"h = 1e-{power:02}: slope in a {slope:12.6f}, wrong by {abs(slope - KNOWN['da']):.0e}")

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
So: begin at L, whose slope in itself is 1, and walk the steps in the reverse of the order in which they were made. One
walk gives the slopes in *all* inputs, for about the price of two or three runs of the program, however many inputs
there are. This is called reverse-mode automatic differentiation, or backpropagation.
"""

# %% [markdown]
r"""
The naive version: numbers that remember
----------------------------------------

A ``Value`` is a number with the list of the numbers that it was made from and the slope in each. The operators build
the list while the program runs. ``backward`` walks it. Two lines carry everything: numbers made later come first, so
that a slope is complete before it is passed on; and a slope is *added* (``+=``), because a number may have been used
more than once. To write ``=`` there is the classic mistake: it is right for every example in which nothing is used
twice.
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
    """A number that remembers how it was made: a tape of scalars.

    Attributes:
        value: the number.
        grad: the slope of the result in it, once the result's ``backward`` was called.
        parents: the numbers that it was made from, each with the slope of this one in it.
    """

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

    # Everything else is made of these.
    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -other

    def __truediv__(self, other: Value | float) -> Value:
        return self * other**-1.0

    def __rtruediv__(self, other: float) -> Value:
        return self**-1.0 * other

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

Three kinds of evidence. *Known numbers*: micrograd's README prints the slopes of the example, 138.8338 and 645.5773.
*A closed form*: the slope of $x \cdot x$ is $2 x$; a tape that forgets to add finds x. *Nudging*, at random places.
Nudging alone would not do: it shows that backward and forward belong together, not that forward computes what it
should.
"""

# %%
if __name__ == "__main__":
    a, b = Value(-4.0), Value(2.0)
    g = example(a, b)
    g.backward()
    print(f"value {g.value:.4f}, slope in a {a.grad:.4f}, in b {b.grad:.4f}")
    assert (
        math.isclose(g.value, KNOWN["value"])
        and math.isclose(a.grad, KNOWN["da"])
        and math.isclose(b.grad, KNOWN["db"])
    )

    x = Value(3.0)
    (x * x).backward()
    assert x.grad == 6.0

    rng = datasets.stream(0, "places")
    for place in rng.uniform(-3, 3, (20, 2)):
        a, b = Value(float(place[0])), Value(float(place[1]))
        example(a, b).backward()
        for i, slope in enumerate((a.grad, b.grad)):
            # why 1e-4: nudging by 1e-6 is right to five digits or so
            assert math.isclose(slope, nudge(example, (a.value, b.value), i), rel_tol=1e-4, abs_tol=1e-4)
    print("known numbers, x * x, and 20 random places: all agree")

# %% [markdown]
r"""
The same for arrays
-------------------

A network with 300 parameters and 50 points makes tens of thousands of such numbers for one loss, and Python spends
about a microsecond on every step of each. So real engines remember *arrays*: one entry on the tape is one operation
on whole arrays, and its slope is no longer a number but a function that turns $dY$, the gradient of the loss in the
result, into the gradient in the input. Each follows from the rule for single numbers by writing the sums out. For
$Y = A B$, where $Y_{ij} = \sum_k A_{ik} B_{kj}$:

$$ dA = dY \, B^T, \qquad dB = A^T \, dY $$

The shapes alone nearly force it: there is one way to multiply $dY$ and $B$ that has the shape of A. And where one
number was used in many places, the gradients of all places are added, as before. A bias that is added to every row of
a matrix was used once for each row, so its gradient is the sum over rows. (That is the whole secret of *broadcasting*;
the general case is an exercise.)

An operation may be as large as we like, if we know its gradient. The loss below is one: for scores s and labels y of
-1 or 1, the mean of $\log(1 + e^{-y s})$, with the gradient $-y / (1 + e^{y s})$ over the number of points.
"""


# %%
class Node:
    """An array that remembers how it was made: a tape of arrays, with just the operations of a small network.

    Attributes:
        array: the numbers.
        grad: the gradient of the result in them, of the same shape.
        parents: what it was made from, each with a function from the gradient in this one to the gradient in that.
    """

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

A small network: two inputs, two hidden layers of 16 with tanh, one score. ``network`` is written once and runs on our
arrays and on minillm's tensors, since both understand ``@``, ``+`` and ``tanh``. minillm's engine is the same machine
with everything that a course needs: all operations, broadcasting, devices, and an order that is found without sorting.
Read ``minillm/autograd/engine.py`` next; you know what is in it.

The check: all three engines must find the same gradient, in double precision to twelve digits.
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


def first_weights(
    rng: np.random.Generator, sizes: Sequence[int] = (2, 16, 16, 1)
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random weights and zero biases.

    why 1 / sqrt(inputs): a sum of n random terms grows with sqrt(n); so the scores begin neither huge nor tiny.
    """
    return [(rng.standard_normal((n, m)) / math.sqrt(n), np.zeros(m)) for n, m in itertools.pairwise(sizes)]


def moons(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n points on two half circles that reach into each other, and labels of -1 and 1.

    Shape:
        (n, 2) and (n, 1).
    """
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
    losses = [
        (network_naive(p, parameters) * -y).softplus()
        for p, y in zip(points.tolist(), labels[:, 0].tolist(), strict=True)
    ]
    total = sum(losses[1:], losses[0]) * (1 / len(losses))
    total.backward()
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
    results = {}
    for name, gradient in (
        ("a tape of numbers", gradient_naive),
        ("a tape of arrays", gradient_arrays),
        ("minillm", gradient_minillm),
    ):
        start = time.perf_counter()
        results[name] = gradient(points, labels, weights)
        print(f"{name:<18} {1000 * (time.perf_counter() - start):8.2f} ms")
    for found in results.values():
        for one, other in zip(found, results["minillm"], strict=True):
            assert np.allclose(one, other, rtol=1e-12, atol=1e-14)
    print("all three agree to twelve digits")

# %% [markdown]
r"""
Measure
-------

Going downhill is now three lines: gradient, step against it, repeat. The task is the demonstration of micrograd: tell
two half moons apart, which no straight line can. We train on 100 points for three seeds (points and first weights) and
judge on 500 points that training has not seen. For comparison the best straight line: the same training without hidden
layers.
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
    shares: dict[str, list[float]] = {}
    for name, sizes in (("straight line", (2, 1)), ("network", (2, 16, 16, 1))):
        runs = [train(seed, steps, sizes) for seed in range(3)]
        shares[name] = [share for _, _, share in runs]
        last = [losses[-1] for _, losses, _ in runs]
        print(
            f"{name:<14} loss {np.mean(last):.3f}, right on new points {np.mean(shares[name]):.3f} "
            f"({min(shares[name]):.3f} to {max(shares[name]):.3f})"
        )
    judged = BAND.judge(float(np.mean(shares["network"])), setting.fast)
    assert min(shares["network"]) > max(shares["straight line"])

# %% [markdown]
r"""
The figure
----------

Left, one neuron as the tape sees it: with each number its value, computed from left to right, and the slope of the
loss in it, computed from right to left. Check one of them by hand: the slope in w is the slope in the product times x.
Right, what two thousand steps against the gradient have made of the plane.
"""

# %%
if __name__ == "__main__":
    w, x, b = Value(-0.5), Value(2.0), Value(0.3)
    product = w * x
    total = product + b
    y = total.tanh()
    loss = (y - 0.5) ** 2
    loss.backward()
    graph = {"w": w, "x": x, "w x": product, "b": b, "w x + b": total, "y = tanh": y, "(y - 0.5)²": loss}
    places = {"w": (0, 2), "x": (0, 1), "b": (1, 0), "w x": (1, 1.5), "w x + b": (2, 1), "y = tanh": (3, 1),
              "(y - 0.5)²": (4, 1)}  # fmt: skip
    assert math.isclose(w.grad, product.grad * x.value)

    fig, (left, right) = figure(11, 4.2, panels=2)
    left.axis("off")
    left.set_xlim(-0.5, 4.5)
    left.set_ylim(-0.5, 2.5)
    edges = [("w", "w x"), ("x", "w x"), ("w x", "w x + b"), ("b", "w x + b"), ("w x + b", "y = tanh")]
    for start_name, end_name in [*edges, ("y = tanh", "(y - 0.5)²")]:
        left.annotate("", places[end_name], places[start_name],
                      arrowprops={"arrowstyle": "-|>", "color": "#999999", "shrinkA": 26, "shrinkB": 30})  # fmt: skip
    for name, value in graph.items():
        left.text(*places[name], f"{name}\n{value.value:.2f}", ha="center", va="bottom", fontsize=9, color=COLOURS[0],
                  bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"})  # fmt: skip
        left.text(*places[name], f"slope {value.grad:.2f}", ha="center", va="top", fontsize=9, color=COLOURS[1])
    left.set_title("Values go forward, slopes come back", loc="left", fontsize=11)

    weights = train(0, steps, (2, 16, 16, 1))[0]
    points, labels = moons(100, 0.2, datasets.stream(0, "moons"))  # the points that it was trained on
    grid_x, grid_y = np.meshgrid(np.linspace(-1.8, 2.8, 120), np.linspace(-1.3, 1.8, 90))  # (90, 120), (90, 120)
    grid = np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)  # (90 * 120, 2)
    scores = network(Node(grid), [(Node(w), Node(b)) for w, b in weights]).array.reshape(grid_x.shape)  # (90, 120)
    right.contourf(grid_x, grid_y, scores, levels=[-1e9, 0, 1e9], colors=[COLOURS[0], COLOURS[1]], alpha=0.15)
    right.contour(grid_x, grid_y, scores, levels=[0], colors="#333333", linewidths=1)
    for label, colour, marker in ((-1, COLOURS[0], "o"), (1, COLOURS[1], "^")):
        chosen = labels[:, 0] == label
        right.plot(*points[chosen].T, marker, color=colour, markersize=4, linestyle="none")
    right.grid(False)
    right.set_xlabel("first input")
    right.set_ylabel("second input")
    right.set_title(f"Two moons after {steps:,} steps", loc="left", fontsize=11)
    alt = (
        "Two panels. Left: the graph of one neuron with its loss; each number has a value and the slope of the loss "
        f"in it, from {w.grad:.2f} in the weight to 1 in the loss itself. Right: circles and triangles form two half "
        "moons that reach into each other; a curved line found by training passes between them."
    )
    numbers = {
        "graph": {name: [value.value, value.grad] for name, value in graph.items()},
        "points": points.tolist(),
        "labels": labels[:, 0].tolist(),
        "shares": shares,
        "losses": train(0, steps, (2, 16, 16, 1))[1][:: steps // 50],
        "band": judged,
    }
    print(*save_figure(fig, setting.out / "l03_gradients", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l03_gradients.py``; ``minillm check 03`` says how far you are, and gives hints. Backward passes
on plain arrays, as they stand in ``minillm/ops``:

- ``unbroadcast``: the gradient of what was broadcast.
- ``mul_backward``: of a product, number by number, with broadcasting.
- ``matmul_backward``: of a product of matrices, or of stacks of them.
- ``logsumexp_backward``: of the smooth maximum that every language model's loss contains.

Then try: put the classic mistake (``=`` for ``+=``) into ``Value`` and see which checks notice. Which functions of
``Value`` would a language model need that are missing? How deep a sum can ``backward`` take, and what would a
recursive version do?
"""

# %%
QUIZ = (
    Question(
        "What does one gradient of a million parameters cost by backpropagation, in runs of the model?",
        ("Two or three.", "A million.", "Two million."),
        0,
        "One walk back over the steps gives the slopes in all inputs, and each step back costs about as much as one or "
        "two steps forward. Nudging would need two runs for each parameter.",
    ),
    Question(
        "Why is the gradient added to what is there (+=) instead of being stored (=)?",
        (
            "Because sums are faster than assignments.",
            "Because gradients are small numbers.",
            "Because a number may be used in several places, and its effects add up.",
        ),
        2,
        "The chain rule is a sum over all that was made from x. For x * x the two places give x each, together 2 x; "
        "with = only the last one would remain.",
    ),
    Question(
        "A bias of shape (16,) was added to a matrix of shape (50, 16). What is the shape of its gradient, and why?",
        (
            "(50, 16): one for each place where it was used.",
            "(16,): the sum over the 50 rows in which each of its numbers was used.",
            "(50,): one for each row.",
        ),
        1,
        "A gradient has the shape of what it is the gradient of. Each of the 16 numbers was used 50 times, and the "
        "slopes of all places add up.",
    ),
)

# %%
if __name__ == "__main__":
    for n, question in enumerate(QUIZ, start=1):
        print(f"{n}. {question.ask}")
    print("answers: minillm quiz 03 --answers")

# %% [markdown]
r"""
Sources
-------

- A. Karpathy, micrograd, https://github.com/karpathy/micrograd (the example with its derivatives, and the moons).
- D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors, Nature 323, 1986.
- A. Griewank and A. Walther, Evaluating Derivatives, second edition, SIAM 2008 (what a gradient costs).
- A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, Automatic Differentiation in Machine Learning: a Survey,
  Journal of Machine Learning Research 18, 2018.
"""
