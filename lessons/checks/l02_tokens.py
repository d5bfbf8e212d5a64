"""Checks of the answers to lesson 02."""

from __future__ import annotations

from typing import Any

from minillm.testing.properties import check, st
from minillm.testing.strategies import nasty_text
from minillm.text import ByteBPETokenizer
from minillm.text.bpe_training import learn_merges

Pair = tuple[int, int]
# Few kinds of ids, so that pairs repeat, overlap and tie.
some_ids = st.lists(st.integers(0, 2), max_size=10)
some_words = st.dictionaries(st.lists(st.integers(0, 2), max_size=5).map(tuple), st.integers(1, 9), max_size=4)
pairs = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def learned(draw: st.DrawFn) -> tuple[bytes, list[Pair]]:
    """Some bytes, and merges that the library learned from bytes like them."""
    syllables = st.lists(st.sampled_from([b"a", b"b", b"ab", b"aab", b"ba"]), max_size=12).map(b"".join)
    text = draw(syllables | nasty_text(4).map(lambda t: t.encode("utf-8")))
    pieces = {piece: 2 for piece in (text, draw(syllables), b"abab") if piece}
    return text, learn_merges(pieces, draw(st.integers(0, 8)))


@check("best_pair: no other pair occurs more often, and no smaller one as often",
       "each pair counts as often as its word occurs; ties go to the smaller pair", words=some_words)  # fmt: skip
def best_pair_is_the_best(answer: Any, words: dict[tuple[int, ...], int]) -> None:
    """Counted one by one, pair by pair."""
    found = answer.best_pair(words)

    def count(pair: tuple[int, ...]) -> int:
        return sum(n for word, n in words.items() for i in range(len(word) - 1) if word[i : i + 2] == pair)

    ranked = sorted({w[i : i + 2] for w in words for i in range(len(w) - 1)}, key=lambda pair: (-count(pair), pair))
    wanted = ranked[0] if ranked else None
    if wanted is None or found is None:
        assert found == wanted, f"expected {wanted}, got {found}"
    else:
        assert tuple(found) == wanted, (
            f"expected {wanted}, which occurs {count(wanted)} times, got {found}: {count(tuple(found))}"
        )


@check("merge: what was merged can be taken apart again", "the last id has no neighbour; nothing may get lost",
       ids=some_ids, pair=pairs)  # fmt: skip
def merge_can_be_undone(answer: Any, ids: list[int], pair: Pair) -> None:
    """Replacing the new id by the pair gives the old ids."""
    found = list(answer.merge(ids, pair, 256))
    back = [id for new in found for id in (pair if new == 256 else (new,))]
    assert back == ids, f"{found} stands for {back}"


@check("merge: no occurrence is left, and the left one is taken first", "after a merge go on two places further",
       ids=some_ids, pair=pairs)  # fmt: skip
def merge_takes_all_from_the_left(answer: Any, ids: list[int], pair: Pair) -> None:
    """What stands between two merges has no occurrence of the pair, and neither has a merge with what is left of it."""
    found = list(answer.merge(ids, pair, 256))
    assert pair not in list(zip(found, found[1:])), f"{pair} still stands in {found}"
    if pair[0] == pair[1]:  # only then do occurrences overlap
        wrong = [i for i in range(1, len(found)) if found[i] == 256 and found[i - 1] == pair[0]]
        assert not wrong, f"{found}: place {wrong[0]} begins too late, the pair stands one further left"


@check("encode: the ids are those of the library", "merges in the order of the list; merge i makes 256 + i",
       case=learned())  # fmt: skip
def encode_equals_the_library(answer: Any, case: tuple[bytes, list[Pair]]) -> None:
    """The fast version merges in another way and gets the same ids."""
    data, merges = case
    found, wanted = list(answer.encode(data, merges)), ByteBPETokenizer(merges, ()).encode_bytes(data)
    assert found == wanted, f"got {found}, expected {wanted}"


@check("decode: every text comes back, whatever the merges", "a merge stands for what its two parts stand for",
       text=nasty_text(4), case=learned())  # fmt: skip
def every_text_comes_back(answer: Any, text: str, case: tuple[bytes, list[Pair]]) -> None:
    """decode(encode(text)) == text for any Unicode."""
    data = text.encode("utf-8")
    back = answer.decode(ByteBPETokenizer(case[1], ()).encode_bytes(data), case[1])
    assert isinstance(back, bytes), f"expected bytes, got {type(back).__name__}"
    assert back == data, f"{data!r} became {back!r}"


@check("decode: an id that does not exist is refused", "negative indices of a list count from its end",
       id=st.sampled_from([-300, -1, 258, 999]))  # fmt: skip
def unknown_ids_are_refused(answer: Any, id: int) -> None:
    """IndexError, as every tokenizer of minillm does it."""
    assert answer.decode([256, 257], [(97, 98), (256, 99)]) == b"ababc"
    try:
        found = answer.decode([id], [(97, 98), (256, 99)])
    except IndexError:
        return
    raise AssertionError(f"expected an IndexError, got {found!r}")
