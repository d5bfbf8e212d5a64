"""A byte-level tokenizer that is trained, extended, saved and loaded in any order keeps its promises."""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minillm.testing.strategies import corpora, nasty_text
from minillm.text import END_OF_TEXT, ByteBPETokenizer, StreamingDecoder, Tokenizer
from tests.text.slow_bpe import cut_slowly, encode_slowly, other_library, spelled

names = st.sampled_from([END_OF_TEXT, "<|end|>", "<|end|><|", "<|user|>", " ", "a", "猫", '"\\\n'])


class LifeOfATokenizer(RuleBasedStateMachine):
    """The model: every text that was encoded, with its ids; they must stay as they are until the next training."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.file = self.folder / "tokenizer.json"
        self.seen: dict[str, list[int]] = {}
        self.saved: ByteBPETokenizer | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- rules -------------------------------------------------------------------------------------------------------
    @initialize(corpus=corpora(), more=st.integers(0, 60), special=st.lists(names, unique=True, max_size=3))
    def begin(self, corpus: list[str], more: int, special: list[str]) -> None:
        self.train(corpus, more, special)

    @rule(corpus=corpora(), more=st.integers(0, 60), special=st.lists(names, unique=True, max_size=3))
    def train(self, corpus: list[str], more: int, special: list[str]) -> None:
        size = 256 + len(special) + more
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.tokenizer = ByteBPETokenizer.train(corpus, size, special_tokens=special)
        assert self.tokenizer.vocab_size <= size
        assert bool(said) == (self.tokenizer.vocab_size < size)
        self.seen = {}
        self.round_trip("".join(corpus))

    @rule(text=nasty_text())
    def round_trip(self, text: str) -> None:
        ids = self.tokenizer.encode(text)
        assert self.tokenizer.decode(ids, errors="strict") == text
        assert len(ids) <= len(text.encode("utf-8"))
        assert all(0 <= id < self.tokenizer.base_size for id in ids)
        self.seen[text] = ids

    @rule(text=nasty_text())
    def round_trip_with_special_tokens(self, text: str) -> None:
        special = self.tokenizer.special_tokens
        text = text.join(["", *special, ""])
        ids = self.tokenizer.encode(text, allowed_special="all")
        assert self.tokenizer.decode(ids, errors="strict") == text
        assert all(0 <= id < self.tokenizer.vocab_size for id in ids)
        assert not special or any(id >= self.tokenizer.base_size for id in ids)

    @rule(text=nasty_text())
    def stream(self, text: str) -> None:
        decoder = StreamingDecoder(self.tokenizer)
        ids = self.tokenizer.encode(text, allowed_special="all")
        assert "".join(map(decoder.push, ids)) == text
        assert decoder.flush() == ""

    @rule(name=names)
    def add_special(self, name: str) -> None:
        """Tokenizers do not change: one more special token makes a new one, in which all older ids stay."""
        old = self.tokenizer
        if name in old.special_tokens:
            with pytest.raises(ValueError, match="special_tokens: expected different"):
                ByteBPETokenizer(old.merges, [*old.special_tokens, name])
            return
        self.tokenizer = ByteBPETokenizer(old.merges, [*old.special_tokens, name])
        assert self.tokenizer.special_tokens == {**old.special_tokens, name: old.vocab_size}
        assert self.tokenizer.encode(name, [name]) == [old.vocab_size]
        assert name not in old.special_tokens
        assert self.tokenizer.fingerprint() != old.fingerprint()

    @rule()
    def save(self) -> None:
        self.tokenizer.save(self.file)
        self.saved = self.tokenizer
        self.reload()

    @precondition(lambda self: self.saved is not None and self.saved.merges == self.tokenizer.merges)
    @rule()
    def reload(self) -> None:
        found = Tokenizer.load(self.file)
        assert isinstance(found, ByteBPETokenizer) and self.saved is not None
        assert found is not self.saved
        assert found.fingerprint() == self.saved.fingerprint()
        assert (found.merges, found.special_tokens) == (self.saved.merges, self.saved.special_tokens)
        assert [path.name for path in self.folder.iterdir()] == ["tokenizer.json"]
        self.tokenizer = found

    @rule(data=st.data())
    def unknown_id(self, data: st.DataObject) -> None:
        size = self.tokenizer.vocab_size
        id = data.draw(st.one_of(st.integers(max_value=-1), st.integers(min_value=size)))
        with pytest.raises(IndexError, match=f"id {id} is not in 0 .. {size - 1}"):
            self.tokenizer.decode([0, id])

    @rule()
    def compare_with_the_definition(self) -> None:
        merges = spelled(self.tokenizer)
        for text, ids in self.seen.items():
            parts = [part for piece in cut_slowly(text) for part in encode_slowly(piece.encode("utf-8"), merges)]
            assert [self.tokenizer.decode_bytes([id]) for id in ids] == parts

    # --- invariants --------------------------------------------------------------------------------------------------
    @invariant()
    def ids_stay(self) -> None:
        for text, ids in self.seen.items():
            assert self.tokenizer.encode(text) == ids
            assert self.tokenizer.decode(ids) == text

    @invariant()
    def ids_have_no_gaps(self) -> None:
        tokenizer = self.tokenizer
        assert tokenizer.base_size == 256 + len(tokenizer.merges)
        expected = list(range(tokenizer.base_size, tokenizer.vocab_size))
        assert list(tokenizer.special_tokens.values()) == expected
        assert len({tokenizer.decode_bytes([id]) for id in range(tokenizer.base_size)}) == tokenizer.base_size


class LifeBesideAnotherLibrary(LifeOfATokenizer):
    """The same life; its ids are those of the package `tokenizers` for the same merges."""

    @rule()
    def compare_with_the_other_library(self) -> None:
        other = other_library(self.tokenizer)
        for text, ids in self.seen.items():
            # The other side may know characters that this Python's Unicode does not know yet.
            if all(unicodedata.category(c) != "Cn" for c in text):
                assert other.encode(text).ids == ids
                assert other.decode(ids) == text


TestLifeOfATokenizer = LifeOfATokenizer.TestCase


def test_life_beside_another_library() -> None:
    pytest.importorskip("tokenizers", reason="an oracle: ids of the package tokenizers")
    run_state_machine_as_test(LifeBesideAnotherLibrary)
