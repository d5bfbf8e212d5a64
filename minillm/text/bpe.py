"""Byte-level byte-pair encoding: every text is bytes, and frequent neighbours become one token.

Sources: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016; Radford et
al., GPT-2, 2019, section 2.2 (bytes instead of characters, and a cut into words before merging).
"""

from __future__ import annotations

import functools
import heapq
import itertools
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from minillm.text.base import Tokenizer, check_surrogates, numbered, shown
from minillm.text.bpe_training import learn_merges

END_OF_TEXT = "<|endoftext|>"
_LONG = 64  # bytes; longer pieces are merged with a heap, whose start-up shorter ones do not repay


@functools.cache
def piece_pattern() -> re.Pattern[str]:
    r"""Return GPT-2's cut of a text into pieces, for Python's ``re``.

    The endings 's 't 're 've 'm 'll 'd; letters, numbers and other marks, each with the space before it; white space,
    whose last character is left to the word that follows. ``re`` has no ``\p{L}`` and ``\p{N}``: a letter is a word
    character that is neither "_" nor a number, and the numbers beyond the decimal digits are listed.
    """
    found = "".join(chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) in ("Nl", "No"))
    letter, number = rf"[^\W\d_{found}]", rf"[\d{found}]"
    # Python counts four control characters as white space that other engines do not.
    space, other = r"[^\S\x1c-\x1f]", r"(?:[^\s\w]|[_\x1c-\x1f])"
    black = r"[\S\x1c-\x1f]"
    # The same for the usual case: letters of ASCII up to something else of ASCII, three times as fast to recognise.
    # Trap: "++" never gives a letter back, or "abé" would be cut after the a.
    plain = r" ?[A-Za-z]++(?![^\x00-\x7f])"
    return re.compile(rf"'(?:s|t|re|ve|m|ll|d)|{plain}| ?{letter}+| ?{number}+| ?{other}+|{space}+(?!{black})|{space}+")


def printable_bytes() -> list[str]:
    """Return a visible character for each byte: itself if it is one, a character beyond 255 otherwise.

    So that a vocabulary can be read, and no entry is a space or a control character. GPT-2 uses the same table.
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table, extra = {}, 256
    for byte in range(256):
        if byte in shown:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(extra)
            extra += 1
    return [table[byte] for byte in range(256)]


class _Pieces(dict[str, list[int]]):
    """The ids of every piece of text; those of a new piece are computed when it is asked for."""

    def __init__(self, encode_bytes: Callable[[bytes], list[int]]) -> None:
        self._encode_bytes = encode_bytes

    def __missing__(self, piece: str) -> list[int]:
        ids = self._encode_bytes(piece.encode("utf-8"))
        if len(piece) <= _LONG and len(self) < 200_000:  # texts repeat short pieces, not long ones
            self[piece] = ids
        return ids


class ByteBPETokenizer(Tokenizer):
    """Byte-level BPE. Ids 0 to 255 are the bytes; id 256 + i is what merge i makes.

    Every text comes back exactly: ``decode(encode(text)) == text``.

    Args:
        merges: pairs of ids, the most frequent first.
        special_tokens: names of special tokens.

    >>> t = ByteBPETokenizer.train("low lower lowest " * 3, 260, special_tokens=())
    >>> [t.token_text(i) for i in t.encode("lowest")]
    ['low', 'e', 's', 't']
    """

    type: ClassVar[str] = "byte-bpe"

    def __init__(self, merges: list[tuple[int, int]], special_tokens: Iterable[str] = (END_OF_TEXT,)) -> None:
        self.merges = merges
        self._bytes = [bytes([b]) for b in range(256)]
        for left, right in merges:
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._rank = {pair: 256 + i for i, pair in enumerate(merges)}
        self._pieces = _Pieces(self.encode_bytes)
        self.special_tokens = numbered(special_tokens, len(self._bytes))

    @classmethod
    def train(
        cls, text: str | Iterable[str], vocab_size: int, *, special_tokens: Iterable[str] = (END_OF_TEXT,)
    ) -> ByteBPETokenizer:
        """Learn merges from a text.

        The most frequent pair of neighbours becomes a token, again and again. Equally frequent pairs: the one with the
        smaller ids first.

        Args:
            text: a text, or several.
            vocab_size: tokens in all: 256 bytes, merges, special tokens.

        Raises:
            ValueError: if there is no text, or vocab_size is smaller than bytes and special tokens.
        """
        names = list(special_tokens)
        wanted = vocab_size - 256 - len(names)
        if wanted < 0:
            raise ValueError(
                f"train: expected vocab_size of {256 + len(names)} or more (256 bytes, {len(names)} special tokens), "
                f"got {vocab_size}"
            )
        counts: dict[str, int] = {}
        for part in [text] if isinstance(text, str) else text:
            check_surrogates(part)
            for piece in piece_pattern().findall(part):
                counts[piece] = counts.get(piece, 0) + 1
        if not counts:
            raise ValueError("train: no text to learn merges from")
        merges = learn_merges({piece.encode("utf-8"): n for piece, n in counts.items()}, wanted)
        if len(merges) < wanted:
            warnings.warn(
                f"train: the text gives {len(merges)} merges, so the vocabulary has {256 + len(merges) + len(names)} "
                f"tokens instead of {vocab_size}",
                stacklevel=2,
            )
        return cls(merges, names)

    @property
    def base_size(self) -> int:
        """How many bytes and merges there are."""
        return len(self._bytes)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return the ids of any bytes, as one piece."""
        return self._merge(list(data)) if len(data) <= _LONG else self._merge_long(list(data))

    def token_text(self, id: int) -> str:
        """Return what an id stands for, to be looked at."""
        return self.decode([id])

    def _encode_plain(self, text: str) -> list[int]:
        # why not a loop: looking up and joining without a line of Python for each piece is three times as fast.
        return list(itertools.chain.from_iterable(map(self._pieces.__getitem__, piece_pattern().findall(text))))

    def _merge(self, ids: list[int]) -> list[int]:
        """Merge the neighbours with the lowest rank, all of their places from the left, until none is left."""
        rank = self._rank
        while len(ids) > 1:
            best = min(zip(ids, ids[1:]), key=lambda pair: rank.get(pair, 1 << 62))
            new = rank.get(best)
            if new is None:
                break
            merged, i = [], 0
            while i < len(ids):
                if i + 1 < len(ids) and (ids[i], ids[i + 1]) == best:
                    merged.append(new)
                    i += 2
                else:
                    merged.append(ids[i])
                    i += 1
            ids = merged
        return ids

    def _merge_long(self, ids: list[int]) -> list[int]:
        """The same result as ``_merge`` in n log n: a linked list, and a heap of pairs by (rank, place)."""
        n, rank = len(ids), self._rank
        after, before = list(range(1, n + 1)), list(range(-1, n - 1))
        alive = [True] * n
        heap = [(rank[p], i) for i, p in enumerate(zip(ids, ids[1:])) if p in rank]
        heapq.heapify(heap)
        while heap:
            new, i = heapq.heappop(heap)
            j = after[i] if alive[i] else n
            if j >= n or rank.get((ids[i], ids[j])) != new:
                continue  # one of the two has been merged with another neighbour since
            ids[i], alive[j] = new, False
            after[i] = after[j]
            if after[j] < n:
                before[after[j]] = i
                pair = (new, ids[after[j]])
                if pair in rank:
                    heapq.heappush(heap, (rank[pair], i))
            if before[i] >= 0:
                pair = (ids[before[i]], new)
                if pair in rank:
                    heapq.heappush(heap, (rank[pair], before[i]))
        return [id for id, lives in zip(ids, alive) if lives]

    def _token_bytes(self, id: int) -> bytes:
        return self._bytes[id]

    # --- the file: merges as pairs of visible texts, in GPT-2's spelling
    # ------------------------------------------------
    def _content(self) -> dict[str, Any]:
        shown = printable_bytes()

        def spell(id: int) -> str:
            return "".join(shown[b] for b in self._bytes[id])

        return {"merges": [f"{spell(a)} {spell(b)}" for a, b in self.merges]}

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> ByteBPETokenizer:
        lines = content.get("merges")
        if not isinstance(lines, list):
            raise ValueError("merges: expected a list of pairs")
        ids = {text: byte for byte, text in enumerate(printable_bytes())}
        merges = []
        for i, line in enumerate(lines):
            left, space, right = line.partition(" ") if isinstance(line, str) else ("", "", "")
            if not (left and space and right) or " " in right:
                raise ValueError(f"merges[{i}]: expected two texts with a space between, got {shown(line)}")
            for part in (left, right):
                if part not in ids:
                    raise ValueError(f"merges[{i}]: {shown(part)} is neither a byte nor made by a merge before")
            if left + right in ids:
                raise ValueError(f"merges[{i}]: {shown(left + right)} is made twice")
            merges.append((ids[left], ids[right]))
            ids[left + right] = 256 + i
        return cls(merges, ())
