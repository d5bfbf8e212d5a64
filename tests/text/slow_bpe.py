"""Byte-level BPE once more: slowly from the definition, and by another library. Oracles for the tests of text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from minillm.text import ByteBPETokenizer
from minillm.text.bpe import printable_bytes


def cut_slowly(text: str) -> Iterator[str]:
    """GPT-2's pieces, character by character."""

    def kind(c: str) -> str:
        if c.isspace() and not "\x1c" <= c <= "\x1f":
            return "space"
        return {"L": "letter", "N": "number"}.get(unicodedata.category(c)[0], "other")

    i = 0
    while i < len(text):
        endings = [e for e in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(e, i)]
        first = i + 1 if text[i] == " " and i + 1 < len(text) and kind(text[i + 1]) != "space" else i
        end = first
        while end < len(text) and kind(text[end]) == kind(text[first]):
            end += 1
        if kind(text[first]) == "space" and i + 1 < end < len(text):
            end -= 1
        end = i + len(endings[0]) if endings else end
        yield text[i:end]
        i = end


def merge_slowly(parts: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    found: list[bytes] = []
    for part in parts:
        # A token that has just been made is no left half again: "aaaa" with "a a" is "aa" "aa".
        if found and found[-1] == pair[0] and part == pair[1]:
            found[-1:] = [b"", pair[0] + pair[1]]  # the empty part keeps it from being merged in this turn
            found.append(b"")
        else:
            found.append(part)
    return [part for part in found if part]


def learn_slowly(pieces: dict[bytes, int], wanted: int) -> list[tuple[bytes, bytes]]:
    words = [([bytes([b]) for b in piece], n) for piece, n in pieces.items()]
    ids = {bytes([b]): b for b in range(256)}
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < wanted:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for parts, n in words:
            for pair in zip(parts, parts[1:]):
                counts[pair] += n * (pair[0] + pair[1] not in ids)
        best = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or not counts[best]:
            break
        merges.append(best)
        ids[best[0] + best[1]] = len(ids)
        words = [(merge_slowly(parts, best), n) for parts, n in words]
    return merges


def encode_slowly(piece: bytes, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    parts = [bytes([b]) for b in piece]
    for pair in merges:
        parts = merge_slowly(parts, pair)
    return parts


def spelled(tokenizer: ByteBPETokenizer) -> list[tuple[bytes, bytes]]:
    return [(tokenizer.decode_bytes([a]), tokenizer.decode_bytes([b])) for a, b in tokenizer.merges]


def other_library(tokenizer: ByteBPETokenizer) -> Any:
    """The same merges in the package `tokenizers`."""
    tokenizers = pytest.importorskip("tokenizers", reason="an oracle: ids of the package tokenizers")
    merges = [tuple(line.split(" ")) for line in tokenizer.to_dict()["merges"]]
    tokens = [*printable_bytes(), *map("".join, merges)]
    other = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    other.decoder = tokenizers.decoders.ByteLevel()
    return other
