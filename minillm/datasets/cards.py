"""The card of a corpus: where its texts come from and what was done to them; and the errors of the loaders."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

PSF = "Python Software Foundation License; read from the reader's own Python, nothing is copied into minillm"


class DataError(ValueError):
    """The user's data cannot be used as it is; the message says what is wrong, and where (``file:line``)."""


class SourceMissing(FileNotFoundError):
    """This Python lacks the files that an offline corpus is read from."""


@dataclass(frozen=True)
class Card:
    """The facts about one loaded corpus; `to_dict` makes it JSON.

    Attributes:
        name: the name of the corpus, or the path of the user's file.
        origin: where the text was read from.
        licence: under which terms.
        python: the version of the Python that loaded it (the offline corpora differ from version to version).
        sha256: hash of all splits as loaded; equal hashes mean equal data.
        seed: the seed of the split.
        split: the rule of the split.
        sizes: how much is in each split, in `unit`.
        unit: "characters" (text) or "examples" (labelled).
        characters: characters of all splits together.
        duplicates: paragraphs or examples left out because an equal one came before.
        purged: paragraphs or examples left out of training because they share 50 characters in a row with what is
            held out.
        leak: share of the held-out text's 50-character shingles that occur in the training text, 0 to 1.
        notes: what else the reader has to know, one sentence each.
    """

    name: str
    origin: str
    licence: str
    sha256: str
    seed: int
    split: str
    sizes: dict[str, int]
    unit: str
    characters: int
    duplicates: int
    purged: int
    leak: float
    notes: tuple[str, ...] = ()
    python: str = field(default_factory=platform.python_version)

    def to_dict(self) -> dict[str, object]:
        """Return the card as a dict that ``json.dumps`` takes."""
        return {**asdict(self), "notes": list(self.notes)}

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())
        lines = [
            f"{self.name} (Python {self.python}, seed {self.seed})",
            f"  origin      {self.origin}",
            f"  licence     {self.licence}",
            f"  characters  {self.characters:,}",
            f"  split       {self.split}: {sizes} {self.unit}",
            f"  duplicates  {self.duplicates:,} left out, {self.purged:,} more because they overlap held-out text",
            f"  leak        {self.leak:.2%} of held-out 50-character shingles occur in the training text",
            f"  sha256      {self.sha256}",
        ]
        return "\n".join(lines + [f"  note        {note}" for note in self.notes])


def digest(parts: Iterable[str]) -> str:
    """Return the SHA-256 of the parts, each preceded by its length so that no two lists of parts look alike."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()
