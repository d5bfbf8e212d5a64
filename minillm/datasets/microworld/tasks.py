"""Labelled texts: sentiment, topic, entailment and language, with labels that follow from the meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..corpora import Example, LabelledCorpus, labelled_corpus
from . import entailment
from .corpus import LICENCE, ORIGIN
from .splitmix import SplitMix64
from .town import KIND_OF, KINDS, TOPICS
from .world import LANGUAGES, STORIES, Record, World

SIDES = ("train", "validation", "test")
TRAIN = 4_000  # examples
_ENDLESS = 2_000  # so many texts in a row that cannot be used: the world has no more


class Task(NamedTuple):
    """A question about a text.

    Attributes:
        scenes: where the texts come from.
        label: the slot that holds the label; "language" stands for the language of the text.
        labels: all labels.
        key: the slots that say what an example is about. Records that agree in them are on the same side of the split,
            so that no combination that is tested has been trained on. Empty: all slots.
        languages: the languages by default.
    """

    scenes: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    key: tuple[str, ...]
    languages: tuple[str, ...] = ("en",)


_CLAUSES = ("link", "aspect1", "aspect2", "neg1", "neg2")
TASKS: dict[str, Task] = {
    "sentiment": Task(("review",), "sentiment", ("negative", "positive"), _CLAUSES),
    "topics": Task(STORIES, "kind", TOPICS, ("who", "friend", "thing")),
    "new-things": Task(STORIES, "kind", TOPICS, ("thing",)),
    "entailment": Task(
        ("kinds", "comparisons"), "label", entailment.LABELS, ("who", "claims", "thing", "who1", "other1", "word1")
    ),
    "languages": Task(("fact", "review", "sums"), "language", LANGUAGES, (), LANGUAGES),
}


def side(record: Record, key: tuple[str, ...] = ()) -> str:
    """Return the side that a record belongs to, whatever the seed: 8 of 10 to train on, 1 to validate, 1 to test.

    It is a function of the meaning, so a sentence and its translations are always on the same side. With ``("thing",)``
    as the key, the third thing of each kind is there to validate and the fourth to test.
    """
    if key == ("thing",):
        thing = str(record.meaning["thing"])
        return ("train", "train", "validation", "test")[KINDS[KIND_OF[thing]].index(thing)]
    meaning = {name: value for name, value in sorted(record.meaning.items()) if not key or name in key}
    place = SplitMix64(0, "side", record.scene, json.dumps(meaning)).below(10)
    return {0: "validation", 1: "test"}.get(place, "train")


def draw_side(
    world: World, wanted: str, count: int, *stream: str, key: tuple[str, ...] = (), seed: int = 0
) -> Iterator[tuple[Record, str, str]]:
    """Yield up to ``count`` records of one side, each with its language and its text; no text comes twice."""
    if wanted not in SIDES:
        raise ValueError(f"unknown side {wanted!r}; choose one of {', '.join(SIDES)}")
    seen: set[str] = set()
    idle = 0
    for record, language in world.records(*stream, wanted, seed=seed):
        if len(seen) >= count or idle > _ENDLESS:
            return
        idle += 1
        if side(record, key) != wanted or (text := world.render(record, language)) in seen:
            continue
        seen.add(text)
        idle = 0
        yield record, language, text


def load_task(
    name: str,
    size: int = TRAIN,
    *,
    heldout: int = 500,
    languages: Mapping[str, int] | Iterable[str] | None = None,
    label_noise: float = 0.0,
    spurious: float = 0.0,
    vocabulary: float = 1.0,
    ambiguity: float = 0.3,
    seed: int = 0,
) -> LabelledCorpus:
    """Load labelled texts of a task.

    ``sentiment``: reviews; negation and contrast decide, see `sentences.review`.

    ``topics``: stories; which of eight kinds of things they are about (a story may mention a second kind).

    ``new-things``: the same, but the test stories are about things that no labelled training story is about: only who
    has read of them can know.

    ``entailment``: two sentences on two lines, see the module of that name.

    ``languages``: which of the six languages a text is in.

    Args:
        name: one of `TASKS`.
        size: examples to train on.
        heldout: examples to validate on, and again as many to test on.
        languages: with integer weights, or simply their names.
        label_noise: the share of training labels, 0 to 1, that are replaced by another label drawn at random.
        spurious: how surely the day of a review tells its sentiment in training and validation, 0 to 1; in the test
            texts it tells nothing. For ``sentiment`` alone.
        vocabulary: as for `World`.
        ambiguity: as for `World`.
        seed: of the texts. The sides do not depend on it.

    Returns:
        A `LabelledCorpus`; fewer examples than asked for where the world has no more, which the card shows.

    Raises:
        ValueError: if the task or a knob is unknown or out of range.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; choose one of {', '.join(TASKS)}")
    task = TASKS[name]
    if not 0 <= label_noise <= 1:
        raise ValueError(f"load_task: label_noise must lie between 0 and 1, got {label_noise}")
    if spurious and name != "sentiment":
        raise ValueError(f"load_task: the spurious cue is for sentiment, not for {name}")
    if size < 1 or heldout < 1:
        raise ValueError(f"load_task: size and heldout must be at least 1, got {size} and {heldout}")
    world = World(languages or task.languages, task.scenes, vocabulary, ambiguity, spurious)
    clean = replace(world, spurious=0.0)
    noise = SplitMix64(seed, "microworld", name, "noise")
    parts: list[list[Example]] = []
    changed = 0
    for part, count in zip(SIDES, (size, heldout, heldout)):
        examples: list[Example] = []
        source = clean if part == "test" else world
        for record, language, text in draw_side(source, part, count, name, key=task.key, seed=seed):
            value = language if task.label == "language" else record.meaning[task.label]
            label = task.labels.index(str(value))
            if part == "train" and noise.below(1000) < round(1000 * label_noise):
                label = (label + 1 + noise.below(len(task.labels) - 1)) % len(task.labels)
                changed += 1
            examples.append((text, label))
        parts.append(examples)
    notes = (
        "no combination of the meanings that make the label is on two sides; sentences are built of few parts, so they "
        "share runs of 50 characters all the same, which is the leak above",
        f"{changed} training labels were replaced (label_noise {label_noise:g}); spurious cue {spurious:g}",
    )
    return labelled_corpus(
        f"microworld-{name}",
        parts,
        task.labels,
        origin=ORIGIN,
        licence=LICENCE,
        rule="meanings",
        seed=seed,
        notes=notes,
    )
