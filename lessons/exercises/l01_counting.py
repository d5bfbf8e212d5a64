"""Exercises of lesson 01. Write the three functions, and run ``minillm check 01`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def add_k(counts: Mapping[str, int], alphabet: str, k: float) -> dict[str, float]:
    """Return the probability of every character of the alphabet, with k imagined occurrences of each.

    P(c) = (C(c) + k) / (N + k V), where N is the sum of all counts and V the number of characters in the alphabet.

    Args:
        counts: how often a character followed some context; what never did is missing.
        alphabet: every character once; it holds all that are in ``counts``.
        k: larger than 0.
    """
    # Hint 1: the result has one entry for each character of the alphabet, not for each entry of counts.
    # Hint 2: counts.get(c, 0) is the count of a character that may be missing.
    # Hint 3: the denominator is the same for all of them. If the sum of the results is not 1, look there.
    raise NotImplementedError("add_k")


def witten_bell(text: str, context: str, alphabet: str) -> dict[str, float]:
    """Return the probability of every character of the alphabet after a context, as Witten and Bell smooth it.

    P(c | h) = (C(hc) + T(h) P(c | h')) / (C(h) + T(h)), where C(h) and C(hc) count occurrences in the text, T(h) is the
    number of different characters that followed h, and h' is h without its first character. Only occurrences of h that
    are followed by a character count. Below the empty context stands the uniform distribution, 1 / V. Where h was never
    followed by anything, P(c | h) = P(c | h').

    Args:
        text: the training text, perhaps empty.
        context: h, perhaps empty.
        alphabet: every character once; it holds all that are in the text.
    """
    # Hint 1: a function that calls itself: first the probabilities with the shorter context, then mix the counts in.
    # Hint 2: go through all places i with text[i : i + len(context)] == context, overlapping ones too, and count
    #         text[i + len(context)], if there is one. The loop ends before the place where there is none.
    # Hint 3: the empty context is followed by every character of the text; below it stands 1 / len(alphabet).
    # Hint 4: C(h) is the sum of these counts, T(h) the number of different keys.
    raise NotImplementedError("witten_bell")


def bits_per_character(probabilities: Sequence[float]) -> float:
    """Return the mean of -log2 p over the probabilities that the right characters were given.

    Infinite (``math.inf``) if one of them is 0; 0.0 if there are none.
    """
    # Hint 1: math.log2(0) raises; catch the zero before.
    # Hint 2: a mean of logarithms, not the logarithm of a mean: the two differ as soon as the guesses do.
    raise NotImplementedError("bits_per_character")
