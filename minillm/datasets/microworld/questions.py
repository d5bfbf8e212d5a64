"""Questions about two facts, and instructions, each with its answer (always the last beat)."""

from __future__ import annotations

from .grammar import Beat, Value, settled, slot
from .stories import Parts
from .town import VERBS, Town, evenly, ranked

ANSWER = Beat(
    {"en": "Answer:", "zh": "回答：", "de": "Antwort:", "es": "Respuesta:", "fr": "Réponse :", "sw": "Jibu:"},
    None,
    "\n",
)
LABELS = {"en": "Question: ", "zh": "问题：", "de": "Frage: ", "es": "Pregunta: ", "fr": "Question : ", "sw": "Swali: "}
QUESTIONS = ("what", "where", "who", "how many")


def _fact(i: int) -> Beat:
    """One of the two facts."""
    who, did, at = f"{{name who{i}}}", f"{{did verb{i}}}", f"{{at place{i}}}"
    count = f"{{count n{i} thing{i}}}"
    return Beat(
        dict.fromkeys(("en", "es", "fr", "sw"), f"{who} {did} {count} {at}.")
        | {"zh": f"{who}{at}{did}{count}。", "de": f"{who} {did} {at} {count}."}
    )


def _copy(asked: Value, first: Value, second: Value) -> Value:
    """A slot of the question: what the same slot of the fact asked about holds."""
    return first if asked == 1 else second


def question(town: Town) -> Parts:
    """Two facts, a question about one of them, and its answer."""
    slots = [
        slot("who1", town.people),
        slot("verb1", ranked(VERBS)),
        slot("kind1", town.kinds),
        slot("thing1", town.things, "kind1"),
        slot("n1", evenly(2, 3, 4, 5)),
        slot("place1", town.places),
        slot("who2", town.people, "who1"),
        slot("verb2", ranked(VERBS)),
        slot("kind2", town.kinds, "kind1"),
        slot("thing2", town.things, "kind2"),
        slot("n2", lambda n: evenly(*(k for k in (2, 3, 4, 5) if k != n)), "n1"),
        slot("place2", town.places, "place1"),
        slot("asked", evenly(1, 2)),
        slot("question", evenly(*QUESTIONS)),
        *(settled(name, _copy, "asked", f"{name}1", f"{name}2") for name in ("who", "verb", "thing", "n", "place")),
    ]

    def ask(kind: str, patterns: dict[str, str]) -> Beat:
        return Beat({k: LABELS[k] + p for k, p in patterns.items()}, ("question", (kind,)), "\n")

    def answer(kind: str, pattern: str, **others: str) -> Beat:
        patterns = dict.fromkeys(("en", "de", "es", "fr", "sw"), pattern + ".") | {"zh": pattern + "。"} | others
        return Beat(patterns, ("question", (kind,)))

    beats = [
        _fact(1),
        _fact(2),
        ask(
            "what",
            {
                "en": "What did {name who} {do verb}?",
                "zh": "{name who}{did verb}什么？",
                "de": "Was {did verb} {name who}?",
                "es": "¿Qué {did verb} {name who}?",
                "fr": "Qu'est-ce {que who} {did verb} ?",
                "sw": "{name who} {did verb} nini?",
            },
        ),
        ask(
            "where",
            {
                "en": "Where did {name who} {do verb} the {many thing}?",
                "zh": "{name who}在哪里{did verb}{noun thing}？",
                "de": "Wo {did verb} {name who} die {many thing}?",
                "es": "¿Dónde {did verb} {name who} {the-many thing}?",
                "fr": "Où est-ce {que who} {did verb} les {many thing} ?",
                "sw": "{name who} {did verb} {many thing} wapi?",
            },
        ),
        ask(
            "who",
            {
                "en": "Who {did verb} {count n thing}?",
                "zh": "谁{did verb}{count n thing}？",
                "de": "Wer {did verb} {count n thing}?",
                "es": "¿Quién {did verb} {count n thing}?",
                "fr": "Qui {did verb} {count n thing} ?",
                "sw": "Nani {did verb} {count n thing}?",
            },
        ),
        ask(
            "how many",
            {
                "en": "How many {many thing} were there?",
                "zh": "有几{cl thing}{noun thing}？",
                "de": "Wie viele {many thing} waren es?",
                "es": "¿{how-many thing} había?",
                "fr": "Combien {de-many thing} y avait-il ?",
                "sw": "Kulikuwa na {how-many thing}?",
            },
        ),
        ANSWER,
        answer("what", "{count n thing}"),
        answer("where", "{at place}"),
        answer("who", "{name who}"),
        answer("how many", "{num n}", zh="{counted n thing}。", sw="{counted n thing}."),
    ]
    return slots, beats


def choose(town: Town) -> Parts:
    """An instruction: name the first, second or last of three things."""
    slots = [
        slot("ordinal", evenly("first", "second", "last")),
        slot("kind1", town.kinds),
        slot("kind2", town.kinds, "kind1"),
        slot("kind3", town.kinds, "kind1", "kind2"),
        *(slot(f"thing{i}", town.things, f"kind{i}") for i in (1, 2, 3)),
        settled(
            "chosen",
            lambda ordinal, *things: things[("first", "second", "last").index(ordinal)],
            *("ordinal", "thing1", "thing2", "thing3"),
        ),
    ]
    items = "{a thing1}, {a thing2}, {a thing3}."
    beats = [
        Beat(
            {
                "en": "Task: Name the {ordinal ordinal} thing in this list: " + items,
                "zh": "任务：说出这些东西中的{ordinal ordinal}样：{a thing1}、{a thing2}、{a thing3}。",
                "de": "Aufgabe: Nenne das {ordinal ordinal} Ding in dieser Liste: "
                "{a-nom thing1}, {a-nom thing2}, {a-nom thing3}.",
                "es": "Tarea: Di la {ordinal ordinal} cosa de esta lista: " + items,
                "fr": "Consigne : Donne la {ordinal ordinal} chose de cette liste : " + items,
                "sw": "Agizo: Taja kitu cha {ordinal ordinal} katika orodha hii: " + items,
            }
        ),
        ANSWER,
        Beat(dict.fromkeys(("en", "es", "fr", "sw"), "{a chosen}.") | {"zh": "{a chosen}。", "de": "{a-nom chosen}."}),
    ]
    return slots, beats


def define(town: Town) -> Parts:
    """An instruction: say what kind of thing something is."""
    slots = [slot("kind", town.kinds), slot("thing", town.things, "kind")]
    beats = [
        Beat(
            {
                "en": "Task: Say what {a thing} is.",
                "zh": "任务：说出{noun thing}是什么。",
                "de": "Aufgabe: Sag, was {a-nom thing} ist.",
                "es": "Tarea: Di qué es {a thing}.",
                "fr": "Consigne : Dis ce qu'est {a thing}.",
                "sw": "Agizo: Sema {a thing} ni nini.",
            }
        ),
        ANSWER,
        Beat(
            {
                "en": "{a thing} is {a kind}.",
                "zh": "{noun thing}是{a kind}。",
                "de": "{a-nom thing} ist {a-nom kind}.",
                "es": "{a thing} es {a kind}.",
                "fr": "{a thing} est {a kind}.",
                "sw": "{a thing} ni {a kind}.",
            }
        ),
    ]
    return slots, beats


def reverse(town: Town) -> Parts:
    """An instruction: say three names in reverse order."""
    slots = [
        slot("who1", town.people),
        slot("who2", town.people, "who1"),
        slot("who3", town.people, "who1", "who2"),
    ]
    names = "{name who1}, {name who2}, {name who3}."
    beats = [
        Beat(
            {
                "en": "Task: Say these names in reverse order: " + names,
                "zh": "任务：倒着说出这些名字：{name who1}、{name who2}、{name who3}。",
                "de": "Aufgabe: Nenne diese Namen in umgekehrter Reihenfolge: " + names,
                "es": "Tarea: Di estos nombres en orden inverso: " + names,
                "fr": "Consigne : Dis ces prénoms dans l'ordre inverse : " + names,
                "sw": "Agizo: Taja majina haya kwa mpangilio wa kinyume: " + names,
            }
        ),
        ANSWER,
        Beat(
            dict.fromkeys(("en", "de", "es", "fr", "sw"), "{name who3}, {name who2}, {name who1}.")
            | {"zh": "{name who3}、{name who2}、{name who1}。"}
        ),
    ]
    return slots, beats
