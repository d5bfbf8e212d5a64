"""Exercises of lesson 11. Write the three functions, and run ``minillm check 11`` as often as you like.

Each has a specification (the docstring) and a ladder of hints (the comments): read one more only when you are stuck.
``model`` is a ``GPT`` of the lesson; use its parts (``tokens``, ``positions``, ``blocks``, ``norm``, ``head``), not its
own cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minillm

Past = list[tuple[minillm.Tensor, minillm.Tensor]]  # for each block keys and values, (B, H, S, D)


def attend(q: minillm.Tensor, k: minillm.Tensor, v: minillm.Tensor) -> minillm.Tensor:
    """Return the answers to the queries of T new positions, which are the last T of S positions.

    Each looks at itself and at all that came before it.

    Shape:
        q (B, H, T, D), k and v (B, H, S, D) with S >= T, to (B, H, T, D).
    """
    # Hint 1: F.scaled_dot_product_attention does the rest; is_causal=True is only right if S = T.
    # Hint 2: attn_mask is True where a query may look; query i stands at position S - T + i (the mask of lesson 10).
    # Hint 3: minillm.ones(T, S, dtype=minillm.bool).tril(S - T)
    raise NotImplementedError("attend")


def forward_cached(model: Any, ids: np.ndarray, past: Past) -> tuple[minillm.Tensor, Past]:
    """Return the logits of new tokens, given keys and values of all before them, and the keys and values of all.

    Args:
        model: a GPT in evaluation mode.
        ids: the new tokens, (B, T).
        past: what the last call returned; an empty list at the beginning of a text. It is not changed.

    Returns:
        Logits (B, T, V), and the past for the next call.
    """
    # Hint 1: how long is the past? The new positions go on from there, and so do their vectors.
    # Hint 2: follow Block and CausalSelfAttention line by line; what is new stands between qkv and attend.
    # Hint 3: minillm.cat([old, new], 2) puts new keys behind old ones; each block has a past of its own.
    # Hint 4: the last lines are model.norm and model.head.
    raise NotImplementedError("forward_cached")


def write(model: Any, ids: np.ndarray, n: int) -> np.ndarray:
    """Return ids (B, T) continued by n tokens, always the likeliest, (B, T + n); each position is computed once.

    Args:
        model: a GPT in evaluation mode.
        ids: at least one token for each text.
        n: at least 1.
    """
    # Hint 1: the first call takes all of ids, each later one only the token that was written last.
    # Hint 2: the logits of the last position say what comes next: argmax over V.
    # Hint 3: with minillm.no_grad() around it; and nothing follows the last token, so it is not computed.
    raise NotImplementedError("write")
