"""The world: all scenes in all languages, drawn by their weights, with the knobs that the lessons turn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from . import chinese, english, entailment, french, german, questions, sentences, spanish, stories, swahili, visits
from .grammar import Form, Meaning, Scene
from .parsing import Parser
from .splitmix import SplitMix64
from .town import Town

FORMS: dict[str, dict[str, Form]] = {
    "en": english.FORMS,
    "zh": chinese.FORMS,
    "de": german.FORMS,
    "es": spanish.FORMS,
    "fr": french.FORMS,
    "sw": swahili.FORMS,
}
LANGUAGES = tuple(FORMS)
SEPARATOR = "\n\n"  # between two texts of a corpus

STORIES = ("shopping", "lost", "gift", "sums")
# How often each scene occurs in plain text.
TEXT: dict[str, int] = {
    **{"shopping": 6, "lost": 4, "gift": 4, "sums": 3},
    **{"fact": 2, "review": 4, "question": 4, "choose": 1, "define": 1, "reverse": 1},
}


@dataclass(frozen=True)
class Record:
    """One meaning: a scene and the values of its slots."""

    scene: str
    meaning: Meaning


@dataclass(frozen=True)
class Floor:
    """How many bits a text of the source holds, and how long it is, both as exact expectations.

    No model of the source, however large, needs fewer bits per character of fresh text. A separator (two line ends)
    counts as the end of each text; words are runs without white space.
    """

    bits_per_text: float
    characters_per_text: float
    bytes_per_text: float
    words_per_text: float

    @property
    def bits_per_character(self) -> float:
        """The entropy of the stream in bits per character."""
        return self.bits_per_text / self.characters_per_text

    @property
    def bits_per_byte(self) -> float:
        """The entropy of the stream in bits per byte of UTF-8."""
        return self.bits_per_text / self.bytes_per_text

    @property
    def bits_per_word(self) -> float:
        """The entropy of the stream in bits per word."""
        return self.bits_per_text / self.words_per_text

    def bits_per_token(self, tokens_per_text: float) -> float:
        """The entropy in bits per token of any tokenizer that loses nothing, from its mean number per text."""
        return self.bits_per_text / tokens_per_text


@lru_cache(maxsize=32)
def _scene(name: str, vocabulary: float, ambiguity: float, spurious: float) -> Scene:
    """Build a scene in every language; each is built once per set of knobs."""
    town = Town(vocabulary, ambiguity)
    if name == "review":
        parts = sentences.review(town, spurious)
    else:
        homes = {"fact": sentences, "shopping": stories, "lost": stories, "gift": visits, "sums": visits}
        homes |= dict.fromkeys(("question", "choose", "define", "reverse"), questions)
        homes |= dict.fromkeys(("kinds", "comparisons"), entailment)
        parts = getattr(homes[name], name)(town)
    return Scene(name, *parts, FORMS)


SCENES = (*TEXT, "kinds", "comparisons")


@dataclass(frozen=True)
class World:
    """A source of texts. Equal worlds and seeds give equal texts, on every machine.

    Args:
        languages: the languages of the texts and how often each occurs, as integer weights.
        scenes: the scenes and how often each occurs, as integer weights; by default the mix of plain text.
        vocabulary: the share of people, places, adjectives and things that occur, above 0 and up to 1.
        ambiguity: the probability that somebody named before is only "she" or "he" (or, in Spanish and Swahili,
            not named at all), 0 to 1, in steps of a thousandth.
        spurious: the probability that a review was bought on the day that goes with its sentiment (Monday if
            positive, Friday if negative), 0 to 1, in steps of a thousandth; otherwise on any day.

    Raises:
        ValueError: if a knob is out of its range or a language or scene is unknown.
    """

    languages: Mapping[str, int] | Iterable[str] = ("en",)
    scenes: Mapping[str, int] | Iterable[str] = ()
    vocabulary: float = 1.0
    ambiguity: float = 0.3
    spurious: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "languages", _weights("language", self.languages, LANGUAGES))
        object.__setattr__(self, "scenes", _weights("scene", self.scenes or TEXT, SCENES))
        for name, low in (("vocabulary", 1e-9), ("ambiguity", 0.0), ("spurious", 0.0)):
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"World: {name} must lie between 0 and 1, got {getattr(self, name)}")

    @cached_property
    def _scenes(self) -> dict[str, Scene]:
        return {name: self.scene(name) for name, _ in _pairs(self.scenes)}

    def scene(self, name: str) -> Scene:
        """Return a scene of this world by its name."""
        if name not in SCENES:
            raise ValueError(f"unknown scene {name!r}; choose one of {', '.join(SCENES)}")
        return _scene(name, self.vocabulary, self.ambiguity, self.spurious)

    def records(self, *stream: str | int, seed: int = 0) -> Iterator[tuple[Record, str]]:
        """Yield records and the language of each, without end; a stream of its own for each seed and name."""
        rng = SplitMix64(seed, "microworld", *stream)
        scenes, s_weights = _cumulative(self.scenes)
        languages, l_weights = _cumulative(self.languages)
        built = self._scenes
        while True:
            language = languages[rng.pick(l_weights) if len(languages) > 1 else 0]
            scene = scenes[rng.pick(s_weights) if len(scenes) > 1 else 0]
            yield Record(scene, built[scene].draw(rng)), language

    def render(self, record: Record, language: str) -> str:
        """Return the text that says a record in a language."""
        if language not in LANGUAGES:
            raise ValueError(f"unknown language {language!r}; choose one of {', '.join(LANGUAGES)}")
        return self.scene(record.scene).render(record.meaning, language)

    def texts(self, *stream: str | int, seed: int = 0) -> Iterator[str]:
        """Yield independent texts, without end."""
        for record, language in self.records(*stream, seed=seed):
            yield self._scenes[record.scene].render(record.meaning, language)

    def derivations(self, text: str) -> list[tuple[Record, str, float]]:
        """Return every record and language that gives this text, with the log2 of its probability."""
        found = []
        for language, p in _shares(self.languages).items():
            for name, q in _shares(self.scenes).items():
                scene = self._scenes[name]
                for meaning in _parser(scene, language).meanings(text):
                    bits = math.log2(p) + math.log2(q) + scene.log2_probability(meaning)
                    found.append((Record(name, meaning), language, bits))
        return found

    def log2_probability(self, text: str) -> float:
        """Return log2 of the probability of one text: the sum over its derivations; minus infinity for none."""
        return math.log2(total) if (total := math.fsum(2**b for *_, b in self.derivations(text))) else -math.inf

    def bits(self, corpus: str) -> float:
        """Return how many bits the source itself needs for a corpus of whole texts, the least possible on average."""
        return -math.fsum(self.log2_probability(text) for text in corpus.split(SEPARATOR))

    @cached_property
    def floor(self) -> Floor:
        """The exact entropy and expected lengths of this world's texts."""
        languages, scenes = _shares(self.languages), _shares(self.scenes)
        choice = -sum(p * math.log2(p) for p in (*languages.values(), *scenes.values()))
        bits = choice + math.fsum(q * self._scenes[name].entropy() for name, q in scenes.items())
        lengths = [
            math.fsum(
                p * q * self._scenes[name].expected(language, measure)
                for language, p in languages.items()
                for name, q in scenes.items()
            )
            for measure in (len, _bytes, _spaces)
        ]
        return Floor(bits, lengths[0] + len(SEPARATOR), lengths[1] + len(SEPARATOR), lengths[2] + 1)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8"))


def _spaces(text: str) -> int:
    return text.count(" ") + text.count("\n")


@lru_cache(maxsize=256)
def _parser(scene: Scene, language: str) -> Parser:
    return Parser(scene, language)


def _weights(
    what: str, given: Mapping[str, int] | Iterable[str], known: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """Names and integer weights as a tuple; bare names weigh 1 each."""
    names = [given] if isinstance(given, str) else given
    pairs = (
        list(names.items()) if isinstance(names, Mapping) else [n if isinstance(n, tuple) else (n, 1) for n in names]
    )
    for name, weight in pairs:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; choose from {', '.join(known)}")
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 1:
            raise ValueError(f"World: the weight of {what} {name!r} must be an integer >= 1, got {weight!r}")
    if not pairs or len(dict(pairs)) < len(pairs):
        raise ValueError(f"World: needs at least one {what}, each once; got {[name for name, _ in pairs]}")
    return tuple(pairs)


def _pairs(weights: object) -> tuple[tuple[str, int], ...]:
    """The weights as `World` keeps them."""
    assert isinstance(weights, tuple)
    return weights


def _shares(weights: object) -> dict[str, float]:
    pairs = _pairs(weights)
    total = sum(w for _, w in pairs)
    return {name: w / total for name, w in pairs}


def _cumulative(weights: object) -> tuple[list[str], list[int]]:
    pairs = _pairs(weights)
    return [name for name, _ in pairs], list(accumulate(w for _, w in pairs))
