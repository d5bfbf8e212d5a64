"""More stories: a present that is liked or passed on, and a sum that the reader has to work out."""

from __future__ import annotations

from .grammar import Beat, settled, slot
from .stories import SKY, Parts, if_yes
from .town import Town, chance, days, evenly, parts, weather


def gift(town: Town) -> Parts:
    """Somebody brings a present, which is liked, or given to somebody else."""
    slots = [
        slot("day", days),
        slot("part", parts),
        slot("who", town.people),
        slot("friend", town.people, "who"),
        slot("place", town.places),
        slot("weather", weather),
        slot("ref1", town.reference),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("adj", town.adjectives, "kind"),
        slot("liked", chance(0.6, "yes", "no")),
        slot("ref2", lambda liked: town.reference if liked == "no" else {"none": 1}, "liked"),
        slot(
            "third",
            lambda liked, who, friend: town.people(who, friend) if liked == "no" else {"none": 1},
            "liked",
            "who",
            "friend",
        ),
    ]
    beats = [
        Beat(
            {
                "en": "{when day part}, {name who} visited {name friend} {at place}.",
                "zh": "{when day part}，{name who}{at place}看望了{name friend}。",
                "de": "{when day part} besuchte {name who} {name friend} {at place}.",
                "es": "{when day part}, {name who} visitó a {name friend} {at place}.",
                "fr": "{when day part}, {name who} a rendu visite à {name friend} {at place}.",
                "sw": "{when day part}, {name who} alimtembelea {name friend} {at place}.",
            }
        ),
        SKY,
        Beat(
            {
                "en": "{subj who ref1}gave {name friend} {a thing adj}.",
                "zh": "{subj who ref1}送给{name friend}{a thing adj}。",
                "de": "{subj who ref1}schenkte {name friend} {a thing adj}.",
                "es": "{subj who ref1}le regaló {a thing adj} a {name friend}.",
                "fr": "{subj who ref1}a offert {a thing adj} à {name friend}.",
                "sw": "{subj who ref1}alimpa {name friend} {a thing adj}.",
            }
        ),
        Beat(
            {
                "en": "{name friend} liked {the thing adj} very much.",
                "zh": "{name friend}非常喜欢{the thing adj}。",
                "de": "{name friend} mochte {the thing adj} sehr.",
                "es": "A {name friend} le gustó mucho {the thing adj}.",
                "fr": "{name friend} a beaucoup aimé {the thing adj}.",
                "sw": "{name friend} ali{om thing}penda sana {the thing adj}.",
            },
            ("liked", ("yes",)),
        ),
        Beat(
            {
                "en": "{name friend} thanked {name who} for {the thing}.",
                "zh": "{name friend}为{the thing}感谢了{name who}。",
                "de": "{name friend} dankte {name who} für {the thing}.",
                "es": "{name friend} le dio las gracias a {name who} por {the thing}.",
                "fr": "{name friend} a remercié {name who} pour {the thing}.",
                "sw": "{name friend} alimshukuru {name who} kwa {the thing}.",
            },
            ("liked", ("yes",)),
        ),
        Beat(
            {
                "en": "{name friend} did not like {the thing adj} at all.",
                "zh": "{name friend}一点儿也不喜欢{the thing adj}。",
                "de": "{name friend} mochte {the thing adj} überhaupt nicht.",
                "es": "A {name friend} no le gustó nada {the thing adj}.",
                "fr": "{name friend} n'a pas du tout aimé {the thing adj}.",
                "sw": "{name friend} haku{om thing}penda {the thing adj} hata kidogo.",
            },
            ("liked", ("no",)),
        ),
        Beat(
            {
                "en": "So {subj friend ref2}gave {the thing} to {name third}.",
                "zh": "所以{subj friend ref2}把{the thing}给了{name third}。",
                "de": "Deshalb gab {subj friend ref2}{name third} {the thing}.",
                "es": "Por eso, {subj friend ref2}le dio {the thing} a {name third}.",
                "fr": "Alors {subj friend ref2}a donné {the thing} à {name third}.",
                "sw": "Kwa hiyo, {subj friend ref2}alimpa {name third} {the thing}.",
            },
            ("liked", ("no",)),
        ),
    ]
    return slots, beats


def total(n: int, m: int, lost: str) -> int:
    """How many there are in the end: two numbers added, and one less where one was lost."""
    return n + m - (lost == "yes")


def sums(town: Town) -> Parts:
    """Somebody has some things, gets more, perhaps loses one; how many are left follows from the rest."""
    slots = [
        slot("who", town.people),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("n", evenly(2, 3, 4, 5)),
        slot("day", days),
        slot("part", parts),
        slot("friend", town.people, "who"),
        slot("m", evenly(2, 3, 4)),
        slot("lost", chance(0.5, "yes", "no")),
        slot("ref1", lambda lost: if_yes(lost, town.reference), "lost"),
        slot("place", lambda lost: if_yes(lost, town.places()), "lost"),
        settled("total", total, "n", "m", "lost"),
    ]
    beats = [
        Beat(
            {
                "en": "{name who} had {count n thing}.",
                "zh": "{name who}有{count n thing}。",
                "de": "{name who} hatte {count n thing}.",
                "es": "{name who} tenía {count n thing}.",
                "fr": "{name who} avait {count n thing}.",
                "sw": "{name who} alikuwa na {count n thing}.",
            }
        ),
        Beat(
            {
                "en": "{when day part}, {name friend} gave {name who} {more m thing}.",
                "zh": "{when day part}，{name friend}又给了{name who}{count m thing}。",
                "de": "{when day part} gab {name friend} {name who} noch {count m thing}.",
                "es": "{when day part}, {name friend} le dio a {name who} {count m thing} más.",
                "fr": "{when day part}, {name friend} a donné à {name who} {count m thing} de plus.",
                "sw": "{when day part}, {name friend} alimpa {name who} {count m thing} zaidi.",
            }
        ),
        Beat(
            {
                "en": "Then {subj who ref1}lost {one thing} {at place}.",
                "zh": "后来{subj who ref1}{at place}丢了{one thing}。",
                "de": "Dann verlor {subj who ref1}{at place} {one thing}.",
                "es": "Después, {subj who ref1}perdió {one thing} {at place}.",
                "fr": "Ensuite, {subj who ref1}a perdu {one thing} {at place}.",
                "sw": "Kisha {subj who ref1}alipoteza {one thing} {at place}.",
            },
            ("lost", ("yes",)),
        ),
        Beat(
            {
                "en": "Now {name who} had {count total thing}.",
                "zh": "现在{name who}有{count total thing}了。",
                "de": "Nun hatte {name who} {count total thing}.",
                "es": "Ahora {name who} tenía {count total thing}.",
                "fr": "Maintenant, {name who} avait {count total thing}.",
                "sw": "Sasa {name who} alikuwa na {count total thing}.",
            }
        ),
    ]
    return slots, beats
