"""The town: who lives there, what is sold, where and when; and how often each is met (meanings, no words).

The weights fall as ``1 / (rank + 4)``, so that some people and things are met often and others seldom, as words are.
"""

from __future__ import annotations

from collections.abc import Sequence

from .grammar import Value

WOMEN = "Anna Maria Sara Amina Lena Rosa Nina Eva Clara Emma Julia Laura".split()
MEN = "Tom Juma Ali David Omar Ivan Pedro Hugo Felix Simon Paul Lucas".split()
PEOPLE = [name for pair in zip(WOMEN, MEN) for name in pair]

# Topic -> its things. The name of the topic is also the name of the kind: an apple is a fruit.
KINDS: dict[str, tuple[str, ...]] = {
    "fruit": ("apple", "orange", "pear", "mango"),
    "animal": ("goat", "dog", "cat", "duck"),
    "tool": ("hammer", "saw", "hoe", "screwdriver"),
    "garment": ("shirt", "coat", "dress", "skirt"),
    "instrument": ("drum", "guitar", "flute", "piano"),
    "furniture": ("table", "chair", "bed", "wardrobe"),
    "vehicle": ("bicycle", "car", "truck", "motorcycle"),
    "jewel": ("ring", "necklace", "bracelet", "crown"),
}
TOPICS = tuple(KINDS)
KIND_OF = {thing: kind for kind, things in KINDS.items() for thing in things}

ADJECTIVES = ("plain", "red", "big", "white", "small", "beautiful", "black", "new", "old")  # plain: none is said
UNFIT = {"fruit": ("red", "white", "black", "new", "old"), "animal": ("red", "new", "old")}  # as nobody says them

PLACES = "market station school park harbour library village hotel beach river farm bakery".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PARTS = ("morning", "afternoon", "evening")
WEATHER = ("rain", "heat", "wind", "cold")
VERBS = ("buy", "sell", "find", "draw", "count")
ASPECTS = ("price", "quality", "seller", "colour", "delivery", "shop")

# Comparisons and their converses: whoever is older than somebody has somebody who is younger.
CONVERSE = {"older": "younger", "younger": "older", "taller": "shorter", "shorter": "taller"}
CONVERSE |= {"stronger": "weaker", "weaker": "stronger"}
DIMENSION = {word: "|".join(sorted((word, other))) for word, other in CONVERSE.items()}

Weights = dict[Value, int]


def ranked(values: Sequence[Value]) -> Weights:
    """Give the value of rank r the weight ``5040 // (r + 4)``.

    >>> ranked(("a", "b"))
    {'a': 1260, 'b': 1008}
    """
    return {value: 5040 // (rank + 4) for rank, value in enumerate(values)}


def evenly(*values: Value) -> Weights:
    """Give every value the same weight."""
    return dict.fromkeys(values, 1)


def chance(p: float, yes: Value, no: Value) -> Weights:
    """Give ``yes`` the probability p, rounded to a thousandth, and ``no`` the rest."""
    return {yes: round(1000 * p), no: 1000 - round(1000 * p)}


class Town:
    """The choices that the slots of all scenes are made of.

    Args:
        vocabulary: the share of the people, things of each kind, places and adjectives that occur; at least 4, 2, 2
            and 2 of them stay.
        ambiguity: how often somebody who was named before is "she", "he" or (where a language drops its pronouns)
            nobody at all, instead of being named again.
    """

    def __init__(self, vocabulary: float = 1.0, ambiguity: float = 0.3) -> None:
        def first(values: list[str] | tuple[str, ...], least: int) -> tuple[str, ...]:
            return tuple(values[: max(least, round(vocabulary * len(values)))])

        self._people = ranked(first(PEOPLE, 4))
        self._places = ranked(first(PLACES, 2))
        self._adjectives = ranked(first(ADJECTIVES, 2))
        self._kinds = {kind: ranked(first(things, 2)) for kind, things in KINDS.items()}
        self.reference = chance(ambiguity, "pronoun", "name")

    def people(self, *taken: Value) -> Weights:
        """Somebody, but none of those who take part already."""
        return {who: w for who, w in self._people.items() if who not in taken}

    def places(self, *taken: Value) -> Weights:
        """Somewhere else."""
        return {place: w for place, w in self._places.items() if place not in taken}

    def kinds(self, *taken: Value) -> Weights:
        """A kind of thing, each equally often, so that the topics are balanced."""
        return evenly(*(kind for kind in KINDS if kind not in taken))

    def things(self, kind: Value, *taken: Value) -> Weights:
        """A thing of a kind."""
        return {thing: w for thing, w in self._kinds[str(kind)].items() if thing not in taken}

    def adjectives(self, kind: Value) -> Weights:
        """A word that is said of things of a kind."""
        return {word: w for word, w in self._adjectives.items() if word not in UNFIT.get(str(kind), ())}


def days() -> Weights:
    """A day; Saturdays are busiest."""
    return {**dict.fromkeys(DAYS, 2), "Saturday": 4}


def parts() -> Weights:
    """A part of the day."""
    return {"morning": 3, "afternoon": 2, "evening": 1}


def weather(p: float = 0.6) -> Weights:
    """Weather that is worth a sentence, or none."""
    most = {"rain": 4, "heat": 3, "wind": 2, "cold": 1}
    return {"none": round(1000 * (1 - p)), **{kind: round(100 * p) * w for kind, w in most.items()}}
