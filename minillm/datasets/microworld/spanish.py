"""Spanish: words and forms. Articles and adjectives follow gender: un coche rojo, una manzana roja."""

from __future__ import annotations

from .grammar import Form, Value
from .town import KIND_OF, WOMEN
from .words import column, number_of, table

# gender, one, many
NOUNS = table("""
apple: f, manzana, manzanas
orange: f, naranja, naranjas
pear: f, pera, peras
mango: m, mango, mangos
goat: f, cabra, cabras
dog: m, perro, perros
cat: m, gato, gatos
duck: m, pato, patos
hammer: m, martillo, martillos
saw: f, sierra, sierras
hoe: f, azada, azadas
screwdriver: m, destornillador, destornilladores
shirt: f, camisa, camisas
coat: m, abrigo, abrigos
dress: m, vestido, vestidos
skirt: f, falda, faldas
drum: m, tambor, tambores
guitar: f, guitarra, guitarras
flute: f, flauta, flautas
piano: m, piano, pianos
table: f, mesa, mesas
chair: f, silla, sillas
bed: f, cama, camas
wardrobe: m, armario, armarios
bicycle: f, bicicleta, bicicletas
car: m, coche, coches
truck: m, camión, camiones
motorcycle: f, moto, motos
ring: m, anillo, anillos
necklace: m, collar, collares
bracelet: f, pulsera, pulseras
crown: f, corona, coronas
fruit: f, fruta, fruta
animal: m, animal, animales
tool: f, herramienta, herramientas
garment: f, prenda de vestir, prendas de vestir
instrument: m, instrumento musical, instrumentos musicales
furniture: m, mueble, muebles
vehicle: m, vehículo, vehículos
jewel: f, joya, joyas
""")

# masculine, feminine
ADJECTIVES = table("""
red: rojo, roja
big: grande, grande
white: blanco, blanca
small: pequeño, pequeña
beautiful: bonito, bonita
black: negro, negra
new: nuevo, nueva
old: viejo, vieja
""")

# where, where to
PLACES = table("""
market: en el mercado, al mercado
station: en la estación, a la estación
school: en la escuela, a la escuela
park: en el parque, al parque
harbour: en el puerto, al puerto
library: en la biblioteca, a la biblioteca
village: en el pueblo, al pueblo
hotel: en el hotel, al hotel
beach: en la playa, a la playa
river: junto al río, al río
farm: en la granja, a la granja
bakery: en la panadería, a la panadería
""")

DAYS = table("""
Monday: el lunes
Tuesday: el martes
Wednesday: el miércoles
Thursday: el jueves
Friday: el viernes
Saturday: el sábado
Sunday: el domingo
""")

PARTS = table("""
morning: por la mañana
afternoon: por la tarde
evening: por la noche
""")

WEATHER = table("""
rain: llovía
heat: hacía calor
wind: hacía viento
cold: hacía frío
""")

VERBS = table("""
buy: compró
sell: vendió
find: encontró
draw: dibujó
count: contó
""")

# subject, verb, praise, blame
ASPECTS = table("""
price: el precio, es, justo, alto
quality: la calidad, es, buena, mala
seller: el vendedor, es, amable, grosero
colour: el color, es, bonito, feo
delivery: la entrega, es, rápida, lenta
shop: la tienda, está, limpia, sucia
""")

# of a man, of a woman
COMPARISONS = table("""
older: mayor, mayor
younger: menor, menor
taller: más alto, más alta
shorter: más bajo, más baja
stronger: más fuerte, más fuerte
weaker: más débil, más débil
""")

NUMBERS = "cero uno dos tres cuatro cinco seis siete ocho nueve".split()


def gender(thing: Value) -> int:
    """0 for masculine, 1 for feminine."""
    return ("m", "f").index(NOUNS[str(thing)][0])


def phrase(article: str, thing: Value, adjective: Value) -> str:
    """Article, noun, adjective in the gender of the noun."""
    behind = "" if adjective == "plain" else " " + ADJECTIVES[str(adjective)][gender(thing)]
    return f"{article} {NOUNS[str(thing)][1]}{behind}"


def a(thing: Value, adjective: Value = "plain") -> str:
    """A thing not met before: una silla vieja."""
    return phrase(("un", "una")[gender(thing)], thing, adjective)


def the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before: la silla vieja."""
    return phrase(("el", "la")[gender(thing)], thing, adjective)


def object_the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before that is looked for or found; an animal has the personal a: al perro, a la cabra."""
    if KIND_OF[str(thing)] != "animal":
        return the(thing, adjective)
    return phrase(("al", "a la")[gender(thing)], thing, adjective)


def count(n: Value, thing: Value) -> str:
    """So many: una silla, tres sillas."""
    return a(thing) if n == 1 else f"{num(n)} {NOUNS[str(thing)][2]}"


def num(n: Value) -> str:
    return NUMBERS[number_of(n)]


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts, with the space behind; Spanish drops its pronouns: "Anna ", ""."""
    return f"{who} " if reference == "name" else ""


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: el precio no es justo."""
    subject, verb, praise, blame = ASPECTS[str(aspect)]
    return f"{subject} {'no ' if negated == 'not' else ''}{verb} {praise if word == 'praise' else blame}"


FORMS: dict[str, Form] = {
    "name": str,
    "subj": subj,
    "when": lambda day, part: f"{DAYS[str(day)][0]} {PARTS[str(part)][0]}",
    "on": column(DAYS, 0),
    "at": column(PLACES, 0),
    "to": column(PLACES, 1),
    "weather": column(WEATHER, 0),
    "a": a,
    "the": the,
    "object-the": object_the,
    "one": lambda thing: count(1, thing),
    "count": count,
    "the-many": lambda thing: f"{('los', 'las')[gender(thing)]} {NOUNS[str(thing)][2]}",
    "how-many": lambda thing: f"{('Cuántos', 'Cuántas')[gender(thing)]} {NOUNS[str(thing)][2]}",
    "num": num,
    "did": column(VERBS, 0),
    "clause": clause,
    "compare": lambda word, who, other: f"es {COMPARISONS[str(word)][who in WOMEN]} que {other}",
    "claim": lambda sign, verb, thing: f"{'' if sign == 'yes' else 'no '}{VERBS[str(verb)][0]} {NOUNS[str(thing)][2]}",
    "link": {"and": " y ", "but": ", pero "}.__getitem__,
    "ordinal": {"first": "primera", "second": "segunda", "last": "última"}.__getitem__,
}
