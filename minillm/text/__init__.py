"""Beside the engine: texts to ids and back, with the standard library and NumPy alone."""

from minillm.text.base import Tokenizer
from minillm.text.bpe import END_OF_TEXT, ByteBPETokenizer
from minillm.text.normalize import Normalizer, split_words
from minillm.text.simple import UNKNOWN, CharTokenizer, WordTokenizer
from minillm.text.streaming import StreamingDecoder

__all__ = [
    "END_OF_TEXT",
    "UNKNOWN",
    "ByteBPETokenizer",
    "CharTokenizer",
    "Normalizer",
    "StreamingDecoder",
    "Tokenizer",
    "WordTokenizer",
    "split_words",
]
