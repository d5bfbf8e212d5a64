"""French: words and forms. Gender, elision before a vowel (l'orange, qu'Anna), participles (Anna est allée)."""

from __future__ import annotations

from .grammar import Form, Value
from .town import WOMEN
from .words import column, number_of, table

# gender, one, many
NOUNS = table("""
apple: f, pomme, pommes
orange: f, orange, oranges
pear: f, poire, poires
mango: f, mangue, mangues
goat: f, chèvre, chèvres
dog: m, chien, chiens
cat: m, chat, chats
duck: m, canard, canards
hammer: m, marteau, marteaux
saw: f, scie, scies
hoe: f, binette, binettes
screwdriver: m, tournevis, tournevis
shirt: f, chemise, chemises
coat: m, manteau, manteaux
dress: f, robe, robes
skirt: f, jupe, jupes
drum: m, tambour, tambours
guitar: f, guitare, guitares
flute: f, flûte, flûtes
piano: m, piano, pianos
table: f, table, tables
chair: f, chaise, chaises
bed: m, lit, lits
wardrobe: f, armoire, armoires
bicycle: m, vélo, vélos
car: f, voiture, voitures
truck: m, camion, camions
motorcycle: f, moto, motos
ring: f, bague, bagues
necklace: m, collier, colliers
bracelet: m, bracelet, bracelets
crown: f, couronne, couronnes
fruit: m, fruit, fruits
animal: m, animal, animaux
tool: m, outil, outils
garment: m, vêtement, vêtements
instrument: m, instrument de musique, instruments de musique
furniture: m, meuble, meubles
vehicle: m, véhicule, véhicules
jewel: m, bijou, bijoux
""")

# masculine, feminine, before or after the noun
ADJECTIVES = table("""
red: rouge, rouge, after
big: grand, grande, before
white: blanc, blanche, after
small: petit, petite, before
beautiful: beau, belle, before
black: noir, noire, after
new: neuf, neuve, after
old: vieux, vieille, before
""")

# where, where to
PLACES = table("""
market: au marché, au marché
station: à la gare, à la gare
school: à l'école, à l'école
park: dans le parc, au parc
harbour: au port, au port
library: à la bibliothèque, à la bibliothèque
village: au village, au village
hotel: à l'hôtel, à l'hôtel
beach: à la plage, à la plage
river: au bord de la rivière, à la rivière
farm: à la ferme, à la ferme
bakery: à la boulangerie, à la boulangerie
""")

DAYS = table("""
Monday: lundi
Tuesday: mardi
Wednesday: mercredi
Thursday: jeudi
Friday: vendredi
Saturday: samedi
Sunday: dimanche
""")

PARTS = table("""
morning: matin
afternoon: après-midi
evening: soir
""")

WEATHER = table("""
rain: il pleuvait
heat: il faisait chaud
wind: il y avait du vent
cold: il faisait froid
""")

VERBS = table("""
buy: a acheté
sell: a vendu
find: a trouvé
draw: a dessiné
count: a compté
""")

# subject, praise, blame
ASPECTS = table("""
price: le prix, juste, élevé
quality: la qualité, bonne, mauvaise
seller: le vendeur, aimable, impoli
colour: la couleur, belle, laide
delivery: la livraison, rapide, lente
shop: le magasin, propre, sale
""")

# of a man, of a woman
COMPARISONS = table("""
older: plus âgé, plus âgée
younger: plus jeune, plus jeune
taller: plus grand, plus grande
shorter: plus petit, plus petite
stronger: plus fort, plus forte
weaker: plus faible, plus faible
""")

NUMBERS = "zéro un deux trois quatre cinq six sept huit neuf".split()


def gender(thing: Value) -> int:
    """0 for masculine, 1 for feminine."""
    return ("m", "f").index(NOUNS[str(thing)][0])


def elided(word: str, following: str) -> str:
    """A short word before another: de Tom, d'Anna; que Tom, qu'Anna; la poire, l'orange."""
    return f"{word[:-1]}'{following}" if following[0].lower() in "aeiouâéêîô" else f"{word} {following}"


def core(thing: Value, adjective: Value) -> str:
    """Noun and adjective, without the article."""
    noun = NOUNS[str(thing)][1]
    if adjective == "plain":
        return noun
    *forms, place = ADJECTIVES[str(adjective)]
    word = forms[gender(thing)]
    return f"{word} {noun}" if place == "before" else f"{noun} {word}"


def a(thing: Value, adjective: Value = "plain") -> str:
    """A thing not met before: une vieille chaise."""
    return f"{('un', 'une')[gender(thing)]} {core(thing, adjective)}"


def the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before: la vieille chaise, l'armoire."""
    return elided(("le", "la")[gender(thing)], core(thing, adjective))


def count(n: Value, thing: Value) -> str:
    """So many: une chaise, trois chaises."""
    return a(thing) if n == 1 else f"{num(n)} {NOUNS[str(thing)][2]}"


def num(n: Value) -> str:
    return NUMBERS[number_of(n)]


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts, with the space behind: "Anna ", "elle "."""
    return f"{who} " if reference == "name" else ("elle " if who in WOMEN else "il ")


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: le prix n'est pas juste."""
    subject, praise, blame = ASPECTS[str(aspect)]
    verb = "n'est pas" if negated == "not" else "est"
    return f"{subject} {verb} {praise if word == 'praise' else blame}"


def claim(sign: Value, verb: Value, thing: Value) -> str:
    """What somebody did or did not do: a vendu des poires, n'a pas vendu de poires."""
    done, things = VERBS[str(verb)][0], NOUNS[str(thing)][2]
    return f"{done} des {things}" if sign == "yes" else f"n'a pas {done.removeprefix('a ')} {elided('de', things)}"


FORMS: dict[str, Form] = {
    "name": str,
    "subj": subj,
    "e": lambda who: "e" if who in WOMEN else "",
    "que": lambda who: elided("que", str(who)),
    "when": lambda day, part: f"{DAYS[str(day)][0]} {PARTS[str(part)][0]}",
    "on": column(DAYS, 0),
    "at": column(PLACES, 0),
    "to": column(PLACES, 1),
    "weather": column(WEATHER, 0),
    "a": a,
    "the": the,
    "one": lambda thing: count(1, thing),
    "count": count,
    "many": column(NOUNS, 2),
    "de-many": lambda thing: elided("de", NOUNS[str(thing)][2]),
    "num": num,
    "did": column(VERBS, 0),
    "clause": clause,
    "claim": claim,
    "link": {"and": " et ", "but": ", mais "}.__getitem__,
    "ordinal": {"first": "première", "second": "deuxième", "last": "dernière"}.__getitem__,
    "compare": lambda word, who, other: f"est {COMPARISONS[str(word)][who in WOMEN]} {elided('que', str(other))}",
}
