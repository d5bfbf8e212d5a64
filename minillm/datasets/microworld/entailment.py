"""Pairs of sentences: does the second follow from the first, contradict it, or neither?

Two families, each made so that the same words carry different labels:

*Kinds.* Whoever bought apples bought fruit; whoever did not buy fruit did not buy apples. Negation turns the
direction round: "bought apples / bought fruit" is entailed, "bought fruit / bought apples" is open.

*Comparisons.* "Anna is older than Tom" entails "Tom is younger than Anna" and contradicts "Anna is younger than Tom";
about who is taller it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from .grammar import Beat, Value, settled, slot
from .stories import Parts
from .town import CONVERSE, DIMENSION, Town, Weights, evenly

LABELS = ("contradiction", "entailment", "neutral")

# label -> pairs of claims; "yes thing": did so with the thing, "no kind": did so with nothing of that kind
CLAIMS: dict[str, tuple[str, ...]] = {
    "entailment": ("yes thing, yes kind", "no kind, no thing"),
    "contradiction": ("yes thing, no kind", "no kind, yes thing"),
    "neutral": ("yes kind, yes thing", "no thing, no kind", "yes kind, no thing", "no thing, yes kind"),
}


def _sign(number: int) -> Callable[[Value], Value]:
    """Whether a claim says yes or no."""
    return lambda claims: str(claims).split(", ")[number].split()[0]


def _word(number: int) -> Callable[[Value, Value, Value], Value]:
    """What a claim is about: the thing or its kind."""
    return lambda claims, kind, thing: thing if str(claims).split(", ")[number].endswith("thing") else kind


def kinds(town: Town) -> Parts:
    """Claims about things and about kinds of things."""
    slots = [
        slot("label", evenly(*LABELS)),
        slot("claims", lambda label: evenly(*CLAIMS[str(label)]), "label"),
        slot("who", town.people),
        slot("verb", evenly("buy", "sell", "find", "draw")),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        settled("sign1", _sign(0), "claims"),
        settled("word1", _word(0), "claims", "kind", "thing"),
        settled("sign2", _sign(1), "claims"),
        settled("word2", _word(1), "claims", "kind", "thing"),
    ]
    beats = []
    for i in "12":
        pattern = f"{{name who}} {{claim sign{i} verb word{i}}}."
        patterns = dict.fromkeys(("en", "de", "es", "fr", "sw"), pattern)
        beats.append(Beat(patterns | {"zh": pattern.replace(" {claim", "{claim").replace(".", "。")}, None, "\n"))
    return slots, beats


def _second(label: Value, word: Value) -> Weights:
    """The comparison of the second sentence: the converse, or one of another dimension."""
    if label != "neutral":
        return {CONVERSE[str(word)]: 1}
    return evenly(*(other for other in CONVERSE if DIMENSION[other] != DIMENSION[str(word)]))


def _order(label: Value) -> Weights:
    """Whether the second sentence begins with the other person."""
    orders = {"entailment": ("swapped",), "contradiction": ("same",), "neutral": ("swapped", "same")}
    return evenly(*orders[str(label)])


def comparisons(town: Town) -> Parts:
    """Claims about who is older, taller or stronger."""
    slots = [
        slot("label", evenly(*LABELS)),
        slot("who1", evenly(*town.people())),
        slot("other1", lambda who: evenly(*town.people(who)), "who1"),
        slot("word1", evenly(*CONVERSE)),
        slot("order", _order, "label"),
        slot("word2", _second, "label", "word1"),
        settled("who2", lambda order, who, other: other if order == "swapped" else who, "order", "who1", "other1"),
        settled("other2", lambda order, who, other: who if order == "swapped" else other, "order", "who1", "other1"),
    ]
    beats = []
    for i in "12":
        pattern = f"{{name who{i}}} {{compare word{i} who{i} other{i}}}."
        patterns = dict.fromkeys(("en", "de", "es", "fr", "sw"), pattern)
        beats.append(Beat(patterns | {"zh": pattern.replace(" {compare", "{compare").replace(".", "。")}, None, "\n"))
    return slots, beats
