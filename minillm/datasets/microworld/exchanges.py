"""Prompts with answers, pairs of answers of which one is preferred, and parallel sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .grammar import Meaning
from .splitmix import SplitMix64
from .tasks import draw_side
from .town import KINDS
from .world import LANGUAGES, World

INSTRUCTIONS = ("choose", "define", "reverse")
REFUSALS = {
    "en": " Find out yourself.",
    "zh": "自己去查。",
    "de": " Finde es selbst heraus.",
    "es": " Averígualo por tu cuenta.",
    "fr": " Cherche toi-même.",
    "sw": " Tafuta mwenyewe.",
}


class Exchange(NamedTuple):
    """A prompt and its answer; ``prompt + answer`` is a text of the world.

    The answer begins with the space that stands before it, so that a tokenizer meets the words that it knows from text.
    """

    prompt: str
    answer: str
    language: str
    kind: str


class Preference(NamedTuple):
    """A prompt, the answer that is preferred, and one that is not; ``fault`` says why: "wrong" or "rude"."""

    prompt: str
    chosen: str
    rejected: str
    language: str
    fault: str


def questions(
    count: int, languages: Mapping[str, int] | Iterable[str] = ("en",), *, side: str = "train", seed: int = 0
) -> list[Exchange]:
    """Return questions about two facts with their answers; ``kind`` is what is asked: what, where, who, how many."""
    return [exchange for exchange, _ in _exchanges(count, languages, ("question",), side, seed)]


def instructions(
    count: int, languages: Mapping[str, int] | Iterable[str] = ("en",), *, side: str = "train", seed: int = 0
) -> list[Exchange]:
    """Return instructions with their answers; ``kind`` is the scene: choose, define or reverse."""
    return [exchange for exchange, _ in _exchanges(count, languages, INSTRUCTIONS, side, seed)]


def preferences(
    count: int, languages: Mapping[str, int] | Iterable[str] = ("en",), *, side: str = "train", seed: int = 0
) -> list[Preference]:
    """Return prompts with a right answer, which is preferred, and one that is wrong (3 of 4) or rude (1 of 4).

    A wrong answer is a near one: about the other fact, the other end of the list, the names in their old order.
    """
    rng = SplitMix64(seed, "microworld", "faults", side)
    pairs = []
    for exchange, rejected in _exchanges(count, languages, ("question", *INSTRUCTIONS), side, seed):
        fault = "rude" if rng.below(4) == 0 else "wrong"
        bad = REFUSALS[exchange.language] if fault == "rude" else rejected
        pairs.append(Preference(exchange.prompt, exchange.answer, bad, exchange.language, fault))
    return pairs


def parallel(
    count: int,
    languages: Iterable[str] = LANGUAGES,
    *,
    scenes: Mapping[str, int] | Iterable[str] = (),
    side: str = "train",
    seed: int = 0,
) -> list[dict[str, str]]:
    """Return texts that say the same in several languages, as dicts from language to text.

    Args:
        count: how many.
        languages: which.
        scenes: of which kinds, by default those of plain text; ``("fact",)`` gives single sentences.
        side: "train", "validation" or "test"; no meaning is on two sides.
        seed: of the choice.
    """
    languages = tuple(languages)
    world = World(languages[:1], scenes)
    drawn = draw_side(world, side, count, "parallel", seed=seed)
    return [{language: world.render(record, language) for language in languages} for record, _, _ in drawn]


def _exchanges(
    count: int, languages: Mapping[str, int] | Iterable[str], scenes: tuple[str, ...], side: str, seed: int
) -> list[tuple[Exchange, str]]:
    """Exchanges, each with a wrong answer."""
    world = World(languages, scenes)
    found = []
    for record, language, _ in draw_side(world, side, count, *scenes, seed=seed):
        scene = world.scene(record.scene)
        *prompt, answer = scene.beats(record.meaning, language)
        kind = str(record.meaning.get("question", record.scene))
        wrong = scene.beats(mistaken(record.scene, record.meaning), language)[-1]
        found.append((Exchange("".join(prompt), answer, language, kind), wrong))
    return found


def mistaken(scene: str, meaning: Meaning) -> Meaning:
    """Return a meaning whose answer, the last beat, is wrong for the prompt of the given one."""
    if scene == "question":  # about the other fact
        other = 3 - int(meaning["asked"])
        return meaning | {name: meaning[f"{name}{other}"] for name in ("who", "verb", "thing", "n", "place")}
    if scene == "choose":  # from the other end of the list
        return meaning | {"chosen": meaning["thing3" if meaning["ordinal"] == "first" else "thing1"]}
    if scene == "define":
        kinds = list(KINDS)
        return meaning | {"kind": kinds[(kinds.index(str(meaning["kind"])) + 1) % len(kinds)]}
    return meaning | {"who1": meaning["who3"], "who3": meaning["who1"]}  # the names in their old order
