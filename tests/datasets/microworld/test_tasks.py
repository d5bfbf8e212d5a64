"""Labels follow from the text, as an independent reader finds; sides are apart; word counts do not solve what they
should not."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from minillm.datasets import leak, load
from minillm.datasets.microworld import TASKS, World, load_task, load_text, parallel, side
from minillm.datasets.microworld.tasks import SIDES, draw_side
from minillm.training.baselines import NaiveBayes, label_baselines

GOOD = {"fair", "good", "friendly", "beautiful", "fast", "clean"}
BAD = {"high", "bad", "rude", "ugly", "slow", "dirty"}
# Which kind each noun belongs to, written down once more.
KINDS = {
    "fruit": "apple orange pear mango",
    "animal": "goat dog cat duck",
    "tool": "hammer saw hoe screwdriver",
    "garment": "shirt coat dress skirt",
    "instrument": "drum guitar flute piano",
    "furniture": "table chair bed wardrobe",
    "vehicle": "bicycle car truck motorcycle",
    "jewel": "ring necklace bracelet crown",
}
KIND_OF = {noun: kind for kind, listed in KINDS.items() for noun in listed.split()}
KIND_WORDS = {
    "fruit": "fruit",
    "animals": "animal",
    "tools": "tool",
    "clothes": "garment",
    "musical instruments": "instrument",
    "furniture": "furniture",
    "vehicles": "vehicle",
    "jewellery": "jewel",
}


def judgement(clause: str) -> bool:
    """Whether a clause praises: its word, turned round by a "not"."""
    words = clause.rstrip(".").split()
    assert (words[-1] in GOOD) != (words[-1] in BAD)
    return (words[-1] in GOOD) != ("not" in words)


def test_sentiment_is_that_of_the_last_clause() -> None:
    corpus = load_task("sentiment", 600, heldout=100)
    for text, label in corpus.train + corpus.validation + corpus.test:
        first, link, last = re.split(r"(, but | and )", text.split(". ", 1)[1])
        assert judgement(last) == (corpus.labels[label] == "positive")
        assert (judgement(first) == judgement(last)) == (link == " and ")


def nouns(text: str) -> Counter[str]:
    """How often each thing is named."""
    words = re.findall(r"[a-z]+", text)
    singular = [w if w in KIND_OF else w.removesuffix("s") if w.removesuffix("s") in KIND_OF else w[:-2] for w in words]
    return Counter(w for w in singular if w in KIND_OF)


def things(text: str) -> Counter[str]:
    """How often each kind of thing is named."""
    counts: Counter[str] = Counter()
    for noun, n in nouns(text).items():
        counts[KIND_OF[noun]] += n
    return counts


@pytest.mark.parametrize("name", ["topics", "new-things"])
def test_the_topic_is_what_the_story_is_about(name: str) -> None:
    corpus = load_task(name, 400, heldout=60)
    for text, label in corpus.train + corpus.test:
        assert things(text).most_common(1)[0][0] == corpus.labels[label]
    assert any(len(things(text)) == 2 for text, _ in corpus.train)


def worlds(premise: str, hypothesis: str) -> str:
    """The label of a pair, found by going through all possible states of affairs."""
    claims = []
    for sentence in (premise, hypothesis):
        if match := re.fullmatch(r"(\w+) is (\w+) than (\w+)\.", sentence):
            a, word, b = match.groups()
            dimension, sign = {
                "older": (0, 1),
                "younger": (0, -1),
                "taller": (1, 1),
                "shorter": (1, -1),
                "stronger": (2, 1),
                "weaker": (2, -1),
            }[word]
            people = sorted((a, b))
            # A state is, for each dimension, whether the first of the two people has more of it.
            wanted = (a == people[0]) == (sign == 1)
            claims.append(lambda state, dimension=dimension, wanted=wanted: state[dimension] == wanted)
        else:
            match = re.fullmatch(r"\w+ (did not )?\w+ (.+)\.", sentence)
            assert match
            negated, what = match.groups()
            # A state is: whether it was done with the thing, and whether with another of its kind.
            if what in KIND_WORDS:
                claims.append(lambda state, negated=negated: any(state[:2]) != bool(negated))
            else:
                claims.append(lambda state, negated=negated: state[0] != bool(negated))
    seen = {claims[1](state) for state in itertools.product((False, True), repeat=3) if claims[0](state)}
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(seen), "neutral")


def test_entailment_is_what_logic_says() -> None:
    corpus = load_task("entailment", 600, heldout=100)
    for text, label in corpus.train + corpus.validation + corpus.test:
        assert worlds(*text.split("\n")) == corpus.labels[label], text
    kinds = [text for text, _ in corpus.train if " than " not in text]
    for text in kinds[:100]:  # what is bought and its kind belong together
        words = [re.fullmatch(r"\w+ (?:did not )?\w+ (.+)\.", line) for line in text.split("\n")]
        names = [m.group(1) for m in words if m]
        kind, thing = sorted(names, key=lambda n: n not in KIND_WORDS)
        assert list(things(thing)) == [KIND_WORDS[kind]]


def test_the_same_words_carry_different_labels() -> None:
    corpus = load_task("entailment", 4000)
    labels: dict[tuple[str, ...], set[int]] = {}
    for text, label in corpus.train:
        labels.setdefault(tuple(sorted(re.findall(r"\w+", text.lower()))), set()).add(label)
    assert Counter(map(len, labels.values()))[2] > 200


def test_the_language_is_that_of_the_text() -> None:
    corpus = load_task("languages", 600, heldout=100)
    hints = {
        "zh": r"[\u4e00-\u9fff]",
        "de": r"\b([Aa]m|hatte|ist|Nun)\b",
        "es": r"\b(el|El|tenía|Ahora)\b",
        "fr": r"\b(a|avait|est|j)\b",
        "sw": r"\b(ni|si|alikuwa|Ju\w+|Ijumaa|Alhamisi)\b",
        "en": r"\b(the|had|On)\b",
    }
    for text, label in corpus.train:
        assert re.search(hints[corpus.labels[label]], text), text


def test_counting_words_does_not_solve_order_and_negation() -> None:
    for name, chance in (("sentiment", 1 / 2), ("entailment", 1 / 3), ("new-things", 1 / 8)):
        corpus = load_task(name)
        scores = label_baselines(corpus.train, corpus.test, len(corpus.labels))
        assert scores["naive_bayes"] < chance + 0.12, name
    corpus = load_task("topics")
    assert label_baselines(corpus.train, corpus.test, 8)["naive_bayes"] > 0.9


@pytest.mark.parametrize("name", TASKS)
def test_the_sides_share_no_text_and_no_meaning_of_the_label(name: str) -> None:
    corpus = load_task(name, 1500, heldout=150)
    parts = [{text for text, _ in part} for part in (corpus.train, corpus.validation, corpus.test)]
    assert [len(part) for part in parts] == [1500, 150, 150]  # so none comes twice
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    for part in (corpus.train, corpus.validation, corpus.test):
        counts = Counter(label for _, label in part)
        assert set(counts) == set(range(len(corpus.labels)))
        assert min(counts.values()) > 0.3 * len(part) / len(corpus.labels)
    other = load_task(name, 1500, heldout=150, seed=1)
    assert not {text for text, _ in other.train} & parts[2]  # another seed has the same sides
    assert other.test != corpus.test


def test_what_is_tested_of_new_things_is_new() -> None:
    corpus = load_task("new-things", 1000, heldout=100)
    last = {listed.split()[3] for listed in KINDS.values()}
    assert all(nouns(text).most_common(1)[0][0] in last for text, _ in corpus.test)
    assert all(nouns(text).most_common(1)[0][0] not in last for text, _ in corpus.train)


def test_translations_are_on_one_side() -> None:
    texts = [{text for d in parallel(300, side=name) for text in d.values()} for name in SIDES]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    records = [record for record, _ in itertools.islice(World().records(), 2000)]
    counts = Counter(side(record) for record in records)
    assert abs(counts["test"] - 200) < 60 and abs(counts["validation"] - 200) < 60


def test_label_noise_changes_training_labels_only() -> None:
    clean, noisy = load_task("topics", 1000, heldout=100), load_task("topics", 1000, heldout=100, label_noise=0.3)
    assert [text for text, _ in clean.train] == [text for text, _ in noisy.train]
    changed = sum(a != b for a, b in zip(clean.train, noisy.train))
    assert abs(changed - 300) < 4 * (1000 * 0.3 * 0.7) ** 0.5
    assert f"{changed} training labels were replaced" in str(noisy.card)
    assert clean.validation == noisy.validation and clean.test == noisy.test
    everything = load_task("topics", 200, heldout=20, label_noise=1.0)
    assert all(a != b for a, b in zip(everything.train, load_task("topics", 200, heldout=20).train))


def test_the_spurious_cue_helps_until_the_test() -> None:
    corpus = load_task("sentiment", 2000, spurious=0.9)
    model = NaiveBayes().fit(*map(list, zip(*corpus.train)))
    assert model.accuracy(*map(list, zip(*corpus.validation))) > 0.9
    assert model.accuracy(*map(list, zip(*corpus.test))) < 0.65
    days = Counter((text.split()[1], label) for text, label in corpus.train)
    assert days["Monday,", 1] > 0.8 * sum(n for (_, label), n in days.items() if label == 1)
    assert days["Friday,", 0] > 0.8 * sum(n for (_, label), n in days.items() if label == 0)


def test_tasks_speak_all_languages() -> None:
    for name in TASKS:
        corpus = load_task(name, 60, heldout=20, languages={"sw": 1, "zh": 1})
        assert any(re.search(r"[\u4e00-\u9fff]", text) for text, _ in corpus.train)
        assert any(re.search(r"[a-z]", text) for text, _ in corpus.train)


def test_a_small_world_ends() -> None:
    found = [text for name in SIDES for _, _, text in draw_side(World(scenes=("define",)), name, 10**9)]
    assert len(found) == len(set(found)) == 32  # one for each thing


def test_the_catalogue_loads_the_same() -> None:
    assert load("microworld-sentiment", size=100) == load_task("sentiment", 100)
    assert load("microworld-new-things", size=50, seed=3) == load_task("new-things", 50, seed=3)
    assert load("microworld-topics").card.sizes == {"train": 4000, "validation": 500, "test": 500}


def test_the_text_corpus_and_its_card() -> None:
    corpus = load("microworld", size=50_000)
    assert corpus == load_text(size=50_000)
    larger = load_text(size=60_000)
    assert larger.train.startswith(corpus.train) and larger.validation == corpus.validation
    assert 49_000 < len(corpus.train) <= 50_000 and 99_000 < len(corpus.validation) <= 100_000
    assert corpus.card.leak == leak(corpus.train, corpus.validation)
    assert f"{World().floor.bits_per_character:.4f} per character" in corpus.card.notes[0]
    assert "MIT" in corpus.card.licence and "microworld" in corpus.card.origin
    many = load("microworld-multilingual", size=50_000)
    assert many.card.name == "microworld-multilingual" and re.search(r"[\u4e00-\u9fff]", many.train)
    assert load("microworld", size=20_000, seed=1).validation != corpus.validation


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: load_task("irony"), "unknown task 'irony'; choose one of sentiment"),
        (lambda: load_task("topics", label_noise=2), "label_noise must lie between 0 and 1"),
        (lambda: load_task("topics", spurious=0.5), "for sentiment, not for topics"),
        (lambda: load_task("topics", 0), "at least 1"),
        (lambda: load_text(size=3), "too few"),
        (lambda: parallel(1, side="left"), "unknown side 'left'"),
    ],
)
def test_bad_arguments_are_refused(call, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        call()
