"""Floor 6: text from a language model, token by token.

A model here is anything that maps ids (B, T) to logits (B, T, V) and says how long a context it can read
(``model.config.block_size``). With a key/value cache (``model.make_cache(batch_size)``, then ``model(ids,
cache=cache)``) each new token costs one step instead of a pass over the whole text; the logits are the same. A cache
must be able to ``rewind(length)`` and to ``reorder(rows)``. It may have ``step(ids)``, from an array (B, T) of new
tokens to logits (B, V) on the host: the same without making tensors.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm import ops
from minillm.autograd import no_grad
from minillm.backend.random import Generator, default_generator
from minillm.text.base import token_id

FEW = 1024
"""New tokens, of all rows together, for which a cache's ``step`` is asked on the CPU. Lesson 11's takes 0.26 of the
model's time for 8 tokens, 0.7 for 256, as long for 1,024 (S65 and M65 of ``tests/bench``); it keeps a layer's attention
weights. On a card it decides itself.
"""

__all__ = ["Sampling", "beam_search", "generate", "generate_tokens", "next_distribution"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token; 1 draws from the model's own distribution; lower is more cautious.
        top_k: draw only among the k likeliest; ``None`` is off.
        top_p: draw only among the likeliest that together have probability p (nucleus sampling, Holtzman et al. 2020).
        repetition_penalty: above 1 makes tokens that were there already less likely (Keskar et al. 2019, section 4.1).

    Raises:
        ValueError: when it is made, naming every setting that is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={value!r} (expected a number)"
            for name, value in vars(self).items()
            if not (value is None and name == "top_k")
            and (not isinstance(value, numbers.Real) or isinstance(value, bool))
        ]
        if self.top_k is not None and not wrong and not isinstance(self.top_k, numbers.Integral):
            wrong.append(f"top_k={self.top_k!r} (expected a whole number)")
        if wrong:
            raise ValueError("sampling: " + "; ".join(wrong))
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            wrong.append(f"temperature={self.temperature} (expected 0 for the likeliest token, or a positive number)")
        if self.top_k is not None and self.top_k < 1:
            wrong.append(f"top_k={self.top_k} (expected 1 or more, or None for no limit)")
        if not 0 < self.top_p <= 1:
            wrong.append(f"top_p={self.top_p} (expected more than 0 and at most 1, which is off)")
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            wrong.append(f"repetition_penalty={self.repetition_penalty} (expected a positive number; 1 is off)")
        if wrong:
            raise ValueError("sampling: " + "; ".join(wrong))


def next_distribution(logits: np.ndarray, seen: np.ndarray, how: Sampling) -> np.ndarray:
    """Return the probabilities from which the next token is drawn.

    Args:
        logits: what the model says, (V,).
        seen: ids that occurred before, for the repetition penalty.
        how: the settings.

    Returns:
        Probabilities (V,) in float64, summing to 1; never NaN. Infinite logits have their limits: beside inf nothing
        counts, -inf has probability 0, and where every logit is -inf all tokens are as likely.

    Raises:
        ValueError: if a logit is NaN: such a model says nothing.
    """
    x = logits.astype(np.float64)
    with np.errstate(over="ignore"):
        if how.repetition_penalty != 1 and len(seen):
            ids = np.unique(seen)
            x[ids] = np.where(x[ids] > 0, x[ids] / how.repetition_penalty, x[ids] * how.repetition_penalty)
    x = _with_finite_maximum(x)
    if how.temperature == 0:
        p = np.zeros_like(x)
        p[x.argmax()] = 1.0
        return p
    with np.errstate(over="ignore"):  # a gap that overflows is -inf: probability 0, as it should be
        x = (x - x.max()) / how.temperature
    if how.top_k is not None and how.top_k < len(x):
        x[x < np.partition(x, -how.top_k)[-how.top_k]] = -np.inf
    p = np.exp(x)
    p /= p.sum()
    if how.top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]  # the probability of all likelier tokens
        p[order[before >= how.top_p]] = 0.0  # the likeliest has 0 before it, so it always stays
        p /= p.sum()
    return p


def _with_finite_maximum(x: np.ndarray) -> np.ndarray:
    """Return logits (..., V) that mean the same and whose largest is finite, so that it can be subtracted."""
    top = x.max(axis=-1, keepdims=True)
    if np.isfinite(top).all():
        return x
    if np.isnan(top).any():
        raise ValueError(
            "generate: the logits of the model are NaN; its weights are damaged, or its training went wrong. "
            "Take an earlier checkpoint"
        )
    return np.where(np.isfinite(top), x, np.where(np.isposinf(x) | np.isneginf(top), 0.0, -np.inf))


class _Reader:
    """Gives the logits after a text that grows; keeps the window inside the context of the model."""

    def __init__(self, model: Any, batch_size: int, use_cache: bool) -> None:
        self.model, self.batch_size = model, batch_size
        self.block_size = int(model.config.block_size)
        self.use_cache = use_cache and hasattr(model, "make_cache")
        self.device = next(model.parameters()).device
        self.start = self.fed = 0  # where the window begins, and how much of the text the cache holds
        self.cache: Any = None

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Return the logits (B, V) of the token after ``ids`` (B, T)."""
        length = ids.shape[1]
        if length - self.start > self.block_size:
            # The window jumps by half a context instead of sliding by one: the positions inside it stay what they are,
            # so the cache stays right and is filled anew only once every block_size / 2 tokens.
            self.start = self.fed = length - max(1, self.block_size // 2)
            if self.cache is not None:
                self.cache.rewind(0)
        if not self.use_cache:
            return self._run(ids[:, self.start :], None)
        if self.cache is None:
            self.cache, self.fed = self.model.make_cache(self.batch_size), self.start
        new = ids[:, self.fed :]
        self.fed = length
        return self._run(new, self.cache)

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        if self.cache is not None:
            self.cache.reorder(rows)

    def _run(self, ids: np.ndarray, cache: Any) -> np.ndarray:
        if hasattr(cache, "step") and (ids.size <= FEW or self.device.type == "cuda"):
            return cache.step(ids)
        x = ops.tensor(np.ascontiguousarray(ids), device=self.device)
        y = self.model(x) if cache is None else self.model(x, cache=cache)
        return y.backend.to_host(y[:, -1].array)


def generate_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    how: Sampling | None = None,
    *,
    stop_tokens: Sequence[int] = (),
    generator: Generator | None = None,
    use_cache: bool = True,
) -> Iterator[list[int | None]]:
    """Return an iterator over the next token of every prompt, step by step.

    Prompts of different lengths run side by side: as long as a row is still inside its prompt, its next token is the
    prompt's own and ``None`` is yielded for it. No padding is needed.

    Args:
        model: the language model; it is put into evaluation mode and back.
        prompts: lists of token ids, none empty.
        max_new_tokens: how many tokens to add to each.
        how: sampling settings.
        stop_tokens: ids that end a row; the stop token itself is yielded, ``None`` after it.
        generator: source of randomness; row i draws from stream i, whatever the other rows do.
        use_cache: keep keys and values instead of computing them again.

    Yields:
        A list of B entries: a token id, or ``None`` for a row that is in its prompt or done.

    Raises:
        ValueError: for an empty prompt or a negative ``max_new_tokens``.
        IndexError: for ids that the model does not know.
        TypeError: for what is not token ids.
        ValueError: while iterating, if the model answers NaN.
    """
    rows = [_ids(p) for p in _batch(prompts)]
    _check_prompts(model, rows, max_new_tokens)  # now, not when the first token is asked for
    return _generate_tokens(model, rows, max_new_tokens, how or Sampling(), stop_tokens, generator, use_cache)


@contextlib.contextmanager
def _evaluating(model: Any, again: bool = False) -> Iterator[None]:
    """No graph and evaluation mode inside the block; both as they were after it.

    A model that was in evaluation mode as a whole before (``again``) and still says so is taken at its word: a walk
    through all of its modules takes half as long as a small model's step.
    """
    was_training = model.training
    if was_training or not again:
        model.eval()
    try:
        with no_grad():
            yield
    finally:
        if was_training:
            model.train(True)


def _generate_tokens(
    model: Any,
    rows: list[list[int]],
    max_new_tokens: int,
    how: Sampling,
    stop_tokens: Sequence[int],
    generator: Generator | None,
    use_cache: bool,
) -> Iterator[list[int | None]]:
    ends = [len(p) + max_new_tokens for p in rows]
    source = generator or default_generator
    reader = _Reader(model, len(rows), use_cache)
    stop, done = set(map(int, stop_tokens)), [max_new_tokens == 0] * len(rows)
    length = first = min(map(len, rows))
    ids = np.zeros((len(rows), max(ends)), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    while not all(done):
        with _evaluating(model, length > first):  # not around the yield: the caller may train between two tokens
            logits = reader.logits(ids[:, :length])
        out: list[int | None] = [None] * len(rows)
        for i, row in enumerate(rows):
            if length < len(row):
                continue  # still reading the prompt
            if done[i]:
                row.append(row[-1])  # keeps the batch rectangular; nobody sees it
                ids[i, length] = row[-1]
                continue
            if how.temperature == 0 and how.repetition_penalty == 1:
                token = _likeliest(logits[i])
            else:
                p = next_distribution(logits[i], ids[i, :length], how)
                token = int(p.argmax()) if how.temperature == 0 else _draw(p, source, i)
            row.append(token)
            ids[i, length] = out[i] = token
            done[i] = token in stop or len(row) >= ends[i]
        length += 1
        if any(t is not None for t in out):
            yield out


def _likeliest(logits: np.ndarray) -> int:
    """Return the id that ``next_distribution`` would give probability 1 without a penalty, without making it."""
    token = int(logits.argmax())  # that of the first NaN, if there is one
    if math.isnan(logits[token]):
        _with_finite_maximum(logits)  # says so
    return token


def _draw(p: np.ndarray, source: Generator, row: int) -> int:
    """Draw an id by inverting the cumulative distribution: one number a token, on every device the same."""
    stream = source.stream("sampling" if row == 0 else f"sampling-{row}")
    cumulative = np.cumsum(p)
    found = int(np.searchsorted(cumulative, stream.random() * cumulative[-1], side="right"))
    # Rounding can land on a token of probability 0; the last that has any is meant.
    return found if found < len(p) and p[found] > 0 else int(np.flatnonzero(p)[-1])


def _batch(prompts: Any) -> list[Any]:
    """Return prompts as a list, from an array or a tensor, too."""
    if isinstance(prompts, str) or not (hasattr(prompts, "__iter__") or hasattr(prompts, "tolist")):
        raise TypeError(f"generate: expected lists of token ids, got {type(prompts).__name__}; encode a text first")
    found = prompts.tolist() if hasattr(prompts, "tolist") else list(prompts)
    if any(isinstance(p, str) for p in found):
        raise TypeError("generate: expected lists of token ids, got texts; encode them first")
    return found if isinstance(found, list) else [found]


def _ids(prompt: Any) -> list[int]:
    """Return the ids of a prompt as Python's numbers."""
    return [token_id(t, "generate") for t in (prompt.tolist() if hasattr(prompt, "tolist") else prompt)]


def _check_prompts(model: Any, rows: list[list[int]], max_new_tokens: int) -> None:
    if not isinstance(max_new_tokens, numbers.Integral):
        raise TypeError(f"generate: expected max_new_tokens as a whole number, got {max_new_tokens!r}")
    if max_new_tokens < 0:
        raise ValueError(f"generate: expected max_new_tokens of 0 or more, got {max_new_tokens}")
    if not rows:
        raise ValueError("generate: got no prompts")
    block_size, vocab_size = int(model.config.block_size), int(model.config.vocab_size)
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(f"generate: prompt {i} is empty; start it with a begin-of-text token or a word")
        bad = [t for t in row if not 0 <= t < vocab_size]
        if bad:
            raise IndexError(f"generate: prompt {i} has token id {bad[0]}, the model knows 0 .. {vocab_size - 1}")
        if len(row) > block_size:
            warnings.warn(
                f"generate: prompt {i} has {len(row)} tokens, the model reads {block_size}: the beginning is not seen",
                stacklevel=4,
            )


def generate(
    model: Any,
    prompts: Sequence[int] | Sequence[Sequence[int]],
    max_new_tokens: int,
    how: Sampling | None = None,
    *,
    stop_tokens: Sequence[int] = (),
    generator: Generator | None = None,
    use_cache: bool = True,
    num_beams: int = 1,
    on_token: Callable[[list[int | None]], None] | None = None,
) -> list[Any]:
    """Return prompts with the tokens that the model adds.

    Args:
        prompts: one list of ids, or several.
        num_beams: above 1, search for the likeliest continuation instead of drawing (``beam_search``).
        on_token: called after every step with the new tokens, for streaming.
        model, max_new_tokens, how, stop_tokens, generator, use_cache: see ``generate_tokens``.

    Returns:
        A list of ids for one prompt, a list of lists for several; the prompt is part of it.
    """
    batch = _batch(prompts)
    single = bool(batch) and not hasattr(batch[0], "__len__")
    rows = [_ids(p) for p in ([batch] if single else batch)]
    if num_beams != 1:
        rows = [
            beam_search(model, r, max_new_tokens, num_beams, stop_tokens=stop_tokens, use_cache=use_cache)[0]
            for r in rows
        ]
    else:
        steps = generate_tokens(
            model, rows, max_new_tokens, how, stop_tokens=stop_tokens, generator=generator, use_cache=use_cache
        )
        with _evaluating(model) if on_token is None else contextlib.nullcontext():
            for step in steps:
                for row, token in zip(rows, step, strict=True):
                    if token is not None:
                        row.append(token)
                if on_token is not None:
                    on_token(step)
    return rows[0] if single else rows


def beam_search(
    model: Any,
    prompt: Sequence[int],
    max_new_tokens: int,
    num_beams: int = 4,
    *,
    stop_tokens: Sequence[int] = (),
    length_penalty: float = 1.0,
    use_cache: bool = True,
) -> tuple[list[int], float]:
    """Search for the likeliest continuation, keeping the ``num_beams`` best beginnings at every step.

    Args:
        length_penalty: continuations are compared by log-probability / length ** length_penalty, in nats.
        model, prompt, max_new_tokens, stop_tokens, use_cache: see ``generate_tokens``.

    Returns:
        The best text found, with the prompt, and its log-probability in nats (not divided).

    Raises:
        ValueError: for ``num_beams`` below 1 and what ``generate_tokens`` refuses.
    """
    if num_beams < 1:
        raise ValueError(f"beam_search: expected num_beams of 1 or more, got {num_beams}")
    if not math.isfinite(length_penalty):
        raise ValueError(f"beam_search: expected a finite length_penalty, got {length_penalty}")
    start = _ids(prompt)
    _check_prompts(model, [start], max_new_tokens)
    stop = set(map(int, stop_tokens))
    reader = _Reader(model, num_beams, use_cache)
    beams = np.tile(np.array(start, dtype=np.int64), (num_beams, 1))
    scores = np.full(num_beams, -np.inf)
    scores[0] = 0.0  # all beams are equal at first: let one of them speak
    finished: list[tuple[float, float, list[int]]] = []
    with _evaluating(model):
        for step in range(1, max_new_tokens + 1):
            logits = _with_finite_maximum(reader.logits(beams).astype(np.float64))
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            total = scores[:, None] + log_p
            vocab = total.shape[1]
            best = np.argsort(-total, axis=None, kind="stable")[: 2 * num_beams]
            kept_rows: list[int] = []
            kept_tokens: list[int] = []
            kept_scores: list[float] = []
            for flat in best.tolist():
                row, token, score = flat // vocab, flat % vocab, float(total.flat[flat])
                if not math.isfinite(score):
                    continue
                if token in stop:
                    finished.append((score / step**length_penalty, score, [*beams[row].tolist(), token]))
                elif len(kept_rows) < num_beams:
                    kept_rows.append(row)
                    kept_tokens.append(token)
                    kept_scores.append(score)
            if not kept_rows:
                break
            while len(kept_rows) < num_beams:  # fewer live continuations than beams: fill up with dead ones
                kept_rows.append(kept_rows[0])
                kept_tokens.append(kept_tokens[0])
                kept_scores.append(-np.inf)
            rows = np.array(kept_rows)
            reader.reorder(rows)
            beams = np.concatenate([beams[rows], np.array(kept_tokens)[:, None]], axis=1)
            scores = np.array(kept_scores)
            if len(finished) >= num_beams and max(f[0] for f in finished) >= scores.max() / step**length_penalty:
                break
    for row, score in zip(beams.tolist(), scores.tolist(), strict=True):
        new = len(row) - len(start)
        if math.isfinite(score):
            finished.append((score / max(1, new) ** length_penalty, score, row))
    best_one = max(finished, key=lambda f: f[0])
    return best_one[2], best_one[1]
