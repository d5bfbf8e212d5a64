"""What a loader returns: a corpus of plain text or of labelled texts, each with its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .cards import Card, digest
from .leakage import leak
from .splitting import SEPARATOR, TextSplit


@dataclass(frozen=True)
class TextCorpus:
    """Plain text to pretrain on."""

    train: str
    validation: str
    card: Card


Example = tuple[str, int]  # a text and the number of its label


@dataclass(frozen=True)
class LabelledCorpus:
    """Texts with one label each; an example is ``(text, label id)`` and ``labels[label id]`` is the name."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    card: Card


def text_corpus(
    name: str, parts: TextSplit, *, origin: str, licence: str, rule: str, seed: int, notes: tuple[str, ...] = ()
) -> TextCorpus:
    """Put a split text and its card together."""
    card = Card(
        name=name,
        origin=origin,
        licence=licence,
        sha256=digest([parts.train, parts.validation]),
        seed=seed,
        split=rule,
        sizes={"train": len(parts.train), "validation": len(parts.validation)},
        unit="characters",
        characters=len(parts.train) + len(parts.validation),
        duplicates=parts.duplicates,
        purged=parts.purged,
        leak=parts.leak,
        notes=notes,
    )
    return TextCorpus(parts.train, parts.validation, card)


def labelled_corpus(
    name: str,
    parts: Sequence[Sequence[Example]],
    labels: Sequence[str],
    *,
    origin: str,
    licence: str,
    rule: str,
    seed: int,
    duplicates: int = 0,
    purged: int = 0,
    notes: tuple[str, ...] = (),
) -> LabelledCorpus:
    """Put three lists of examples (train, validation, test) and their card together."""
    train, validation, test = (tuple(part) for part in parts)
    counts = Counter(label for part in parts for _, label in part)
    heldout = SEPARATOR.join(text for text, _ in validation + test)
    card = Card(
        name=name,
        origin=origin,
        licence=licence,
        sha256=digest([*labels, *(f"{i} {label} {text}" for i, part in enumerate(parts) for text, label in part)]),
        seed=seed,
        split=rule,
        sizes={"train": len(train), "validation": len(validation), "test": len(test)},
        unit="examples",
        characters=sum(len(text) for part in parts for text, _ in part),
        duplicates=duplicates,
        purged=purged,
        leak=leak(SEPARATOR.join(text for text, _ in train), heldout),
        notes=(f"labels: {', '.join(f'{label} {counts[i]:,}' for i, label in enumerate(labels))}", *notes),
    )
    return LabelledCorpus(train, validation, test, tuple(labels), card)
