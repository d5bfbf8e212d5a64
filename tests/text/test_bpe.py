"""Byte-level BPE: every text comes back, and the ids are those of slow, independent implementations."""

from __future__ import annotations

import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.testing.strategies import corpora, nasty_bytes, nasty_text
from minillm.text import END_OF_TEXT, ByteBPETokenizer, CharTokenizer, StreamingDecoder, WordTokenizer
from minillm.text.bpe import piece_pattern
from minillm.text.bpe_training import learn_merges
from tests.text.slow_bpe import cut_slowly, encode_slowly, learn_slowly, other_library, spelled

sizes = st.integers(256, 320)


def train(text: str | list[str], vocab_size: int = 320) -> ByteBPETokenizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short texts give fewer merges than asked
        return ByteBPETokenizer.train(text, vocab_size, special_tokens=())


# --- the text comes back ---------------------------------------------------------------------------------------------
@given(corpora(), sizes, nasty_text())
@example(["a" * 70], 320, "a" * 1000)
def test_any_text_comes_back(corpus: list[str], vocab_size: int, text: str) -> None:
    tokenizer = train(corpus, vocab_size)
    for s in [text, *corpus]:
        ids = tokenizer.encode(s)
        assert tokenizer.decode(ids, errors="strict") == s
        assert len(ids) <= len(s.encode("utf-8"))
        assert all(0 <= id < tokenizer.vocab_size <= vocab_size for id in ids)
        assert ids == tokenizer.encode(s)  # what was remembered from the first time is the same


@given(corpora(), nasty_bytes())
def test_any_bytes_come_back(corpus: list[str], data: bytes) -> None:
    tokenizer = train(corpus)
    for s in (data, data * 30):
        ids = tokenizer.encode_bytes(s)
        assert tokenizer.decode_bytes(ids) == s
        assert len(ids) <= len(s)
        assert tokenizer.decode(ids) == s.decode("utf-8", "replace")


def test_without_merges_ids_are_the_bytes() -> None:
    assert ByteBPETokenizer([]).encode("aé猫") == list("aé猫".encode())
    assert ByteBPETokenizer([]).vocab_size == 257
    assert ByteBPETokenizer([]).decode([256]) == END_OF_TEXT == "<|endoftext|>"


def test_half_a_character_is_replaced_at_the_cut_only() -> None:
    ids = ByteBPETokenizer([]).encode("a猫b")
    assert ByteBPETokenizer([]).decode(ids[:3]) == "a\ufffd"
    assert ByteBPETokenizer([]).decode(ids[2:]) == "\ufffd\ufffdb"
    with pytest.raises(UnicodeDecodeError):
        ByteBPETokenizer([]).decode(ids[:3], errors="strict")


def test_a_token_can_be_looked_at() -> None:
    tokenizer = ByteBPETokenizer([(104, 105)])
    assert [tokenizer.token_text(id) for id in (104, 256, 257, 0xC3)] == ["h", "hi", END_OF_TEXT, "\ufffd"]
    for id in (-1, 258):
        with pytest.raises(IndexError, match=f"id {id} is not in"):
            tokenizer.token_text(id)


@given(nasty_text(), nasty_text())
@example("", "<|endoftext|>" * 3)
def test_nobody_can_end_a_document_by_writing_its_name(before: str, after: str) -> None:
    tokenizer = ByteBPETokenizer.train(["<|endoftext|>" * 50], 256 + 12)
    end = tokenizer.special_tokens[END_OF_TEXT]
    text = before + END_OF_TEXT + after
    assert end not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text), errors="strict") == text
    ids = tokenizer.encode(text, allowed_special={END_OF_TEXT})
    assert ids.count(end) == text.count(END_OF_TEXT)
    assert tokenizer.decode(ids, errors="strict") == text


# --- the ids are the right ones --------------------------------------------------------------------------------------
@given(nasty_text())
@example("  a  \n\n b's'tis we'LL 'd\t1½Ⅷ_x__ .. !")
def test_pieces_agree_with_the_definition(text: str) -> None:
    assert piece_pattern().findall(text) == list(cut_slowly(text))


few_letters = st.binary(min_size=1, max_size=24).map(lambda b: bytes(97 + c % 3 for c in b))


@given(st.dictionaries(few_letters, st.integers(1, 4), max_size=6), st.integers(0, 30))
@example({b"a" * 23: 1}, 30)
@example({b"abcbabc": 1, b"bcabca": 1, b"cab": 2}, 30)  # one text made in two ways
def test_merges_agree_with_the_definition(pieces: dict[bytes, int], wanted: int) -> None:
    tokenizer = ByteBPETokenizer(learn_merges(pieces, wanted))
    assert spelled(tokenizer) == learn_slowly(pieces, wanted)


@given(corpora(), sizes)
def test_training_on_texts_agrees_with_the_definition(corpus: list[str], vocab_size: int) -> None:
    pieces = Counter(piece.encode("utf-8") for text in corpus for piece in cut_slowly(text))
    assert spelled(train(corpus, vocab_size)) == learn_slowly(pieces, vocab_size - 256)


@given(corpora(), nasty_text())
def test_ids_agree_with_the_definition(corpus: list[str], text: str) -> None:
    tokenizer = train(corpus)
    merges = spelled(tokenizer)
    expected = [part for piece in cut_slowly(text) for part in encode_slowly(piece.encode("utf-8"), merges)]
    assert [tokenizer.decode_bytes([id]) for id in tokenizer.encode(text)] == expected


@given(st.dictionaries(few_letters, st.integers(1, 4), min_size=1), st.lists(few_letters, max_size=30).map(b"".join))
@example({b"aaaa": 1}, b"a" * 65)
def test_long_pieces_are_merged_like_short_ones(pieces: dict[bytes, int], data: bytes) -> None:
    tokenizer = ByteBPETokenizer(learn_merges(pieces, 30))
    expected = encode_slowly(data, spelled(tokenizer))
    assert [tokenizer.decode_bytes([id]) for id in tokenizer.encode_bytes(data)] == expected


@given(corpora(), nasty_text().map(lambda s: "".join(c for c in s if unicodedata.category(c) != "Cn")))
def test_ids_agree_with_the_package_tokenizers(corpus: list[str], text: str) -> None:
    # Characters that this Python's Unicode does not know yet are left out: the other side may know them.
    tokenizer = train(corpus)
    other = other_library(tokenizer)
    assert tokenizer.encode(text) == other.encode(text).ids
    assert other.decode(tokenizer.encode(text)) == text


# --- training that cannot give what is asked -------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", ["", [], [""], iter(())], ids=["str", "list", "empty", "iterator"])
def test_no_text_is_refused(corpus: Any) -> None:
    with pytest.raises(ValueError, match="no text"):
        ByteBPETokenizer.train(corpus, 300)


def test_a_vocabulary_without_room_for_the_bytes() -> None:
    assert ByteBPETokenizer.train("a a a", 257).merges == []
    with pytest.raises(ValueError, match=r"257 or more \(256 bytes, 1 special tokens\), got 256"):
        ByteBPETokenizer.train("a a a", 256)


@pytest.mark.parametrize(("text", "merges"), [("a", 0), ("\0", 0), (" \n \n", 2), ("a" * 5, 3), ("a b c 1", 3)])
def test_a_smaller_vocabulary_than_asked_is_said(text: str, merges: int) -> None:
    said = f"gives {merges} merges, so the vocabulary has {257 + merges} tokens instead of 400"
    with pytest.warns(UserWarning, match=said):
        tokenizer = ByteBPETokenizer.train(text, 400)
    assert len(tokenizer.merges) == merges
    assert tokenizer.decode(tokenizer.encode(text)) == text


# --- time ------------------------------------------------------------------------------------------------------------
def lines_executed(work: Callable[[], object]) -> int:
    """How many lines of Python a call executes: a measure of work that no busy machine changes."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


LETTERS = "".join(chr(97 + (i * i * 7 + i // 5) % 26) for i in range(4000))  # one word without repetition
LONG = {"a": "a" * 4000, "ab": "ab" * 2000, "lines": "\n" * 4000, "letters": LETTERS, "words": "the cat sat " * 333}


@pytest.mark.parametrize("name", LONG)
def test_twice_the_text_is_twice_the_work(name: str) -> None:
    text, short = LONG[name], LONG[name][: len(LONG[name]) // 2]
    tokenizer = train(text)
    encoding = [lines_executed(lambda s=s: tokenizer.encode_bytes(s.encode("utf-8"))) for s in (short, text)]
    training = [lines_executed(lambda s=s: train(s)) for s in (short, text)]
    assert encoding[1] < 2.5 * encoding[0]
    assert training[1] < 2.5 * training[0]


def test_more_merges_of_one_long_word_cost_what_they_change() -> None:
    few, many = (lines_executed(lambda n=n: learn_merges({LETTERS.encode(): 1}, n)) for n in (10, 200))
    assert many < 3 * few  # 20 times as many: each is rarer than the last, and does not read the whole word


def test_a_quarter_of_a_million_times_the_same_letter() -> None:
    text = "a" * 250_000
    tokenizer = train(text, 300)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) < 20


# --- text that comes one id at a time --------------------------------------------------------------------------------
@given(corpora(), nasty_bytes(), nasty_text())
@example(["a"], b"\xed\xa0", "")
def test_a_stream_is_the_whole_text(corpus: list[str], data: bytes, text: str) -> None:
    tokenizer = train(corpus)
    for ids in (tokenizer.encode(text), tokenizer.encode_bytes(data), list(data)):
        for start in range(min(4, len(ids))):
            decoder = StreamingDecoder(tokenizer)
            found = ""
            for i, id in enumerate(ids[start:], start + 1):
                new = decoder.push(id)
                found += new
                # Nothing that was given out is taken back, and no more than an unfinished character is held back.
                whole = tokenizer.decode(ids[start:i])
                assert whole.startswith(found)
                assert whole[len(found) :] in ("", "\ufffd", "\ufffd\ufffd")  # two for half a surrogate in UTF-8
            assert found + decoder.flush() == tokenizer.decode(ids[start:])


def test_a_stream_holds_back_half_a_character() -> None:
    decoder = StreamingDecoder(ByteBPETokenizer([]))
    assert [decoder.push(id) for id in "é猫".encode()] == ["", "é", "", "", "猫"]
    assert decoder.flush() == ""
    assert [decoder.push(0xE7), decoder.push(0x8C), decoder.flush()] == ["", "", "\ufffd"]


def test_a_stream_of_words_and_characters() -> None:
    for tokenizer in (WordTokenizer.train("the cat sat!"), CharTokenizer.train("the cat sat!")):
        ids = tokenizer.encode("the cat sat!")
        decoder = StreamingDecoder(tokenizer)
        assert "".join([*map(decoder.push, ids), decoder.flush()]) == tokenizer.decode(ids)
