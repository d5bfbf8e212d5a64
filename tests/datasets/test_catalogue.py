"""The offline corpora: repeatable, apart, honest about what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minillm import datasets
from minillm.datasets import SourceMissing, available, info, leak, load, pretraining_mix, stdlib
from minillm.datasets.cards import digest

LEAK = 0.002  # the most that a split may leak
TEXTS = ("docstrings", "stdlib-en")


@pytest.mark.parametrize("name", TEXTS)
def test_texts_do_not_leak_and_repeat(name: str) -> None:
    corpus = load(name)
    assert corpus.card.leak == leak(corpus.train, corpus.validation) < LEAK
    assert load(name) == corpus
    assert load(name, seed=1).card.sha256 != corpus.card.sha256
    assert corpus.card.sizes == {"train": len(corpus.train), "validation": len(corpus.validation)}
    assert 0.05 < len(corpus.validation) / corpus.card.characters < 0.15
    assert corpus.card.duplicates > 100
    assert corpus.card.sha256 == digest([corpus.train, corpus.validation])


@pytest.mark.parametrize("seed", range(4))
def test_no_seed_leaks(seed: int) -> None:
    assert load("stdlib-en", seed=seed).card.leak < LEAK


def test_the_loose_splits_leak() -> None:
    assert load("stdlib-en", split="paragraphs").card.leak > 0.1
    assert load("stdlib-en", split="tail").card.leak > 0.02


def test_size_cuts_training_text_only() -> None:
    whole = load("stdlib-en")
    for size, limit in (("tiny", 100_000), (5_000, 5_000), (10, 10)):
        small = load("stdlib-en", size=size)
        assert limit * 0.6 < len(small.train) <= limit
        assert whole.train.startswith(small.train)
        assert small.validation == whole.validation
    assert load("stdlib-en", size="medium") == whole


def test_topics_come_from_different_files() -> None:
    corpus = load("docstring-topics")
    assert corpus.card.leak < LEAK
    assert corpus.labels == tuple(sorted(stdlib.TOPICS))
    files: dict[str, set[str]] = {}
    for d in stdlib.docstrings():
        if d.topic is not None:
            files.setdefault(d.text[:2000], set()).add(d.file)
    sides = [
        [next(iter(f)) for t, _ in part if len(f := files[t]) == 1]
        for part in (corpus.train, corpus.validation, corpus.test)
    ]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not set(sides[i]) & set(sides[j])
    texts = [text for part in (corpus.train, corpus.validation, corpus.test) for text, _ in part]
    assert len(set(texts)) == len(texts)
    for part in (corpus.train, corpus.validation, corpus.test):
        assert {label for _, label in part} == set(range(len(corpus.labels)))
    assert load("docstring-topics") == corpus


def test_labels_are_those_of_the_modules() -> None:
    corpus = load("docstring-topics")
    topic = {d.text[:2000]: d.topic for d in stdlib.docstrings()}
    assert all(topic[text] == corpus.labels[label] for text, label in corpus.test)


def test_the_random_split_of_topics_leaks() -> None:
    corpus = load("docstring-topics", split="random")
    assert corpus.card.leak > 0.02


def test_topics_can_be_few() -> None:
    few, whole = load("docstring-topics", size=50), load("docstring-topics")
    assert len(few.train) == 50 and set(few.train) <= set(whole.train)
    assert few.test == whole.test


def test_the_mix_has_read_nothing_that_it_is_tested_on() -> None:
    mix, topics, english = pretraining_mix(), load("docstring-topics"), load("stdlib-en")
    assert mix.validation == english.validation
    assert mix.card.leak == leak(mix.train, mix.validation) < LEAK
    held = "\n\n".join(text for text, _ in topics.validation + topics.test)
    assert leak(mix.train, held) < LEAK
    assert len(mix.train) > 3 * len(english.train)
    assert leak(pretraining_mix(unseen=()).train, held) > 0.5  # without the care that is taken
    assert len(pretraining_mix(size=50_000).train) <= 50_100


def test_a_mix_goes_on_with_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    english = load("stdlib-en")
    with monkeypatch.context() as patch:
        patch.setattr(stdlib, "stdlib_folder", lambda: tmp_path)
        mix = pretraining_mix()
        assert mix.train == english.train and mix.card.name == "stdlib-en"
        assert any(note.startswith("without docstrings: ") for note in mix.card.notes)
        with pytest.raises(FileNotFoundError, match="no sources with docstrings"):
            load("docstring-topics")
        patch.setitem(sys.modules, "pydoc_data.topics", None)
        with pytest.raises(SourceMissing, match=r"pydoc_data.*docstrings"):
            pretraining_mix()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    mix = pretraining_mix()
    assert mix.card.name == "docstrings" and mix.card.leak < LEAK
    assert any(note.startswith("without stdlib-en: ") for note in mix.card.notes)


def test_another_process_loads_the_same() -> None:
    code = (
        "from minillm.datasets import load, pretraining_mix\n"
        "print(load('docstring-topics').card.sha256, pretraining_mix().card.sha256)"
    )
    out = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [load("docstring-topics").card.sha256, pretraining_mix().card.sha256]


def test_the_catalogue_knows_its_corpora() -> None:
    tasks = tuple(f"microworld-{name}" for name in ("entailment", "languages", "multilingual", "new-things"))
    tasks += ("microworld-sentiment", "microworld-topics")
    assert available() == ("docstring-topics", "docstrings", "microworld", *tasks, "stdlib-en")
    for name in available():
        assert info(name).name == name and name in str(info(name))
        assert ("MIT" if "microworld" in name else "Python") in info(name).licence


def test_the_public_names_are_sorted_and_there() -> None:
    assert datasets.__all__ == sorted(datasets.__all__)
    assert all(hasattr(datasets, name) for name in datasets.__all__)


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: load("wikitext"), "unknown corpus 'wikitext'; choose one of docstring-topics"),
        (lambda: info("x"), "unknown corpus 'x'"),
        (lambda: load("stdlib-en", split="files"), "unknown split 'files'; choose one of blocks, paragraphs, tail"),
        (lambda: load("docstring-topics", split="blocks"), "unknown split 'blocks'; choose one of files, random"),
        (lambda: load("stdlib-en", size="huge"), "positive number or one of: tiny, small, medium, full; got 'huge'"),
        (lambda: load("stdlib-en", size=0), "positive number"),
        (lambda: load("stdlib-en", size=True), "positive number"),
        (lambda: load("docstring-topics", size="tiny"), "one of: full; got 'tiny'"),
        (lambda: load("stdlib-en", seed=-1), "seed must be an integer >= 0"),
        (lambda: pretraining_mix(("docstring-topics",)), "needs texts"),
        (lambda: pretraining_mix(()), "needs texts"),
        (lambda: pretraining_mix(("microworld",)), "none of the micro-world"),
        (lambda: pretraining_mix(unseen=("microworld-topics",)), "none of the micro-world"),
        (lambda: load("microworld", split="blocks"), "unknown split 'blocks'; choose one of fresh"),
        (lambda: load("microworld", size=10), "too few"),
        (lambda: load("microworld-topics", size="tiny"), "one of: full; got 'tiny'"),
        (lambda: pretraining_mix(unseen=("stdlib-en",)), "labelled corpora as unseen"),
    ],
)
def test_bad_arguments_are_refused(call, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        call()
