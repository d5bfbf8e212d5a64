"""The micro-world: a small toy town, its people and things, in six languages; all of it drawn from a known grammar.

A *record* is a meaning: a scene (a story, a review, a question...) and what fills its slots. Every record can be said
in English, Chinese, German, Spanish, French and Swahili, so one record gives parallel texts and their labels:

    en  Maria lost a white table in the park. She looked for the table for two days.
    zh  玛丽亚在公园丢了一张白色的桌子。她找那张桌子找了两天。
    de  Maria verlor im Park einen weißen Tisch. Sie suchte den Tisch zwei Tage lang.
    es  Maria perdió una mesa blanca en el parque. Buscó la mesa durante dos días.
    fr  Maria a perdu une table blanche dans le parc. Elle a cherché la table pendant deux jours.
    sw  Maria alipoteza meza nyeupe bustanini. Aliitafuta meza hiyo kwa siku mbili.

(It is one town: its people have one spelling of their names, whoever tells of them, except in Chinese characters.)

What it is good for:

- The entropy is known exactly, from the tables of the grammar: ``World().floor.bits_per_character``. It is the loss
  that no model can beat, a line for every figure; ``World().bits(text)`` is that line for one text.
- What a story begins with comes back at its end (who, which thing, how many), beyond the reach of n-grams. Of a
  million characters, n-grams of order 1 to 7 (Witten-Bell) need about 4.5, 3.2, 1.7, 1.0, 0.7, 0.7 and 0.6 bits per
  character of fresh text; the source needs 0.23.
- Labels follow from the meaning, and knobs (vocabulary, ambiguity, label noise, a spurious cue, the balance of
  languages) are there to be turned: see `World` and `load_task`.
- The same seed gives the same bytes on every machine: the random numbers are integers of our own (`SplitMix64`).

The grammar is explained in `grammar`. The scenes stand in `stories`, `visits`, `sentences`, `questions` and
`entailment`, what there is in the town in `town`, and each language in a file of its own.

>>> from minillm.datasets import microworld
>>> world = microworld.World(languages=("en",))
>>> 0.2 < world.floor.bits_per_character < 0.3
True
>>> example = microworld.parallel(1, ("en", "fr"), scenes=("define",))[0]
>>> sorted(example)
['en', 'fr']
"""

from .corpus import FULL, LICENCE, ORIGIN, load_text
from .exchanges import Exchange, Preference, instructions, parallel, preferences, questions
from .grammar import Meaning, Scene
from .splitmix import SplitMix64
from .tasks import TASKS, TRAIN, Task, load_task, side
from .world import LANGUAGES, SCENES, SEPARATOR, Floor, Record, World

__all__ = [
    "Exchange",
    "FULL",
    "Floor",
    "LANGUAGES",
    "LICENCE",
    "Meaning",
    "ORIGIN",
    "Preference",
    "Record",
    "SCENES",
    "SEPARATOR",
    "Scene",
    "SplitMix64",
    "TASKS",
    "TRAIN",
    "Task",
    "World",
    "instructions",
    "load_task",
    "load_text",
    "parallel",
    "preferences",
    "questions",
    "side",
]
