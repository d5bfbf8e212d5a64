"""Texts that break tokenizers, as hypothesis strategies; the tests of minillm/text draw from them."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = [
    *("\0", "\x07\x1b", "\x1c\x1d \x1e\x1f", "\x7f\x85\xa0", "\ufeff", "\ufffd", "\U0010ffff", "\ud7ff\ue000"),
    *("\r", "\n", "\r\n", "\t ", " ", "   ", "\u2028\u3000", "a" * 70, "ab" * 40, " " * 66 + "x", "=" * 65),
    *("'s", "'re", "'", "it's we'll I'D", "_x_", "x2 3½ Ⅷ ²٣", "e" + "\u0301" * 50, "é", "İıſß", "ἄΣ"),
    *("שלום", "\u202eabc\u202c", "नमस्ते", "猫が好き", "👩\u200d👩\u200d👧", "🇩🇪🏳️", "𝔘𝔫𝔦", "\u00ad\u2060\u200b"),
    *("<|endoftext|>", "<|end|>", "<|", "|>", "<unk>", "Ġ", "Ċ", "Ā"),
]


def nasty_text(max_pieces: int = 12) -> st.SearchStrategy[str]:
    """Any text, and texts put together from pieces that have broken tokenizers before; no lone surrogates."""
    piece = st.one_of(st.sampled_from(PIECES), st.text(max_size=6))
    return st.one_of(st.text(max_size=40), st.lists(piece, max_size=max_pieces).map("".join))


def nasty_bytes() -> st.SearchStrategy[bytes]:
    """Any bytes, and what is almost UTF-8: cut, overlong, encoded surrogates, too large, UTF-16."""
    wrong = [b"\xff", b"\xc3", b"\xe7\x8c", b"\xf0\x9f\x90", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
    wrong += [b"\xfe\xffa\0", "猫".encode(), b"a", "é".encode()]
    return st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(wrong), max_size=12).map(b"".join))


# A surrogate, and its place in the text.
LONE_SURROGATES = [("\ud800", 0), ("ab\udfffc", 2), ("x\udc80", 1), ("猫 \ud83d y", 2), ("\udc00\ud800", 0)]
