"""The source: its entropy is confirmed by sampling, its texts are unambiguous, its knobs turn, its bytes are pinned."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import statistics
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets.microworld import LANGUAGES, SCENES, SEPARATOR, World, load_text
from minillm.datasets.microworld.town import PEOPLE
from minillm.training.baselines import WittenBell

WORLDS = [
    World(),
    World(LANGUAGES),
    World({"zh": 1, "sw": 3}, vocabulary=0.3, ambiguity=0.9),
    World("fr", {"review": 1}, spurious=0.5),
    World("de", {"kinds": 1, "comparisons": 2}),
]


def test_the_first_megabyte_is_pinned() -> None:
    text = load_text(size=1_000_500).train[:1_000_000]
    assert text.isascii()  # so characters are bytes
    assert (
        hashlib.sha256(text.encode("utf-8")).hexdigest()
        == "3168381d9d150ee5f7b8e8bd264915d347dc59e5e9b0855f01cd090f750c6fba"
    )


def test_the_six_languages_are_pinned() -> None:
    text = load_text(World(LANGUAGES), size=200_000).train
    assert (
        hashlib.sha256(text.encode("utf-8")).hexdigest()
        == "8ab602510ccce222640754057619e188110a29fe9d4082b4c916029160f1c98a"
    )


@pytest.mark.parametrize("hash_seed", ["0", "7"])
def test_another_process_draws_the_same(hash_seed: str) -> None:
    code = (
        "from minillm.datasets.microworld import LANGUAGES, World, load_task\n"
        "import itertools\n"
        "texts = list(itertools.islice(World(LANGUAGES).texts('x', seed=5), 50))\n"
        "print(ascii(texts), load_task('sentiment', 20, heldout=5).card.sha256)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    from minillm.datasets.microworld import load_task

    texts = list(itertools.islice(World(LANGUAGES).texts("x", seed=5), 50))
    assert out.stdout.strip() == f"{texts!a} {load_task('sentiment', 20, heldout=5).card.sha256}"


@pytest.mark.parametrize("world", WORLDS, ids="english six uneven cued pairs".split())
def test_sampling_confirms_the_entropy_and_the_lengths(world: World) -> None:
    texts = list(itertools.islice(world.texts("entropy"), 1500))
    measured = {
        "bits_per_text": [-world.log2_probability(text) for text in texts],
        "characters_per_text": [len(text + SEPARATOR) for text in texts],
        "bytes_per_text": [len((text + SEPARATOR).encode("utf-8")) for text in texts],
        "words_per_text": [len(text.split()) for text in texts],
    }
    for name, values in measured.items():
        error = statistics.stdev(values) / len(values) ** 0.5  # the standard error of the mean
        assert abs(statistics.fmean(values) - getattr(world.floor, name)) < 4 * error, name
        assert error < 0.05 * getattr(world.floor, name), name


def test_the_floor_in_other_units() -> None:
    floor = World().floor
    assert math.isclose(floor.bits_per_character * floor.characters_per_text, floor.bits_per_text)
    assert floor.bits_per_byte == floor.bits_per_character
    assert math.isclose(floor.bits_per_token(floor.words_per_text), floor.bits_per_word)
    chinese = World("zh").floor
    assert chinese.bits_per_byte < chinese.bits_per_character / 2
    assert World(LANGUAGES).floor.bits_per_text == pytest.approx(floor.bits_per_text + math.log2(6))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scene", SCENES)
@given(seed=st.integers(0, 10**9))
def test_a_text_has_one_meaning(language: str, scene: str, seed: int) -> None:
    world = World(LANGUAGES, SCENES, ambiguity=0.5)  # so all other scenes and languages are tried as well
    record, _ = next(World(language, scene, ambiguity=0.5).records(seed=seed))
    derivations = world.derivations(world.render(record, language))
    assert [(r, code) for r, code, _ in derivations] == [(record, language)]


def test_the_bits_of_a_corpus_come_near_the_floor() -> None:
    world = World()
    text = load_text(world, size=60_000).train
    assert world.bits(text) / len(text) == pytest.approx(world.floor.bits_per_character, rel=0.03)
    assert world.bits(text + "x") == math.inf


def test_every_order_of_n_gram_is_better_and_none_reaches_the_floor() -> None:
    world = World()
    corpus = load_text(world, size=300_000, validation=30_000)
    bits = WittenBell(7).fit(corpus.train).bits(corpus.validation)
    floor = world.bits(corpus.validation) / len(corpus.validation)
    for order in (1, 2, 3, 4):
        assert bits[order] > 1.2 * bits[order + 1]
    assert bits[5] > bits[6] > bits[7] > 2 * floor


def test_texts_are_written_cleanly() -> None:
    for language in LANGUAGES:
        for text in itertools.islice(World(language, SCENES).texts(), 300):
            lines = text.split("\n")
            assert len(lines) <= 3 and text == text.strip()
            assert "  " not in text and "none" not in text and " ." not in text and " ," not in text and "{" not in text
            assert all(line[0] == line[0].upper() and line[-1] in ".?:。？" for line in lines)


@pytest.mark.parametrize("name", ["shopping", "lost", "gift", "sums"])
def test_stories_have_three_to_six_sentences(name: str) -> None:
    sizes = {text.count(".") for text in itertools.islice(World(scenes=name).texts(), 200)}
    assert sizes <= {3, 4, 5, 6} and len(sizes) >= 2


def test_a_sum_comes_out_right() -> None:
    numbers = dict(zip("one two three four five six seven eight nine".split(), range(1, 10)))
    for text in itertools.islice(World(scenes="sums").texts(), 200):
        had, given, *lost, total = (numbers[word] for word in text.split() if word in numbers)
        assert had + given - sum(lost) == total and lost in ([], [1]), text


def test_vocabulary_says_how_many_take_part() -> None:
    small, full = World(vocabulary=0.25), World()
    seen = [{w.strip(".,?:") for t in itertools.islice(w.texts(), 1500) for w in t.split()} for w in (small, full)]
    assert seen[0] & set(PEOPLE) == set(PEOPLE[:6])
    assert seen[1] & set(PEOPLE) == set(PEOPLE)
    assert len(seen[0]) < 0.8 * len(seen[1])
    assert small.floor.bits_per_text < full.floor.bits_per_text - 5


def test_ambiguity_says_how_often_a_pronoun_stands() -> None:
    def pronouns(p: float) -> int:
        texts = itertools.islice(World(scenes=("shopping", "gift"), ambiguity=p).texts(), 400)
        return sum(word in ("she", "he") for text in texts for word in text.lower().split())

    assert pronouns(0) == 0
    assert pronouns(0.2) < 0.5 * pronouns(0.8) < pronouns(1)
    assert World(ambiguity=1).floor.bits_per_text < World(ambiguity=0.5).floor.bits_per_text


def test_languages_come_by_their_weights() -> None:
    world = World({"en": 1, "sw": 4})
    counts = Counter(language for _, language in itertools.islice(world.records(), 2000))
    assert set(counts) == {"en", "sw"}
    assert abs(counts["sw"] - 1600) < 4 * (2000 * 0.8 * 0.2) ** 0.5


def test_streams_and_seeds_differ() -> None:
    firsts = [next(World().texts(name, seed=seed)) for name in ("train", "validation") for seed in range(5)]
    assert len(set(firsts)) > 8


@pytest.mark.parametrize(
    ("knobs", "fragment"),
    [
        ({"languages": ("en", "xx")}, "unknown language 'xx'; choose from en, zh"),
        ({"languages": ()}, "at least one language"),
        ({"languages": ("en", "en")}, "each once"),
        ({"languages": {"en": 0}}, "integer >= 1, got 0"),
        ({"languages": {"en": 0.5}}, "integer >= 1, got 0.5"),
        ({"scenes": ("novel",)}, "unknown scene 'novel'"),
        ({"vocabulary": 0}, "vocabulary must lie between 0 and 1"),
        ({"ambiguity": 1.5}, "ambiguity must lie"),
        ({"spurious": -0.1}, "spurious must lie"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        World(**knobs)


def test_unknown_scenes_and_languages_are_refused() -> None:
    record, _ = next(World().records())
    with pytest.raises(ValueError, match="unknown language 'it'"):
        World().render(record, "it")
    with pytest.raises(ValueError, match="unknown scene 'poem'"):
        World().scene("poem")
