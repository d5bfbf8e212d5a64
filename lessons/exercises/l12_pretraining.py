"""Exercises of lesson 12. Write the three functions, and run ``minillm check 12`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

from typing import Any


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the step size of a step, counted from 0: a straight rise to the peak, then a straight fall to 0.

    In the warm-up (step < warmup) it is peak (step + 1) / warmup. After it, it falls in a straight line: it would be
    peak at step = warmup, and 0 at step = total. From ``total`` on it is 0.

    Args:
        step: 0 or more.
        total: steps in all, more than ``warmup``.
        warmup: steps of the rise; 0 means none.
        peak: the largest step size.
    """
    # Hint 1: three cases; the first is written above.
    # Hint 2: in the fall, (step - warmup) / (total - warmup) is the share of the way that is done.
    # Hint 3: what is left of the peak is 1 minus that share, and never less than 0.
    raise NotImplementedError("learning_rate")


def save(trainer: Any) -> dict[str, Any]:
    """Return everything that the rest of a training depends on, as one dictionary.

    A trainer has: ``weights`` and ``velocity`` (dictionaries of arrays: what is learned, and the optimizer's memory),
    ``step`` (how many were made; the learning rate and the batch depend on it), and ``rng`` (a NumPy generator, from
    which dropout is drawn). It changes its arrays in place. What you return must stay as it is when the training goes
    on.
    """
    # Hint 1: four things. Which of them does a second process not have?
    # Hint 2: {name: array.copy() for name, array in ...}: an array that is not copied goes on changing.
    # Hint 3: trainer.rng.bit_generator.state is the state of a generator, as a dictionary.
    raise NotImplementedError("save")


def load(trainer: Any, saved: dict[str, Any]) -> None:
    """Put a trainer, new and with other weights, where the saved one was; see ``save``.

    The same saved state can be loaded again later: training on must not change it.
    """
    # Hint 1: the mirror of save, line by line.
    # Hint 2: copy here too, otherwise the trainer goes on writing into what was saved.
    # Hint 3: trainer.rng.bit_generator.state = ... puts a generator back.
    raise NotImplementedError("load")
