"""The grammar: scenes of slots and beats, drawn, rendered in a language, and measured exactly.

A *scene* is one kind of text. Its *slots* are drawn one after the other, each from a table of integer weights that may
depend on slots before it; the filled slots are the *meaning*. Its *beats* are the sentences, one pattern per language:

    en  "{subj who ref}wanted to buy {a thing adj}."
    de  "{subj who ref}wollte {a thing adj} kaufen."

A hole ``{form slot slot}`` calls one form of the language with the values of some slots. As no form is random, one
meaning has one text per language; a test checks that one text has one meaning. So the entropy of the text is that of
the meaning, and it follows from the tables by the chain rule, with no sampling:

``H(text) = sum over slots of sum_v P(parents = v) H(slot | parents = v)``

The expected length is a sum over literals and holes in the same way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from .splitmix import SplitMix64

Value = str | int
Meaning = dict[str, Value]
Options = Callable[..., Mapping[Value, int]]
Form = Callable[..., str]


class Slot(NamedTuple):
    """One choice: the values it may take, with integer weights, given the values of its parents.

    Where ``settled``, the parents leave no choice: there is one value, and no entropy.
    """

    name: str
    options: Options
    parents: tuple[str, ...]
    settled: bool = False


def slot(name: str, options: Options | Mapping[Value, int], *parents: str) -> Slot:
    """Make a slot; options that depend on nothing may be given as the table itself."""
    if callable(options):
        return Slot(name, options, parents)
    return Slot(name, lambda: options, parents)


def settled(name: str, function: Callable[..., Value], *parents: str) -> Slot:
    """Make a slot whose value is a function of its parents' values."""
    return Slot(name, lambda *values: {function(*values): 1}, parents, True)


class Beat(NamedTuple):
    """One sentence: a pattern per language, and for which values of a slot it is said at all."""

    patterns: Mapping[str, str]
    when: tuple[str, tuple[Value, ...]] | None = None
    lead: str = " "  # what stands before it; a space is left out in Chinese


class Hole(NamedTuple):
    """A place in a pattern: a form, the slots it is called with, and the strings made so far."""

    form: Form
    slots: tuple[str, ...]
    made: dict[tuple[Value, ...], str]


class Sentence(NamedTuple):
    """A beat in one language: literals and holes in their order."""

    lead: str
    pieces: tuple[str | Hole, ...]
    when: tuple[str, tuple[Value, ...]] | None


class Table(NamedTuple):
    """A slot's values for given parents, their running sums of weights, and their probabilities."""

    values: tuple[Value, ...]
    cumulative: tuple[int, ...]
    probabilities: dict[Value, float]


class Scene:
    """One kind of text: its slots and its beats, in one or more languages.

    Args:
        name: of the scene.
        slots: in the order in which they are drawn; parents come first.
        beats: in the order in which they are said; the first is always said.
        forms: for each language, the forms that its patterns call.

    Raises:
        ValueError: if a slot, form or pattern is missing.
    """

    def __init__(
        self, name: str, slots: Sequence[Slot], beats: Sequence[Beat], forms: Mapping[str, Mapping[str, Form]]
    ) -> None:
        self.name, self.slots = name, tuple(slots)
        self._numbers = {s.name: i for i, s in enumerate(self.slots)}
        self._tables: list[dict[tuple[Value, ...], Table]] = [{} for _ in self.slots]
        self._joints: dict[tuple[str, ...], dict[tuple[Value, ...], float]] = {}
        known: set[str] = set()
        for s in self.slots:
            if not known.issuperset(s.parents) or s.name in known:
                raise ValueError(f"scene {name}: slot {s.name} needs its parents {s.parents} before it, and a new name")
            known.add(s.name)
        if not beats or beats[0].when is not None:
            raise ValueError(f"scene {name}: the first beat must always be said")
        self.sentences = {
            language: tuple(self._compile(beat, language, forms[language], known) for beat in beats)
            for language in forms
        }

    def _compile(self, beat: Beat, language: str, forms: Mapping[str, Form], known: set[str]) -> Sentence:
        """Cut a pattern into literals and holes."""
        if language not in beat.patterns:
            raise ValueError(f"scene {self.name}: a beat has no pattern for {language}: {dict(beat.patterns)}")
        pieces: list[str | Hole] = []
        for i, part in enumerate(re.split(r"\{([^}]*)\}", beat.patterns[language])):
            if i % 2 == 0:
                if part:
                    pieces.append(part)
                continue
            form, *slots = part.split()
            missing = [s for s in slots if s not in known]
            if form not in forms or missing:
                raise ValueError(f"scene {self.name}, {language}: {{{part}}} calls an unknown form or slot {missing}")
            pieces.append(Hole(forms[form], tuple(slots), {}))
        return Sentence("" if beat.lead == " " and language == "zh" else beat.lead, tuple(pieces), beat.when)

    def table(self, number: int, parents: tuple[Value, ...]) -> Table:
        """Return the table of one slot for given values of its parents; it is made once."""
        tables = self._tables[number]
        if parents not in tables:
            weights = {value: w for value, w in self.slots[number].options(*parents).items() if w > 0}
            total = sum(weights.values())
            if total == 0:
                raise ValueError(f"scene {self.name}: slot {self.slots[number].name} has no value for {parents}")
            shares = {value: w / total for value, w in weights.items()}
            tables[parents] = Table(tuple(weights), tuple(accumulate(weights.values())), shares)
        return tables[parents]

    def draw(self, rng: SplitMix64) -> Meaning:
        """Draw a meaning: every slot in its order."""
        meaning: Meaning = {}
        for number, (name, _, parents, _) in enumerate(self.slots):
            table = self.table(number, tuple([meaning[p] for p in parents]))
            # A slot that is settled by its parents costs no random number.
            meaning[name] = table.values[rng.pick(table.cumulative) if len(table.values) > 1 else 0]
        return meaning

    def log2_probability(self, meaning: Meaning) -> float:
        """Return log2 of the probability of a meaning; minus infinity where a slot has a value it cannot have."""
        total = 0.0
        for number, (name, _, parents, _) in enumerate(self.slots):
            p = self.table(number, tuple([meaning[q] for q in parents])).probabilities.get(meaning[name], 0.0)
            if p == 0.0:
                return -math.inf
            total += math.log2(p)
        return total

    def beats(self, meaning: Meaning, language: str) -> list[str]:
        """Return the sentences that say a meaning in a language, each with what stands before it."""
        said: list[str] = []
        for lead, pieces, when in self.sentences[language]:
            if when is not None and meaning[when[0]] not in when[1]:
                continue
            text = "".join([p if isinstance(p, str) else fill(p, tuple([meaning[s] for s in p.slots])) for p in pieces])
            said.append((lead if said else "") + text[:1].upper() + text[1:])
        return said

    def render(self, meaning: Meaning, language: str) -> str:
        """Return the text that says a meaning in a language."""
        return "".join(self.beats(meaning, language))

    def joint(self, names: Iterable[str]) -> dict[tuple[Value, ...], float]:
        """Return the probability of all values that some slots take together.

        Slots are gone through from the ancestors of the first one asked for to the last one; of each only what is asked
        for, or what a later one depends on, is kept.
        """
        wanted = tuple(dict.fromkeys(names))
        if wanted in self._joints:
            return self._joints[wanted]
        numbers: list[int] = []

        def visit(name: str) -> None:
            number = self._numbers[name]
            for parent in self.slots[number].parents:
                visit(parent)
            if number not in numbers:
                numbers.append(number)

        for name in wanted:
            visit(name)
        live: tuple[str, ...] = ()
        states: dict[tuple[Value, ...], float] = {(): 1.0}
        for place, number in enumerate(numbers):
            s = self.slots[number]
            later = {p for i in numbers[place + 1 :] for p in self.slots[i].parents}
            names_now = (*live, s.name)
            keep = [i for i, name in enumerate(names_now) if name in later or name in wanted]
            parents = [live.index(p) for p in s.parents]
            after: dict[tuple[Value, ...], float] = {}
            for state, p in states.items():
                given = tuple([state[i] for i in parents])
                # The table of a settled slot would have a row for each value of its parents.
                shares = s.options(*given) if s.settled else self.table(number, given).probabilities
                for value, q in shares.items():
                    full = (*state, value)
                    key = tuple([full[i] for i in keep])
                    after[key] = after.get(key, 0.0) + p * q
            live, states = tuple([names_now[i] for i in keep]), after
        order = [live.index(name) for name in wanted]
        self._joints[wanted] = result = {tuple([state[i] for i in order]): p for state, p in states.items()}
        return result

    def entropy(self) -> float:
        """Return the entropy of the scene's texts in bits, by the chain rule over its slots."""
        terms = []
        for number, s in enumerate(self.slots):
            if s.settled:
                continue
            for parents, p in self.joint(s.parents).items():
                shares = self.table(number, parents).probabilities.values()
                terms.append(-p * math.fsum(q * math.log2(q) for q in shares))
        return math.fsum(terms)

    def said(self, sentence: Sentence, hole: Hole | None = None) -> dict[tuple[Value, ...], float]:
        """Return how probable it is that a sentence is said with each choice of values in one of its holes.

        Without a hole the only key is the empty one, and its value is the probability that the sentence is said.
        """
        slots = () if hole is None else hole.slots
        condition = () if sentence.when is None else (sentence.when[0],)
        names = tuple(dict.fromkeys((*slots, *condition)))
        places = [names.index(s) for s in slots]
        found: dict[tuple[Value, ...], float] = {}
        for values, p in self.joint(names).items():
            if sentence.when is None or values[names.index(sentence.when[0])] in sentence.when[1]:
                own = tuple([values[i] for i in places])
                found[own] = found.get(own, 0.0) + p
        return found

    def expected(self, language: str, measure: Callable[[str], int]) -> float:
        """Return the expected measure of a text, for a measure that adds up over its pieces (as a length does)."""
        terms = []
        for number, sentence in enumerate(self.sentences[language]):
            fixed = measure(sentence.lead) if number else 0
            fixed += sum(measure(piece) for piece in sentence.pieces if isinstance(piece, str))
            terms += [p * fixed for p in self.said(sentence).values()]
            for hole in sentence.pieces:
                if not isinstance(hole, str):
                    terms += [p * measure(fill(hole, values)) for values, p in self.said(sentence, hole).items()]
        return math.fsum(terms)


def fill(hole: Hole, values: tuple[Value, ...]) -> str:
    """Return what a hole says for given values; each is made once."""
    if values not in hole.made:
        hole.made[values] = hole.form(*values)
    return hole.made[values]
