"""Learning merges: count the pairs once, then only what each merge changes."""

from __future__ import annotations

import heapq
from collections import defaultdict


def learn_merges(pieces: dict[bytes, int], wanted: int) -> list[tuple[int, int]]:
    """Return the pairs of ids that are merged, in order.

    A merge changes only the neighbours of the places where its pair stands, so the places are remembered for each
    pair, and counts are kept up to date by difference. A heap gives the most frequent pair; its entries are never
    changed, and one whose count is no longer true is thrown away when it comes up (a new one was pushed when the count
    changed).

    Args:
        pieces: how often each piece of text occurs, in UTF-8; pairs do not cross the border of a piece.
        wanted: how many merges to learn; fewer if no piece has two tokens left.
    """
    # All pieces in one line, a border after each: as a linked list, a merge costs the same in a piece of any length.
    border = -1
    ids, weight = [border], [0]
    for piece, n in pieces.items():
        ids += [*piece, border]
        weight += [n] * (len(piece) + 1)
    after, before = list(range(1, len(ids) + 1)), list(range(-1, len(ids) - 1))
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    where: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for i, pair in enumerate(zip(ids, ids[1:])):
        if border not in pair:
            counts[pair] += weight[i]
            where[pair].append(i)
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
        for i in sorted(where.pop(pair)):  # from the left: "aaa" is "aa" and "a"
            j = after[i]
            if ids[i] != left or ids[j] != right:
                continue  # one of the two has been merged with another neighbour since
            n, k, h = weight[i], after[j], before[i]
            ids[i], ids[j], after[i], before[k] = new, border, k, i
            if ids[h] != border:
                changed[ids[h], left] -= n
                changed[ids[h], new] += n
                where[ids[h], new].append(h)
            if ids[k] != border:
                changed[right, ids[k]] -= n
                changed[new, ids[k]] += n
                where[new, ids[k]].append(i)
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
