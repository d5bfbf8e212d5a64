"""Answers are right, as an independent reader of the English text finds; wrong ones are wrong; translations agree."""

from __future__ import annotations

import re

import pytest

from minillm.datasets.microworld import LANGUAGES, World, instructions, parallel, preferences, questions

KIND = {
    "bracelet": "piece of jewellery",
    "saw": "tool",
    "mango": "fruit",
    "duck": "animal",
    "skirt": "piece of clothing",
}


def answer(prompt: str) -> str:
    """Answer a question or follow an instruction by reading the prompt."""
    *facts, asked, label = re.split(r"\n|(?<=\.) ", prompt)
    assert label == "Answer:"
    if asked.startswith("Question"):
        pattern = r"(\w+) (\w+) (\w+) (\w+) (.+)\."
        read = [re.fullmatch(pattern, fact).groups() for fact in facts]  # type: ignore[union-attr]
        past = {"buy": "bought", "sell": "sold", "find": "found", "draw": "drew", "count": "counted"}
        for who, did, n, things, place in read:
            forms = {f"Who {did} {n} {things}?": who, f"How many {things} were there?": n}
            for plain in (plain for plain, form in past.items() if form == did):
                forms[f"What did {who} {plain}?"] = f"{n} {things}"
                forms[f"Where did {who} {plain} the {things}?"] = place
            if asked.removeprefix("Question: ") in forms:
                found = forms[asked.removeprefix("Question: ")]
                return f" {found[0].upper()}{found[1:]}."
        raise AssertionError(prompt)
    task, items = asked.removesuffix(".").rsplit(": ", 1) if "list" in asked or "order" in asked else (asked, "")
    listed = items.split(", ")
    if "list" in task:
        found = listed[("first", "second", "last").index(task.split()[3])]
    elif "order" in task:
        found = ", ".join(listed[::-1])
    else:
        return " definition"
    return f" {found[0].upper()}{found[1:]}."


@pytest.mark.parametrize("side", ["train", "test"])
def test_answers_are_right_and_wrong_ones_wrong(side: str) -> None:
    for exchange in questions(300, side=side):
        assert exchange.answer == answer(exchange.prompt)
    for exchange in instructions(150, side=side):
        if exchange.kind != "define":
            assert exchange.answer == answer(exchange.prompt)
    for pair in preferences(300, side=side):
        assert pair.rejected != pair.chosen
        if "Say what" not in pair.prompt:
            assert pair.chosen == answer(pair.prompt) != pair.rejected
        assert (pair.rejected == " Find out yourself.") == (pair.fault == "rude")


def test_definitions_name_the_kind() -> None:
    found = {e.prompt.split()[-3]: e.answer for e in instructions(400) if e.kind == "define"}
    for thing, kind in KIND.items():
        if thing in found:
            assert found[thing].endswith(f" is a {kind}.")
    assert len(set(found) & set(KIND)) >= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompt_and_answer_are_a_text_of_the_world(language: str) -> None:
    world = World(language)
    for exchange in (*questions(20, language), *instructions(20, language)):
        assert world.log2_probability(exchange.prompt + exchange.answer) > -60
        assert exchange.language == language
    for pair in preferences(40, language):
        right, wrong = world.derivations(pair.prompt + pair.chosen), world.derivations(pair.prompt + pair.rejected)
        assert len(right) == 1 and not wrong


def test_every_kind_of_question_and_fault_occurs() -> None:
    assert {e.kind for e in questions(50)} == {"what", "where", "who", "how many"}
    assert {e.kind for e in instructions(50)} == {"choose", "define", "reverse"}
    faults = [pair.fault for pair in preferences(400)]
    assert 60 < faults.count("rude") < 140 and faults.count("rude") + faults.count("wrong") == 400


def test_sides_are_apart_and_seeds_differ() -> None:
    prompts = [{e.prompt for e in questions(400, side=side)} for side in ("train", "validation", "test")]
    assert not prompts[0] & prompts[1] and not prompts[0] & prompts[2] and not prompts[1] & prompts[2]
    assert questions(5) == questions(9)[:5] != questions(5, seed=1)


def test_parallel_texts_name_the_same_people() -> None:
    worlds = {language: World(language) for language in LANGUAGES}
    for texts in parallel(60):
        assert tuple(texts) == LANGUAGES
        meanings = [worlds[language].derivations(text)[0][0] for language, text in texts.items()]
        assert all(meaning == meanings[0] for meaning in meanings)
    facts = parallel(30, ("sw", "en"), scenes=("fact",))
    assert len({text["en"] for text in facts}) == 30
    assert all(text["sw"].split(", ")[1].split()[0] == text["en"].split(", ")[1].split()[0] for text in facts)
