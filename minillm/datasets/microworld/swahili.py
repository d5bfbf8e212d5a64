"""Swahili: words and forms. Adjectives, numbers and verbs follow the noun class: kiti kipya, viti vipya viwili.

A noun has a class for one and a class for many, by their usual numbers: 5 and 6 for tofaa, matofaa. Animals have nouns
of classes 9 and 10 but agree as people do (1 and 2): mbwa mweupe, mbwa wawili.
"""

from __future__ import annotations

from .grammar import Form, Value
from .words import column, number_of, table

# class of one, class of many, one, many
NOUNS = table("""
apple: 5, 6, tofaa, matofaa
orange: 5, 6, chungwa, machungwa
pear: 5, 6, pea, mapea
mango: 5, 6, embe, maembe
goat: 1, 2, mbuzi, mbuzi
dog: 1, 2, mbwa, mbwa
cat: 1, 2, paka, paka
duck: 1, 2, bata, bata
hammer: 9, 10, nyundo, nyundo
saw: 3, 4, msumeno, misumeno
hoe: 5, 6, jembe, majembe
screwdriver: 9, 10, bisibisi, bisibisi
shirt: 5, 6, shati, mashati
coat: 5, 6, koti, makoti
dress: 5, 6, gauni, magauni
skirt: 9, 10, sketi, sketi
drum: 9, 10, ngoma, ngoma
guitar: 5, 6, gitaa, magitaa
flute: 9, 10, filimbi, filimbi
piano: 7, 8, kinanda, vinanda
table: 9, 10, meza, meza
chair: 7, 8, kiti, viti
bed: 7, 8, kitanda, vitanda
wardrobe: 5, 6, kabati, makabati
bicycle: 9, 10, baiskeli, baiskeli
car: 5, 6, gari, magari
truck: 5, 6, lori, malori
motorcycle: 9, 10, pikipiki, pikipiki
ring: 9, 10, pete, pete
necklace: 3, 4, mkufu, mikufu
bracelet: 9, 10, bangili, bangili
crown: 5, 6, taji, mataji
fruit: 5, 6, tunda, matunda
animal: 1, 2, mnyama, wanyama
tool: 9, 10, zana, zana
garment: 5, 6, vazi, mavazi
instrument: 9, 10, ala ya muziki, ala za muziki
furniture: 9, 10, fanicha, fanicha
vehicle: 7, 8, chombo cha usafiri, vyombo vya usafiri
jewel: 5, 6, pambo, mapambo
""")

# classes 1 to 10
ADJECTIVES = table("""
red: mwekundu, wekundu, mwekundu, myekundu, jekundu, mekundu, chekundu, vyekundu, nyekundu, nyekundu
big: mkubwa, wakubwa, mkubwa, mikubwa, kubwa, makubwa, kikubwa, vikubwa, kubwa, kubwa
white: mweupe, weupe, mweupe, myeupe, jeupe, meupe, cheupe, vyeupe, nyeupe, nyeupe
small: mdogo, wadogo, mdogo, midogo, dogo, madogo, kidogo, vidogo, ndogo, ndogo
beautiful: mzuri, wazuri, mzuri, mizuri, zuri, mazuri, kizuri, vizuri, nzuri, nzuri
black: mweusi, weusi, mweusi, myeusi, jeusi, meusi, cheusi, vyeusi, nyeusi, nyeusi
new: mpya, wapya, mpya, mipya, jipya, mapya, kipya, vipya, mpya, mpya
old: mkuukuu, wakuukuu, mkuukuu, mikuukuu, kuukuu, makuukuu, kikuukuu, vikuukuu, kuukuu, kuukuu
that: huyo, hao, huo, hiyo, hilo, hayo, hicho, hivyo, hiyo, hizo
object: m, wa, u, i, li, ya, ki, vi, i, zi
""")

# The numbers that agree, in the classes of many: 2, 4, 6, 8, 10.
NUMBERS = table("""
2: wawili, miwili, mawili, viwili, mbili
3: watatu, mitatu, matatu, vitatu, tatu
4: wanne, minne, manne, vinne, nne
5: watano, mitano, matano, vitano, tano
8: wanane, minane, manane, vinane, nane
how many: wangapi, mingapi, mangapi, vingapi, ngapi
""")
OTHER_NUMBERS = {6: "sita", 7: "saba", 9: "tisa"}
ONE = {1: "mmoja", 3: "mmoja", 5: "moja", 7: "kimoja", 9: "moja"}

# where and where to
PLACES = table("""
market: sokoni
station: kituoni
school: shuleni
park: bustanini
harbour: bandarini
library: maktabani
village: kijijini
hotel: hotelini
beach: ufukweni
river: mtoni
farm: shambani
bakery: kwenye duka la mikate
""")

DAYS = table("""
Monday: Jumatatu
Tuesday: Jumanne
Wednesday: Jumatano
Thursday: Alhamisi
Friday: Ijumaa
Saturday: Jumamosi
Sunday: Jumapili
""")

PARTS = table("""
morning: asubuhi
afternoon: alasiri
evening: jioni
""")

WEATHER = table("""
rain: mvua ilikuwa inanyesha
heat: kulikuwa na joto
wind: kulikuwa na upepo
cold: kulikuwa na baridi
""")

# done, not done
VERBS = table("""
buy: alinunua, hakununua
sell: aliuza, hakuuza
find: alipata, hakupata
draw: alichora, hakuchora
count: alihesabu, hakuhesabu
""")

# subject, praise, blame
ASPECTS = table("""
price: bei, nafuu, ya juu
quality: ubora, mzuri, mbaya
seller: muuzaji, mkarimu, mkorofi
colour: rangi, nzuri, mbaya
delivery: usafirishaji, wa haraka, wa polepole
shop: duka, safi, chafu
""")

COMPARISONS = table("""
older: ni mkubwa kwa umri kuliko
younger: ni mdogo kwa umri kuliko
taller: ni mrefu kuliko
shorter: ni mfupi kuliko
stronger: ana nguvu nyingi kuliko
weaker: ana nguvu chache kuliko
""")


def one_class(thing: Value) -> int:
    """The class of one such thing."""
    return int(NOUNS[str(thing)][0])


def agreeing(word: str, thing: Value) -> str:
    """A word in the form that agrees with one such thing."""
    return ADJECTIVES[word][one_class(thing) - 1]


def a(thing: Value, adjective: Value = "plain") -> str:
    """A thing not met before: kiti kikuukuu."""
    one = NOUNS[str(thing)][2]
    return one if adjective == "plain" else f"{one} {agreeing(str(adjective), thing)}"


def the(thing: Value, adjective: Value = "plain") -> str:
    """A thing met before: kiti hicho kikuukuu."""
    behind = "" if adjective == "plain" else " " + agreeing(str(adjective), thing)
    return f"{NOUNS[str(thing)][2]} {agreeing('that', thing)}{behind}"


def num(n: Value, plural_class: int = 10) -> str:
    """A number as it agrees with a class of many; coins (sarafu) are of class 10."""
    if n in OTHER_NUMBERS:
        return OTHER_NUMBERS[number_of(n)]
    return NUMBERS[str(n)][plural_class // 2 - 1]


def counted(n: Value, thing: Value) -> str:
    """A number that agrees: viwili."""
    return ONE[one_class(thing)] if n == 1 else num(n, int(NOUNS[str(thing)][1]))


def count(n: Value, thing: Value) -> str:
    """So many: kiti kimoja, viti viwili."""
    return f"{NOUNS[str(thing)][2 if n == 1 else 3]} {counted(n, thing)}"


def subj(who: Value, reference: Value) -> str:
    """Somebody who acts, with the space behind; the verb alone says she or he: "Anna ", ""."""
    return f"{who} " if reference == "name" else ""


def clause(aspect: Value, word: Value, negated: Value) -> str:
    """A judgement: bei si nafuu."""
    subject, praise, blame = ASPECTS[str(aspect)]
    return f"{subject} {'si' if negated == 'not' else 'ni'} {praise if word == 'praise' else blame}"


FORMS: dict[str, Form] = {
    "name": str,
    "subj": subj,
    "when": lambda day, part: f"{DAYS[str(day)][0]} {PARTS[str(part)][0]}",
    "on": column(DAYS, 0),
    "at": column(PLACES, 0),
    "weather": column(WEATHER, 0),
    "a": a,
    "the": the,
    "om": lambda thing: agreeing("object", thing),
    "one": lambda thing: count(1, thing),
    "count": count,
    "counted": counted,
    "how-many": lambda thing: f"{NOUNS[str(thing)][3]} {counted('how many', thing)}",
    "many": column(NOUNS, 3),
    "num": num,
    "did": column(VERBS, 0),
    "clause": clause,
    "compare": lambda word, who, other: f"{COMPARISONS[str(word)][0]} {other}",
    "claim": lambda sign, verb, thing: f"{VERBS[str(verb)][sign != 'yes']} {NOUNS[str(thing)][3]}",
    "link": {"and": " na ", "but": ", lakini "}.__getitem__,
    "ordinal": {"first": "kwanza", "second": "pili", "last": "mwisho"}.__getitem__,
}
