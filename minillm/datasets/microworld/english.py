"""English: words and forms."""

from __future__ import annotations

from .grammar import Form, Value
from .town import WOMEN
from .words import column, number_of, table

# one, many
NOUNS = table("""
apple: apple, apples
orange: orange, oranges
pear: pear, pears
mango: mango, mangoes
goat: goat, goats
dog: dog, dogs
cat: cat, cats
duck: duck, ducks
hammer: hammer, hammers
saw: saw, saws
hoe: hoe, hoes
screwdriver: screwdriver, screwdrivers
shirt: shirt, shirts
coat: coat, coats
dress: dress, dresses
skirt: skirt, skirts
drum: drum, drums
guitar: guitar, guitars
flute: flute, flutes
piano: piano, pianos
table: table, tables
chair: chair, chairs
bed: bed, beds
wardrobe: wardrobe, wardrobes
bicycle: bicycle, bicycles
car: car, cars
truck: truck, trucks
motorcycle: motorcycle, motorcycles
ring: ring, rings
necklace: necklace, necklaces
bracelet: bracelet, bracelets
crown: crown, crowns
fruit: fruit, fruit
animal: animal, animals
tool: tool, tools
garment: piece of clothing, clothes
instrument: musical instrument, musical instruments
furniture: piece of furniture, furniture
vehicle: vehicle, vehicles
jewel: piece of jewellery, jewellery
""")

# where, where to
PLACES = table("""
market: at the market, to the market
station: at the station, to the station
school: at the school, to the school
park: in the park, to the park
harbour: at the harbour, to the harbour
library: in the library, to the library
village: in the village, to the village
hotel: at the hotel, to the hotel
beach: on the beach, to the beach
river: by the river, to the river
farm: on the farm, to the farm
bakery: at the bakery, to the bakery
""")

WEATHER = table("""
rain: it was raining
heat: it was hot
wind: it was windy
cold: it was cold
""")

# past, plain
VERBS = table("""
buy: bought, buy
sell: sold, sell
find: found, find
draw: drew, draw
count: counted, count
""")

# subject, praise, blame
ASPECTS = table("""
price: the price, fair, high
quality: the quality, good, bad
seller: the seller, friendly, rude
colour: the colour, beautiful, ugly
delivery: the delivery, fast, slow
shop: the shop, clean, dirty
""")

NUMBERS = "zero one two three four five six seven eight nine".split()


def a(thing: Value, adjective: Value = "plain") -> str:
    """A thing not met before: "a pear", "an old car"."""
    words = ([] if adjective == "plain" else [str(adjective)]) + [NOUNS[str(thing)][0]]
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before: "the pear"."""
    return "the " + ("" if adjective == "plain" else f"{adjective} ") + NOUNS[str(thing)][0]


def count(n: Value, thing: Value) -> str:
    """So many: "three pears"."""
    return f"{num(n)} {NOUNS[str(thing)][0 if n == 1 else 1]}"


def more(n: Value, thing: Value) -> str:
    """So many more: "three more pears"."""
    return f"{num(n)} more {NOUNS[str(thing)][1]}"


def num(n: Value) -> str:
    return NUMBERS[number_of(n)]


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts, with the space behind: "Anna ", "she "."""
    return f"{who} " if reference == "name" else ("she " if who in WOMEN else "he ")


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: "the price is not fair"."""
    subject, praise, blame = ASPECTS[str(aspect)]
    return f"{subject} is {'not ' if negated == 'not' else ''}{praise if word == 'praise' else blame}"


def claim(sign: Value, verb: Value, thing: Value) -> str:
    """What somebody did or did not do: "sold pears", "did not sell pears"."""
    past, plain = VERBS[str(verb)]
    return f"{past if sign == 'yes' else 'did not ' + plain} {NOUNS[str(thing)][1]}"


FORMS: dict[str, Form] = {
    "name": str,
    "subj": subj,
    "when": lambda day, part: f"on {day} {part}",
    "on": lambda day: f"on {day}",
    "at": column(PLACES, 0),
    "to": column(PLACES, 1),
    "weather": column(WEATHER, 0),
    "a": a,
    "the": the,
    "one": lambda thing: count(1, thing),
    "count": count,
    "more": more,
    "many": column(NOUNS, 1),
    "num": num,
    "did": column(VERBS, 0),
    "do": column(VERBS, 1),
    "clause": clause,
    "compare": lambda word, who, other: f"is {word} than {other}",
    "claim": claim,
    "link": {"and": " and ", "but": ", but "}.__getitem__,
    "ordinal": str,
}
