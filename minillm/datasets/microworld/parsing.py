"""From a text back to its meanings: which values of the slots say exactly this text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .grammar import Hole, Meaning, Scene, Sentence, Value, fill

Strings = dict[str, list[tuple[Value, ...]]]


class Parser:
    """All derivations of a text by one scene in one language, found from left to right with backtracking."""

    def __init__(self, scene: Scene, language: str) -> None:
        self.scene = scene
        self.sentences: tuple[Sentence, ...] = scene.sentences[language]
        self._strings: dict[int, tuple[Strings, tuple[int, ...]]] = {}  # of each hole, with their lengths

    def meanings(self, text: str) -> Iterator[Meaning]:
        """Yield every meaning that the scene says with this text."""
        for bound in self._beats(text, 0, 0, {}):
            yield from self._complete(0, {}, bound)

    def _beats(self, text: str, at: int, number: int, bound: Meaning) -> Iterator[Meaning]:
        """Match the beats from a number on against the text from a place on."""
        if number == len(self.sentences):
            if at == len(text):
                yield bound
            return
        sentence = self.sentences[number]
        if sentence.when is None:
            yield from self._said(text, at, number, bound)
            return
        name, values = sentence.when
        possible = [bound[name]] if name in bound else [v for (v,) in self.scene.joint((name,))]
        for value in possible:
            if value in values:
                yield from self._said(text, at, number, {**bound, name: value})
            else:
                yield from self._beats(text, at, number + 1, {**bound, name: value})

    def _said(self, text: str, at: int, number: int, bound: Meaning) -> Iterator[Meaning]:
        """Match a beat that is said."""
        lead = self.sentences[number].lead if number else ""
        if text.startswith(lead, at):
            yield from self._pieces(text, at + len(lead), True, number, 0, bound)

    def _pieces(self, text: str, at: int, start: bool, number: int, place: int, bound: Meaning) -> Iterator[Meaning]:
        """Match the pieces of a beat from a place on; ``start``: nothing of the beat has been matched yet."""
        pieces = self.sentences[number].pieces
        if place == len(pieces):
            yield from self._beats(text, at, number + 1, bound)
            return
        piece = pieces[place]
        if isinstance(piece, str):
            if text.startswith(_capital(piece) if start else piece, at):
                yield from self._pieces(text, at + len(piece), False, number, place + 1, bound)
            return
        strings, lengths = self._table(self.sentences[number], piece)
        for length in lengths:
            found = text[at : at + length]
            if len(found) < length:
                continue
            wanted = {found, found[:1].lower() + found[1:]} if start and found == _capital(found) else {found}
            if start and found and found != _capital(found):
                continue
            for string in sorted(wanted):
                for values in strings.get(string, ()):
                    new = dict(zip(piece.slots, values))
                    if all(bound.get(s, v) == v for s, v in new.items()):
                        rest = (text, at + length, start and length == 0, number, place + 1)
                        yield from self._pieces(*rest, {**bound, **new})

    def _table(self, sentence: Sentence, hole: Hole) -> tuple[Strings, tuple[int, ...]]:
        """What a hole of a sentence can say, and with which values."""
        if id(hole) not in self._strings:
            strings: Strings = defaultdict(list)
            for values in self.scene.said(sentence, hole):
                strings[fill(hole, values)].append(values)
            self._strings[id(hole)] = dict(strings), tuple(sorted({len(s) for s in strings}))
        return self._strings[id(hole)]

    def _complete(self, number: int, meaning: Meaning, bound: Meaning) -> Iterator[Meaning]:
        """Fill the slots that the text does not show in every way that is possible, in their order."""
        if number == len(self.scene.slots):
            yield dict(meaning)
            return
        name, _, parents, _ = self.scene.slots[number]
        for value in self.scene.table(number, tuple([meaning[p] for p in parents])).probabilities:
            if bound.get(name, value) == value:
                yield from self._complete(number + 1, {**meaning, name: value}, bound)


def _capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]
