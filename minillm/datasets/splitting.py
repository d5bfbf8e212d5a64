"""Splits: text into training and validation by blocks of paragraphs, examples by label and by group."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from .leakage import leak, purge
from .streams import stream

BLOCK = 20  # paragraphs that stay together: long enough to keep the thread of a text, short enough to mix its topics
SEPARATOR = "\n\n"
TEXT_RULES = ("blocks", "paragraphs", "tail")


@dataclass(frozen=True)
class TextSplit:
    """The two parts of a text, and what it took to keep them apart."""

    train: str
    validation: str
    duplicates: int
    purged: int
    leak: float


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text: what stands between blank lines, without white space at the end.

    >>> paragraphs("one\\n  more\\n\\n\\ntwo\\n")
    ['one\\n  more', 'two']
    """
    return [p.rstrip() for p in re.split(r"(?:\A|\n)(?:[^\S\n]*\n)+", text) if p.strip()]


def first_of_kind(texts: Sequence[str]) -> list[bool]:
    """Say for each text whether it is the first of those that are equal up to white space.

    >>> first_of_kind(["a b", "c", "a  b"])
    [True, True, False]
    """
    seen: set[str] = set()
    first = []
    for text in texts:
        key = " ".join(text.split())
        first.append(key not in seen)
        seen.add(key)
    return first


def split_text(text: str, rule: str = "blocks", *, validation: float = 0.1, seed: int = 0) -> TextSplit:
    """Split a text into training and validation text.

    Rules:
        ``"blocks"``: leave out repeated paragraphs, give blocks of 20 paragraphs to one side or the other at random,
        then leave out of training what shares 50 characters in a row with validation. The rule to use.

        ``"paragraphs"``: single paragraphs at random, repeats and all; ``"tail"``: the last part of the text. Both are
        common, and both leak when a text repeats itself; here they serve comparison.

    Args:
        text: the whole text.
        rule: one of the three.
        validation: share of the text (blocks, paragraphs or characters) that goes to validation, between 0 and 1.
        seed: of the random choice.

    Raises:
        ValueError: if the rule is unknown, the share is not between 0 and 1, or a side would be empty.
    """
    if rule not in TEXT_RULES:
        raise ValueError(f"unknown split {rule!r} of a text; choose one of {', '.join(TEXT_RULES)}")
    if not 0 < validation < 1:
        raise ValueError(f"the share of validation must lie between 0 and 1, got {validation}")
    duplicates = purged = 0
    if rule == "tail":
        cut = len(text) - max(1, round(len(text) * validation))
        train, held = text[:cut], text[cut:]
    else:
        parts = paragraphs(text)
        if rule == "blocks":
            first = first_of_kind(parts)
            duplicates, parts = first.count(False), [p for p, f in zip(parts, first, strict=True) if f]
        # A short text gets shorter blocks, so that there are ten of them where there are ten paragraphs.
        block = max(1, min(BLOCK, len(parts) // 10)) if rule == "blocks" else 1
        number = np.arange(len(parts)) // block
        n_blocks = -(-len(parts) // block)
        if n_blocks < 2:
            raise ValueError(f"{len(parts)} different paragraph(s) cannot be split; use split='tail' or give more text")
        n_held = min(max(1, round(n_blocks * validation)), n_blocks - 1)
        chosen = stream(seed, "split", "text").permutation(n_blocks)[:n_held]
        is_held = np.isin(number, chosen)
        held = SEPARATOR.join(p for p, h in zip(parts, is_held, strict=True) if h)
        kept = [p for p, h in zip(parts, is_held, strict=True) if not h]
        if rule == "blocks":
            stays = purge(kept, held)
            purged = stays.count(False)
            kept = [p for p, s in zip(kept, stays, strict=True) if s]
        train = SEPARATOR.join(kept)
    if not train.strip() or not held.strip():
        raise ValueError(
            f"a text of {len(text)} characters leaves {len(train)} to train on and {len(held)} to validate; give more"
        )
    return TextSplit(train, held, duplicates, purged, leak(train, held))


def split_examples(
    labels: Sequence[int],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, ...]:
    """Split examples into parts in which every label has its share, and keep groups whole where groups are given.

    Args:
        labels: the label id of each of N examples.
        fractions: the share of each part; they sum to 1. The first part is the one to train on.
        groups: something per example, for example the file that it comes from; examples with an equal group go to one
            part together. The shares are then as near as the groups allow.
        seed: of the random choice.

    Returns:
        For each part the sorted numbers of its examples; together they are 0..N-1, each once.

    Raises:
        ValueError: if the fractions do not fit, or a part with a share would stay empty.

    >>> [part.tolist() for part in split_examples([0, 1] * 5, (0.6, 0.4), seed=1)]
    [[0, 1, 2, 4, 7, 9], [3, 5, 6, 8]]
    """
    share = np.asarray(fractions, dtype=float)
    if share.ndim != 1 or len(share) < 2 or (share < 0).any() or share[0] == 0 or not abs(share.sum() - 1) <= 1e-9:
        raise ValueError(f"fractions must be >= 0, the first > 0, and sum to 1; got {list(fractions)}")
    if groups is None:
        groups = range(len(labels))
    if len(groups) != len(labels):
        raise ValueError(f"{len(labels)} labels but {len(groups)} groups; one per example is needed")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    for indices in members.values():  # a group counts for the label that most of its examples have
        votes = Counter(int(labels[i]) for i in indices)
        by_label[min(votes, key=lambda label: (-votes[label], label))].append(indices)
    parts: list[list[int]] = [[] for _ in share]
    rng = stream(seed, "split", "examples")
    for label in sorted(by_label):
        for part, indices in zip(parts, _deal(by_label[label], share, rng), strict=True):
            part.extend(indices)
    for part, fraction in zip(parts, share, strict=True):
        if fraction > 0 and not part:
            raise ValueError(
                f"{len(labels)} examples in {len(members)} groups with {len(by_label)} labels are too few to split "
                f"into {list(fractions)}: a part stays empty; give more examples or other fractions"
            )
    return tuple(np.array(sorted(part), dtype=np.int64) for part in parts)


def _deal(groups: list[list[int]], share: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """Give the groups of one label to the parts: each group to the part that has the smallest part of its due.

    Groups too large for any part but the first go there, but never the last ones while a part is still empty. The rest
    comes in random order. Of several such deals the one nearest to the shares counts: with a few groups of unlike size
    one deal may miss by far.
    """
    due = [fraction * sum(len(g) for g in groups) for fraction in share.tolist()]
    limit = max(due[1:])
    tries = 1 if len(groups) > 1000 or max(map(len, groups)) == 1 else 20
    best: tuple[float, list[list[int]]] = (np.inf, [])
    for _ in range(tries):
        queue = [groups[i] for i in rng.permutation(len(groups))]
        queue.sort(key=lambda group: -len(group) if len(group) > limit else 0)
        parts: list[list[int]] = [[] for _ in due]
        for left, group in zip(range(len(queue), 0, -1), queue, strict=True):
            filled = [len(part) / wanted if wanted else np.inf for part, wanted in zip(parts, due, strict=True)]
            to_first = not parts[0] or (len(group) > limit and left > filled.count(0))
            parts[0 if to_first else filled.index(min(filled))].extend(group)
        miss = sum(abs(len(part) - wanted) for part, wanted in zip(parts, due, strict=True))
        if miss < best[0]:
            best = (miss, parts)
    return best[1]
