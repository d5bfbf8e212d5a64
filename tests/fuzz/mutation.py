"""Changing files at random, as little as possible and as much as needed."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence

WORDS = [
    b'"',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b"\0",
    b" ",
    b'""',
    b"null",
]
WORDS += [
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"0",
    b"1.0",
    b"9" * 30,
    b"9" * 5000,
    b'"__metadata__"',
    b"[]",
]
WORDS += [
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    "\u2028\u202e".encode(),
    b"{}",
]
WORDS += [
    b'"dtype"',
    b'"F64"',
    b'"BF16"',
    b'"shape"',
    b'"data_offsets"',
    b'"$dict"',
    b'"$tensor"',
    b"<|end|>",
    b"\xf4\x8f\xbf\xbf",
]
WORDS += [
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"text"',
    b'"label"',
    b'"version"',
    b'"merges"',
    b'"model"',
    b"n_embd",
    b"\x80\x04",
]
NUMBERS = [0, 1, 2, 7, 8, 255, 256, 257, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return a file that differs from another in one to eight places."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = _change(data, others, rng)[:200_000]
    if len(data) > 8 and rng.random() < 0.7:  # of safetensors: let the length fit again, or nothing behind it is read
        end = data.rfind(b"}", 8)
        length = struct.unpack("<Q", data[:8])[0]
        if length < 2**40 and end > 0 and data[8:9] == b"{" and rng.random() < 0.9:
            found = data.find(b"}}", 8)
            data = struct.pack("<Q", (found + 2 if found > 0 else end + 1) - 8) + data[8:]
    return data


def _change(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    end = min(end, at + rng.choice((1, 2, 8, 64, 10**6)))
    kind = rng.randrange(9)
    if kind == 0 and data:  # a bit
        i = rng.randrange(len(data))
        return data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :]
    if kind == 1 and data:  # a byte
        i = rng.randrange(len(data))
        return data[:i] + bytes([rng.randrange(256)]) + data[i + 1 :]
    if kind == 2:  # less
        return data[:at] + data[end:]
    if kind == 3:  # the same again
        return data[:end] + data[at:end] + data[end:]
    if kind == 4:  # a word in between
        return data[:at] + rng.choice(WORDS) + data[at:]
    if kind == 5:  # a word instead
        return data[:at] + rng.choice(WORDS) + data[end:]
    if kind == 6:  # another number
        found = list(re.finditer(rb"-?\d+", data))
        if found:
            number = rng.choice(found)
            value = rng.choice((rng.choice(NUMBERS), -rng.choice(NUMBERS), int(number[0][:18]) + rng.choice((-1, 1))))
            return data[: number.start()] + str(value).encode() + data[number.end() :]
    if kind == 7:  # the end of another file
        other = rng.choice(others)
        return data[:at] + other[rng.randint(0, len(other)) :]
    words = list(re.finditer(rb'"[^"]*"', data))  # two texts change places
    if len(words) > 1:
        a, b = sorted(rng.sample(words, 2), key=lambda m: m.start())
        return data[: a.start()] + b[0] + data[a.end() : b.start()] + a[0] + data[b.end() :]
    return data + rng.choice(WORDS)
