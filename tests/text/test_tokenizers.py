"""What every kind of tokenizer promises: ids in range, texts that come back, files that change nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minillm.testing.strategies import nasty_text
from minillm.text import UNKNOWN, ByteBPETokenizer, CharTokenizer, Tokenizer, WordTokenizer, split_words

# A surrogate, and its place in the text.
LONE_SURROGATES = [("\ud800", 0), ("ab\udfffc", 2), ("x\udc80", 1), ("猫 \ud83d y", 2), ("\udc00\ud800", 0)]
CORPUS = "The cat's hat; the cat sat. 猫 🐈\u200d⬛ naïve _x_ 42½\r\n\t<|end|> <|endoftext|>"
SPECIAL = ("<|endoftext|>", "<|end|>", "<|end|><|", "猫")
KINDS = {"char": CharTokenizer, "word": WordTokenizer, "byte-bpe": ByteBPETokenizer}
every_kind = pytest.mark.parametrize("kind", KINDS)
reused_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

# Texts of the corpus' own characters, with the names of special tokens in them.
known = st.lists(st.sampled_from([*set(CORPUS), *SPECIAL, " ", "cat", " the"]), max_size=20).map("".join)


def make(kind: str, special: Iterable[str] = SPECIAL, corpus: str = CORPUS) -> Any:
    if kind == "byte-bpe":
        special = list(special)
        return ByteBPETokenizer.train([corpus] * 3, 256 + 20 + len(special), special_tokens=special)
    return KINDS[kind].train(corpus, special_tokens=special)  # type: ignore[attr-defined]


# --- texts and ids ---------------------------------------------------------------------------------------------------
@every_kind
@given(text=known)
def test_a_text_comes_back(kind: str, text: str) -> None:
    tokenizer = make(kind)
    for allowed in ((), "all"):
        ids = tokenizer.encode(text, allowed_special=allowed)
        assert all(type(id) is int and 0 <= id < tokenizer.vocab_size for id in ids)
        if kind != "word":
            assert tokenizer.decode(ids, errors="strict") == text
            assert tokenizer.decode_bytes(ids) == text.encode("utf-8")


@given(known, nasty_text())
def test_words_come_back_with_spaces_between_and_unknown_ones_do_not(text: str, more: str) -> None:
    tokenizer = make("word")
    vocabulary = set(split_words(CORPUS))
    expected = [word if word in vocabulary else UNKNOWN for word in split_words(text + more)]
    assert tokenizer.decode(tokenizer.encode(text + more)) == " ".join(expected)
    ids = [id for id in tokenizer.encode(text) if id]
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@every_kind
def test_every_id_means_something_and_only_itself(kind: str) -> None:
    tokenizer = make(kind)
    assert tokenizer.vocab_size == tokenizer.base_size + len(SPECIAL)
    assert sorted(tokenizer.special_tokens.values()) == list(range(tokenizer.base_size, tokenizer.vocab_size))
    base = [tokenizer.decode_bytes([id]) for id in range(tokenizer.base_size)]
    assert len(set(base)) == len(base) and all(base)
    assert [tokenizer.decode([id]) for id in range(tokenizer.base_size, tokenizer.vocab_size)] == list(SPECIAL)


@every_kind
def test_no_text_is_no_ids(kind: str) -> None:
    tokenizer = make(kind)
    assert tokenizer.encode("") == tokenizer.encode("", allowed_special="all") == []
    assert tokenizer.decode([]) == ""


@every_kind
@pytest.mark.parametrize("ids", [[-1], [0, -1], [10**9], np.array([-1]), np.array([1, 2**40])], ids=str)
def test_an_id_that_does_not_exist(kind: str, ids: Any) -> None:
    tokenizer = make(kind)
    with pytest.raises(IndexError, match=rf"id {ids[-1]} is not in 0 \.\. {tokenizer.vocab_size - 1}$"):
        tokenizer.decode(ids)


@every_kind
def test_the_first_id_beyond_the_last(kind: str) -> None:
    tokenizer = make(kind)
    tokenizer.decode([tokenizer.vocab_size - 1])
    with pytest.raises(IndexError, match=f"id {tokenizer.vocab_size} "):
        tokenizer.decode([tokenizer.vocab_size])


@every_kind
@given(text=known)
def test_arrays_hold_the_same_ids(kind: str, text: str) -> None:
    tokenizer = make(kind)
    found = tokenizer.encode_array(text)
    assert found.tolist() == tokenizer.encode(text)
    assert found.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)
    assert tokenizer.decode(found) == tokenizer.decode(found.tolist())


@pytest.mark.parametrize(("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_arrays_are_as_small_as_the_largest_id_allows(size: int, dtype: str) -> None:
    tokenizer = CharTokenizer([chr(0x1000 + i) if i < 0xC000 else chr(0x10000 + i) for i in range(size)])
    found = tokenizer.encode_array(tokenizer.tokens[-1])
    assert found.dtype == dtype
    assert found.tolist() == [size - 1]


ODD = {
    "NUL": "a\0b",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "byte order mark": "\ufeffa\ufeff",
    "line ends": "a\rb\r\nc\n\rd\u2028e\x85",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 abc",
    "bidi override": "a\u202eb\u202c\u2066c\u2069",
    "fifty accents": "a" + "\u0301" * 50,
    "joined emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f4\U000e0067\U000e007f",
    "CJK": "\u732b\u304c\u3044\u308b\u3002\uace0\uc591\uc774 \U00020000",
    "the last character": "\U0010ffff\ufffe\uffff\U0001fffe",
    "composed and not": "\u00e9 e\u0301 \ufb01 \u212b \u00c5",
    "replacement character": "\ufffd\ufffd",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:train")
@pytest.mark.parametrize("name", ODD)
def test_odd_texts_come_back_byte_for_byte(name: str) -> None:
    text = ODD[name]
    for tokenizer in (
        ByteBPETokenizer([]),
        make("byte-bpe"),
        make("byte-bpe", (), text * 3),
        CharTokenizer.train(text),
    ):
        ids = tokenizer.encode(text)
        assert tokenizer.decode_bytes(ids) == text.encode("utf-8") and tokenizer.decode(ids, errors="strict") == text


# --- special tokens --------------------------------------------------------------------------------------------------
@every_kind
@given(text=known)
def test_special_tokens_come_only_where_they_are_allowed(kind: str, text: str) -> None:
    tokenizer = make(kind)
    assert tokenizer.encode(text) == make(kind, ()).encode(text)
    for allowed in [("<|end|>",), {"<|endoftext|>", "猫"}, (name for name in SPECIAL)]:
        wanted = set(SPECIAL if not isinstance(allowed, tuple | set) else allowed)
        ids = tokenizer.encode(text, allowed)
        assert {tokenizer.decode([id]) for id in ids if id >= tokenizer.base_size} <= wanted


@every_kind
def test_special_tokens_in_a_text(kind: str) -> None:
    tokenizer = make(kind)
    plain, special = tokenizer.encode, tokenizer.special_tokens
    text = "cat<|endoftext|>the 猫<|end|><|sat"
    tail = [*plain("the "), special["猫"], special["<|end|><|"], *plain("sat")]  # the longest name counts
    assert tokenizer.encode(text, "all") == [*plain("cat"), special["<|endoftext|>"], *tail]
    only = tokenizer.encode(text, ["<|end|>"])
    assert only == [*plain("cat<|endoftext|>the 猫"), special["<|end|>"], *plain("<|sat")]
    assert tokenizer.encode("<|end|>" * 3, ["<|end|>"]) == [special["<|end|>"]] * 3


@every_kind
@pytest.mark.parametrize("allowed", [["<|nobody|>"], ["<|end|>", "cat"], "<|end|>", [""]], ids=str)
def test_a_special_token_that_does_not_exist(kind: str, allowed: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a special token; known are .*endoftext"):
        make(kind).encode("cat", allowed_special=allowed)


@every_kind
@pytest.mark.parametrize("names", [["a", "a"], [""], ["a", ""], ["\ud800"], ["a", "b\udfff"]], ids=ascii)
def test_special_tokens_that_are_no_names(kind: str, names: list[str]) -> None:
    with pytest.raises(ValueError, match="special_tokens: "):
        make(kind, names)


# --- texts that are refused ------------------------------------------------------------------------------------------
@every_kind
@pytest.mark.parametrize(("text", "position"), LONE_SURROGATES, ids=ascii)
def test_half_of_a_surrogate_pair(kind: str, text: str, position: int) -> None:
    tokenizer = make(kind)
    for work in (tokenizer.encode, lambda s: tokenizer.encode(s, "all"), lambda s: make(kind, (), s)):
        with pytest.raises(ValueError, match=f"position {position}: .* surrogate") as caught:
            work(text)
        assert type(caught.value) is ValueError
        str(caught.value).encode("utf-8")  # the message itself can be shown


@every_kind
@pytest.mark.parametrize("corpus", ["", " \n\t "])
def test_an_empty_corpus(kind: str, corpus: str) -> None:
    if corpus and kind != "word":  # white space is text for the others
        with pytest.warns(UserWarning, match="instead of") if kind == "byte-bpe" else nullcontext():
            assert make(kind, (), corpus).decode(make(kind, (), corpus).encode(corpus)) == corpus
        return
    with pytest.raises(ValueError, match="no text"):
        make(kind, (), corpus)


def test_a_character_that_was_not_in_the_training_text() -> None:
    with pytest.raises(ValueError, match="position 3: 'x' was not in the training text"):
        CharTokenizer.train("abc").encode("abcxyz")


# --- words -----------------------------------------------------------------------------------------------------------
def test_words_are_in_the_order_of_their_frequency() -> None:
    text = "b a c b c b, d"
    assert WordTokenizer.train(text).tokens == [UNKNOWN, "b", "c", ",", "a", "d"]
    assert WordTokenizer.train(text, 3).tokens == [UNKNOWN, "b", "c"]
    assert WordTokenizer.train(text, 4, special_tokens=["<|end|>"]).tokens == [UNKNOWN, "b", "c"]
    assert WordTokenizer.train(text, min_count=2).tokens == [UNKNOWN, "b", "c"]
    assert WordTokenizer.train("<unk> <unk>").encode("<unk>") != [0]  # a text cannot write it


def test_words_beyond_the_vocabulary_are_unknown() -> None:
    tokenizer = WordTokenizer.train("b a c b c b", 3)
    assert tokenizer.encode("b x a  B\nc") == [1, 0, 0, 0, 2]
    assert tokenizer.decode([1, 0, 2]) == "b <unk> c"


def test_a_vocabulary_of_words_that_cannot_be_as_asked() -> None:
    with pytest.raises(ValueError, match="vocab_size 2 leaves no room for words"):
        WordTokenizer.train("a b", 2, special_tokens=["<|end|>"])
    with pytest.warns(UserWarning, match="has 2 words, so the vocabulary has 4 tokens instead of 9"):
        assert WordTokenizer.train("a b", 9, special_tokens=["<|end|>"]).vocab_size == 4


def test_characters_are_in_the_order_of_their_code_points() -> None:
    assert CharTokenizer.train("hello 猫").tokens == [" ", "e", "h", "l", "o", "猫"]


# --- files -----------------------------------------------------------------------------------------------------------
@every_kind
@reused_folder
@given(text=known)
def test_a_saved_tokenizer_is_the_same(kind: str, text: str, tmp_path: Path) -> None:
    tokenizer, file = make(kind), tmp_path / "tokenizer.json"
    tokenizer.save(file)
    again = Tokenizer.load(str(file))
    assert type(again) is KINDS[kind]
    assert again.special_tokens == tokenizer.special_tokens
    assert again.vocab_size == tokenizer.vocab_size
    for allowed in ((), "all"):
        ids = tokenizer.encode(text, allowed)
        assert again.encode(text, allowed) == ids
        assert again.decode_bytes(ids) == tokenizer.decode_bytes(ids)
    assert again.to_dict() == tokenizer.to_dict()
    assert again.fingerprint() == tokenizer.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


@every_kind
@given(corpus=nasty_text().filter(lambda text: text.strip() != ""))
@pytest.mark.filterwarnings("ignore:train")
def test_a_tokenizer_of_any_text_survives_its_dictionary(kind: str, corpus: str) -> None:
    if kind == "word" and not split_words(corpus):
        return
    tokenizer = make(kind, ("<|end|>", '"\\\n\u2028'), corpus)
    again = Tokenizer.from_dict(tokenizer.to_dict())
    assert again.encode(corpus) == tokenizer.encode(corpus)
    assert again.fingerprint() == tokenizer.fingerprint()


@every_kind
def test_a_fingerprint_tells_tokenizers_apart(kind: str) -> None:
    different = [make(kind), make(kind, ()), make(kind, SPECIAL[:2]), make(kind, SPECIAL[1::-1])]
    different += [make(kind, corpus="cat" + CORPUS * 2 + "dog" * 9)]
    assert len({tokenizer.fingerprint() for tokenizer in different}) == len(different)
    assert make(kind).fingerprint() == make(kind).fingerprint()


@every_kind
def test_saving_that_fails_leaves_the_old_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tokenizer.json"
    make(kind).save(file)
    before = file.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make(kind, ()).save(file)
    assert file.read_bytes() == before


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        Tokenizer.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("wrong", [None, 5, b"abc", ["abc"]])
def test_what_is_no_text_is_named(wrong) -> None:
    tokenizer = CharTokenizer.train("abc")
    for call in (tokenizer.encode, CharTokenizer.train, WordTokenizer.train):
        with pytest.raises(TypeError, match=rf"text: expected a text \(str\), got {type(wrong).__name__}"):
            call(wrong)


@pytest.mark.parametrize("wrong", [[1.5], "12", [[1]], [None], [math.nan]])
def test_what_is_no_id_is_named(wrong) -> None:
    with pytest.raises(TypeError, match="decode: expected token ids, whole numbers, got "):
        CharTokenizer.train("abc").decode(wrong)
