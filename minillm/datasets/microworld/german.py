"""German: words and forms. Articles and adjectives follow gender and case: ein roter Apfel, einen roten Apfel."""

from __future__ import annotations

from .grammar import Form, Value
from .town import WOMEN
from .words import column, number_of, table

# gender, one, many
NOUNS = table("""
apple: m, Apfel, Äpfel
orange: f, Orange, Orangen
pear: f, Birne, Birnen
mango: f, Mango, Mangos
goat: f, Ziege, Ziegen
dog: m, Hund, Hunde
cat: f, Katze, Katzen
duck: f, Ente, Enten
hammer: m, Hammer, Hämmer
saw: f, Säge, Sägen
hoe: f, Hacke, Hacken
screwdriver: m, Schraubenzieher, Schraubenzieher
shirt: n, Hemd, Hemden
coat: m, Mantel, Mäntel
dress: n, Kleid, Kleider
skirt: m, Rock, Röcke
drum: f, Trommel, Trommeln
guitar: f, Gitarre, Gitarren
flute: f, Flöte, Flöten
piano: n, Klavier, Klaviere
table: m, Tisch, Tische
chair: m, Stuhl, Stühle
bed: n, Bett, Betten
wardrobe: m, Kleiderschrank, Kleiderschränke
bicycle: n, Fahrrad, Fahrräder
car: n, Auto, Autos
truck: m, Lastwagen, Lastwagen
motorcycle: n, Motorrad, Motorräder
ring: m, Ring, Ringe
necklace: f, Halskette, Halsketten
bracelet: n, Armband, Armbänder
crown: f, Krone, Kronen
fruit: f, Frucht, Früchte
animal: n, Tier, Tiere
tool: n, Werkzeug, Werkzeuge
garment: n, Kleidungsstück, Kleidungsstücke
instrument: n, Musikinstrument, Musikinstrumente
furniture: n, Möbelstück, Möbel
vehicle: n, Fahrzeug, Fahrzeuge
jewel: n, Schmuckstück, Schmuckstücke
""")

ADJECTIVES = table("""
red: rot
big: groß
white: weiß
small: klein
beautiful: schön
black: schwarz
new: neu
old: alt
""")

# Articles and the endings that adjectives have behind them: masculine, feminine, neuter.
GENDERS = ("m", "f", "n")
A = {"nominative": ("ein", "eine", "ein"), "accusative": ("einen", "eine", "ein")}
A_ENDING = {"nominative": ("er", "e", "es"), "accusative": ("en", "e", "es")}
THE = {
    "accusative": ("den", "die", "das"),
    "dative": ("dem", "der", "dem"),
}
THE_ENDING = {
    "accusative": ("en", "e", "e"),
    "dative": ("en", "en", "en"),
}

# where, where to
PLACES = table("""
market: auf dem Markt, zum Markt
station: am Bahnhof, zum Bahnhof
school: in der Schule, zur Schule
park: im Park, in den Park
harbour: am Hafen, zum Hafen
library: in der Bibliothek, in die Bibliothek
village: im Dorf, ins Dorf
hotel: im Hotel, ins Hotel
beach: am Strand, zum Strand
river: am Fluss, zum Fluss
farm: auf dem Bauernhof, zum Bauernhof
bakery: in der Bäckerei, zur Bäckerei
""")

DAYS = table("""
Monday: Montag
Tuesday: Dienstag
Wednesday: Mittwoch
Thursday: Donnerstag
Friday: Freitag
Saturday: Samstag
Sunday: Sonntag
""")

PARTS = table("""
morning: morgen
afternoon: nachmittag
evening: abend
""")

WEATHER = table("""
rain: es regnete
heat: es war heiß
wind: es war windig
cold: es war kalt
""")

VERBS = table("""
buy: kaufte
sell: verkaufte
find: fand
draw: zeichnete
count: zählte
""")

# subject, praise, blame
ASPECTS = table("""
price: der Preis, fair, hoch
quality: die Qualität, gut, schlecht
seller: der Verkäufer, freundlich, unhöflich
colour: die Farbe, schön, hässlich
delivery: die Lieferung, schnell, langsam
shop: der Laden, sauber, schmutzig
""")

COMPARISONS = table("""
older: ist älter als
younger: ist jünger als
taller: ist größer als
shorter: ist kleiner als
stronger: ist stärker als
weaker: ist schwächer als
""")

NUMBERS = "null eins zwei drei vier fünf sechs sieben acht neun".split()


def phrase(articles: tuple[str, ...], endings: tuple[str, ...], thing: Value, adjective: Value) -> str:
    """Article, adjective with its ending, noun."""
    gender, one, _ = NOUNS[str(thing)]
    g = GENDERS.index(gender)
    middle = "" if adjective == "plain" else f"{ADJECTIVES[str(adjective)][0]}{endings[g]} "
    return f"{articles[g]} {middle}{one}"


def a(case: str) -> Form:
    """A thing not met before, in a case: einen alten Stuhl."""
    return lambda thing, adjective="plain": phrase(A[case], A_ENDING[case], thing, adjective)


def the(case: str) -> Form:
    """A thing met before, in a case: den alten Stuhl."""
    return lambda thing, adjective="plain": phrase(THE[case], THE_ENDING[case], thing, adjective)


def count(n: Value, thing: Value) -> str:
    """So many, accusative: einen Stuhl, drei Stühle."""
    return a("accusative")(thing) if n == 1 else f"{num(n)} {NOUNS[str(thing)][2]}"


def num(n: Value) -> str:
    return NUMBERS[number_of(n)]


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts, with the space behind: "Anna ", "sie "."""
    return f"{who} " if reference == "name" else ("sie " if who in WOMEN else "er ")


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: der Preis ist nicht fair."""
    subject, praise, blame = ASPECTS[str(aspect)]
    return f"{subject} ist {'nicht ' if negated == 'not' else ''}{praise if word == 'praise' else blame}"


FORMS: dict[str, Form] = {
    "name": str,
    "subj": subj,
    "when": lambda day, part: f"am {DAYS[str(day)][0]}{PARTS[str(part)][0]}",
    "on": lambda day: f"am {DAYS[str(day)][0]}",
    "at": column(PLACES, 0),
    "to": column(PLACES, 1),
    "weather": column(WEATHER, 0),
    "a": a("accusative"),
    "a-nom": a("nominative"),
    "the": the("accusative"),
    "the-dat": the("dative"),
    "one": lambda thing: count(1, thing),
    "count": count,
    "many": column(NOUNS, 2),
    "num": num,
    "did": column(VERBS, 0),
    "clause": clause,
    "compare": lambda word, who, other: f"{COMPARISONS[str(word)][0]} {other}",
    "claim": lambda sign, verb, thing: (
        f"{VERBS[str(verb)][0]} {'' if sign == 'yes' else 'keine '}{NOUNS[str(thing)][2]}"
    ),
    "link": {"and": " und ", "but": ", aber "}.__getitem__,
    "ordinal": {"first": "erste", "second": "zweite", "last": "letzte"}.__getitem__,
}
