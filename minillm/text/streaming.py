"""Text from ids that come one at a time."""

from __future__ import annotations

import codecs

from minillm.text.base import Tokenizer


class StreamingDecoder:
    """Gives out text as soon as it is whole: half a character is held back until its other half comes.

    Args:
        tokenizer: what the ids mean.

    >>> from minillm.text import ByteBPETokenizer
    >>> t = ByteBPETokenizer([]); d = StreamingDecoder(t)
    >>> [d.push(i) for i in t.encode("aé")]
    ['a', '', 'é']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._started = False

    def push(self, id: int) -> str:
        """Return the text that is whole with this id."""
        # Words are decoded with spaces between them; the space comes with the second of two.
        space = b" " if self._tokenizer.type == "word" and self._started else b""
        self._started = True
        return self._decoder.decode(space + self._tokenizer.decode_bytes([id]))

    def flush(self) -> str:
        """Return what is still held back; a half character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)
