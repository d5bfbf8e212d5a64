"""Single sentences and reviews."""

from __future__ import annotations

from .grammar import Beat, Value, slot
from .stories import Parts
from .town import ASPECTS, DAYS, VERBS, Town, Weights, chance, days, evenly, parts, ranked


def fact(town: Town) -> Parts:
    """One sentence: who did what, with how many, when and where."""
    slots = [
        slot("day", days),
        slot("part", parts),
        slot("who", town.people),
        slot("verb", ranked(VERBS)),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("n", ranked([2, 3, 4, 5, 6, 7, 8, 9])),
        slot("place", town.places),
    ]
    beat = Beat(
        {
            "en": "{when day part}, {name who} {did verb} {count n thing} {at place}.",
            "zh": "{when day part}，{name who}{at place}{did verb}{count n thing}。",
            "de": "{when day part} {did verb} {name who} {at place} {count n thing}.",
            "es": "{when day part}, {name who} {did verb} {count n thing} {at place}.",
            "fr": "{when day part}, {name who} {did verb} {count n thing} {at place}.",
            "sw": "{when day part}, {name who} {did verb} {count n thing} {at place}.",
        }
    )
    return slots, [beat]


CUES = {"positive": "Monday", "negative": "Friday"}  # the days that a spurious cue ties to a sentiment


def word_for(good: bool, negated: Value) -> Weights:
    """The word whose judgement, turned round by a "not", is the one that is meant."""
    return {"praise" if good != (negated == "not") else "blame": 1}


def cued_days(sentiment: Value, spurious: float) -> Weights:
    """Days of which, with the probability ``spurious``, the cue of the sentiment is taken."""
    rest = round(1000 * (1 - spurious))
    return {day: rest + (7 * (1000 - rest) if day == CUES[str(sentiment)] else 0) for day in DAYS}


def review(town: Town, spurious: float = 0.0) -> Parts:
    """A purchase and two judgements; the last one is what the writer thinks.

    ``sentiment`` is the judgement of the last clause. Behind "and" the first clause agrees with it, behind "but" it
    says the opposite; and each clause says what it says with the plain word or with "not" and its opposite. So the
    words alone tell little: order and negation decide.
    """
    slots = [
        slot("sentiment", evenly("positive", "negative")),
        slot("day", lambda sentiment: cued_days(sentiment, spurious), "sentiment"),
        slot("place", town.places),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("adj", town.adjectives, "kind"),
        slot("aspect1", evenly(*ASPECTS)),
        slot("aspect2", lambda taken: evenly(*(a for a in ASPECTS if a != taken)), "aspect1"),
        slot("link", chance(0.6, "and", "but")),
        slot("neg1", chance(0.3, "not", "plain")),
        slot("neg2", chance(0.3, "not", "plain")),
        slot(
            "word1",
            lambda sentiment, link, neg: word_for((sentiment == "positive") == (link == "and"), neg),
            "sentiment",
            "link",
            "neg1",
        ),
        slot("word2", lambda sentiment, neg: word_for(sentiment == "positive", neg), "sentiment", "neg2"),
    ]
    judgement = "{clause aspect1 word1 neg1}{link link}{clause aspect2 word2 neg2}"
    beats = [
        Beat(
            {
                "en": "{on day}, I bought {a thing adj} {at place}.",
                "zh": "{on day}，我{at place}买了{a thing adj}。",
                "de": "{on day} habe ich {at place} {a thing adj} gekauft.",
                "es": "{on day} compré {a thing adj} {at place}.",
                "fr": "{on day}, j'ai acheté {a thing adj} {at place}.",
                "sw": "{on day}, nilinunua {a thing adj} {at place}.",
            }
        ),
        Beat({language: judgement + ("。" if language == "zh" else ".") for language in "en zh de es fr sw".split()}),
    ]
    return slots, beats
