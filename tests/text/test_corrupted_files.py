"""Broken vocabulary files: each is refused with the path and the entry that is wrong, and nothing else is raised."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minillm.text import END_OF_TEXT, UNKNOWN, ByteBPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

reused_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

GOOD: dict[str, dict[str, Any]] = {
    "char": CharTokenizer(["a", "b", "猫"], [END_OF_TEXT, "<|end|>"]).to_dict(),
    "word": WordTokenizer([UNKNOWN, "cat", "猫"], [END_OF_TEXT, "<|end|>"]).to_dict(),
    # "h i", "Ġ t" (a space and a t), "hi hi", and the two halves of "é"
    "byte-bpe": ByteBPETokenizer(
        [(104, 105), (32, 116), (256, 256), (0xC3, 0xA9)], [END_OF_TEXT, "<|end|>"]
    ).to_dict(),
}  # fmt: skip


def changed(kind: str, **entries: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD[kind]), **entries}


def special(kind: str, *ids: Any) -> dict[str, Any]:
    return changed(kind, special_tokens={f"<|{i}|>": id for i, id in enumerate(ids)})


# name: (content, what the message says)
BROKEN: dict[str, tuple[Any, str]] = {
    # The whole file
    "a list": ([GOOD["char"]], "expected an object with 'version' and 'type', got list"),
    "a text": ("char", "expected an object with 'version' and 'type', got str"),
    "null": (None, "expected an object with 'version' and 'type', got NoneType"),
    "nothing in it": ({}, "version: expected 1, got None"),
    "another program's": ({"model": {"vocab": {"a": 0}, "merges": []}}, "version: expected 1, got None"),
    # Version and type
    "later version": (changed("char", version=2), "version: expected 1, got 2"),
    "version as text": (changed("char", version="1"), "version: expected 1, got '1'"),
    "version as truth": (changed("char", version=True), "version: expected 1, got True"),
    "version as float": (changed("char", version=1.0), "version: expected 1, got 1.0"),
    "version not a number": (changed("char", version=float("nan")), "version: expected 1, got nan"),
    "unknown type": (changed("char", type="unigram"), "type: expected one of ['byte-bpe', 'char', 'word'], got"),
    "type as list": (changed("char", type=["char"]), "type: expected one of"),
    "type of another kind": (changed("char", type="byte-bpe"), "merges: expected a list of pairs"),
    # Lists of tokens
    "no tokens": (changed("char", tokens=[]), "tokens: expected a list of texts"),
    "tokens as object": (changed("word", tokens={UNKNOWN: 0, "cat": 1}), "tokens: expected a list of texts"),
    "tokens as text": (changed("char", tokens="abc"), "tokens: expected a list of texts"),
    "duplicate character": (changed("char", tokens=["a", "b", "a"]), "tokens[2]: 'a' is there already, at 0"),
    "duplicate word": (changed("word", tokens=[UNKNOWN, "cat", "cat"]), "tokens[2]: 'cat' is there already, at 1"),
    "number for a token": (changed("char", tokens=["a", 1]), "tokens[1]: expected a text, got 1"),
    "null for a token": (changed("word", tokens=[UNKNOWN, None]), "tokens[1]: expected a text, got None"),
    "list for a token": (changed("char", tokens=[["a"]]), "tokens[0]: expected a text, got ['a']"),
    "empty token": (changed("word", tokens=[UNKNOWN, "cat", ""]), "tokens[2]: expected a text, got ''"),
    "two characters": (changed("char", tokens=["a", "bc"]), "tokens[1]: expected one character, got 'bc'"),
    "no unknown word": (changed("word", tokens=["cat", UNKNOWN]), "tokens[0]: expected '<unk>', got 'cat'"),
    "half a surrogate": (changed("char", tokens=["a", "\ud800"]), r"tokens[1]: position 0: '\ud800' is half"),
    "half in a word": (changed("word", tokens=[UNKNOWN, "ca\udc00"]), r"tokens[1]: position 2: '\udc00' is half"),
    # Merges
    "merges as object": (changed("byte-bpe", merges={"h i": 0}), "merges: expected a list of pairs"),
    "merges as text": (changed("byte-bpe", merges="h i"), "merges: expected a list of pairs"),
    "merge of unknown": (changed("byte-bpe", merges=["h i", "hi猫 h"]), "merges[1]: 'hi猫' is neither a byte nor made"),
    "merge made later": (changed("byte-bpe", merges=["hi h", "h i"]), "merges[0]: 'hi' is neither a byte nor made"),
    "merge with itself": (changed("byte-bpe", merges=["h i", "hi hih"]), "merges[1]: 'hih' is neither a byte nor made"),
    "missing byte": (changed("byte-bpe", merges=["h \x00"]), r"merges[0]: '\x00' is neither a byte nor made"),
    "duplicate merge": (changed("byte-bpe", merges=["h i", "a b", "h i"]), "merges[2]: 'hi' is made twice"),
    "two ways to a text": (
        changed("byte-bpe", merges=["a b", "b c", "ab c", "a bc"]),
        "merges[3]: 'abc' is made twice",
    ),
    "merge of one": (changed("byte-bpe", merges=["hi"]), "merges[0]: expected two texts with a space between, got"),
    "merge of three": (changed("byte-bpe", merges=["a b c"]), "merges[0]: expected two texts with a space between"),
    "merge of nothing": (changed("byte-bpe", merges=["h i", ""]), "merges[1]: expected two texts with a space"),
    "no right half": (changed("byte-bpe", merges=["h "]), "merges[0]: expected two texts with a space between"),
    "no left half": (changed("byte-bpe", merges=[" h"]), "merges[0]: expected two texts with a space between"),
    "two spaces": (changed("byte-bpe", merges=["h  i"]), "merges[0]: expected two texts with a space between"),
    "merge as list": (changed("byte-bpe", merges=[["h", "i"]]), "merges[0]: expected two texts with a space between"),
    "merge as number": (changed("byte-bpe", merges=["h i", 7]), "merges[1]: expected two texts with a space between"),
    "a comment": (changed("byte-bpe", merges=["#version: 0.2", "h i"]), "merges[0]: '#version:' is neither a byte"),
    # Special tokens
    "gap before": (special("char", 4, 5), "special_tokens: expected the ids [3, 4], got [4, 5]"),
    "gap between": (special("word", 3, 5), "special_tokens: expected the ids [3, 4], got [3, 5]"),
    "over a token": (special("byte-bpe", 259, 260), "special_tokens: expected the ids [260, 261], got [259, 260]"),
    "one id twice": (special("char", 3, 3), "special_tokens: expected the ids [3, 4], got [3, 3]"),
    "negative id": (special("word", -1), "special_tokens: expected the ids [3], got [-1]"),
    "id as text": (special("byte-bpe", "260"), "special_tokens: expected names with ids"),
    "id as float": (special("byte-bpe", 260.0), "special_tokens: expected names with ids"),
    "id as truth": (special("char", True), "special_tokens: expected names with ids"),
    "special as list": (changed("char", special_tokens=[END_OF_TEXT]), "special_tokens: expected names with ids"),
    "special as null": (changed("word", special_tokens=None), "special_tokens: expected names with ids"),
    "special without name": (changed("char", special_tokens={"": 3}), "special_tokens: expected different, non-empty"),
    "special surrogate": (changed("word", special_tokens={"\ud800": 3}), "special_tokens: position 0: "),
}  # fmt: skip


def write(folder: Path, content: Any) -> Path:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    """The message of the error; it begins with the path and is one line that can be shown."""
    with pytest.raises(ValueError) as caught:
        Tokenizer.load(file)
    assert type(caught.value) is ValueError
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    message.encode("utf-8")
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize("kind", GOOD)
def test_the_files_are_good_before_they_are_broken(kind: str, tmp_path: Path) -> None:
    assert Tokenizer.load(write(tmp_path, GOOD[kind])).to_dict() == GOOD[kind]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_entry_is_named(name: str, tmp_path: Path) -> None:
    content, expected = BROKEN[name]
    assert refusal(write(tmp_path, content)).startswith(expected)


LONG = "x" * 1_000_000
LARGE: dict[str, Any] = {
    "version": changed("char", version=LONG),
    "type": changed("char", type=LONG),
    "tokens": changed("char", tokens=["a", LONG]),
    "a number": changed("word", tokens=[UNKNOWN, [1] * 100_000]),
    "tokens twice": changed("word", tokens=[UNKNOWN, LONG, LONG]),
    "merges": changed("byte-bpe", merges=[LONG]),
    "merge of unknown": changed("byte-bpe", merges=[f"a {LONG}"]),
    "special": special("char", *range(100_000)),
    "special name": changed("char", special_tokens={LONG: 3, "": 4}),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_wrong_entry_is_shown_in_part(name: str, tmp_path: Path) -> None:
    assert len(refusal(write(tmp_path, LARGE[name]))) < 400


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("key", ["version", "type", "special_tokens", "tokens", "merges"])
def test_a_missing_entry_is_named(kind: str, key: str, tmp_path: Path) -> None:
    content = changed(kind)
    if key in content:
        del content[key]
        assert refusal(write(tmp_path, content)).startswith(f"{key}: expected")


@pytest.mark.parametrize("kind", GOOD)
def test_a_file_that_was_cut_anywhere(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer.from_dict(GOOD[kind]).save(file)
    data = file.read_bytes()
    for end in range(len(data)):
        file.write_bytes(data[:end])
        assert refusal(file).startswith("not a tokenizer file: ")


RAW: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \n",
    "plain text": b"hello",
    "two objects": b"{}{}",
    "single quotes": b"{'version': 1}",
    "UTF-16": json.dumps(GOOD["char"]).encode("utf-16"),
    "Latin-1": '{"version": 1, "tokens": ["é"]}'.encode("latin-1"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD["char"]).encode(),
    "line end in a text": b'{"version": 1, "tokens": ["a\nb"]}',
    "bad escape": rb'{"version": 1, "tokens": ["\x"]}',
    "5,000 digits": b'{"version": ' + b"9" * 5000 + b"}",
    "deep list": b"[" * 100_000,
    "deep list that ends": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"version":' * 100_000,
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_json(name: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(RAW[name])
    assert refusal(file).startswith("not a tokenizer file: ")


@pytest.mark.parametrize("body", ['{"version": %s}', '{"version": 1, "type": "char", "tokens": [%s]}'])
def test_depth_around_the_limit(body: str, tmp_path: Path) -> None:
    """Some of these are read and refused later, where the entry is shown in the message."""
    file = tmp_path / "tokenizer.json"
    for depth in range(800, 1000, 5):
        file.write_text(body % ("[" * depth + "]" * depth), encoding="utf-8")
        assert re.match(r"not a tokenizer file|version: expected 1|tokens\[0\]: expected a text", refusal(file))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 300), st.floats(), st.text(max_size=3), st.just("h i")),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def put(content: Any, value: Any, choose: Callable[[int], int]) -> Any:
    """Put a value somewhere into a content: instead of an entry of it, or of an entry of that entry."""
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = keys[choose(len(keys))]
    inside = isinstance(content[key], list | dict) and content[key] and choose(2)
    content[key] = put(content[key], value, choose) if inside else value
    return content


@reused_folder
@given(kind=st.sampled_from(list(GOOD)), value=json_values, data=st.data())
def test_a_file_is_refused_or_works(kind: str, value: Any, data: Any, tmp_path: Path) -> None:
    content = put(changed(kind), value, lambda n: data.draw(st.integers(0, n - 1)))
    file = write(tmp_path, content)
    try:
        tokenizer = Tokenizer.load(file)
    except ValueError:
        assert re.match(r"(version|type|special_tokens|tokens|merges)(\[\d+\])?: ", refusal(file))
        return
    for id in range(tokenizer.vocab_size):
        assert tokenizer.decode([id])
    tokenizer.save(file)
    assert Tokenizer.load(file).fingerprint() == tokenizer.fingerprint()
