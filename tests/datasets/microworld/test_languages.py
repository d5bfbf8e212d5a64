"""Grammar of the six languages, checked by rules that know nothing of how the sentences were made.

The rules look at the finished texts: which article stands before which noun, which ending an adjective has behind
which article, where a vowel follows, which prefix a Swahili verb takes. Genders and classes are written down once more.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import pytest

from minillm.datasets.microworld import LANGUAGES, SCENES, World, parallel
from minillm.datasets.microworld.chinese import NOUNS as CHINESE
from minillm.datasets.microworld.grammar import Hole
from minillm.datasets.microworld.town import ADJECTIVES, ASPECTS, CONVERSE, DAYS, KINDS, PARTS, PEOPLE, PLACES, WOMEN
from minillm.datasets.microworld.world import FORMS

WORLD = World(LANGUAGES, SCENES, ambiguity=0.5)


def texts(language: str, count: int = 3000) -> Iterator[str]:
    return itertools.islice(World(language, SCENES, ambiguity=0.5).texts("grammar"), count)


def test_every_form_is_used_and_every_word_is_there() -> None:
    used: dict[str, set[int]] = defaultdict(set)
    for name in SCENES:
        for language, sentences in WORLD.scene(name).sentences.items():
            pieces = [piece for sentence in sentences for piece in sentence.pieces]
            used[language] |= {id(piece.form) for piece in pieces if isinstance(piece, Hole)}
    for language, forms in FORMS.items():
        assert {name for name, form in forms.items() if id(form) not in used[language]} == set(), language
        for word in (*itertools.chain(*KINDS.values()), *KINDS):
            assert forms["a"](word)
        for adjective in ADJECTIVES:
            assert len({forms["a"](thing, adjective) for thing in itertools.chain(*KINDS.values())}) == 32
        assert len({forms["when"](day, part) for day in DAYS for part in PARTS}) == 21
        assert len({forms["at"](place) for place in PLACES}) == 12
        assert len({forms["name"](who) for who in PEOPLE}) == 24
        assert len({forms["clause"](a, w, n) for a in ASPECTS for w in ("praise", "blame") for n in ("not", "")}) == 24
        assert len({forms["compare"](word, "Anna", "Tom") for word in CONVERSE}) == 6


def test_texts_are_normalised_and_in_their_script() -> None:
    for language in LANGUAGES:
        for text in texts(language, 300):
            assert unicodedata.is_normalized("NFC", text)
            assert bool(re.search(r"[A-Za-z]", text)) != (language == "zh")


def test_english_articles_follow_the_sound() -> None:
    for text in texts("en"):
        for article, word in re.findall(r"\b([Aa]n?) (\w+)", text):
            assert (article.lower() == "an") == (word[0] in "aeiou"), text
        assert not re.search(r"\bone \w+s\b(?<!dress)", text)
        for number, noun in re.findall(r"\b(two|three|four|five|six|seven|eight|nine) (?:more )?(\w+)", text):
            assert noun.endswith("s"), (number, noun)


GERMAN = {
    "m": "Apfel Hund Hammer Schraubenzieher Mantel Rock Tisch Stuhl Kleiderschrank Lastwagen Ring",
    "f": "Orange Birne Mango Ziege Katze Ente Säge Hacke Trommel Gitarre Flöte Halskette Krone Frucht",
    "n": "Hemd Kleid Klavier Bett Fahrrad Auto Motorrad Armband Tier Werkzeug Kleidungsstück Musikinstrument "
    "Möbelstück Fahrzeug Schmuckstück",
}
# (article, gender) -> the ending of an adjective that may stand between them
ENDINGS = {
    ("ein", "m"): "er",
    ("ein", "n"): "es",
    ("eine", "f"): "e",
    ("einen", "m"): "en",
    ("der", "m"): "e",
    ("der", "f"): "en",  # dative
    ("die", "f"): "e",
    ("das", "n"): "e",
    ("den", "m"): "en",
    ("dem", "m"): "en",
    ("dem", "n"): "en",
}


def test_german_articles_and_endings() -> None:
    gender = {noun: g for g, nouns in GERMAN.items() for noun in nouns.split()}
    seen = set()
    for text in texts("de"):
        for article, adjective, noun in re.findall(
            r"\b([Ee]in|[Ee]ine[n]?|[Dd]e[rnm]|[Dd]ie|[Dd]as) (?:([a-zß]\w+) )?(\w+)", text
        ):
            if noun not in gender or "Frage: Wo " in text:  # which asks for "die Lastwagen", many of them
                continue
            ending = ENDINGS.get((article.lower(), gender[noun]))
            assert ending is not None, f"{article} {noun}: {text}"
            if adjective and adjective not in ("erste", "zweite", "letzte"):
                stem = adjective.removesuffix(ending)
                assert stem in "rot groß weiß klein schön schwarz neu alt".split(), f"{article} {adjective} {noun}"
                seen.add((article.lower(), gender[noun]))
            if gender[noun] == "m" and "Aufgabe" not in text:  # things are never the subject of a story
                assert article.lower() in ("einen", "den", "dem"), text
        for preposition, article in re.findall(r"\b(mit|ohne|für) (d\w\w) [A-ZÄÖÜ]", text):
            assert article in (("dem", "der") if preposition == "mit" else ("den", "die", "das")), text
        for sentence in re.split(r"(?<=\.) ", text):  # the verb stands second, behind the time
            if match := re.match(r"Am \w+(morgen|nachmittag|abend) (\w+)", sentence):
                assert match.group(2) in "ging fand besuchte gab kaufte verkaufte zeichnete zählte".split()
    assert seen == {("ein", "n"), ("eine", "f"), ("einen", "m"), ("das", "n"), ("die", "f"), ("den", "m")}


SPANISH = {
    "m": "mango perro gato pato martillo destornillador abrigo vestido tambor piano armario coche camión anillo collar "
    "animal mueble vehículo instrumento",
    "f": "manzana naranja pera cabra sierra azada camisa falda guitarra flauta mesa silla cama bicicleta moto pulsera "
    "corona fruta herramienta prenda joya",
}


def test_spanish_articles_and_adjectives() -> None:
    gender = {noun: g for g, nouns in SPANISH.items() for noun in nouns.split()}
    seen = set()
    for text in texts("es"):
        for article, noun, ending in re.findall(
            r"\b([Uu]na?|[Ee]l|[Ll]a|al) (\w+)(?: (?:roj|blanc|pequeñ|bonit|negr|nuev|viej)([oa])\b)?", text
        ):
            if noun in gender:
                assert gender[noun] == ("f" if article.lower() in ("una", "la") else "m"), f"{article} {noun}: {text}"
                assert ending in ("", {"m": "o", "f": "a"}[gender[noun]]), text
                seen.add((noun, bool(ending)))
        for number, noun in re.findall(r"\b(dos|tres|cuatro|cinco|seis|siete|ocho|nueve) (\w+)", text):
            assert noun.endswith("s"), (number, noun)
        for ending, noun in re.findall(r"Cuánt([oa])s (\w+)", text):
            singular = noun.removesuffix("s") if noun.removesuffix("s") in gender else noun.removesuffix("es")
            assert gender[singular.replace("camion", "camión")] == {"o": "m", "a": "f"}[ending], text
        assert not re.search(r"\b(a|de) el\b", text)  # they contract
        for who, adjective in re.findall(r"(\w+) es más (alt[oa]|baj[oa]) que", text):
            assert adjective.endswith("a") == (who in WOMEN)
        assert text.count("?") == text.count("¿")
    assert {noun for noun, _ in seen} == set(gender) and len(seen) > 60


VOWEL = "aeiouyâéèêîôàAEIOUÉÎ"


def test_french_elision_gender_and_agreement() -> None:
    feminine = set(
        "pomme orange poire mangue chèvre scie binette chemise robe jupe guitare flûte table chaise armoire voiture "
        "moto bague couronne".split()
    )
    for text in texts("fr"):
        assert not re.search(rf"\b([Ll]e|[Ll]a|[Qq]ue|[Dd]e|[Nn]e) (?=[{VOWEL}])", text), text
        for word, following in re.findall(r"\b(l|d|qu|n|j)'(\w)", text):
            assert following in VOWEL or following == "h", (word, text)
        for article, noun in re.findall(
            r"\b([Uu]ne?|l[ea]) (?:(?:grand|petit|beau|vieux|petite|grande|belle|vieille) )?(\w+)", text
        ):
            if noun in feminine:
                assert article.lower() in ("une", "la"), text
            elif (
                noun
                in "chien chat canard marteau tournevis manteau tambour piano lit vélo camion collier bracelet".split()
            ):
                assert article.lower() in ("un", "le"), text
        for word, noun in re.findall(r"\b(grande?|petite?|beau|belle|vieux|vieille) (\w+)", text):
            if noun in feminine:
                assert word in ("grande", "petite", "belle", "vieille"), text
        for noun, word in re.findall(r"(\w+) (blanche?|noire?|neu(?:f|ve))\b", text):
            assert (noun in feminine) == word.endswith(("che", "re", "ve")), text
        for who, e in re.findall(r"(\w+) est (?:all|rentr)é(e?)\b", text):
            assert (e == "e") == (who in WOMEN or who == "Elle"), text
        for who, e in re.findall(r"(\w+) est plus (?:âgé|grand|petit|fort)(e?)\b", text):
            assert (e == "e") == (who in WOMEN), text
        assert not re.search(r"pas \w+ des\b", text)  # "de" behind a negation
        assert not re.search(r"\S[?:]", text)  # a space stands before them


def test_chinese_classifiers() -> None:
    classifier = {
        **dict.fromkeys("苹果 橙子 梨 芒果 衣柜".split(), "个"),
        **dict.fromkeys("山羊 狗 猫 鸭子 手镯".split(), "只"),
        **dict.fromkeys("锤子 锯子 锄头 螺丝刀 吉他 椅子".split(), "把"),
        **dict.fromkeys("衬衫 大衣".split(), "件"),
        **dict.fromkeys("连衣裙 短裙 项链".split(), "条"),
        **dict.fromkeys("桌子 床".split(), "张"),
        **dict.fromkeys("自行车 汽车 卡车 摩托车".split(), "辆"),
        **{"鼓": "面", "笛子": "支", "钢琴": "架", "戒指": "枚", "王冠": "顶", "硬币": "枚"},
        **{kind[0]: "种" for key, kind in CHINESE.items() if key in KINDS},
    }
    nouns = "|".join(sorted(classifier, key=len, reverse=True))
    adjectives = "红色的|白色的|黑色的|漂亮的|大|小|新|旧"
    seen = set()
    for text in texts("zh"):
        for c, noun in re.findall(rf"[一两三四五六七八九那几](\w)(?:{adjectives})?({nouns})", text):
            assert c == classifier[noun], text
            seen.add(noun)
        assert "二" not in text.replace("星期二", "").replace("第二", "")  # 两 before a classifier
        assert not re.search(rf"[两三四五六七八九](?:{adjectives})?(?:{nouns})", text)
        assert not re.search(r"[,.?!:; ]", text)
    assert seen == set(classifier)


# class of one -> its nouns, and what agrees with them: object prefix, that, and words that begin with a vowel or not
SWAHILI = {
    1: ("mbuzi mbwa paka bata", "m", "huyo", "mweupe mweusi", "mkubwa mdogo mzuri"),
    3: ("msumeno mkufu", "u", "huo", "mwekundu mweupe mweusi", "mkubwa mdogo mzuri mpya mkuukuu"),
    5: (
        "tofaa chungwa pea embe jembe shati koti gauni gitaa kabati gari lori taji",
        "li",
        "hilo",
        "jekundu jeupe jeusi",
        "kubwa dogo zuri jipya kuukuu",
    ),
    7: ("kinanda kiti kitanda", "ki", "hicho", "chekundu cheupe cheusi", "kikubwa kidogo kizuri kipya kikuukuu"),
    9: (
        "nyundo bisibisi sketi ngoma filimbi meza baiskeli pikipiki pete bangili",
        "i",
        "hiyo",
        "nyekundu nyeupe nyeusi",
        "kubwa ndogo nzuri mpya kuukuu",
    ),
}
# The prefix of many, and the numbers that agree with it.
SWAHILI_MANY = {"ma": "ma", "mi": "mi", "vi": "vi", "wa": "wa"}


def test_swahili_concords() -> None:
    noun_class = {noun: c for c, (nouns, *_) in SWAHILI.items() for noun in nouns.split()}
    adjectives = {w for *_, some, others in SWAHILI.values() for w in (some + " " + others).split()}
    one = "|".join(noun_class)
    seen = set()
    for text in texts("sw"):
        for prefix, noun in re.findall(
            rf"(?:ali|haku)(m|u|li|ki|i)(?:nunua|tafuta|pata|penda)(?: sana)? ({one})\b", text
        ):
            assert prefix == SWAHILI[noun_class[noun]][1], text
            seen.add((noun_class[noun], "object"))
        for noun, that, adjective in re.findall(rf"\b({one})\b(?: (h\w+o)\b)?(?: (\w+))?", text):
            of_class = SWAHILI[noun_class[noun]]
            if that:
                assert that == of_class[2], text
            if adjective in adjectives:
                assert adjective in (of_class[3] + " " + of_class[4]).split(), text
                seen.add((noun_class[noun], adjective))
        for noun, prefix, stem in re.findall(r"(\w+) (wa|mi|ma|vi|m|n|)(wili|bili|tatu|nne|ne|tano)\b", text):
            noun = noun.lower()
            if noun in SWAHILI[1][0].split():
                wanted = "wa"
            else:
                wanted = "" if noun in noun_class or noun in ("sarafu", "siku") else SWAHILI_MANY[noun[:2]]
            number = prefix + stem
            allowed = (
                [wanted + s for s in ("wili", "tatu", "nne", "tano")] if wanted else ["mbili", "tatu", "nne", "tano"]
            )
            assert number in allowed, text
            seen.add(("many", wanted))
    assert {c for c, _ in seen} == {1, 3, 5, 7, 9, "many"} and len(seen) > 35


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code not in ("en", "zh")])
def test_names_agree_across_languages(language: str) -> None:
    for texts_of in parallel(100, ("en", language), scenes=("fact", "question", "reverse")):
        names = [set(re.findall(r"\w+", text)) & set(PEOPLE) for text in texts_of.values()]
        assert names[0] == names[1]
