# %% [markdown]
r"""
One code, two devices
=====================

*What changes when arrays live on a GPU?*

A graphics card multiplies matrices many times faster than a processor, and large models are trained on nothing else.
Its arrays lie in its own memory, and a library of its own computes with them: CuPy, which has NumPy's names. This
lesson asks what a program must do, and leave, to run on both; nearly all of it can be tried without a card.

- You need: lessons 01 and 03; no graphics card
- Time: 15 s and 150 MB on two cores
- Corpus: none; the two half moons of lesson 03
- Band: 0.01 to 0.1 nats that 16-bit training without loss scaling is behind (mean of three seeds)
"""

# %%
from __future__ import annotations

import math
import timeit
from types import ModuleType
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from lessons.l03_gradients import first_weights, moons, network
from minillm import datasets
from minillm.backend import backend_of
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "What changes when arrays live on a GPU?"
BAND = Band(
    "nats that 16-bit training without loss scaling is behind", 0.01, 0.1, "points and first weights are random"
)

# %% [markdown]
r"""
Two memories
------------

What is in one memory cannot be used in the other. Bringing it over takes time, and worse: the processor only *orders*
work from the card and runs ahead; whoever asks for a number, by ``float(x)``, ``if x > 0`` or ``print``, must wait
until the card has done all that was ordered. So CuPy refuses what would bring arrays together by accident, and a
program should ask for numbers rarely.

Mistakes of this kind show only on a card. Unless one has a *strict stand-in*: arrays that are NumPy's inside and behave
like strangers. ``FarArray`` refuses to meet a NumPy array, refuses to become one by itself, and counts every way home.
``far`` is its library: NumPy's functions, for far arrays.
"""

# %%
TRIPS = {"home": 0}


def unwrap(value: Any) -> Any:
    """Return the NumPy arrays inside; refuse a bare one."""
    if isinstance(value, FarArray):
        return value.inside
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array met a far array: make it with xp, or move it with far.asarray")
    return type(value)(map(unwrap, value)) if isinstance(value, (list, tuple)) else value


def wrap(value: Any) -> Any:
    """Return results as far arrays, single numbers too: they lie over there as well."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(wrap, value))
    return FarArray(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


class FarArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on a pretended device; the operators come from the mixin and end in ``__array_ufunc__``."""

    def __init__(self, inside: np.ndarray) -> None:
        self.inside = inside

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **more: Any) -> Any:
        with np.errstate(all="ignore"):  # a card gives no warnings
            return wrap(getattr(ufunc, method)(*unwrap(inputs), **{k: unwrap(v) for k, v in more.items()}))

    def __array_function__(self, function: Any, types: Any, inputs: Any, more: Any) -> Any:
        raise TypeError(f"np.{function.__name__} got a far array: use the xp that was given")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a far array does not become a NumPy array by itself")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inside, name)
        if not callable(found):
            return wrap(found)
        return lambda *inputs, **more: wrap(found(*unwrap(inputs), **{k: unwrap(v) for k, v in more.items()}))

    def __getitem__(self, where: Any) -> FarArray:
        return wrap(self.inside[unwrap(where)])

    def __setitem__(self, where: Any, value: Any) -> None:
        self.inside[unwrap(where)] = unwrap(value)

    def __len__(self) -> int:
        return len(self.inside)  # shapes are known at home

    def get(self) -> np.ndarray:
        """Return a NumPy array; this is a way home, and is counted."""
        TRIPS["home"] += 1
        return self.inside.copy()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    item = tolist = __index__ = lambda self: self.get().tolist()


class Far:
    """The library of far arrays: NumPy's functions, and ``asarray``, the one way out."""

    def __init__(self, functions: Any = np) -> None:
        self.functions = functions

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.functions, name)
        if isinstance(found, ModuleType):  # such as linalg
            return Far(found)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *inputs, **more: wrap(found(*unwrap(inputs), **{k: unwrap(v) for k, v in more.items()}))

    def asarray(self, array: Any, dtype: Any = None) -> FarArray:
        """Copy a NumPy array to the device; an array that is there already is copied too."""
        return FarArray(np.array(array.inside if isinstance(array, FarArray) else array, dtype))


far = Far()

# %% [markdown]
r"""
Naive and neutral
-----------------

The naive version names NumPy. The neutral one is handed the library, by custom called ``xp``, and takes care of four
things: every function comes from xp; new arrays are made by xp, with the type of the others; nothing asks for a number;
and a choice is made with arrays (``xp.where``, ``xp.minimum``), not with ``if``.

minillm is written like that. Its backend follows the array: ``backend_of(x).xp`` is NumPy or CuPy, and ``x.to("cuda")``
is the only line that a program changes. There is no global switch, so both can be held side by side and compared.
"""


# %%
def softmax_naive(x: Any) -> np.ndarray:
    """Return shares along the last axis; on the processor only."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax(xp: Any, x: Any) -> Any:
    """Return shares along the last axis, wherever x lies."""
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# %%
if __name__ == "__main__":
    setting = options()
    x = datasets.stream(0, "x").standard_normal((3, 5))  # (3, 5)
    try:
        softmax_naive(far.asarray(x))
        raise AssertionError("the stand-in let NumPy through")
    except TypeError as refused:
        print(f"naive: {refused}")
    y = softmax(far, far.asarray(x))  # (3, 5)
    assert TRIPS["home"] == 0
    assert np.array_equal(y.get(), softmax_naive(x)) and np.array_equal(softmax(np, x), softmax_naive(x))
    t = minillm.tensor(x)
    assert np.allclose(softmax(backend_of(t.array).xp, t.array), minillm.softmax(t, -1).numpy(), rtol=1e-12)
    print("neutral: the same bits on both, and never a way home")

# %% [markdown]
r"""
Types
-----

On a card the type of the numbers decides speed and memory. float64 keeps 16 digits and is slow there, float32 keeps 7,
float16 keeps 3 and ends at 65,504. A Python number beside an array takes the array's type; a NumPy ``float64`` does
not, and turns all that it meets to float64. (So minillm's operations never make one in passing.)

Random numbers
--------------

Every library has its own generator: the same seed gives other weights on another device, or with another version.
minillm draws on the processor's side, the *host*, and moves; and it draws for each purpose from a stream of its own, so
that whoever adds dropout (setting numbers to 0 at random, in training) does not change which words are sampled.

The order of sums
-----------------

Sums of floats depend on the order: rounding happens after each addition. On a card thousands of threads add at the
same time; if whoever comes first adds first, the last digits change from run to run, and after some hundred steps the
loss. Deterministic code fixes the order, as minillm does where the same row is added to several times. Between two
*different* devices, or numbers of threads, orders differ anyway: compare with a tolerance, never bit by bit.
"""

# %%
if __name__ == "__main__":
    for dtype in (np.float16, np.float32, np.float64):
        info = np.finfo(dtype)
        small = float(info.smallest_subnormal)
        print(f"{info.dtype}: largest {float(info.max):.4g}, next after 1 is 1 + {info.eps:.2g}, smallest {small:.2g}")
    one = np.ones(3, dtype=np.float32)  # (3,)
    assert (one * 2.0).dtype == np.float32 and (one * np.float64(2.0)).dtype == np.float64
    assert np.float16(1) + np.float16(0.0004) == 1  # a step of 0.04 % changes nothing

    sampled = [minillm.manual_seed(7).stream("sampling").random(3)]  # two runs: without, and with dropout in between
    both = minillm.manual_seed(7)
    both.stream("dropout").random(1000)
    sampled.append(both.stream("sampling").random(3))
    assert np.array_equal(sampled[0], sampled[1])

    many = datasets.stream(0, "many").standard_normal(100_000).astype(np.float32)  # (100_000,)
    sums = {float(np.cumsum(many[datasets.stream(0, "order", i).permutation(len(many))])[-1]) for i in range(10)}
    print(f"{len(many):,} numbers added one by one in 10 orders: {len(sums)} results, {min(sums)} to {max(sums)}")
    assert len(sums) > 1

# %% [markdown]
r"""
Training with 16 bits
---------------------

Matrices in float16 take half the memory and multiply several times as fast on cards made for it. Micikevicius and
others (2018) found what it takes. *Master weights*: the weights stay in float32, since a small step is lost beside a
float16 (above: 1 + 0.0004 is 1). And *loss scaling*: the loss is a mean over all tokens of a batch (the texts of one
step), 3.2 million in the largest GPT-3, so the gradient in one score is at most 3e-7, and float16 ends at 6e-8: what is
twelve times smaller than the largest becomes 0. The cure is to multiply the loss by S before the backward pass; by the
chain rule all gradients are multiplied by S; and to divide by S in float32, before the step. S may be large as long as
nothing exceeds 65,504. What does is inf, and that step is left out. *Dynamic* scaling finds S by itself: halve it after
an inf, double it after some steps without. Here we write out what minillm has as ``minillm.autocast`` and
``minillm.amp.GradScaler``.
"""

# %% [markdown]
r"""
Measure
-------

We train lesson 03's network on two moons. Each of the 100 points counts as one token of a batch of $2^{22}$, so its
gradient is divided by that, and the learning rate, lesson 03's ``lr``, is multiplied by as much: in float32 nothing
changes. In float16 we try scales from 1 to $2^{36}$, three seeds each.

Then the speed. A product of n by n matrices needs $2 n^3$ operations and moves $3 \cdot 4 n^2$ bytes: n / 6
operations per byte. Adding two matrices needs one operation for 12 bytes, at every size. A machine can do so many
operations a second and move so many bytes, and the smaller of both limits is its *roofline* (Williams, Waterman and
Patterson 2009): work with few operations per byte waits for memory. That is why a card that is 50 times faster at
products is no faster for a small model, and why operations on single numbers are *fused*, done in one trip to memory.
"""

# %%
BATCH = 2**22  # why: about as many tokens as a batch of the largest GPT-3 has, 3.2 million (Brown 2020, table 2.1)


def train(seed: int, steps: int, dtype: Any, scale: float, dynamic: bool = False) -> tuple[float, float]:
    """Return the last loss in float32, and the scale at the end; the weights are kept in float32."""
    rng = datasets.stream(seed, "moons")
    points, labels = moons(100, 0.1, rng)
    master = [(w.astype(np.float32), b.astype(np.float32)) for w, b in first_weights(rng)]
    x, y = minillm.tensor(points.astype(dtype)), minillm.tensor(labels.astype(dtype))  # (100, 2), (100, 1)
    lr, good = 0.5 * BATCH / len(points), 0
    for _ in range(steps):
        pairs = [(minillm.tensor(w.astype(dtype)).requires_grad_(), minillm.tensor(b.astype(dtype)).requires_grad_())
                 for w, b in master]  # fmt: skip
        losses = F.softplus(-y * network(x, pairs))  # (100, 1)
        # Trap: scale / BATCH as one number; scaling afterwards could not bring back what has become 0.
        losses.backward(minillm.full(losses.shape, scale / BATCH, dtype=losses.dtype))
        found = [[p.grad.numpy().astype(np.float32) / scale for p in pair] for pair in pairs]
        if all(np.isfinite(g).all() for pair in found for g in pair):
            master = [(w - lr * dw, b - lr * db) for (w, b), (dw, db) in zip(master, found, strict=True)]
            good += 1
            scale *= 2 if dynamic and good % 20 == 0 else 1  # why 20: often enough for so short a run
        elif dynamic:
            scale, good = scale / 2, 0
    exact = [(minillm.tensor(w), minillm.tensor(b)) for w, b in master]
    scores = network(minillm.tensor(points.astype(np.float32)), exact)
    return F.softplus(-minillm.tensor(labels.astype(np.float32)) * scores).mean().item(), scale


# %%
if __name__ == "__main__":
    steps, seeds = (60, (0,)) if setting.fast else (300, (0, 1, 2))
    powers = list(range(0, 37, 12 if setting.fast else 4))
    full = [train(seed, steps, np.float32, 1.0)[0] for seed in seeds]
    half = [[train(seed, steps, np.float16, 2.0**power)[0] for seed in seeds] for power in powers]
    dynamic = [train(seed, steps, np.float16, 2.0**36, dynamic=True) for seed in seeds]
    print(f"float32:                   loss {np.mean(full):.3f} ({min(full):.3f} to {max(full):.3f})")
    for power, found in zip(powers, half, strict=True):
        print(f"float16, scaled by 2^{power:02}:    loss {np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})")
    ends = ", ".join(f"2^{math.log2(scale):.0f}" for _, scale in dynamic)
    print(f"float16, dynamic scaling:  loss {np.mean([loss for loss, _ in dynamic]):.3f}, scales at the end {ends}")
    judged = BAND.judge(float(np.mean(half[0]) - np.mean(full)), setting.fast)
    assert abs(min(np.mean(found) for found in half) - np.mean(full)) < 0.01


# %%
def seconds(device: str, work: str, n: int) -> list[float]:
    """Return three timings of a product or a sum of n by n matrices, each the best of a few."""
    a, b = (minillm.randn(n, n).to(device) for _ in range(2))
    once = (lambda: a @ b) if work == "product" else (lambda: a + b)
    wait = minillm.cuda.synchronize if device == "cuda" else lambda: None
    times = max(1, int(2e7 / n**3)) if work == "product" else max(1, int(1e6 / n**2))  # why: a millisecond or so
    once()  # the first call may allocate, or compile
    wait()
    timer = timeit.Timer(lambda: ([once() for _ in range(times)], wait()))
    return [min(timer.repeat(5, 1)) / times for _ in range(3)]


if __name__ == "__main__":
    sizes = (16, 32, 64, 128, 256, 512, 1024)
    speeds: dict[str, list[dict[str, float]]] = {}
    # The fast form times nothing, so that it gives the same file each time.
    for device in () if setting.fast else ("cpu", "cuda") if minillm.cuda.is_available() else ("cpu",):
        for work, operations in (("product", lambda n: 2 * n**3), ("sum", lambda n: n**2)):
            speeds[f"{work}, {device}"] = measured = []
            for n in sizes:
                rates = sorted(operations(n) / s / 1e9 for s in seconds(device, work, n))
                measured.append(dict(zip(("low", "middle", "high"), rates)))
            text = ", ".join(f"{n}: {one['middle']:.1f}" for n, one in zip(sizes, measured))
            print(f"{work} on {device}, billion operations a second by n: {text}")
    if speeds:
        assert speeds["product, cpu"][-1]["middle"] > 3 * speeds["sum, cpu"][-1]["middle"]

# %% [markdown]
r"""
The figure
----------

Left, the speed of this computer against the operations per byte; the fast form, which times nothing, leaves it empty.
Small products wait, first for Python, then for memory; only large ones reach the roof. Sums stay at the left for ever.
Right, the loss of 16-bit training against the scale: too small and gradients become 0, too large and they become inf,
and in between there are many powers of two where float16 does what float32 does. That is the shape that Micikevicius
and others describe: any scale that overflows nothing will do.
"""

# %%
if __name__ == "__main__":
    fig, (left, right) = figure(10, 4.2, panels=2)
    left.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="billion operations a second")
    for (name, measured), colour, marker in zip(speeds.items(), COLOURS, "os^D"):
        across = [n / 6 if name.startswith("product") else 1 / 12 for n in sizes]
        low, middle, high = (np.array([one[key] for one in measured]) for key in ("low", "middle", "high"))
        left.errorbar(across, middle, [middle - low, high - middle], color=colour, marker=marker, markersize=4)
        left.annotate(name, (across[-1], high.max()), xytext=(0, 8), textcoords="offset points", color=colour,
                      ha="right" if name.startswith("product") else "left")  # fmt: skip
    left.margins(y=0.15)
    left.set_title("Few operations per byte: waiting" if speeds else "Not timed", loc="left", fontsize=11)
    losses = np.array(half)  # (len(powers), len(seeds))
    right.fill_between(powers, losses.min(axis=1), losses.max(axis=1), color=COLOURS[1], alpha=0.2, linewidth=0)
    right.plot(powers, losses.mean(axis=1), color=COLOURS[1], marker="o", markersize=4)
    right.axhline(float(np.mean(full)), color=COLOURS[0], linestyle="--")
    right.annotate("float32", (powers[len(powers) // 2], np.mean(full)), xytext=(0, -14),
                   textcoords="offset points", color=COLOURS[0])  # fmt: skip
    right.annotate("float16", (powers[0], losses[0].mean()), xytext=(8, 6), textcoords="offset points",
                   color=COLOURS[1])  # fmt: skip
    right.set(yscale="log", xlabel="loss scale, as a power of two", ylabel="loss after training, nats")
    right.set_ylim(bottom=float(np.mean(full)) / 2.5)
    right.set_title("Scaling the loss keeps small gradients", loc="left", fontsize=11)
    alt = (
        "Two panels. Left: speed against operations per byte; matrix products rise with their size until they level "
        "off, sums lie far below, at a twelfth of an operation per byte. Right: loss after 16-bit training against the "
        "loss scale; too high without scaling, equal to that of float32 over many powers of two, and very high where "
        "gradients overflow."
    )
    numbers = {"sizes": sizes, "speeds": speeds, "powers": powers, "float16": half, "float32": full, "band": judged}
    print(*save_figure(fig, setting.out / "l04_devices", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l04_devices.py``; ``minillm check 04`` runs your functions on NumPy and on the stand-in, and
counts the ways home.

- ``standardize``: mean 0 and variance 1 in each row; what layers of a later lesson do all the time.
- ``one_hot``: rows with a single 1, made on the right device.
- ``shorten``: make a gradient shorter if it is too long, without asking how long it is.
- ``all_finite``: whether a step may be made; one way home for all gradients together.

Then try: which of the functions of lessons 01 to 03 run on the stand-in? At which size is a product on your computer
twice as fast as at half the size, and when no more?
"""

# %%
QUIZ = (
    Question(
        "Why is ``if norm > 1:`` slow in a training step on a card, although it is a single comparison?",
        ("Comparisons are slow there.", "The processor must wait until all ordered work is done.", "Norms are long."),
        1,
        "The condition needs the number on the host: the card must finish first, and meanwhile nothing new is ordered.",
    ),
    Question(
        "What does multiplying the loss by 1024 change, if the gradients are divided by 1024 before the step?",
        ("The direction of the step.", "The learning rate.", "Only which gradients can be held in float16."),
        2,
        "By the chain rule all gradients are 1024 times as large on the way, so those below 6e-8 are no longer lost; "
        "the division, in float32, takes the factor out again.",
    ),
    Question(
        "A card is 50 times as fast at products of large matrices. Why is a tiny model no faster on it?",
        (
            "Its work is few operations per byte and many small orders, so the arithmetic is not what one waits for.",
            "Tiny models need float64.",
            "Cards cannot multiply small matrices.",
        ),
        0,
        "The roofline: with few operations per byte the memory is the limit, and each order has a fixed price.",
    ),
)

# %%
if __name__ == "__main__":
    ask(4, QUIZ)

# %% [markdown]
r"""
Sources
-------

- P. Micikevicius and others, Mixed Precision Training, ICLR 2018, https://arxiv.org/abs/1710.03740.
- S. Williams, A. Waterman, D. Patterson, Roofline: An Insightful Visual Performance Model for Multicore Architectures,
  Communications of the ACM 52(4), 2009.
- T. B. Brown and others, Language Models are Few-Shot Learners, 2020, https://arxiv.org/abs/2005.14165 (table 2.1).
- D. Goldberg, What Every Computer Scientist Should Know About Floating-Point Arithmetic, ACM Computing Surveys 23(1),
  1991.
"""
