"""Entropy, lengths and probabilities of a scene equal those of a full enumeration, for scenes drawn at random."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets.microworld.grammar import Beat, Meaning, Scene, Slot, settled, slot
from minillm.datasets.microworld.parsing import Parser
from minillm.datasets.microworld.splitmix import SplitMix64

FORMS = {"en": {"word": lambda value: "abcd"[value] * (value + 1), "two": lambda x, y: f"{x}{y}"}}


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Up to four slots of up to three values, with weights that depend on slots before them, or settled by them."""
    slots: list[Slot] = []
    for i in range(draw(st.integers(1, 4))):
        parents = draw(st.lists(st.sampled_from([s.name for s in slots]), unique=True)) if slots else []
        size = draw(st.integers(1, 3))
        if draw(st.booleans()):
            given = {values: draw(st.integers(0, 2)) for values in product(range(3), repeat=len(parents))}
            slots.append(settled(f"s{i}", lambda *values, given=given: given[values], *parents))
            continue
        tables = {
            values: {v: draw(st.integers(0, 5)) for v in range(size)} | {0: 1}
            for values in product(range(3), repeat=len(parents))
        }
        slots.append(slot(f"s{i}", lambda *values, tables=tables: tables[values], *parents))
    names = [s.name for s in slots]
    beats = [Beat({"en": "".join(f"<{{word {name}}}>" for name in names)})]
    if draw(st.booleans()):
        beats.append(Beat({"en": f"({{two {names[0]} {names[-1]}}})"}, (draw(st.sampled_from(names)), (0, 2))))
    return Scene("test", slots, beats, FORMS)


def enumerated(scene: Scene) -> list[tuple[Meaning, float]]:
    """Every meaning with its probability, by brute force."""
    found: list[tuple[Meaning, float]] = [({}, 1.0)]
    for name, options, parents, _ in scene.slots:
        longer = []
        for meaning, p in found:
            weights = options(*(meaning[q] for q in parents))
            longer += [({**meaning, name: v}, p * w / sum(weights.values())) for v, w in weights.items() if w]
        found = longer
    return found


@given(scenes())
def test_entropy_is_that_of_the_enumeration(scene: Scene) -> None:
    meanings = enumerated(scene)
    assert math.isclose(sum(p for _, p in meanings), 1)
    assert math.isclose(scene.entropy(), -sum(p * math.log2(p) for _, p in meanings), abs_tol=1e-12)
    for meaning, p in meanings:
        assert math.isclose(scene.log2_probability(meaning), math.log2(p), abs_tol=1e-12)


@given(scenes())
def test_expected_length_is_that_of_the_enumeration(scene: Scene) -> None:
    wanted = sum(p * len(scene.render(meaning, "en")) for meaning, p in enumerated(scene))
    assert math.isclose(scene.expected("en", len), wanted)


@given(scenes(), st.data())
def test_joint_is_that_of_the_enumeration(scene: Scene, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from([s.name for s in scene.slots]), unique=True))
    joint = scene.joint(names)
    for values, p in joint.items():
        same = [q for meaning, q in enumerated(scene) if tuple(meaning[n] for n in names) == values]
        assert math.isclose(sum(same), p)
    assert math.isclose(sum(joint.values()), 1)


@given(scenes(), st.integers(0, 2**64 - 1))
def test_a_drawn_meaning_is_found_again_in_its_text(scene: Scene, state: int) -> None:
    meaning = scene.draw(SplitMix64.at(state))
    text = scene.render(meaning, "en")
    assert list(Parser(scene, "en").meanings(text)) == [meaning]
    assert not list(Parser(scene, "en").meanings(text + "x")) and not list(Parser(scene, "en").meanings(text[1:]))


def test_a_text_with_two_derivations_has_two() -> None:
    table = {"ab": 1, "a": 2}
    slots = [slot("x", table), slot("y", {"": 1, "b": 3})]
    scene = Scene("test", slots, [Beat({"en": "{w x}{w y}."})], {"en": {"w": str}})
    meanings = list(Parser(scene, "en").meanings("Ab."))
    assert sorted(map(str, meanings)) == sorted(map(str, [{"x": "ab", "y": ""}, {"x": "a", "y": "b"}]))
    assert sum(2 ** scene.log2_probability(m) for m in meanings) == pytest.approx(1 / 3 / 4 + 2 / 3 * 3 / 4)


def test_an_impossible_meaning_has_no_probability() -> None:
    scene = Scene("test", [slot("x", {1: 1, 2: 0})], [Beat({"en": "{w x}"})], {"en": {"w": str}})
    assert scene.log2_probability({"x": 2}) == -math.inf


@pytest.mark.parametrize(
    ("slots", "beats", "fragment"),
    [
        ([slot("x", lambda y: {1: 1}, "y")], [Beat({"en": "a"})], "needs its parents"),
        ([slot("x", {1: 1}), slot("x", {1: 1})], [Beat({"en": "a"})], "a new name"),
        ([], [], "first beat must always be said"),
        ([slot("x", {1: 1})], [Beat({"en": "a"}, ("x", (1,)))], "first beat must always be said"),
        ([], [Beat({"de": "a"})], "no pattern for en"),
        ([], [Beat({"en": "{word x}"})], r"unknown form or slot \['x'\]"),
        ([slot("x", {1: 1})], [Beat({"en": "{wrd x}"})], "unknown form"),
    ],
)
def test_a_mistake_in_a_scene_is_told(slots: list[Slot], beats: list[Beat], fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        Scene("test", slots, beats, FORMS)


def test_a_slot_without_values_is_told() -> None:
    scene = Scene("test", [slot("x", {1: 0})], [Beat({"en": "a"})], FORMS)
    with pytest.raises(ValueError, match="slot x has no value"):
        scene.draw(SplitMix64(0))
