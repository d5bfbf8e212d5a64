"""Stories of three to six sentences: whoever and whatever comes in early comes back late, where no n-gram reaches."""

from __future__ import annotations

from .grammar import Beat, Slot, Value, slot
from .town import WEATHER, Town, Weights, chance, days, evenly, parts, weather

Parts = tuple[list[Slot], list[Beat]]
SKY = Beat(
    dict.fromkeys(("en", "de", "es", "fr", "sw"), "{weather weather}.") | {"zh": "{weather weather}。"},
    ("weather", WEATHER),
)


def if_yes(condition: Value, options: Weights) -> Weights:
    """The options if something happens, and otherwise one that is never said."""
    return options if condition == "yes" else {"none": 1}


def shopping(town: Town) -> Parts:
    """Somebody goes out to buy something, is shown something else, and comes home with or without it."""
    slots = [
        slot("day", days),
        slot("part", parts),
        slot("who", town.people),
        slot("place", town.places),
        slot("weather", weather),
        slot("ref1", town.reference),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("adj", town.adjectives, "kind"),
        slot("friend", town.people, "who"),
        slot("shown", chance(0.5, "yes", "no")),
        slot("kind2", lambda shown, kind: if_yes(shown, town.kinds(kind)), "shown", "kind"),
        slot("other", lambda shown, kind: if_yes(shown, {} if kind == "none" else town.things(kind)), "shown", "kind2"),
        slot("adj2", lambda shown, kind: if_yes(shown, town.adjectives(kind)), "shown", "kind2"),
        slot("bought", chance(0.6, "yes", "no")),
        slot("price", lambda bought: if_yes(bought, evenly(*range(2, 10))), "bought"),
        slot("ref2", town.reference),
    ]
    beats = [
        Beat(
            {
                "en": "{when day part}, {name who} went {to place}.",
                "zh": "{when day part}，{name who}去了{to place}。",
                "de": "{when day part} ging {name who} {to place}.",
                "es": "{when day part}, {name who} fue {to place}.",
                "fr": "{when day part}, {name who} est allé{e who} {to place}.",
                "sw": "{when day part}, {name who} alikwenda {at place}.",
            }
        ),
        SKY,
        Beat(
            {
                "en": "{subj who ref1}wanted to buy {a thing adj}.",
                "zh": "{subj who ref1}想买{a thing adj}。",
                "de": "{subj who ref1}wollte {a thing adj} kaufen.",
                "es": "{subj who ref1}quería comprar {a thing adj}.",
                "fr": "{subj who ref1}voulait acheter {a thing adj}.",
                "sw": "{subj who ref1}alitaka kununua {a thing adj}.",
            }
        ),
        Beat(
            {
                "en": "First, {name friend} showed {name who} {a other adj2}.",
                "zh": "{name friend}先给{name who}看了{a other adj2}。",
                "de": "Zuerst zeigte {name friend} {name who} {a other adj2}.",
                "es": "Primero, {name friend} le enseñó {a other adj2} a {name who}.",
                "fr": "D'abord, {name friend} a montré {a other adj2} à {name who}.",
                "sw": "Kwanza, {name friend} alimwonyesha {name who} {a other adj2}.",
            },
            ("shown", ("yes",)),
        ),
        Beat(
            {
                "en": "{name who} bought {the thing adj} from {name friend} for {num price} coins.",
                "zh": "{name who}花{num price}枚硬币从{name friend}那里买了{the thing adj}。",
                "de": "{name who} kaufte {name friend} {the thing adj} für {num price} Münzen ab.",
                "es": "{name who} le compró {the thing adj} a {name friend} por {num price} monedas.",
                "fr": "{name who} a acheté {the thing adj} à {name friend} pour {num price} pièces.",
                "sw": "{name who} ali{om thing}nunua {the thing adj} kutoka kwa {name friend} kwa sarafu {num price}.",
            },
            ("bought", ("yes",)),
        ),
        Beat(
            {
                "en": "But {name friend} wanted too much for {the thing adj}.",
                "zh": "可是{name friend}的{noun thing}太贵了。",
                "de": "Aber {name friend} verlangte zu viel für {the thing adj}.",
                "es": "Pero {name friend} pedía demasiado por {the thing adj}.",
                "fr": "Mais {name friend} demandait trop pour {the thing adj}.",
                "sw": "Lakini {name friend} alitaka bei kubwa mno kwa {the thing adj}.",
            },
            ("bought", ("no",)),
        ),
        Beat(
            {
                "en": "{subj who ref2}went home with {the thing}.",
                "zh": "{subj who ref2}带着{the thing}回家了。",
                "de": "{subj who ref2}ging mit {the-dat thing} nach Hause.",
                "es": "{subj who ref2}volvió a casa con {the thing}.",
                "fr": "{subj who ref2}est rentré{e who} à la maison avec {the thing}.",
                "sw": "{subj who ref2}alirudi nyumbani na {the thing}.",
            },
            ("bought", ("yes",)),
        ),
        Beat(
            {
                "en": "{subj who ref2}went home without {the thing}.",
                "zh": "{subj who ref2}没有买{the thing}就回家了。",
                "de": "{subj who ref2}ging ohne {the thing} nach Hause.",
                "es": "{subj who ref2}volvió a casa sin {the thing}.",
                "fr": "{subj who ref2}est rentré{e who} à la maison sans {the thing}.",
                "sw": "{subj who ref2}alirudi nyumbani bila {the thing}.",
            },
            ("bought", ("no",)),
        ),
    ]
    return slots, beats


def lost(town: Town) -> Parts:
    """Somebody loses something, and somebody else finds it."""
    slots = [
        slot("who", town.people),
        slot("kind", town.kinds),
        slot("thing", town.things, "kind"),
        slot("adj", town.adjectives, "kind"),
        slot("place", town.places),
        slot("searched", chance(0.6, "yes", "no")),
        slot("n", lambda searched: if_yes(searched, evenly(*range(2, 8))), "searched"),
        slot("ref1", lambda searched: if_yes(searched, town.reference), "searched"),
        slot("day", days),
        slot("part", parts),
        slot("friend", town.people, "who"),
        slot("place2", town.places, "place"),
        slot("returned", chance(0.6, "yes", "no")),
        slot("ref2", lambda returned: if_yes(returned, town.reference), "returned"),
    ]
    beats = [
        Beat(
            {
                "en": "{name who} lost {a thing adj} {at place}.",
                "zh": "{name who}{at place}丢了{a thing adj}。",
                "de": "{name who} verlor {at place} {a thing adj}.",
                "es": "{name who} perdió {a thing adj} {at place}.",
                "fr": "{name who} a perdu {a thing adj} {at place}.",
                "sw": "{name who} alipoteza {a thing adj} {at place}.",
            }
        ),
        Beat(
            {
                "en": "{subj who ref1}looked for {the thing} for {num n} days.",
                "zh": "{subj who ref1}找{the thing}找了{num n}天。",
                "de": "{subj who ref1}suchte {the thing} {num n} Tage lang.",
                "es": "{subj who ref1}buscó {object-the thing} durante {num n} días.",
                "fr": "{subj who ref1}a cherché {the thing} pendant {num n} jours.",
                "sw": "{subj who ref1}ali{om thing}tafuta {the thing} kwa siku {num n}.",
            },
            ("searched", ("yes",)),
        ),
        Beat(
            {
                "en": "{when day part}, {name friend} found {the thing adj} {at place2}.",
                "zh": "{when day part}，{name friend}{at place2}找到了{the thing adj}。",
                "de": "{when day part} fand {name friend} {the thing adj} {at place2}.",
                "es": "{when day part}, {name friend} encontró {object-the thing adj} {at place2}.",
                "fr": "{when day part}, {name friend} a trouvé {the thing adj} {at place2}.",
                "sw": "{when day part}, {name friend} ali{om thing}pata {the thing adj} {at place2}.",
            }
        ),
        Beat(
            {
                "en": "{subj friend ref2}gave {the thing} back to {name who}.",
                "zh": "{subj friend ref2}把{the thing}还给了{name who}。",
                "de": "{subj friend ref2}gab {name who} {the thing} zurück.",
                "es": "{subj friend ref2}le devolvió {the thing} a {name who}.",
                "fr": "{subj friend ref2}a rendu {the thing} à {name who}.",
                "sw": "{subj friend ref2}alimrudishia {name who} {the thing}.",
            },
            ("returned", ("yes",)),
        ),
        Beat(
            {
                "en": "{name who} thanked {name friend}.",
                "zh": "{name who}感谢了{name friend}。",
                "de": "{name who} dankte {name friend}.",
                "es": "{name who} le dio las gracias a {name friend}.",
                "fr": "{name who} a remercié {name friend}.",
                "sw": "{name who} alimshukuru {name friend}.",
            }
        ),
    ]
    return slots, beats
