"""Learning merges: count the pairs once, then only what each merge changes."""

from __future__ import annotations

import heapq
from collections import defaultdict


def learn_merges(pieces: dict[bytes, int], wanted: int) -> list[tuple[int, int]]:
    """Return the pairs of ids that are merged, in order.

    A merge changes only the pieces in which its pair occurs, so they are remembered for each pair, and counts are kept
    up to date by difference. A heap gives the most frequent pair; its entries are never changed, and one whose count
    is no longer true is thrown away when it comes up (a new one was pushed when the count changed).

    Args:
        pieces: how often each piece of text occurs, in UTF-8; pairs do not cross the border of a piece.
        wanted: how many merges to learn; fewer if no piece has two tokens left.
    """
    words = [list(piece) for piece in pieces]
    frequency = list(pieces.values())
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            counts[pair] += frequency[i]
            where[pair].add(i)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    made: set[bytes] = set()
    spelled = [bytes([b]) for b in range(256)]
    while heap and len(merges) < wanted:
        minus, pair = heapq.heappop(heap)
        if counts.get(pair, 0) != -minus or not minus:
            continue
        left, right = pair
        text = spelled[left] + spelled[right]
        if text in made:
            # Another pair has made the same text: it gets no second id, so that a file can name tokens by their text.
            del counts[pair]
            continue
        made.add(text)
        new = 256 + len(merges)
        merges.append(pair)
        spelled.append(text)
        changed: defaultdict[tuple[int, int], int] = defaultdict(int)
        for i in where.pop(pair):
            word, n = words[i], frequency[i]
            merged, j = [], 0
            while j < len(word):
                if j + 1 < len(word) and word[j] == left and word[j + 1] == right:
                    merged.append(new)
                    j += 2
                else:
                    merged.append(word[j])
                    j += 1
            for old in zip(word, word[1:]):
                changed[old] -= n
            for fresh in zip(merged, merged[1:]):
                changed[fresh] += n
                where[fresh].add(i)
            words[i] = merged
        counts.pop(pair, None)
        changed.pop(pair, None)
        for other, difference in changed.items():
            if difference:
                counts[other] += difference
                if counts[other] > 0:
                    heapq.heappush(heap, (-counts[other], other))
                else:
                    del counts[other]
    return merges
