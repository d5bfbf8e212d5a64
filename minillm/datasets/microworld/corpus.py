"""The micro-world as a text corpus: fresh texts to train on, fresh texts to validate on, and the floor on the card."""

from __future__ import annotations

from collections.abc import Iterator

from ..corpora import TextCorpus, text_corpus
from ..leakage import leak
from ..splitting import TextSplit
from .world import SEPARATOR, World

LICENCE = "MIT, as minillm itself: every word was written for it"
ORIGIN = "the probabilistic grammar of minillm.datasets.microworld"
FULL, VALIDATION = 2_000_000, 100_000  # characters


def take(texts: Iterator[str], size: int) -> list[str]:
    """Return the first whole texts that together, separators included, have at most ``size`` characters."""
    taken, length = [], 0
    for text in texts:
        length += len(text) + len(SEPARATOR)
        if length > size + len(SEPARATOR):
            break
        taken.append(text)
    return taken


def load_text(
    world: World | None = None,
    size: int = FULL,
    *,
    validation: int = VALIDATION,
    seed: int = 0,
    name: str = "microworld",
) -> TextCorpus:
    """Load plain text of a world, of any length.

    Both sides are drawn independently from the same source, so both have exactly the entropy of ``world.floor``, and
    the loss on the validation text has that as its floor, however much is trained on. Nothing is de-duplicated: that
    would change the source. That short texts come again is part of it.

    Args:
        world: the source; English with the default knobs when None.
        size: at most so many characters to train on; a smaller size gives the beginning of a larger one.
        validation: at most so many characters to validate on; their stream does not depend on ``size``.
        seed: of the texts.
        name: the name on the card.

    Raises:
        ValueError: if a size is too small for a single text.
    """
    world = World() if world is None else world
    train = take(world.texts("train", seed=seed), size)
    held = take(world.texts("validation", seed=seed), validation)
    if not train or not held:
        raise ValueError(f"load_text: {size} and {validation} characters are too few; one text may need 400")
    seen = set(train)
    again = sum(text in seen for text in held)
    texts = SEPARATOR.join(train), SEPARATOR.join(held)
    parts = TextSplit(*texts, duplicates=0, purged=0, leak=leak(*texts))
    floor = world.floor
    notes = (
        f"exact entropy of the source: {floor.bits_per_text:.4f} bits per text, {floor.bits_per_character:.4f} per "
        f"character, {floor.bits_per_byte:.4f} per byte, {floor.bits_per_word:.4f} per word",
        f"{again} of {len(held):,} validation texts occur in the training text as they are; both sides are independent "
        "draws, so neither this nor the leak lowers the floor",
    )
    return text_corpus(name, parts, origin=ORIGIN, licence=LICENCE, rule="fresh", seed=seed, notes=notes)
