"""The two simplest vocabularies: characters, and words."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from minillm.text.base import Tokenizer, check_surrogates, check_tokens, numbered, shown
from minillm.text.normalize import split_words

UNKNOWN = "<unk>"


class CharTokenizer(Tokenizer):
    """A token is a character. Short to explain, and sequences are long.

    Raises:
        ValueError: from ``encode``, for a character that was not in the training text, naming it and its position.

    >>> t = CharTokenizer.train("hello")
    >>> t.decode(t.encode("hole"))
    'hole'
    """

    type: ClassVar[str] = "char"

    def __init__(self, tokens: list[str], special_tokens: Iterable[str] = ()) -> None:
        self.tokens = tokens
        self._ids = {c: i for i, c in enumerate(tokens)}
        self.special_tokens = numbered(special_tokens, len(tokens))

    @classmethod
    def train(cls, text: str, special_tokens: Iterable[str] = ()) -> CharTokenizer:
        """Return a tokenizer of the characters in a text, in the order of their code points.

        Raises:
            ValueError: if there is no text, or half of a surrogate pair in it.
        """
        check_surrogates(text)
        if not text:
            raise ValueError("train: no text to learn characters from")
        return cls(sorted(set(text)), special_tokens)

    @property
    def base_size(self) -> int:
        """How many characters there are."""
        return len(self.tokens)

    def _encode_plain(self, text: str) -> list[int]:
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            char = error.args[0]
            raise ValueError(
                f"position {text.index(char)}: {char!r} was not in the training text; "
                "use ByteBPETokenizer, which knows every text"
            ) from None

    def _token_bytes(self, id: int) -> bytes:
        return self.tokens[id].encode("utf-8")

    def _content(self) -> dict[str, Any]:
        return {"tokens": self.tokens}

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> CharTokenizer:
        tokens = check_tokens(content)
        for i, token in enumerate(tokens):
            if len(token) != 1:
                raise ValueError(f"tokens[{i}]: expected one character, got {shown(token)}")
        return cls(tokens)


class WordTokenizer(Tokenizer):
    """A token is a word, or a mark; words that are not in the vocabulary become ``<unk>``.

    Decoding puts a space between tokens: the text's own spacing is lost.
    """

    type: ClassVar[str] = "word"

    def __init__(self, tokens: list[str], special_tokens: Iterable[str] = ()) -> None:
        self.tokens = tokens
        self._ids = {w: i for i, w in enumerate(tokens)}
        self.special_tokens = numbered(special_tokens, len(tokens))

    @classmethod
    def train(
        cls, text: str, vocab_size: int | None = None, *, min_count: int = 1, special_tokens: Iterable[str] = ()
    ) -> WordTokenizer:
        """Return a tokenizer of the most frequent words; equally frequent ones in alphabetical order.

        Args:
            vocab_size: at most so many tokens, ``<unk>`` and special ones included.
            min_count: leave out words that are rarer.

        Raises:
            ValueError: if there is no text, half of a surrogate pair in it, or no room for a word.
        """
        check_surrogates(text)
        counts = Counter(split_words(text))
        if not counts:
            raise ValueError("train: no text to learn words from")
        names = list(special_tokens)
        room = len(counts) if vocab_size is None else vocab_size - 1 - len(names)
        if room < 1:
            raise ValueError(f"train: vocab_size {vocab_size} leaves no room for words beside {UNKNOWN} and {names}")
        order = sorted(counts, key=lambda w: (-counts[w], w))
        words = [w for w in order if counts[w] >= min_count][:room]
        if vocab_size is not None and len(words) < room:
            warnings.warn(
                f"train: the text has {len(words)} words, so the vocabulary has {len(words) + 1 + len(names)} "
                f"tokens instead of {vocab_size}",
                stacklevel=2,
            )
        return cls([UNKNOWN, *words], names)

    @property
    def base_size(self) -> int:
        """How many words there are, ``<unk>`` included."""
        return len(self.tokens)

    def _encode_plain(self, text: str) -> list[int]:
        find = self._ids.get
        return [find(w, 0) for w in split_words(text)]

    def _token_bytes(self, id: int) -> bytes:
        return self.tokens[id].encode("utf-8")

    def decode_bytes(self, ids: Any) -> bytes:
        """Return the words with spaces between them."""
        return b" ".join(super(WordTokenizer, self).decode_bytes([i]) for i in ids)

    def _content(self) -> dict[str, Any]:
        return {"tokens": self.tokens}

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> WordTokenizer:
        tokens = check_tokens(content)
        if tokens[0] != UNKNOWN:
            raise ValueError(f"tokens[0]: expected {UNKNOWN!r}, got {shown(tokens[0])}")
        return cls(tokens)
