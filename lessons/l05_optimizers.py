# %% [markdown]
r"""
Going downhill
==============

*Why Adam?*

Lesson 03 can compute the slope of the loss in every parameter, and it went downhill by taking steps of a fixed size
against it. That works, slowly. Nearly every language model is trained with another rule, Adam. This lesson builds up to
it from what goes wrong, and measures when it is better, and when it is not.

- You need: lessons 01 and 03
- Time: 15 s and 150 MB on two cores
- Corpus: ``stdlib-en``, the help texts of your Python
- Band: 0.05 to 0.25 nats per character by which Adam is ahead of momentum (mean of three seeds)
"""

# %%
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from minillm import datasets, optim
from minillm.nn.utils import clip_grad_norm_
from minillm.optim.lr_scheduler import warmup_cosine
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "Why Adam?"
BAND = Band(
    "nats per character by which Adam is ahead of momentum",
    0.05,
    0.25,
    "which places the batches show is random, and the help texts differ between versions of Python",
)

# %% [markdown]
r"""
One step, and how long it may be
--------------------------------

Write w for all parameters, L(w) for the loss and g for its gradient. *Gradient descent* takes a step of the size
$\eta$ (the *learning rate*, ``lr``) against it:

$$ w \leftarrow w - \eta \, g $$

The simplest valley that is interesting is a *ravine*: $L(w) = \frac{1}{2} (h_1 w_1^2 + h_2 w_2^2)$, flat along one
axis and steep along the other, here with $h_1 = 1$ and $h_2 = 100$. Near its lowest point every smooth loss looks like
that, in as many directions as it has parameters. The gradient is $(h_1 w_1, h_2 w_2)$, so each axis goes its own way:

$$ w_i \leftarrow (1 - \eta h_i) \, w_i, \qquad \text{after t steps} \quad w_i (1 - \eta h_i)^t $$

The steep axis sets the limit: with $\eta > 2 / h_2$ the factor is below -1, and the steps jump across the ravine, each
time further. The flat axis pays: with $\eta < 2 / h_2$ it loses less than 2 % a step. The best compromise is
$\eta = 2 / (h_1 + h_2)$, and both axes keep $(h_2 - h_1) / (h_2 + h_1)$, here 0.98, of their distance in each step.

Momentum
--------

Across the ravine the steps alternate, along it they all agree. So walk along a running sum of the gradients, in which
what alternates cancels (Polyak 1964):

$$ b \leftarrow \mu b + g, \qquad w \leftarrow w - \eta \, b $$

With the best $\eta$ and $\mu$, 0.98 becomes $(\sqrt{h_2} - \sqrt{h_1}) / (\sqrt{h_2} + \sqrt{h_1})$, here 0.82: in
the long run ten times fewer steps. But one has to know how steep and how flat the loss is, and nobody does.

A step size for each number
---------------------------

If every parameter had its own learning rate, the flat ones could take longer steps. *Adagrad* (Duchi, Hazan and Singer
2011) divides by the root of the sum of all squared gradients that this parameter has had:

$$ v \leftarrow v + g^2, \qquad w \leftarrow w - \eta \, g / (\sqrt{v} + \epsilon) $$

(The square and the root are taken number by number; $\epsilon$, very small, avoids 0 / 0.) The sum only grows, so the
steps only shrink. *Adam* (Kingma and Ba 2015) takes means that forget, of the gradient and of its square:

$$ m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
w \leftarrow w - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} $$

With $\beta_1 = 0.9$ a gradient counts for about 10 steps, with $\beta_2 = 0.999$ its square for about 1000. Both means
begin at 0, as if there had been gradients of 0 before; the divisions by $1 - \beta^t$, where t is the number of the
step, take that out exactly. m is the momentum; dividing by the root of the mean square makes the step free of units:
where gradients agree it is $\eta$ long, where they contradict each other it is shorter.

The naive version
-----------------

Three of the rules, with the running sums in a dictionary. Adam is your exercise.
"""


# %%
def sgd_naive(w: np.ndarray, g: np.ndarray, kept: dict[str, Any], lr: float) -> np.ndarray:
    """Return the weights after a step of gradient descent; nothing is kept."""
    return w - lr * g


def momentum_naive(w: np.ndarray, g: np.ndarray, kept: dict[str, Any], lr: float, mu: float = 0.9) -> np.ndarray:
    """Return the weights after a step along the running sum."""
    kept["b"] = mu * kept.get("b", 0) + g
    return w - lr * kept["b"]


def adagrad_naive(w: np.ndarray, g: np.ndarray, kept: dict[str, Any], lr: float) -> np.ndarray:
    """Return the weights after a step divided by the root of the sum of squares."""
    kept["v"] = kept.get("v", 0) + g * g
    return w - lr * g / (np.sqrt(kept["v"]) + 1e-10)


# %% [markdown]
r"""
The real version, and a check
-----------------------------

``minillm.optim`` has them all, with PyTorch's names. An optimizer gets the parameters once; after ``loss.backward()``
its ``step()`` changes them, and ``zero_grad()`` forgets the gradients before the next. Four checks: the naive rules
find the same weights; gradient descent in the ravine obeys its formula; momentum reaches the rate that was promised;
and Adam's first step is as long as the learning rate in every direction, whatever the unit of the gradient.
"""


# %%
def follow(make: Callable[[list], optim.Optimizer], start: np.ndarray, gradients: Iterable[np.ndarray]) -> np.ndarray:
    """Return where an optimizer goes when it is handed these gradients."""
    w = minillm.tensor(start).requires_grad_()
    optimizer = make([w])
    for g in gradients:
        w.grad = minillm.tensor(g)
        optimizer.step()
    return w.detach().numpy()


def ravine(make: Callable[[list], optim.Optimizer], steps: int, degrees: float = 0.0, steep: float = 100.0) -> list:
    """Return the losses on the way down a ravine that is turned by an angle, from the same place in it."""
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])  # (2, 2)
    h = minillm.tensor(turn @ np.diag([1.0, steep]) @ turn.T)  # (2, 2)
    w = minillm.tensor(turn @ np.array([1.0, 0.6])).requires_grad_()  # (2,)
    optimizer, losses = make([w]), []
    for _ in range(steps):
        loss = 0.5 * (w @ (h @ w))
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


# %%
if __name__ == "__main__":
    setting = options()
    some = datasets.stream(0, "gradients").standard_normal((20, 5))  # (20, 5)
    rules: list[tuple[Any, Any]] = [
        (sgd_naive, partial(optim.SGD, lr=0.1)),
        (momentum_naive, partial(optim.SGD, lr=0.1, momentum=0.9)),
        (adagrad_naive, partial(optim.Adagrad, lr=0.1)),
    ]
    for naive, make in rules:
        here, kept = np.ones(5), dict[str, Any]()
        for g in some:
            here = naive(here, g, kept, 0.1)
        assert np.allclose(here, follow(make, np.ones(5), some), rtol=1e-12)
    best = 2 / (1 + 100)
    losses = ravine(partial(optim.SGD, lr=best), 50)
    assert math.isclose(losses[-1], 0.5 * (1 + 100 * 0.6**2) * (1 - best) ** (2 * 49))  # both axes keep that share
    assert ravine(partial(optim.SGD, lr=0.0201), 50)[-1] > losses[0] > ravine(partial(optim.SGD, lr=0.0199), 50)[-1]
    # why these two: Polyak's best for slopes of 1 and 100; the rate is the root of the momentum
    heavy = partial(optim.SGD, lr=4 / (10 + 1) ** 2, momentum=(9 / 11) ** 2)
    losses = ravine(heavy, 400)
    assert abs((losses[399] / losses[199]) ** (1 / 400) - 9 / 11) < 0.01  # the loss falls by the square of the rate
    for unit in (1e-3, 1.0, 1e3):
        first = follow(partial(optim.Adam, lr=0.1), np.zeros(5), unit * some[:1])
        assert np.allclose(first, -0.1 * np.sign(some[0]), rtol=1e-3)
    print("naive and real agree; the ravine obeys its formulas; Adam's first step is lr in every direction")

# %% [markdown]
r"""
Four rules in a ravine
----------------------

We give every rule the best of a row of learning rates, or the comparison would be one of our guesses. (Momentum and
gradient descent get the best that theory knows.) Then the same ravine, turned by 30 degrees, so that steep and flat are
no longer the two parameters but mixtures of them.

What to see: momentum, which knows the ravine, beats all others in the turned one, and turning changes nothing for it or
for gradient descent. Adagrad is at its best where each parameter is a direction of its own, and loses that when they
are mixed: its step sizes belong to parameters, not to directions. Adam does well without knowing the ravine, and no
better than that. A ravine alone is *not* the reason for Adam.
"""

# %%
if __name__ == "__main__":
    rates = (0.03, 0.1, 0.3, 1.0, 3.0)  # why: a factor of 3 apart, from too short to too long for both
    steps = 100  # why: gradient descent has some way to go, momentum has arrived
    downhill: dict[str, dict[int, list[float]]] = {}
    for name, makes in (
        ("gradient descent", [partial(optim.SGD, lr=best)]),
        ("momentum", [heavy]),
        ("Adagrad", [partial(optim.Adagrad, lr=lr) for lr in rates]),
        ("Adam", [partial(optim.Adam, lr=lr) for lr in rates]),
    ):
        downhill[name] = {
            degrees: min((ravine(make, steps, degrees) for make in makes), key=lambda losses: losses[-1])
            for degrees in (0, 30)
        }
        print(f"{name:<17} loss after {steps} steps:", *(f"{d[-1]:8.0e}" for d in downhill[name].values()))
    assert math.isclose(*(losses[-1] for losses in downhill["gradient descent"].values()), rel_tol=1e-6)

# %% [markdown]
r"""
Noise: why the steps must shrink
--------------------------------

A corpus is too large to be read for every step. We take a *batch* of a few examples; its gradient is right on average
and noisy (*stochastic* gradient descent, SGD). With a fixed step size it never comes to rest. In the valley
$\frac{1}{2} w^2$, with noise of variance 1 in the gradient, the variance of w after a step is
$(1 - \eta)^2$ times the one before plus $\eta^2$. It settles where both are equal:

$$ E[w^2] = (1 - \eta)^2 E[w^2] + \eta^2 \quad \Rightarrow \quad E[w^2] = \frac{\eta}{2 - \eta} $$

Half the step size, about half the variance. So one begins with long steps and shortens them; half a cosine down to 0
(Loshchilov and Hutter 2017) is the usual form. And one does not begin with the longest: Adam's very first step is
$\eta$ long in *every* direction, on the evidence of a single batch. *Warm-up* raises $\eta$ from near 0 over the first
steps.
"""

# %%
if __name__ == "__main__":
    walkers = 2000  # why: the variance of so many is known to about 3 %
    for lr in (0.4, 0.2, 0.1):
        noise = datasets.stream(0, "noise").standard_normal((100, walkers))  # (100, walkers)
        w = minillm.zeros(walkers, dtype=minillm.float64).requires_grad_()  # (walkers,)
        optimizer: optim.Optimizer = optim.SGD([w], lr=lr)
        for one in noise:
            optimizer.zero_grad()
            (0.5 * (w * w).sum() + (minillm.tensor(one) * w).sum()).backward()
            optimizer.step()
        variance = float(w.detach().numpy().var())
        print(f"lr {lr}: variance {variance:.4f}, the formula says {lr / (2 - lr):.4f}")
        assert math.isclose(variance, lr / (2 - lr), rel_tol=0.15)  # why 0.15: more than four times the 3 %

# %% [markdown]
r"""
Two guards: clipping and decay
------------------------------

Now and then a batch has a gradient a thousand times too long. *Clipping* (Pascanu, Mikolov and Bengio 2013) shortens
a gradient that is longer than c to the length c and keeps its direction. Gradient descent needs it so as not to be
thrown out of the valley. Adam is not thrown, and needs it for another reason: the monster stays in v for about 1000
steps, and all the while the steps are tiny.

*Weight decay* pulls weights towards 0, so that those that nothing needs vanish. Adding $\lambda w$ to the gradient
(the gradient of $\frac{\lambda}{2} w^2$) does that for SGD. In Adam this too is divided by the root of v, so weights
with large gradients are hardly pulled at all. *AdamW* (Loshchilov and Hutter 2019) keeps it apart: $w \leftarrow (1 -
\eta \lambda) w$, then Adam's step.
"""

# %%
if __name__ == "__main__":
    for clipped in (False, True):
        for make in (partial(optim.SGD, lr=0.1), partial(optim.Adam, lr=0.1)):
            w = minillm.tensor([3.0]).requires_grad_()
            optimizer, way = make([w]), []
            for t in range(200):
                optimizer.zero_grad()
                (0.5 * (w * w).sum() * (1000 if t == 10 else 1)).backward()  # the monster comes at t = 10
                if clipped:
                    clip_grad_norm_([w], 1.0)
                optimizer.step()
                way.append(w.item())
            kind = f"{type(optimizer).__name__}, {'clipped' if clipped else 'not clipped'}"
            print(f"{kind:<19} w before the monster {way[9]:5.2f}, after it {way[10]:8.2f}, at the end {way[-1]:6.3f}")
    sizes = np.array([0.01, 1.0])  # gradients of these sizes, of changing sign: they say nothing about where to go
    signs = np.where(np.arange(1000) % 4 % 3 == 0, 1.0, -1.0)  # (1000,)
    for rule in (optim.Adam, optim.AdamW):
        end = follow(partial(rule, lr=0.01, weight_decay=0.1), np.ones(2), np.outer(signs, sizes))  # (2,)
        print(f"{rule.__name__:<6} of two weights of 1, with small and with large gradients, is left: {end.round(3)}")
    assert np.allclose(end, (1 - 0.01 * 0.1) ** 1000, atol=0.02)  # AdamW decays both alike, by the formula

# %% [markdown]
r"""
Measure
-------

Kingma and Ba's first experiment is *logistic regression*: a score for each class, as a weighted sum of the features;
the shares $e^{s_k} / \sum_j e^{s_j}$ of the scores (their *softmax*) are the probabilities; the loss is lesson 01's
surprise at the right class, in nats (natural logarithm). On reviews, with 10,000 words as features, most of them rare,
they found that Adagrad beats SGD with momentum by far and that Adam is as fast as Adagrad (section 6.1, figure 1,
right).

We do the same with features that are as unequal: the classes are the characters that may come next, and the features
say which characters stood at each of the last three places. So it is a language model too, and not quite a count: the
three places vote. A space is seen in every sixth example, some characters once in a hundred thousand; a rule with one
step size for all either hurries the frequent ones or forgets the rare ones. Each rule gets the best of its learning
rates, a factor of 3 apart; batches of 128, as in the paper; the loss is that of training, on places fixed for all.

The last lines try the schedule with a learning rate that is too long to be kept. Half a cosine makes it as good as the
best fixed one, so the exact choice matters less. Warm-up hardly shows here, with a loss that has one valley; in
deep networks it does.
"""


# %%
def examples(text: str, places: int = 3) -> tuple[np.ndarray, np.ndarray, int]:
    """Return, for each character of a text after the first ones, which features are 1, its class, and how many classes.

    Feature ``place * classes + character`` says that this character stands at this place before it.
    """
    alphabet = sorted(set(text))
    codes = np.searchsorted(np.array(alphabet), np.array(list(text)))  # (len(text),)
    windows = np.lib.stride_tricks.sliding_window_view(codes, places + 1)  # (N, places + 1)
    return windows[:, :-1] + len(alphabet) * np.arange(places), windows[:, -1], len(alphabet)


def rows_of(features: np.ndarray, width: int) -> minillm.Tensor:
    """Return rows of zeros with a 1 at each feature."""
    x = np.zeros((len(features), width), dtype=np.float32)  # (B, width)
    np.put_along_axis(x, features, 1.0, axis=1)
    return minillm.tensor(x)


def train(
    make: Callable[[list], optim.Optimizer], text: str, seed: int, steps: int, warmup: int | None = None
) -> list[float]:
    """Return the losses of a logistic regression, at every tenth of the steps; ``warmup`` asks for the schedule too."""
    features, classes, k = examples(text)
    rng = datasets.stream(seed, "batches")
    # why 2000: the curves share these places, so their differences are surer than their heights
    shown = datasets.stream(0, "shown").choice(len(classes), 2000, replace=False)
    fixed, right = rows_of(features[shown], 3 * k), minillm.tensor(classes[shown])
    w, b = minillm.zeros(3 * k, k).requires_grad_(), minillm.zeros(k).requires_grad_()  # (3 * k, k), (k,)
    optimizer, losses = make([w, b]), []
    schedule = None if warmup is None else warmup_cosine(optimizer, warmup, steps, min_ratio=0.0)
    for t in range(steps + 1):
        if t % (steps // 10) == 0:
            with minillm.no_grad():
                losses.append(F.cross_entropy(fixed @ w + b, right).item())
        batch = rng.integers(0, len(classes), 128)
        scores = rows_of(features[batch], 3 * k) @ w + b  # (B, k)
        loss = F.cross_entropy(scores, minillm.tensor(classes[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
    return losses


# %%
if __name__ == "__main__":
    text = datasets.load("stdlib-en", size=20_000 if setting.fast else 100_000).train
    steps, seeds = (50, (0,)) if setting.fast else (300, (0, 1, 2))
    grids: dict[str, tuple[Any, dict[str, float], tuple[float, ...]]] = {
        "SGD": (optim.SGD, {}, (3, 10, 30)),
        "momentum": (optim.SGD, {"momentum": 0.9}, (0.3, 1, 3)),
        "Adagrad": (optim.Adagrad, {}, (0.1, 0.3, 1)),
        "Adam": (optim.Adam, {}, (0.01, 0.03, 0.1)),
    }
    curves: dict[str, np.ndarray] = {}
    chosen: dict[str, float] = {}
    for name, (how, more, grid) in grids.items():
        tried = {lr: np.array([train(partial(how, lr=lr, **more), text, s, steps) for s in seeds]) for lr in grid}
        chosen[name] = min(grid, key=lambda lr: tried[lr][:, -1].mean())
        curves[name] = tried[chosen[name]]
        ends = ", ".join(f"{lr:g}: {losses[:, -1].mean():.3f}" for lr, losses in tried.items())
        spread = f"{curves[name][:, -1].min():.3f} to {curves[name][:, -1].max():.3f}"
        print(f"{name:<9} {ends}; the best of it {spread}")
        assert setting.fast or chosen[name] == grid[1], "the best learning rate is at the end of the row: widen it"
    last = {name: float(losses[:, -1].mean()) for name, losses in curves.items()}
    judged = BAND.judge(last["momentum"] - last["Adam"], setting.fast)
    assert setting.fast or abs(last["Adagrad"] - last["Adam"]) < 0.5 * (last["momentum"] - last["Adam"])
    fast_adam = partial(optim.Adam, lr=0.1)  # why: three times the best fixed learning rate
    for what, warmup in (("fixed", None), ("half a cosine", 0), ("warm-up and half a cosine", steps // 10)):
        last_ones = [train(fast_adam, text, s, steps, warmup)[-1] for s in seeds]
        spread = f"{min(last_ones):.3f} to {max(last_ones):.3f}"
        print(f"Adam, lr 0.1, {what}: {np.mean(last_ones):.3f} ({spread})")

# %% [markdown]
r"""
The figure
----------

Left the turned ravine, where momentum (told how steep and how flat it is) wins, though its running sum first throws it
up the slope. Right the language model, where the two
rules with a step size for each number win, in the order that Kingma and Ba found. So the answer to the question is not
that Adam finds its way through ravines. It is that in text features are rare and frequent, gradients therefore small
and large, and Adam's steps do not mind. One learning rate then serves all parameters, and nearly the same one serves
from model to model: that is why this course uses AdamW from here on.
"""

# %%
if __name__ == "__main__":
    fig, (left, right) = figure(10, 4.2, panels=2)
    styles = zip(downhill, curves, COLOURS[:4], ("-", "--", "-.", "-"), strict=True)
    for (slope, name, colour, style), high, low in zip(styles, (0, 0, 10, -4), (6, -2, -12, 2), strict=True):
        losses = list(itertools.takewhile(lambda y: y > 1e-7, downhill[slope][30]))  # why 1e-7: momentum falls to 1e-11
        at = len(losses) - 1
        left.plot(losses, color=colour, linestyle=style)
        left.annotate(slope, (at, losses[at]), xytext=(4, high), textcoords="offset points", color=colour)
        x, means = np.linspace(0, 300 if not setting.fast else 50, 11), curves[name].mean(axis=0)  # (11,), (11,)
        right.fill_between(x, curves[name].min(axis=0), curves[name].max(axis=0), color=colour, alpha=0.2, linewidth=0)
        right.plot(x, means, color=colour, linestyle=style)
        right.annotate(name, (x[-1], means[-1]), xytext=(4, low), textcoords="offset points", color=colour)
    left.set_yscale("log")
    left.set(xlabel="step", ylabel="loss", xlim=(0, 135))
    left.set_title("A ravine, turned by 30 degrees", loc="left", fontsize=11)
    right.set(xlabel="step", ylabel="training loss, nats per character", ylim=(2, 3.4), xlim=(0, 1.25 * x[-1]))
    right.set_title("The next character by logistic regression", loc="left", fontsize=11)
    alt = (
        "Two panels of loss against steps, four lines each. Left, in a turned ravine, momentum falls fastest by far, "
        "then Adam, Adagrad and gradient descent. Right, predicting the next character, Adam and Adagrad fall together "
        f"and end at {last['Adam']:.2f}; momentum and SGD end higher, at {last['momentum']:.2f} and {last['SGD']:.2f}."
    )
    numbers = {
        "ravine": {name: lines[30] for name, lines in downhill.items()},
        "logistic regression": {name: losses.tolist() for name, losses in curves.items()},
        "learning rates": chosen,
        "band": judged,
    }
    print(*save_figure(fig, setting.out / "l05_optimizers", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l05_optimizers.py``; ``minillm check 05`` says how far you are.

- ``adam_step``: Adam from its formula.
- ``adamw_step``: with weight decay that is kept apart.
- ``clip``: shorten a gradient and keep its direction.
- ``step_size``: warm-up, then half a cosine.

Then try: which batch size makes SGD as good as Adam here? At which angle is the ravine hardest for Adagrad, and why?
What remains of Adam's lead when all characters outside a to z become a space?
"""

# %%
QUIZ = (
    Question(
        "In gradient descent, what happens when the learning rate is more than 2 over the steepest curvature?",
        ("It is fast at first.", "It jumps across the valley, further each time.", "It stops in a flat place."),
        1,
        "Along that axis each step multiplies the distance by 1 - lr h, then below -1: it grows and alternates.",
    ),
    Question(
        "You measure the loss in bits instead of nats, so all gradients are 1.44 times as long. What must you change?",
        ("Nothing with Adam, the learning rate with SGD.", "The learning rate with both.", "Nothing with either."),
        0,
        "Adam divides a mean of gradients by the root of a mean of their squares, so the unit cancels (but for "
        "epsilon). SGD's step is the gradient times the learning rate, and grows with it.",
    ),
    Question(
        "Why does AdamW shrink the weights apart from the gradient?",
        (
            "It saves one multiplication.",
            "Weights must never become 0.",
            "Inside the gradient the decay would be divided by the gradient's size, and differ from weight to weight.",
        ),
        2,
        "All that goes through Adam's division comes out about as long as the learning rate; a small pull beside large "
        "gradients vanishes in it. Kept apart, every weight loses the same share.",
    ),
)

# %%
if __name__ == "__main__":
    ask(5, QUIZ)

# %% [markdown]
r"""
Sources
-------

- B. T. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Computational Mathematics and
  Mathematical Physics 4(5), 1964 (momentum and its rate).
- J. Duchi, E. Hazan, Y. Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, Journal
  of Machine Learning Research 12, 2011.
- D. P. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, https://arxiv.org/abs/1412.6980 (their
  momentum is Nesterov's variant, and their step size falls with the root of the step).
- R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013 (clipping).
- I. Loshchilov and F. Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (the cosine); Decoupled
  Weight Decay Regularization, ICLR 2019 (AdamW).
- P. Goyal and others, Accurate, Large Minibatch SGD, https://arxiv.org/abs/1706.02677, 2017 (warm-up).
- F. Kunstner and others, Heavy-Tailed Class Imbalance and Why Adam Outperforms Gradient Descent on Language Models,
  NeurIPS 2024 (rare and frequent words as the reason, for large models too).
"""
