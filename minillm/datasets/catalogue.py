"""The corpora by name: `load`, `available`, `info`, and `pretraining_mix`, which puts several into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

from . import microworld, stdlib
from .cards import PSF, SourceMissing
from .corpora import Example, LabelledCorpus, TextCorpus, labelled_corpus, text_corpus
from .leakage import leak, purge
from .splitting import SEPARATOR, TEXT_RULES, TextSplit, first_of_kind, paragraphs, split_examples, split_text
from .streams import stream

SIZES = {"tiny": 100_000, "small": 400_000, "medium": 2_000_000, "full": None}  # characters of training text
EXAMPLE_RULES = ("files", "random")
_SHORTEST, _LONGEST = 40, 2_000  # characters of a labelled docstring: shorter ones say nothing, longer ones are cut


@dataclass(frozen=True)
class Info:
    """What is known about a corpus before it is loaded."""

    name: str
    kind: str  # "text" or "labelled"
    summary: str
    origin: str
    licence: str
    splits: tuple[str, ...]  # the rules that `load(split=...)` takes, the default first

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.summary}\n  origin   {self.origin}\n  licence  {self.licence}"


_INFO = {
    info.name: info
    for info in (
        Info(
            "docstring-topics",
            "labelled",
            f"docstrings labelled with one of {len(stdlib.TOPICS)} topics by the family of their module; "
            "training, validation and test come from different files",
            "docstrings of the reader's own Python standard library",
            PSF,
            EXAMPLE_RULES,
        ),
        Info(
            "docstrings",
            "text",
            "docstrings of the standard library, about 1.4 million characters of training text",
            "docstrings of the reader's own Python standard library",
            PSF,
            TEXT_RULES,
        ),
        *(
            Info(
                name,
                kind,
                f"{summary}, drawn from a grammar whose entropy is known",
                microworld.ORIGIN,
                microworld.LICENCE,
                (rule,),
            )
            for name, kind, summary, rule in (
                ("microworld", "text", "English stories, reviews, questions and instructions of a toy town", "fresh"),
                ("microworld-multilingual", "text", "the same in six languages, each as often", "fresh"),
                ("microworld-entailment", "labelled", "pairs of sentences: entailed, contradicted or open", "meanings"),
                ("microworld-languages", "labelled", "texts labelled with one of six languages", "meanings"),
                ("microworld-new-things", "labelled", "topics; the test is about things of no example", "meanings"),
                ("microworld-sentiment", "labelled", "reviews in which negation and contrast decide", "meanings"),
                ("microworld-topics", "labelled", "stories labelled with one of eight topics", "meanings"),
            )
        ),
        Info(
            "stdlib-en",
            "text",
            "the topics of Python's help(), about 0.35 million characters of technical English",
            "pydoc_data.topics of the reader's own Python",
            PSF,
            TEXT_RULES,
        ),
    )
}
_MICROWORLD = frozenset(name for name in _INFO if name.startswith("microworld"))


def available() -> tuple[str, ...]:
    """Return the names that `load` takes.

    >>> available()
    ('docstring-topics', 'docstrings', 'microworld', ..., 'stdlib-en')
    """
    return tuple(sorted(_INFO))


def info(name: str) -> Info:
    """Return what is known about a corpus without loading it.

    >>> info("stdlib-en").kind
    'text'
    """
    if name not in _INFO:
        raise ValueError(f"unknown corpus {name!r}; choose one of {', '.join(available())}")
    return _INFO[name]


@overload
def load(
    name: Literal["docstrings", "microworld", "microworld-multilingual", "stdlib-en"],
    *,
    size: str | int = ...,
    split: str | None = ...,
    seed: int = ...,
) -> TextCorpus: ...
@overload
def load(
    name: Literal[
        "docstring-topics",
        "microworld-entailment",
        "microworld-languages",
        "microworld-new-things",
        "microworld-sentiment",
        "microworld-topics",
    ],
    *,
    size: str | int = ...,
    split: str | None = ...,
    seed: int = ...,
) -> LabelledCorpus: ...
@overload
def load(
    name: str, *, size: str | int = ..., split: str | None = ..., seed: int = ...
) -> TextCorpus | LabelledCorpus: ...
def load(
    name: str, *, size: str | int = "full", split: str | None = None, seed: int = 0
) -> TextCorpus | LabelledCorpus:
    """Load a corpus that needs no network.

    Args:
        name: one of `available`.
        size: at most so much to train on: a number (characters of a text, examples of a labelled corpus), "full", or
            for a text also "tiny" (100,000 characters), "small" (400,000), "medium" (2,000,000). Held-out parts are
            never cut, so that figures stay comparable. The micro-world has no end: there "full" is 2,000,000
            characters or 4,000 examples, and a number may be larger.
        split: the rule, one of ``info(name).splits``; the first of them when None. For texts see `split_text`. For
            ``docstring-topics``: ``"files"`` puts each file on one side only; ``"random"`` does not, and shows how much
            better a model then seems. The micro-world has one rule for texts and one for labels, see
            `microworld.load_text` and `microworld.load_task`, which also take its knobs.
        seed: of the split; the same seed gives the same corpus on the same Python (the micro-world: on any).

    Returns:
        A `TextCorpus` or a `LabelledCorpus`, with a `Card` that tells its origin, licence, sizes, hash and leak.

    Raises:
        ValueError: if the name, size or split is unknown.
        SourceMissing: (a FileNotFoundError) if this Python lacks the source.
    """
    entry = info(name)
    rule = split or entry.splits[0]
    if rule not in entry.splits:
        raise ValueError(f"{name}: unknown split {rule!r}; choose one of {', '.join(entry.splits)}")
    if name in _MICROWORLD:
        return _microworld(entry, _limit(name, size, names=entry.kind == "text"), seed)
    if entry.kind == "labelled":
        return _topics(entry, _limit(name, size, names=False), rule, seed)
    parts = split_text(_source(name), rule, seed=seed)
    train = _cut(parts.train, _limit(name, size, names=True))
    if train is not parts.train:
        parts = replace(parts, train=train, leak=leak(train, parts.validation))
    return text_corpus(name, parts, origin=entry.origin, licence=entry.licence, rule=rule, seed=seed)


def pretraining_mix(
    names: Sequence[str] = ("stdlib-en", "docstrings"),
    *,
    size: str | int = "full",
    seed: int = 0,
    unseen: Sequence[str] = ("docstring-topics",),
) -> TextCorpus:
    """Put several texts together to pretrain on; the validation text is that of the first alone.

    The other texts go into training whole, without the paragraphs that the mix has already, without those that share 50
    characters in a row with the validation text, and without those that share them with the held-out examples of the
    corpora in ``unseen``: what a model is tested on after fine-tuning, it has not read while it was pretrained. (Load
    those with the same seed and the default split.)

    What this Python lacks is left out, and the card says so.

    Args:
        names: unlabelled corpora, the one to validate on first.
        size: at most so much training text, as for `load`; each text gives its share.
        seed: of the splits; the validation text equals that of ``load(names[0], seed=seed)``.
        unseen: labelled corpora whose validation and test texts are kept out.

    Raises:
        ValueError: if a name is unknown or of the wrong kind.
        SourceMissing: if there is no source for any of the names.
    """
    if (
        not names
        or any(info(n).splits != TEXT_RULES for n in names)
        or any(info(n).splits != EXAMPLE_RULES for n in unseen)
    ):
        raise ValueError(
            f"pretraining_mix: needs texts, and labelled corpora as unseen, none of the micro-world; "
            f"got {names}, {unseen}"
        )
    limit = _limit("pretraining_mix", size, names=True)
    found, notes = [], []
    for name in names:
        try:
            found.append((name, _source(name)))
        except SourceMissing as error:
            notes.append(f"without {name}: {error}")
    if not found:
        raise SourceMissing("; ".join(notes))
    first = split_text(found[0][1], seed=seed)
    held_examples: list[str] = []
    for name in unseen:
        try:
            corpus = _topics(info(name), None, info(name).splits[0], seed)
        except SourceMissing:
            continue  # then its texts are in none of the others either
        held_examples += [text for text, _ in corpus.validation + corpus.test]
    heldout = SEPARATOR.join([first.validation, *held_examples])
    texts: list[list[str]] = [paragraphs(first.train), *(paragraphs(text) for _, text in found[1:])]
    unique = iter(first_of_kind([p for text in texts for p in text]))
    texts = [[p for p in text if next(unique)] for text in texts]
    duplicates = first.duplicates + sum(len(paragraphs(text)) for _, text in found[1:]) - sum(map(len, texts[1:]))
    stays = iter(purge([p for text in texts for p in text], heldout))
    kept = [SEPARATOR.join(p for p in text if next(stays)) for text in texts]
    purged = first.purged + sum(map(len, texts)) - sum(len(paragraphs(text)) for text in kept)
    total = sum(map(len, kept))
    if limit is not None and limit < total:
        kept = [_cut(text, limit * len(text) // total) for text in kept]
    train = SEPARATOR.join(kept)
    for (name, _), text in zip(found, kept, strict=True):
        notes.append(f"training text from {name}: {len(text):,} characters")
    if held_examples:
        share = leak(train, SEPARATOR.join(held_examples))
        notes.append(f"leak of held-out examples of {', '.join(unseen)} into the training text: {share:.2%}")
    parts = TextSplit(train, first.validation, duplicates, purged, leak(train, first.validation))
    origin = "; ".join(info(name).origin for name, _ in found)
    title = " + ".join(name for name, _ in found)
    return text_corpus(title, parts, origin=origin, licence=PSF, rule="blocks", seed=seed, notes=tuple(notes))


def _limit(name: str, size: str | int, *, names: bool) -> int | None:
    """The number that a size stands for; None where there is no limit."""
    if size == "full":
        return None
    if names and isinstance(size, str) and size in SIZES:
        return SIZES[size]
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    choice = ", ".join(SIZES) if names else "full"
    raise ValueError(f"{name}: size must be a positive number or one of: {choice}; got {size!r}")


def _source(name: str) -> str:
    """The whole text of an unlabelled corpus."""
    if name == "stdlib-en":
        return stdlib.topics_text()
    return SEPARATOR.join(d.text for d in stdlib.docstrings())


def _cut(text: str, limit: int | None) -> str:
    """The first paragraphs of a text, at most `limit` characters (or the beginning of the first one)."""
    if limit is None or len(text) <= limit:
        return text
    end = text.rfind(SEPARATOR, 0, limit + len(SEPARATOR))
    return text[: end if end > 0 else limit]


def _microworld(entry: Info, limit: int | None, seed: int) -> TextCorpus | LabelledCorpus:
    """Load a corpus of the micro-world, with its default knobs."""
    if entry.kind == "labelled":
        return microworld.load_task(entry.name.removeprefix("microworld-"), limit or microworld.TRAIN, seed=seed)
    languages = microworld.LANGUAGES if entry.name == "microworld-multilingual" else ("en",)
    return microworld.load_text(microworld.World(languages), limit or microworld.FULL, seed=seed, name=entry.name)


def _topics(entry: Info, limit: int | None, rule: str, seed: int) -> LabelledCorpus:
    """Load and split `docstring-topics`."""
    found = [(d.text[:_LONGEST], topic, d.file) for d in stdlib.docstrings() if (topic := d.topic) is not None]
    topics_of: dict[str, set[str]] = {}
    for text, topic, _ in found:
        topics_of.setdefault(text, set()).add(topic)
    rows: dict[str, tuple[str, str]] = {}
    for text, topic, file in found:  # a text that stands under two topics has no right label
        if len(text) >= _SHORTEST and len(topics_of[text]) == 1:
            rows.setdefault(text, (topic, file))
    labels = tuple(sorted({topic for topic, _ in rows.values()}))
    examples: list[Example] = [(text, labels.index(topic)) for text, (topic, _) in rows.items()]
    groups = [file for _, file in rows.values()] if rule == "files" else None
    picked = split_examples([label for _, label in examples], groups=groups, seed=seed)
    train, validation, test = ([examples[i] for i in part] for part in picked)
    purged = 0
    if rule == "files":
        stays = purge([text for text, _ in train], SEPARATOR.join(text for text, _ in validation + test))
        purged = stays.count(False)
        train = [example for example, stay in zip(train, stays, strict=True) if stay]
    if limit is not None and limit < len(train):
        train = [train[i] for i in sorted(stream(seed, "size").permutation(len(train))[:limit])]
    ambiguous = sum(len(topics) > 1 for topics in topics_of.values())
    return labelled_corpus(
        entry.name,
        (train, validation, test),
        labels,
        origin=entry.origin,
        licence=entry.licence,
        rule=rule,
        seed=seed,
        duplicates=len(found) - len(topics_of),
        purged=purged,
        notes=(
            f"left out: {ambiguous} texts with more than one topic, and texts under {_SHORTEST} characters; "
            f"longer ones end after {_LONGEST:,}",
        ),
    )
