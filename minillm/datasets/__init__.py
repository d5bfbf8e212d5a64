"""Corpora that every Python brings along, a toy world, the user's own texts and tables, and batches; NumPy only."""

from . import microworld
from .batching import IGNORE_INDEX, Batch, batches, epoch_order, pad_batch, random_windows, sequential_windows
from .cards import Card, DataError, SourceMissing
from .catalogue import Info, available, info, load, pretraining_mix
from .corpora import Example, LabelledCorpus, TextCorpus
from .folder import from_folder
from .leakage import leak
from .splitting import split_examples, split_text
from .streams import stream
from .tables import Row, from_table, read_examples, read_table

__all__ = [
    "Batch",
    "Card",
    "DataError",
    "Example",
    "IGNORE_INDEX",
    "Info",
    "LabelledCorpus",
    "Row",
    "SourceMissing",
    "TextCorpus",
    "available",
    "batches",
    "epoch_order",
    "from_folder",
    "from_table",
    "info",
    "leak",
    "load",
    "microworld",
    "pad_batch",
    "pretraining_mix",
    "random_windows",
    "read_examples",
    "read_table",
    "sequential_windows",
    "split_examples",
    "split_text",
    "stream",
]
