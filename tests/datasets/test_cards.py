"""A card is readable, and JSON."""

from __future__ import annotations

import dataclasses
import json
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets import Card
from minillm.datasets.cards import digest

CARD = Card(
    name="mine",
    origin="a folder",
    licence="my own",
    sha256="ab" * 32,
    seed=3,
    split="blocks",
    sizes={"train": 9000, "validation": 1000},
    unit="characters",
    characters=10000,
    duplicates=7,
    purged=2,
    leak=0.00123,
    notes=("one file",),
)


def test_a_card_survives_json() -> None:
    data = json.loads(json.dumps(CARD.to_dict()))
    assert Card(**{**data, "notes": tuple(data["notes"])}) == CARD
    assert data["python"] == platform.python_version()


def test_a_card_tells_everything() -> None:
    text = str(CARD)
    for fact in ("mine", "a folder", "my own", "ab" * 32, "seed 3", "blocks", "9,000", "10,000", "0.12%", "one file"):
        assert fact in text
    assert platform.python_version() in text


def test_a_card_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CARD.leak = 0.0  # type: ignore[misc]


@given(
    st.lists(st.text(alphabet="ab\0", max_size=3), max_size=4),
    st.lists(st.text(alphabet="ab\0", max_size=3), max_size=4),
)
def test_digests_are_equal_only_for_equal_parts(one: list[str], two: list[str]) -> None:
    assert (digest(one) == digest(two)) == (one == two)
