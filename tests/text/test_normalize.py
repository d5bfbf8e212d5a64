"""Each step of the normalizer does what its name says, and nothing where it is off."""

from __future__ import annotations

import unicodedata
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.testing.strategies import nasty_text
from minillm.text import Normalizer, split_words

NAMES = ["nfc", "lowercase", "strip_punctuation", "fold_whitespace"]
normalizers = st.builds(Normalizer, **{name: st.booleans() for name in NAMES})


@given(nasty_text())
def test_without_steps_a_text_stays_as_it_is(text: str) -> None:
    assert Normalizer()(text) == text
    assert Normalizer().to_dict() == dict.fromkeys(NAMES, False)


@given(normalizers, nasty_text())
@example(Normalizer(nfc=True, lowercase=True), "J\u030c W\u030a")  # the capitals have no composed form, "ǰ ẘ" have
@example(Normalizer(lowercase=True, strip_punctuation=True), "ΑΣ'Α ΑΣ")
def test_a_second_time_changes_nothing(normalizer: Normalizer, text: str) -> None:
    once = normalizer(text)
    assert normalizer(once) == once


@given(normalizers)
def test_settings_come_back(normalizer: Normalizer) -> None:
    assert list(normalizer.to_dict()) == [*Normalizer().to_dict()]
    assert Normalizer(**normalizer.to_dict()) == normalizer


def test_settings_cannot_change_under_a_model() -> None:
    with pytest.raises(FrozenInstanceError):
        Normalizer().nfc = True  # type: ignore[misc]


@given(nasty_text(), st.booleans())
@example("e\u0301", False)
@example("J\u030c", True)
@example("\u212b \u1e9b\u0323", True)
def test_nfc_makes_one_spelling_of_two(text: str, lowercase: bool) -> None:
    normalizer = Normalizer(nfc=True, lowercase=lowercase)
    assert normalizer(unicodedata.normalize("NFD", text)) == normalizer(text)
    assert unicodedata.is_normalized("NFC", normalizer(text))


def test_nfc_keeps_what_only_looks_alike() -> None:
    assert Normalizer(nfc=True)("ﬁ ² Ａ") == "ﬁ ² Ａ"


@given(nasty_text())
def test_lowercase_is_pythons(text: str) -> None:
    assert Normalizer(lowercase=True)(text) == text.lower()


@given(nasty_text())
@example("!?-_(«€+^`$|~©。、“")
def test_strip_punctuation_leaves_spaces_in_place(text: str) -> None:
    found = Normalizer(strip_punctuation=True)(text)
    assert len(found) == len(text)
    for before, after in zip(text, found):
        assert after == (" " if unicodedata.category(before)[0] in "PS" else before)


@given(nasty_text())
@example("a \t b \r\n\r\n c\u3000d")
def test_fold_whitespace_keeps_words_and_lines(text: str) -> None:
    found = Normalizer(fold_whitespace=True)(text)
    assert found.split() == text.split()
    for i, c in enumerate(found):
        assert not c.isspace() or c in " \n"
        assert not (c.isspace() and found[i + 1 : i + 2].isspace())
    lines = [line.split() for line in text.split("\n")]
    assert [line.split() for line in found.split("\n") if line.split()] == [line for line in lines if line]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("", "Café —  it's\r\n\r\n OK!"),
        ("nfc", "Café —  it's\r\n\r\n OK!"),
        ("lowercase", "café —  it's\r\n\r\n ok!"),
        ("strip_punctuation", "Café    it s\r\n\r\n OK "),
        ("fold_whitespace", "Café — it's\nOK!"),
        ("nfc lowercase strip_punctuation fold_whitespace", "café it s\nok "),
    ],
)
def test_steps_on_one_sentence(steps: str, expected: str) -> None:
    text = "Cafe\u0301 —  it's\r\n\r\n OK!"
    expected = expected if "nfc" in steps else expected.replace("é", "e\u0301")
    assert Normalizer(**dict.fromkeys(steps.split(), True))(text) == expected


@given(nasty_text())
def test_words_are_the_text_without_white_space(text: str) -> None:
    words = split_words(text)
    assert "".join(words) == "".join(text.split())
    for word in words:
        assert len(word) == 1 or all(c.isalnum() or c == "_" for c in word)


@given(nasty_text())
def test_words_that_are_joined_and_cut_again_are_the_same(text: str) -> None:
    assert split_words(" ".join(split_words(text))) == split_words(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t", []),
        ("one two", ["one", "two"]),
        ("one,two!", ["one", ",", "two", "!"]),
        ("snake_case x2", ["snake_case", "x2"]),
        ("...", [".", ".", "."]),
        ("don't", ["don", "'", "t"]),
        ("naïve 猫 ½", ["naïve", "猫", "½"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert split_words(text) == words
